"""A prefix that is handed over with a START: whether it is what its chain says, and where the attempt goes on.

The driver hands over tokens, where they end, and the chain's state there; the engine's replay gives the text. All three
must agree before anything runs, so that what follows joins without a seam.
Source: docs/design/streams.md §4 and §5.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from tether import _native
from tether.errors import Reason, TetherError
from tether.v1 import infer_pb2, link_pb2
from tether_worker.engine.runtime import Continuity, Finish, GenerationJob, ModelRuntime, Position, Replayed

TOKENS_MAX = 131_072  # longer than any context served
MAKERS_MAX = 16  # as many as a job may have attempts

HandedPrefix = infer_pb2.Infer.HandedPrefix
Piece = tuple[int, tuple[int, ...], tuple[int, ...], bytes]  # output, token ids, text lengths, text
EXACT, COHERENT, RERUN = (
    infer_pb2.Infer.CONTINUITY_EXACT,
    infer_pb2.Infer.CONTINUITY_COHERENT,
    infer_pb2.Infer.CONTINUITY_RERUN,
)
BEGINNING = Position()
FIRST = infer_pb2.Infer.CONTINUITY_UNSPECIFIED


@dataclass(frozen=True, slots=True)
class Handed:
    """What an attempt is handed; nothing for a first one.

    Attributes:
        tokens: token ids of all choices, in the order of the log.
        outputs: the choice of each.
        text_bytes: bytes of their text, as the driver counted them.
        makers: who made them, in order.
        asked: how the driver means this attempt to continue the one before.
    """

    tokens: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()
    text_bytes: int = 0
    makers: tuple[HandedPrefix, ...] = ()
    asked: infer_pb2.Infer.Continuity.ValueType = FIRST


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where an attempt begins.

    Attributes:
        jobs: what is still to be generated, one per choice that has not ended.
        finishes: why the others ended.
        at: tokens and bytes that were handed over.
        makers: who made them.
        continuity: how the attempt continues the one before.
        prompt_tokens: length of the prompt; 0 until an engine has told it.
        pieces: what was handed over, as a log takes it.
    """

    jobs: tuple[GenerationJob, ...]
    finishes: dict[int, Finish] = field(default_factory=dict)
    at: Position = BEGINNING
    makers: tuple[HandedPrefix, ...] = ()
    continuity: infer_pb2.Infer.Continuity.ValueType = FIRST
    prompt_tokens: int = 0
    pieces: tuple[Piece, ...] = ()


def read_handed(start: link_pb2.Link.Start, epoch: int, driver_id: str) -> Handed:
    """What a START hands over.

    Args:
        start: the entry's body.
        epoch: the attempt; prefixes are of earlier ones.
        driver_id: node that hands it over, as its ticket says.

    Raises:
        TetherError: TOO_LARGE, INVALID_FIELD, or STREAM_DIVERGED where tokens, position and chain disagree.
    """
    if len(start.prefix) > TOKENS_MAX or len(start.handed) > MAKERS_MAX:
        raise TetherError(Reason.TOO_LARGE, "the prefix of a START is too long", field="prefix")
    if start.prefix_outputs and len(start.prefix_outputs) != len(start.prefix):
        raise _invalid("the prefix of a START has not one output per token")
    if start.continuity == RERUN and (start.prefix or start.position.tokens or start.position.bytes):
        raise _invalid("an attempt that runs again begins at position 0")
    tokens = tuple(start.prefix)
    if start.position.tokens != len(tokens) or (not tokens and start.position.bytes):
        raise _diverged("the prefix does not reach the position")
    if not tokens:
        return Handed(asked=start.continuity if start.continuity == RERUN else FIRST)
    outputs = tuple(start.prefix_outputs) or (0,) * len(tokens)
    makers = _makers(tokens, start, epoch, driver_id)
    return Handed(tokens, outputs, start.position.bytes, makers, start.continuity)


def _makers(tokens: Sequence[int], start: link_pb2.Link.Start, epoch: int, driver_id: str) -> tuple[HandedPrefix, ...]:
    """The makers as the receipt lists them: each with the chain at its end, as it was found here."""
    asked = list(start.handed) or [HandedPrefix(end=start.position)]
    chain, found = _native.Chain(), []
    at = infer_pb2.Infer.Position()
    for part in asked:
        if part.start != at or part.end.tokens < at.tokens or part.end.tokens > len(tokens) or part.epoch >= epoch:
            raise _invalid("the parts of a prefix do not follow each other", "handed")
        chain.feed_tokens(tokens[at.tokens : part.end.tokens])
        if part.chain not in (b"", chain.digest()):
            raise _diverged("a part of the prefix is not what its chain says")
        at = part.end
        found.append(_named(part, chain.digest(), driver_id))
    if at != start.position or chain.state() != start.chain_state:
        raise _diverged("the prefix is not what its chain says")
    return tuple(found)


