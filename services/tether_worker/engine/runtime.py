"""The seam between the worker and any engine: what a sequence is, what a step gives back, what an engine promises.

An engine is a plain synchronous object that one dedicated thread steps. Sequences join and leave between steps; each
step gives back what every sequence gained. Nothing here knows asyncio, gRPC or any engine.
Source: docs/design/streams.md, sections 4 and 7.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from tether.errors import Reason, TetherError
from tether_worker.engine.form import Form, Grammar

MAX_TOKENS_DEFAULT = 256  # a guess: longer than any answer of the demo model
STOPS_MAX = 8  # the contract's limit
STOP_BYTES_MAX = 128  # the contract's limit
TOP_K_MAX = 1_000  # the contract's limit
LOGPROBS_MAX = 20  # the contract's limit


class Continuity(StrEnum):
    """What an engine with an equal fingerprint can do with an answer that another began."""

    EXACT = "exact"  # bit-equal logits for any batch mates, slot and moment of joining, and after a resume
    COHERENT = "coherent"  # a sensible continuation
    RERUN = "rerun"  # no tokens to continue from: run again and compare


class Finish(StrEnum):
    """Why a sequence ended."""

    STOP = "stop"  # the model ended it, or a stop text was reached
    LENGTH = "length"  # max_tokens or the context was reached
    CANCELLED = "cancelled"
    FAILED = "failed"  # `Emitted.error` says why


class Phase(StrEnum):
    """What a job is doing."""

    QUEUED = "queued"
    PREFILL = "prefill"
    RUNNING = "running"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is.

    Attributes:
        phase: what it is doing.
        n: place in the queue, prompt tokens read, or tokens generated.
        of: out of how many; 0 where unknown.
    """

    phase: Phase
    n: int
    of: int


