"""What a job may cost while it runs, and what it did cost.

The most it can use is held when it is reserved and released when it ends. Settlement is cumulative: each end pays only
for what lies beyond the position settled before, and the prompt once, so several attempts make one bill.
Source: docs/design/streams.md §5; double-entry bookkeeping.
"""

from dataclasses import dataclass
from enum import IntEnum


@dataclass(frozen=True, slots=True)
class Position:
    """What a job has settled, or used so far.

    Attributes:
        input_tokens: tokens of the prompt.
        output_tokens: tokens generated.
        output_bytes: bytes of the answer.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    output_bytes: int = 0

    @property
    def tokens(self) -> int:
        """All tokens that are paid for."""
        return self.input_tokens + self.output_tokens


class Kind(IntEnum):
    """Kind of a ledger row."""

    HOLD = 1
    RELEASE = 2
    SETTLE = 3


@dataclass(frozen=True, slots=True)
class Entry:
    """A ledger row.

    Attributes:
        kind: what happened.
        held: change of the tenant's held tokens.
        settled: change of its settled tokens.
        held_micros: change of its held spend.
        settled_micros: change of its settled spend.
    """

    kind: Kind
    held: int
    settled: int
    held_micros: int = 0
    settled_micros: int = 0


def limit(input_tokens_max: int, max_tokens: int, choices: int) -> int:
    """The most tokens a request can use.

    Args:
        input_tokens_max: most tokens of its prompt.
        max_tokens: most tokens of one answer.
        choices: answers asked for; 0 is 1.

    Returns:
        Tokens.
    """
    return input_tokens_max + max_tokens * max(1, choices)


def hold(limit_tokens: int, settled: Position) -> int:
    """What to hold for an attempt: the limit less what is paid already."""
    return max(0, limit_tokens - settled.tokens)


def within(limit_tokens: int, used: Position) -> bool:
    """Whether a job can have used so much. Input is not compared: a template may add to what was held for it."""
    return used.output_tokens <= limit_tokens


def beyond(settled: Position, used: Position) -> Position:
    """What `used` adds to `settled`; never negative, the prompt once."""
    return Position(
        max(0, used.input_tokens - settled.input_tokens),
        max(0, used.output_tokens - settled.output_tokens),
        max(0, used.output_bytes - settled.output_bytes),
    )


def add(settled: Position, due: Position) -> Position:
    """The position after `due` is paid."""
    return Position(
        settled.input_tokens + due.input_tokens,
        settled.output_tokens + due.output_tokens,
        settled.output_bytes + due.output_bytes,
    )


def opening(held_tokens: int, held_micros: int = 0) -> list[Entry]:
    """Ledger rows of a reservation."""
    return [Entry(Kind.HOLD, held_tokens, 0, held_micros, 0)]


def closing(held_tokens: int, due: Position, held_micros: int = 0, due_micros: int = 0) -> list[Entry]:
    """Ledger rows of an end: the hold goes, what is due is settled."""
    rows = [Entry(Kind.RELEASE, -held_tokens, 0, -held_micros, 0)]
    if due != Position():
        rows.append(Entry(Kind.SETTLE, 0, due.tokens, 0, due_micros))
    return rows