def _named(part: HandedPrefix, chain: bytes, driver_id: str) -> HandedPrefix:
    named = HandedPrefix(chain=chain, driver_id=driver_id)
    named.MergeFrom(
        HandedPrefix(
            epoch=part.epoch, start=part.start, end=part.end, worker_id=part.worker_id, fingerprint=part.fingerprint
        )
    )
    return named


def begin(jobs: Sequence[GenerationJob], handed: Handed, runtime: ModelRuntime) -> Beginning:
    """Where an attempt with these jobs begins.

    Args:
        jobs: one per choice, without prefix.
        handed: what was handed over.
        runtime: replays it.

    Raises:
        TetherError: what `ModelRuntime.replay` raises, INVALID_FIELD, or STREAM_DIVERGED where the text is not as long
            as the driver counted.
    """
    if not handed.tokens:
        return Beginning(tuple(jobs), continuity=handed.asked)
    if max(handed.outputs) >= len(jobs):
        raise _invalid("the prefix has more outputs than were asked for")
    with_prefix = [replace(job, prefix=_of(handed, number)) for number, job in enumerate(jobs)]
    replayed = [runtime.replay(job) for job in with_prefix]
    finishes = {number: one.finish for number, one in enumerate(replayed) if one.finish is not None}
    pieces = tuple(_pieces(handed, replayed))
    _check_bytes(handed, pieces)
    return Beginning(
        tuple(job for number, job in enumerate(with_prefix) if number not in finishes),
        finishes,
        Position(len(handed.tokens), handed.text_bytes),
        handed.makers,
        continuity_of(handed, runtime.fingerprint, runtime.continuity),
        replayed[0].prompt_tokens,
        pieces,
    )


def continuity_of(handed: Handed, fingerprint: bytes, continuity: Continuity) -> infer_pb2.Infer.Continuity.ValueType:
    """How an engine really continues a prefix: EXACT only what engines with its own fingerprint made."""
    same = all(maker.fingerprint in (b"", fingerprint) for maker in handed.makers)
    return EXACT if handed.asked == EXACT and continuity is Continuity.EXACT and same else COHERENT


def _of(handed: Handed, number: int) -> tuple[int, ...]:
    """The tokens of one choice."""
    return tuple(token for token, output in zip(handed.tokens, handed.outputs, strict=True) if output == number)


def _pieces(handed: Handed, replayed: Sequence[Replayed]) -> Iterable[Piece]:
    """The prefix in the order of the log, cut where the choice changes."""
    at, begins = 0, [(0, 0)] * len(replayed)  # of each choice: tokens and bytes that were told
    while at < len(handed.tokens):
        output, end = handed.outputs[at], at
        while end < len(handed.tokens) and handed.outputs[end] == output:
            end += 1
        told, text_at = begins[output]
        lengths = replayed[output].text_lengths[told : told + end - at]
        text_end = text_at + sum(lengths)
        yield output, handed.tokens[at:end], lengths, replayed[output].text[text_at:text_end]
        begins[output], at = (told + end - at, text_end), end


def _check_bytes(handed: Handed, pieces: Iterable[Piece]) -> None:
    """The text must be as long as the driver counted, at the end of every part too."""
    ends, total = {0: 0}, 0
    lengths = [length for piece in pieces for length in piece[2]]
    wanted = {maker.end.tokens for maker in handed.makers}
    for number, length in enumerate(lengths, 1):
        total += length
        if number in wanted:
            ends[number] = total
    if total != handed.text_bytes or any(ends[maker.end.tokens] != maker.end.bytes for maker in handed.makers):
        raise _diverged("the text of the prefix is not as long as its position says")


def _invalid(why: str, name: str = "prefix") -> TetherError:
    return TetherError(Reason.INVALID_FIELD, why, field=name)


def _diverged(why: str) -> TetherError:
    return TetherError(Reason.STREAM_DIVERGED, why)