@dataclass(frozen=True, slots=True)
class Position:
    """A place in an answer.

    Attributes:
        tokens: tokens before it, from the start of the answer.
        text_bytes: bytes of emitted text before it.
    """

    tokens: int = 0
    text_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a chat."""

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class TextPrompt:
    """A prompt as plain text; the model's folder says whether it stands for a user's turn."""

    text: str


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """A prompt as a conversation, oldest turn first."""

    turns: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class TokenPrompt:
    """A prompt as token ids, fed as they are."""

    token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TensorPrompt:
    """Input of a model without tokens: a serialized `Infer.Tensors`."""

    tensors: bytes


Prompt = TextPrompt | ChatPrompt | TokenPrompt | TensorPrompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are chosen; the ranges are the contract's.

    Attributes:
        max_tokens: most tokens of the whole answer, a resumed prefix included; at least 1.
        temperature: 0 (greedy) to 2.
        top_p: nucleus, over 0 up to 1.
        top_k: keep the k likeliest tokens; 0 keeps all.
        frequency_penalty: -2 to 2, per occurrence in the answer so far.
        presence_penalty: -2 to 2, once per token in the answer so far.
        stop: texts that end the answer and are not part of it.
        seed: 64 bits; with equal logits it decides every choice.
        choice: which of several answers this is; part of the noise's key.
        logprobs: None for none, else how many alternatives to report with each token.
    """

    max_tokens: int = MAX_TOKENS_DEFAULT
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    stop: tuple[str, ...] = ()
    seed: int = 0
    choice: int = 0
    logprobs: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationJob:
    """A sequence to generate.

    Attributes:
        key: the caller's name for it, handed back with everything it emits.
        prompt: what to answer.
        sampling: how.
        prefix: token ids of the answer that an earlier attempt made; they are replayed the way they were first made
            and not emitted again.
        form: the form that the answer must have, or None for any.
        grammar: the form, compiled ahead by `ModelRuntime.prepare`; without it `open` compiles.
    """

    key: Hashable
    prompt: Prompt
    sampling: Sampling = field(default_factory=Sampling)
    prefix: tuple[int, ...] = ()
    form: Form | None = None
    grammar: Grammar | None = None


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token with its natural log probability, and its likeliest rivals, best first."""

    token_id: int
    token: bytes
    logprob: float
    alternatives: tuple[tuple[int, bytes, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Emitted:
    """What one sequence gained in one step.

    Attributes:
        slot: the sequence's slot.
        key: the job's key.
        start: where this piece begins in the answer.
        token_ids: new tokens; the token that ends the answer is one of them.
        text_lengths: bytes of text that each token made final, one entry per token; 0 for a token that completes no
            character or whose text may yet become a stop text.
        text: the new text: whole UTF-8 characters, never taken back.
        logprobs: one per token when they were asked for, else empty.
        finish: set on the last piece alone; the slot is free then.
        error: why a sequence failed, with `Finish.FAILED`.
        payload: of an engine without tokens, in place of tokens and text: a serialized `Infer.Payload`, a piece that
            adds to those before. `start` counts its bytes; tokens stay 0.
    """

    slot: int
    key: Hashable
    start: Position
    token_ids: tuple[int, ...]
    text_lengths: tuple[int, ...]
    text: bytes
    logprobs: tuple[TokenLogprob, ...] = ()
    finish: Finish | None = None
    error: TetherError | None = None
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class Opened:
    """An admitted sequence: its slot, its prompt's length, and where its first piece will begin."""

    slot: int
    prompt_tokens: int
    start: Position


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a job's prefix comes to.

    Attributes:
        prompt_tokens: tokens of the prompt.
        text_lengths: bytes of text that each token of the prefix made final.
        text: that text.
        finish: why the answer ended with the prefix's last token; None when it goes on.
    """

    prompt_tokens: int
    text_lengths: tuple[int, ...]
    text: bytes
    finish: Finish | None


class ModelRuntime(Protocol):
    """An engine with one loaded model. Used by one thread at a time, but for `replay`; methods only ever compute."""

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 over what decides the outputs, 32 bytes."""

    @property
    def continuity(self) -> Continuity:
        """What an engine with the same fingerprint can continue."""

    @property
    def kind(self) -> str:
        """`onnx`, `torch`, `tensorrt`, `upstream` or `simulated`."""

    @property
    def slots_max(self) -> int:
        """Sequences that can run together."""

    @property
    def slots_free(self) -> int:
        """Sequences that `open` would take now."""

    @property
    def context_tokens_max(self) -> int:
        """Most tokens of prompt and answer together."""

    def prepare(self, form: Form) -> Grammar:
        """Compiles a form. The one method that another thread may call, while the engine steps.

        Raises:
            TetherError: SCHEMA_INVALID, or UNSUPPORTED by an engine without tokens.
        """

    def open(self, job: GenerationJob) -> Opened:
        """Admits a sequence; it takes part from the next step on.

        Raises:
            TetherError: OVERLOADED without a free slot, INVALID_FIELD, CONTEXT_EXCEEDED, SCHEMA_INVALID.
        """

    def replay(self, job: GenerationJob) -> Replayed:
        """What a job's prefix comes to; admits nothing, changes nothing, and may be called from any thread.

        Raises:
            TetherError: INVALID_FIELD where the prefix is of another model or goes on after its end, CONTEXT_EXCEEDED,
                UNSUPPORTED by an engine whose outputs are no tokens.
        """

    def step(self) -> list[Emitted]:
        """Advances every sequence a little; returns at once when there is none.

        Raises:
            TetherError: ENGINE_FAILED when the engine as a whole is broken; all its sequences are lost.
        """

    def cancel(self, slot: int) -> None:
        """Frees a slot before the next step; a slot that is free already stays so."""

    def hold(self, slot: int, *, held: bool) -> None:
        """Pauses or goes on with a large output that nobody takes; engines with tokens go on in any case."""

    def progress(self, slot: int) -> Progress:
        """How far a sequence is."""

    def close(self) -> None:
        """Gives memory back; nothing may be called after."""


def invalid(name: str, why: str) -> TetherError:
    """An error about one parameter."""
    return TetherError(Reason.INVALID_FIELD, f"parameters.{name} {why}", field=f"parameters.{name}")


def check_sampling(sampling: Sampling) -> None:
    """Refuses parameters outside the contract's ranges.

    Raises:
        TetherError: INVALID_FIELD with the field at fault.
    """
    ranges = {
        "max_tokens": (sampling.max_tokens, 1, math.inf),
        "temperature": (sampling.temperature, 0, 2),
        "top_p": (sampling.top_p, math.ulp(0.0), 1),
        "top_k": (sampling.top_k, 0, TOP_K_MAX),
        "frequency_penalty": (sampling.frequency_penalty, -2, 2),
        "presence_penalty": (sampling.presence_penalty, -2, 2),
        "logprobs": (sampling.logprobs or 0, 0, LOGPROBS_MAX),
        "seed": (sampling.seed, 0, 2**64 - 1),
    }
    for name, (value, least, most) in ranges.items():
        if not least <= value <= most:
            raise invalid(name, f"is outside {least:g} to {most:g}")
    _check_stops(sampling.stop)


def _check_stops(stops: Sequence[str]) -> None:
    if len(stops) > STOPS_MAX:
        raise invalid("stop", f"has more than {STOPS_MAX} texts")
    if not all(1 <= len(text.encode()) <= STOP_BYTES_MAX for text in stops):
        raise invalid("stop", f"has a text outside 1 to {STOP_BYTES_MAX} bytes")
