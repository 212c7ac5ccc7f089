"""What a handed prefix comes to: the text it made token by token, and whether the answer had ended with it.

Pure, and by the very rule that makes new text, so that a position in the prefix is the same place for whoever made it
and for whoever goes on. Source: docs/design/streams.md §4.
"""

from collections.abc import Collection, Sequence

from tether.errors import Reason, TetherError
from tether_worker.engine.detokenize import TextStream
from tether_worker.engine.runtime import Finish, GenerationJob, Replayed


def grow(stream: TextStream, token: bytes, *, end: bool, last: bool) -> tuple[bytes, Finish | None]:
    """Text that one token makes final, and why the answer ends with it, or None.

    Args:
        stream: text so far.
        token: the token's bytes.
        end: whether it is one that ends an answer.
        last: whether the answer may hold no more.
    """
    text, finish = stream.feed(token), None
    if end or stream.stopped:
        finish = Finish.STOP
    elif last:
        finish = Finish.LENGTH
    return (text, finish) if finish is None else (text + stream.flush(), finish)


def context_exceeded(prompt_tokens: int, context_tokens_max: int) -> TetherError:
    """An error about a prompt that leaves no room for an answer."""
    message = f"the prompt has {prompt_tokens} tokens, the model's context {context_tokens_max}"
    return TetherError(Reason.CONTEXT_EXCEEDED, message, field="input")


def replay(
    job: GenerationJob,
    prompt_tokens: int,
    table: Sequence[bytes],
    ends: Collection[int],
    context_tokens_max: int,
) -> Replayed:
    """Text and end of a job's prefix.

    Args:
        job: what to go on with.
        prompt_tokens: length of its prompt.
        table: bytes of each token.
        ends: tokens that end an answer.
        context_tokens_max: most tokens of prompt and answer together.

    Raises:
        TetherError: INVALID_FIELD where the prefix goes on after its end or is of another model, CONTEXT_EXCEEDED.
    """
    room = context_tokens_max - prompt_tokens
    if room <= 0 or len(job.prefix) > room:
        raise context_exceeded(prompt_tokens, context_tokens_max)
    tokens_max, stream = min(room, job.sampling.max_tokens), TextStream(job.sampling.stop)
    lengths, parts, finish = [], [], None
    for number, token in enumerate(job.prefix, 1):
        if finish is not None or not 0 <= token < len(table):
            raise TetherError(Reason.INVALID_FIELD, "the prefix has ended, or is of another model", field="prefix")
        text, finish = grow(stream, table[token], end=token in ends, last=number >= tokens_max)
        lengths.append(len(text))
        parts.append(text)
    return Replayed(prompt_tokens, tuple(lengths), b"".join(parts), finish)
