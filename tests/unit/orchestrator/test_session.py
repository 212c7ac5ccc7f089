"""Sessions: who may open one, what is pushed, and what an outage does to leases."""

import pytest

from tether.errors import Reason, TetherError
from tether.job.lease import Leases
from tether.store.jobs import Session as Row
from tether.v1.infer_pb2 import JobState
from tether.v1.placement_pb2 import JobOutcome, SessionRequest
from tether_orchestrator import session as module
from tether_orchestrator.demand import Demands
from tether_orchestrator.session import Sessions

A = b"a" * 16


class Store:
    """Keeps beats in memory, or fails."""

    def __init__(self) -> None:
        self.rows: dict[bytes, Row] = {}
        self.broken = False

    async def renew(self, sessions: list[Row]) -> None:
        if self.broken:
            raise TetherError(Reason.STORE_UNAVAILABLE, "gone")
        self.rows |= {row.session: row for row in sessions}

    async def leave(self, session_id: bytes) -> None:
        self.rows.pop(session_id, None)

    async def sessions(self) -> list[Row]:
        return list(self.rows.values())


class World:
    """Sessions on a clock that the test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.store, self.leases = Store(), Leases(5.0, 100.0)
        self.demands = Demands(lambda tenant: 60 if tenant == "limited" else 0, lambda: self.now_s)
        clock, ok = lambda: self.now_s, lambda: not self.store.broken
        self.sessions = Sessions(self.store, self.leases, 5.0, clock, self.demands, ok)


@pytest.fixture
def world() -> World:
    return World()


def beat(number: int = 1, session: bytes = A, **more: bool) -> SessionRequest:
    return SessionRequest(session_id=session, node_id="g", incarnation=1, beat=number, **more)


async def test_beat_is_answered_with_the_lease_and_written_once(world: World) -> None:
    end = world.sessions.open(beat(), "g")
    await world.sessions.beat(end, beat())
    await world.sessions.beat(end, beat(2))
    answer = await end.next()
    assert answer is not None
    assert (answer.beat.beat, answer.beat.lease.ToMilliseconds()) == (1, 5_000)
    await world.sessions.renew()
    assert world.store.rows == {A: Row(A, "g", 1, 2)}


async def test_session_that_is_beaten_does_not_lapse(world: World) -> None:
    end = world.sessions.open(beat(), "g")
    for _ in range(4):
        world.now_s += 4.0
        await world.sessions.beat(end, beat(1))  # a stream that is opened again counts from 1
        await world.sessions.renew()
        assert not world.leases.lapsed(A, world.now_s + 4.0)


async def test_outage_of_the_store_puts_lapses_off_and_keeps_the_beats(world: World) -> None:
    end = world.sessions.open(beat(), "g")
    await world.sessions.beat(end, beat())
    world.store.broken, world.now_s = True, 104.0
    with pytest.raises(TetherError):
        await world.sessions.renew()
    assert not world.leases.lapsed(b"other-gateway-id", 108.0)
    world.store.broken = False
    await world.sessions.renew()
    assert A in world.store.rows


async def test_session_that_leaves_has_lapsed(world: World) -> None:
    end = world.sessions.open(beat(), "g")
    await world.sessions.beat(end, beat())
    await world.sessions.renew()
    await world.sessions.beat(end, beat(2, leaving=True))
    assert world.leases.lapsed(A, world.now_s)
    assert world.store.rows == {}


@pytest.mark.parametrize(
    ("first", "node", "reason"),
    [(beat(session=b"short"), "g", Reason.INVALID_FIELD), (beat(), "other", Reason.ROLE_FORBIDDEN)],
)
def test_session_that_is_malformed_or_anothers_is_refused(
    world: World, first: SessionRequest, node: str, reason: Reason
) -> None:
    with pytest.raises(TetherError) as caught:
        world.sessions.open(first, node)
    assert caught.value.reason is reason


async def test_stream_that_is_opened_again_ends_the_old_one(world: World) -> None:
    old = world.sessions.open(beat(), "g")
    new = world.sessions.open(beat(), "g")
    assert await old.next() is None
    world.sessions.close(old)
    assert len(world.sessions) == 1
    world.sessions.close(new)
    assert len(world.sessions) == 0


async def test_outcome_goes_to_its_driver_and_a_lost_worker_to_all(world: World) -> None:
    mine, other = world.sessions.open(beat(), "g"), world.sessions.open(beat(session=b"b" * 16), "g")
    world.sessions.outcome(A, JobOutcome(job_id=b"j" * 16, epoch=1, outcome=JobState.JOB_STATE_DONE))
    world.sessions.worker_lost("w", 2)
    world.sessions.end_all()
    heard = {"mine": [], "other": []}
    for name, end in (("mine", mine), ("other", other)):
        while (response := await end.next()) is not None:
            heard[name].append(response.WhichOneof("kind"))
    assert heard == {"mine": ["outcome", "worker_lost"], "other": ["worker_lost"]}


async def test_session_that_does_not_read_is_ended(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WAITING_MAX", 2)
    end = world.sessions.open(beat(), "g")
    for _ in range(4):
        world.sessions.worker_lost("w", 1)
    kinds = [await end.next() for _ in range(3)]
    assert [kind is None for kind in kinds] == [False, False, True]


async def test_beat_of_another_session_on_the_same_stream_is_refused(world: World) -> None:
    end = world.sessions.open(beat(), "g")
    with pytest.raises(TetherError) as caught:
        await world.sessions.beat(end, beat(session=b"b" * 16))
    assert caught.value.reason is Reason.INVALID_FIELD


async def test_lease_begins_anew_with_the_first_write_after_an_outage(world: World) -> None:
    end = world.sessions.open(beat(), "g")
    await world.sessions.beat(end, beat())
    await world.sessions.renew()
    world.store.broken = True
    world.now_s += 60
    with pytest.raises(TetherError):
        await world.sessions.renew()
    world.now_s += 60
    world.store.broken = False
    await world.sessions.probe()
    world.now_s += 4.9
    assert not world.leases.lapsed(A, world.now_s)
    world.now_s += 0.2
    assert world.leases.lapsed(A, world.now_s)


async def test_probe_leaves_a_store_that_works_alone(world: World) -> None:
    end = world.sessions.open(beat(), "g")
    await world.sessions.beat(end, beat())
    await world.sessions.probe()
    assert world.store.rows == {}


async def test_beat_tells_shares_and_whether_the_store_is_there(world: World) -> None:
    end = world.sessions.open(beat(), "g")
    world.store.broken = True
    request = beat()
    request.demands.add(tenant_id="limited", requests=3)
    await world.sessions.beat(end, request)
    told = await end.next()
    assert told is not None
    assert not told.beat.store_ok
    assert [(one.tenant_id, one.requests_per_minute) for one in told.beat.shares] == [("limited", 60.0)]


async def test_requeued_job_is_driven_by_the_same_gateway_whoever_asks(world: World) -> None:
    assert world.sessions.anyone(b"j" * 16) is None
    for session in (A, b"b" * 16, b"c" * 16):
        world.sessions.open(beat(session=session), "g")
    chosen = {world.sessions.anyone(bytes([n]) * 16) for n in range(30)}
    assert len(chosen) == 3
    assert world.sessions.anyone(b"j" * 16) == world.sessions.anyone(b"j" * 16)
