"""Log probabilities in the two forms of OpenAI's API."""

from collections.abc import Iterable, Sequence
from typing import Any

from tether.v1.infer_pb2 import Infer


def chat(tokens: Iterable[Infer.TokenLogprob], alternatives: int) -> dict[str, Any]:
    """Return what chat completions tell: each token with at most `alternatives` rivals."""
    content = [
        {
            **_token(one.token, one.logprob),
            "top_logprobs": [_token(r.token, r.logprob) for r in _best(one, alternatives)],
        }
        for one in tokens
    ]
    return {"content": content, "refusal": None}


def completion(tokens: Sequence[Infer.TokenLogprob], alternatives: int, offset: int) -> dict[str, Any]:
    """Return what completions tell; `offset` is the number of characters before the first token."""
    offsets = []
    for one in tokens:
        offsets.append(offset)
        offset += len(_text(one.token))
    return {
        "tokens": [_text(one.token) for one in tokens],
        "token_logprobs": [one.logprob for one in tokens],
        "top_logprobs": [{_text(r.token): r.logprob for r in _best(one, alternatives)} for one in tokens],
        "text_offset": offsets,
    }


def _best(one: Infer.TokenLogprob, alternatives: int) -> Sequence[Infer.TokenLogprob.Alternative]:
    return one.alternatives[:alternatives]


def _token(token: bytes, logprob: float) -> dict[str, Any]:
    return {"token": _text(token), "logprob": logprob, "bytes": list(token)}


def _text(token: bytes) -> str:
    """Return a token's text; it may end within a character."""
    return token.decode(errors="replace")
