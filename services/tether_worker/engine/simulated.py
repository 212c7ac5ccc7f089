"""A paced engine without a model: n slots, one token each so many milliseconds, words that the seed decides.

It has the service times of an engine and none of its arithmetic, so that scheduling, links and failover can be tested
and measured by themselves. Its words depend on (seed, choice, position) alone: a resumed answer is byte-identical.
"""

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from tether.errors import Reason, TetherError
from tether_worker.engine.form import Form, Grammar
from tether_worker.engine.grammar import GrammarBook
from tether_worker.engine.replay import replay
from tether_worker.engine.row import Row, noise_key
from tether_worker.engine.runtime import (
    Continuity,
    Emitted,
    GenerationJob,
    Opened,
    Progress,
    Prompt,
    Replayed,
    TensorPrompt,
    TextPrompt,
    TokenPrompt,
    check_sampling,
)
from tether_worker.engine.sequence import RunningSequence

PAUSE_S_MAX = 0.01  # a cancel must reach the next step within 50 ms
BYTES_PER_TOKEN = 4  # the usual rule of thumb for English
CHUNK_TOKENS = 32
BEAT_SLACK = 1e-6  # of a beat: what rounding may take from a whole number
SYLLABLES = ["ba", "de", "fi", "go", "ka", "le", "mi", "no", "pu", "ra", "se", "ti", "vo", "wa", "xe", "zu"]
WORDS = tuple(f"{one}{other} ".encode() for one in SYLLABLES for other in SYLLABLES)
# Only answers with a form need bytes and an end; they end as soon as they may.
VOCABULARY = (*WORDS, *(bytes([byte]) for byte in range(256)), b"")
END = len(VOCABULARY) - 1
ENDS = frozenset({END})


@dataclass(slots=True)
class Paced:
    """A sequence and the time of its next piece."""

    sequence: RunningSequence
    due_s: float


class SimulatedRuntime:
    """A `ModelRuntime` with fixed service times.

    Args:
        slots: sequences that run together.
        token_ms: time between two tokens of a sequence, whatever runs beside it.
        chunk_ms: time to read 32 tokens of a prompt.
        context_tokens_max: most tokens of prompt and answer together.
        clock: monotonic seconds.
        pause: sleeps for seconds.
    """

    def __init__(
        self,
        *,
        slots: int = 8,
        token_ms: float = 20.0,
        chunk_ms: float = 2.0,
        context_tokens_max: int = 4096,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._slots, self._context = slots, context_tokens_max
        self._token_s, self._chunk_s = token_ms / 1000, chunk_ms / 1000
        self._clock, self._pause = clock, pause
        self._running: dict[int, Paced] = {}
        self._grammars: GrammarBook | None = None

    @property
    def kind(self) -> str:
        """`simulated`."""
        return "simulated"

    @property
    def fingerprint(self) -> bytes:
        """The same for all simulated engines: times do not change words."""
        return hashlib.sha256(b"simulated-1").digest()

    @property
    def continuity(self) -> Continuity:
        """EXACT."""
        return Continuity.EXACT

    @property
    def slots_max(self) -> int:
        """Sequences that can run together."""
        return self._slots

    @property
    def slots_free(self) -> int:
        """Sequences that `open` would take now."""
        return self._slots - len(self._running)

    @property
    def context_tokens_max(self) -> int:
        """Most tokens of prompt and answer together."""
        return self._context

    def prepare(self, form: Form) -> Grammar:
        """Compiles a form; see `ModelRuntime.prepare`."""
        if self._grammars is None:
            self._grammars = GrammarBook(VOCABULARY, ENDS)
        return self._grammars.compile(form)

    def open(self, job: GenerationJob) -> Opened:
        """Admits a sequence; see `ModelRuntime.open`."""
        check_sampling(job.sampling)
        if job.form is not None and job.grammar is None:
            job = replace(job, grammar=self.prepare(job.form))
        slot = next((slot for slot in range(self._slots) if slot not in self._running), None)
        if slot is None:
            raise TetherError(Reason.OVERLOADED, f"all {self._slots} slots are taken")
        prompt = (0,) * prompt_tokens(job.prompt)
        sequence = RunningSequence(slot, job, prompt, CHUNK_TOKENS, self._context)
        sequence.replay(VOCABULARY, ENDS)
        self._running[slot] = Paced(sequence, self._clock() + self._chunk_s)
        return Opened(slot, len(prompt), sequence.position)

    def replay(self, job: GenerationJob) -> Replayed:
        """What a prefix comes to; see `ModelRuntime.replay`."""
        return replay(job, prompt_tokens(job.prompt), VOCABULARY, ENDS, self._context)

    def step(self) -> list[Emitted]:
        """Waits until something is due, at most 10 ms, and gives it back."""
        if not self._running:
            return []
        wait_s = min(paced.due_s for paced in self._running.values()) - self._clock()
        if wait_s > 0:
            self._pause(min(wait_s, PAUSE_S_MAX))
        now_s = self._clock()
        emitted = [piece for paced in self._running.values() if paced.due_s <= now_s for piece in self._advance(paced)]
        for piece in emitted:
            if piece.finish is not None:
                self.cancel(piece.slot)
        return emitted

    def cancel(self, slot: int) -> None:
        """Frees a slot before the next step."""
        self._running.pop(slot, None)

    def hold(self, slot: int, *, held: bool) -> None:
        """Text is small: it goes on into the log in any case."""

    def progress(self, slot: int) -> Progress:
        """How far a sequence is.

        Raises:
            KeyError: for a free slot.
        """
        return self._running[slot].sequence.progress()

    def close(self) -> None:
        """Forgets all sequences."""
        self._running.clear()

    def _beat(self, after_s: float) -> float:
        """The step after a time: all sequences share one beat, as those of a batching engine do."""
        if not self._token_s:
            return after_s
        return (math.floor(after_s / self._token_s + BEAT_SLACK) + 1) * self._token_s

    def _advance(self, paced: Paced) -> list[Emitted]:
        sequence = paced.sequence
        if sequence.reading():
            sequence.fed += len(sequence.plan.popleft())
            if len(sequence.plan) <= len(sequence.job.prefix):  # a prefix costs nothing here
                sequence.fed = sequence.to_read
                sequence.plan.clear()
            paced.due_s = paced.due_s + self._chunk_s if sequence.reading() else self._beat(paced.due_s)
            return []
        paced.due_s = self._beat(paced.due_s)
        token = next_token(sequence.row)
        return [sequence.failed(sequence.fault()) if token < 0 else sequence.take(token, VOCABULARY, ENDS, None)]


def next_token(row: Row) -> int:
    """A word that the seed decides; with a constraint one that may come, or -1."""
    key = noise_key(row.sampling.seed, row.sampling.choice, row.position)
    if row.constraint is None:
        return key % len(WORDS)
    mask = row.constraint.mask()
    allowed = [token for token in range(len(VOCABULARY)) if mask[token >> 3] >> (token & 7) & 1]
    if END in allowed:
        return END
    return allowed[key % len(allowed)] if allowed else -1


def prompt_tokens(prompt: Prompt) -> int:
    """Estimates a prompt's length in tokens, at least 1."""
    if isinstance(prompt, TextPrompt):
        return 1 + len(prompt.text.encode()) // BYTES_PER_TOKEN
    if isinstance(prompt, TokenPrompt):
        return max(1, len(prompt.token_ids))
    if isinstance(prompt, TensorPrompt):
        return 1 + len(prompt.tensors) // BYTES_PER_TOKEN
    return 1 + sum(len(turn.text.encode()) for turn in prompt.turns) // BYTES_PER_TOKEN
