"""One HTTP exchange over scripted ASGI: bodies, ends, errors, clients that leave."""

import asyncio
import json

import pytest

from tether.errors import Reason, TetherError
from tether_bridge.exchange import Exchange


class Wire:
    """Both ends of an ASGI connection."""

    def __init__(self, *messages, headers=()):
        self.inbox = asyncio.Queue()
        for message in messages:
            self.inbox.put_nowait(message)
        self.sent = []
        scope = {"path": "/v1/x", "headers": [(key.encode(), value.encode()) for key, value in headers]}
        self.exchange = Exchange(scope, self.inbox.get, self.send, "req-1")

    async def send(self, message):
        self.sent.append(message)

    @property
    def body(self):
        return b"".join(one.get("body", b"") for one in self.sent)

    @property
    def ended(self):
        return bool(self.sent) and self.sent[-1]["type"] == "http.response.body" and not self.sent[-1]["more_body"]


def part(body, *, more=False):
    return {"type": "http.request", "body": body, "more_body": more}


GONE = {"type": "http.disconnect"}


async def reason_of(call):
    with pytest.raises(TetherError) as caught:
        await call
    return caught.value.reason


async def test_body_is_put_together():
    wire = Wire(part(b"a", more=True), part(b"", more=True), part(b"b"))
    assert await wire.exchange.body(10, 1.0) == b"ab"


async def test_body_over_the_limit_is_refused_by_its_length():
    wire = Wire(headers=[("content-length", "11")])
    assert await reason_of(wire.exchange.body(10, 1.0)) is Reason.TOO_LARGE


async def test_body_over_the_limit_is_refused_while_it_comes():
    wire = Wire(part(b"a" * 6, more=True), part(b"a" * 6, more=True))
    assert await reason_of(wire.exchange.body(10, 1.0)) is Reason.TOO_LARGE


async def test_body_that_does_not_come_is_given_up():
    assert await reason_of(Wire(part(b"a", more=True)).exchange.body(10, 0.01)) is Reason.DEADLINE


async def test_body_of_a_client_that_left_is_given_up():
    assert await reason_of(Wire(part(b"a", more=True), GONE).exchange.body(10, 1.0)) is Reason.JOB_CANCELLED


async def test_failure_before_the_stream_is_a_status():
    wire = Wire()
    await wire.exchange.fail(TetherError(Reason.MODEL_UNKNOWN, "None."))
    assert wire.sent[0]["status"] == 404
    assert json.loads(wire.body)["error"]["code"] == "model_not_found"
    assert wire.ended


async def test_failure_within_the_stream_is_an_event():
    wire = Wire()
    await wire.exchange.event(b"data: 1\n\n")
    await wire.exchange.fail(TetherError(Reason.WORKER_LOST, "Lost."))
    assert wire.sent[0]["status"] == 200
    assert wire.body.startswith(b"data: 1\n\ndata: {")
    assert b"[DONE]" not in wire.body
    assert wire.ended


async def test_failure_after_the_end_says_nothing():
    wire = Wire()
    await wire.exchange.whole(200, b"{}")
    before = len(wire.sent)
    await wire.exchange.fail(TetherError(Reason.WORKER_LOST, "Lost."))
    assert len(wire.sent) == before


async def test_silence_gets_comments_until_the_client_leaves():
    wire = Wire()
    gone = asyncio.create_task(wire.exchange.gone(0.01))
    async with asyncio.timeout(5):
        while wire.body.count(b": keep-alive") < 3:  # noqa: ASYNC110  a deadline is around it
            await asyncio.sleep(0.005)
    wire.inbox.put_nowait(GONE)
    await asyncio.wait_for(gone, 1)


async def test_silence_of_an_answer_in_one_piece_stays_silent():
    wire = Wire(GONE)
    await asyncio.wait_for(wire.exchange.gone(None), 1)
    assert wire.sent == []


async def test_answer_names_the_request_and_closes_doors():
    wire = Wire()
    await wire.exchange.whole(200, b"{}", [("x-extra", "1")])
    headers = dict(wire.sent[0]["headers"])
    assert headers[b"x-request-id"] == b"req-1"
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert headers[b"x-extra"] == b"1"
