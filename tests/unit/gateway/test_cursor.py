"""Cursors: what could have been given out is read, nonsense is named."""

import pytest

from tether._native import Chain
from tether.errors import Reason, TetherError
from tether.v1.infer_pb2 import Infer
from tether_gateway.cursor import CURSOR_BYTES_MAX, digest_of, parse

JOB = bytes(range(16))


def chain_of(tokens: int = 0, data: bytes = b"") -> bytes:
    chain = Chain()
    chain.feed_tokens(range(tokens))
    chain.feed_bytes(data)
    return chain.state()


def cursor(**changes: object) -> bytes:
    fields: dict[str, object] = {
        "job_id": JOB,
        "epoch": 2,
        "position": Infer.Position(tokens=5, bytes=11),
        "chain_state": chain_of(5),
        **changes,
    }
    return Infer.Cursor(**fields).SerializeToString()  # type: ignore[arg-type]


def test_cursor_is_read() -> None:
    found = parse(cursor())
    assert (found.job, found.epoch, found.tokens, found.text_bytes) == (JOB, 2, 5, 11)
    assert digest_of(found) == Chain.resume(chain_of(5)).digest()


def test_cursor_at_the_beginning_has_no_chain() -> None:
    found = parse(cursor(position=None, chain_state=b""))
    assert (found.tokens, found.text_bytes, digest_of(found)) == (0, 0, Chain().digest())


def test_cursor_of_an_answer_without_tokens_chains_its_bytes() -> None:
    at = Infer.Position(bytes=7)
    assert parse(cursor(position=at, chain_state=chain_of(data=b"payload"))).text_bytes == 7


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff\xff",
        b"x" * (CURSOR_BYTES_MAX + 1),
        cursor(job_id=b"short"),
        cursor(epoch=0),
        cursor(position=Infer.Position(tokens=2**60, bytes=1)),
        cursor(chain_state=b"no chain"),
        cursor(chain_state=chain_of(4)),
        cursor(chain_state=b""),
    ],
)
def test_cursor_that_was_never_given_out_is_refused(raw: bytes) -> None:
    with pytest.raises(TetherError) as raised:
        parse(raw)
    assert raised.value.reason is Reason.CURSOR_INVALID
