"""One sequence inside an engine: what is still to be fed, what was made, and the text that became final.

The plan of what to feed is fixed by prompt and prefix alone: the prompt in chunks cut at fixed places from position 0,
then every token of the prefix by itself, the way it was first made. That is why a resumed sequence has the same bits.
"""

from collections import deque
from collections.abc import Iterable, Sequence

from tether.errors import Reason, TetherError
from tether_worker.engine.detokenize import TextStream
from tether_worker.engine.replay import context_exceeded, grow
from tether_worker.engine.row import Row
from tether_worker.engine.runtime import (
    Emitted,
    Finish,
    GenerationJob,
    Phase,
    Position,
    Progress,
    TokenLogprob,
)


def feeding_plan(prompt: Sequence[int], prefix: Sequence[int], chunk_tokens: int) -> deque[list[int]]:
    """Cuts prompt and prefix into the pieces in which they are fed."""
    cuts = range(0, len(prompt), chunk_tokens)
    return deque([*(list(prompt[cut : cut + chunk_tokens]) for cut in cuts), *([token] for token in prefix)])


class RunningSequence:
    """A running sequence.

    Args:
        slot: its slot.
        job: what to generate.
        prompt: the encoded prompt.
        chunk_tokens: prefill chunk.
        context_tokens_max: the model's context.

    Raises:
        TetherError: CONTEXT_EXCEEDED when prompt and prefix leave no room for a token; INVALID_FIELD when the prefix is
            already as long as the answer may be.
    """

    def __init__(
        self, slot: int, job: GenerationJob, prompt: tuple[int, ...], chunk_tokens: int, context_tokens_max: int
    ) -> None:
        room = context_tokens_max - len(prompt)
        if len(job.prefix) >= room:
            raise context_exceeded(len(prompt), context_tokens_max)
        self.tokens_max = min(room, job.sampling.max_tokens)
        if len(job.prefix) >= self.tokens_max:
            raise TetherError(Reason.INVALID_FIELD, "the prefix is as long as the answer may be", field="prefix")
        self.slot, self.job, self.prompt_tokens = slot, job, len(prompt)
        self.plan = feeding_plan(prompt, job.prefix, chunk_tokens)
        self.to_read = len(prompt) + len(job.prefix)
        self.row = Row(job.sampling, constraint=job.grammar.begin() if job.grammar is not None else None)
        self.fed = 0
        self.number = 0
        self.last = -1
        self.text = TextStream(job.sampling.stop)
        self.position = Position()

    def reading(self) -> bool:
        """Whether prompt or prefix is still being fed."""
        return bool(self.plan)

    def replay(self, table: Sequence[bytes], ends: Iterable[int]) -> None:
        """Brings text, counts and position to where the prefix left them.

        Raises:
            TetherError: INVALID_FIELD when the answer had already ended.
        """
        for token in self.job.prefix:
            if token in ends or not 0 <= token < len(table) or self.text.stopped or not self._fits(token):
                raise TetherError(Reason.INVALID_FIELD, "the prefix has ended, or is of another model", field="prefix")
            self._advance(token, self.text.feed(table[token]))
        if self.text.stopped:
            raise TetherError(Reason.INVALID_FIELD, "the prefix has ended", field="prefix")

    def take(self, token: int, table: Sequence[bytes], ends: Iterable[int], logprob: TokenLogprob | None) -> Emitted:
        """Takes a chosen token and tells what it adds, or that its form cannot go on with it."""
        if not self._fits(token):
            return self.failed(self.fault())
        start, last = self.position, self.row.position + 1 >= self.tokens_max
        text, finish = grow(self.text, table[token], end=token in ends, last=last)
        self._advance(token, text)
        given = () if logprob is None else (logprob,)
        return Emitted(self.slot, self.job.key, start, (token,), (len(text),), text, given, finish)

    def failed(self, error: TetherError) -> Emitted:
        """Tells that the sequence cannot go on."""
        return Emitted(self.slot, self.job.key, self.position, (), (), b"", finish=Finish.FAILED, error=error)

    def fault(self) -> TetherError:
        """Why no token could be chosen."""
        fault = None if self.row.constraint is None else self.row.constraint.fault
        return fault or TetherError(Reason.ENGINE_FAILED, "the model's logits are not numbers")

    def progress(self) -> Progress:
        """How far it is."""
        if self.reading():
            return Progress(Phase.PREFILL, self.fed, self.to_read)
        return Progress(Phase.RUNNING, self.row.position, self.tokens_max)

    def _fits(self, token: int) -> bool:
        """Tells the constraint of a token; False where it may not come."""
        return self.row.constraint is None or self.row.constraint.take(token)

    def _advance(self, token: int, text: bytes) -> None:
        self.last = token
        self.row.took(token)
        self.position = Position(self.position.tokens + 1, self.position.text_bytes + len(text))
