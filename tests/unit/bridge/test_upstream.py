"""The way to a gateway: the next one is asked only where nothing can run twice."""

import pytest

from tether.errors import Reason, TetherError
from tether.testing.gateway import piece
from tether.v1.infer_pb2 import Infer
from tether_bridge.upstream import Asked, Upstream


class Peer:
    def __init__(self, node_id):
        self.node_id, self.address = node_id, "127.0.0.1:1"


class Gateways:
    def __init__(self, *names):
        self.peers = [Peer(name) for name in names]
        self.failed = []

    async def one(self, key):
        return self.peers[0]

    def next(self, key, failed):
        self.failed.append(failed.node_id)
        left = [one for one in self.peers if one.node_id not in self.failed]
        return left[0] if left else None

    def all(self):
        return self.peers


class Scripted(Upstream):
    """Fails at some gateways, answers at others."""

    def __init__(self, gateways, answers):
        super().__init__(gateways, lambda *_: None)
        self.answers, self.asked = answers, []

    async def _ask_one(self, peer, asked, timeout_s):
        self.asked.append(peer.node_id)
        answer = self.answers[peer.node_id]
        if isinstance(answer, TetherError):
            raise answer
        return answer


def asked(*, keyed=False, timeout_s=5.0):
    return Asked(Infer.Request(model_id="m"), "Bearer x", "", timeout_s, keyed)


NEVER = TetherError(Reason.UNREACHABLE, "the gateway answered UNAVAILABLE: failed to connect to all addresses")
BROKE = TetherError(Reason.UNREACHABLE, "the gateway answered UNAVAILABLE: Socket closed")
DRAIN = TetherError(Reason.DRAINING, "It goes.")
LOST = TetherError(Reason.WORKER_LOST, "Gone.")


@pytest.mark.parametrize(
    ("error", "keyed", "moves"),
    [
        (NEVER, False, True),
        (DRAIN, False, True),
        (BROKE, False, False),
        (BROKE, True, True),
        (LOST, True, False),
        (TetherError(Reason.OVERLOADED, "Full."), True, False),
    ],
)
async def test_upstream_moves_on_only_where_it_is_safe(error, keyed, moves):
    upstream = Scripted(Gateways("a", "b"), {"a": error, "b": piece("ok")})
    if moves:
        assert await upstream.ask(asked(keyed=keyed)) == piece("ok")
        assert upstream.asked == ["a", "b"]
        return
    with pytest.raises(TetherError) as caught:
        await upstream.ask(asked(keyed=keyed))
    assert caught.value is error
    assert upstream.asked == ["a"]


async def test_upstream_gives_up_after_three():
    upstream = Scripted(Gateways(*"abcde"), dict.fromkeys("abcde", NEVER))
    with pytest.raises(TetherError):
        await upstream.ask(asked())
    assert upstream.asked == ["a", "b", "c"]


async def test_upstream_does_not_move_on_when_the_time_is_over():
    upstream = Scripted(Gateways("a", "b"), dict.fromkeys("ab", NEVER))
    with pytest.raises(TetherError):
        await upstream.ask(asked(timeout_s=0.0))
    assert upstream.asked == ["a"]


def test_asked_carries_key_and_trace():
    assert asked().metadata() == (("authorization", "Bearer x"),)
    traced = Asked(Infer.Request(), "Bearer x", "00-a-b-01", 1.0, keyed=False)
    assert traced.metadata()[1] == ("traceparent", "00-a-b-01")
