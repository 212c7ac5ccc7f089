"""The pump: every row reaches the receiver once and in order, whatever fails, whoever sends, wherever it crashes."""

import json
import random

import pytest

from tests.unit.billing.conftest import OK, ORIGIN, usage
from tether.billing.batch import SCHEMA, cut
from tether.billing.desk import Desk
from tether.billing.http import HttpSink
from tether.billing.pump import LEASE_MS, Limits, Pump, World
from tether.billing.verify import verify
from tether.errors import Reason, TetherError
from tether.testing.postgres import PostgresServer, binaries, database_of

BAD = b"HTTP/1.1 500 Oh\r\n\r\n"


class Store:
    """An outbox in memory."""

    def __init__(self, *numbers):
        self.rows = {number: usage(number) for number in numbers}
        self.down = False

    async def outbox(self, after, limit):
        return [self.rows[number] for number in sorted(self.rows) if number > after][:limit]

    async def outbox_done(self, numbers):
        if self.down:
            raise TetherError(Reason.STORE_UNAVAILABLE, "gone")
        for number in numbers:
            self.rows.pop(number, None)


class Receiver:
    """A careful receiver: counts each key once."""

    name = "careful"

    def __init__(self):
        self.seen, self.ids, self.calls, self.refuse = {}, [], 0, 0

    async def take(self, batch):
        self.calls += 1
        if self.refuse:
            self.refuse -= 1
            raise TetherError(Reason.UNREACHABLE, "no")
        if batch.key in self.seen:
            assert self.seen[batch.key] == batch.body
            return
        self.seen[batch.key] = batch.body
        self.ids += [int(row["id"].rpartition("-")[2]) for row in json.loads(batch.body)["rows"]]

    async def close(self):
        pass


class Signer:
    credential = b"credential"

    def sign(self, context, body):
        return f"{context} {len(body)}".encode()


class Clock:
    def __init__(self):
        self.ms = 1_800_000_000_000

    def world(self):
        return World(lambda: self.ms, lambda: 1.0)


@pytest.fixture(scope="module")
def server():
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed")
    with PostgresServer() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    if request.param == "sqlite":
        yield tmp_path / "billing.db"
        return
    with database_of(request.getfixturevalue("server")) as address:
        yield address


@pytest.fixture
async def desks(url):
    opened = []

    async def another(holder):
        opened.append(await Desk.open(url, holder))
        return opened[-1]

    yield another
    for desk in opened:
        await desk.close()


def pump_of(store, desk, sinks, clock, rows_max=3):
    return Pump(store, desk, sinks, ORIGIN, Limits(60, rows_max), clock.world())


async def test_pump_sends_all_in_order_and_then_each_period(desks):
    store, receiver, clock = Store(*range(1, 8)), Receiver(), Clock()
    pump = pump_of(store, await desks("a"), [receiver], clock)
    assert [await pump.round() for _ in range(4)] == [0, 0, 60, 60]
    assert receiver.ids == list(range(1, 8))
    assert (receiver.calls, store.rows) == (3, {})


async def test_pump_sends_the_same_batch_until_it_is_taken(desks):
    store, receiver, clock = Store(2, 3), Receiver(), Clock()
    pump = pump_of(store, await desks("a"), [receiver], clock)
    receiver.refuse = 2
    assert await pump.round() == 2
    store.rows[1] = usage(1)  # came late, with a smaller number
    assert await pump.round() == 4
    assert await pump.round() == 60
    assert list(receiver.ids) == [2, 3]
    await pump.round()
    assert receiver.ids == [2, 3, 1]


async def test_pump_that_crashed_after_sending_repeats_the_batch_with_its_key(desks):
    store, receiver, clock = Store(1, 2), Receiver(), Clock()
    store.down = True
    await pump_of(store, await desks("a"), [receiver], clock).round()
    store.down = False
    store.rows[3] = usage(3)
    again = pump_of(store, await desks("a"), [receiver], clock)
    await again.round()
    await again.round()
    assert receiver.ids == [1, 2, 3]
    assert receiver.calls == 3


async def test_pump_waits_while_another_one_sends_and_takes_over_its_batch(desks):
    store, receiver, clock = Store(1, 2), Receiver(), Clock()
    receiver.refuse = 1
    first, second = [pump_of(store, await desks(name), [receiver], clock) for name in "ab"]
    await first.round()
    store.rows[3] = usage(3)
    assert await second.round() == 60
    assert receiver.calls == 1
    clock.ms += LEASE_MS + 1
    await second.round()
    assert receiver.ids == [1, 2]
    assert await first.round() == 60
    await second.round()
    assert receiver.ids == [1, 2, 3]


async def test_pump_released_lets_another_send_at_once(desks):
    store, receiver, clock = Store(1), Receiver(), Clock()
    first, second = await desks("a"), await desks("b")
    assert await first.hold(clock.ms, LEASE_MS)
    assert not await second.hold(clock.ms, LEASE_MS)
    await first.release()
    await pump_of(store, second, [receiver], clock).round()
    assert receiver.ids == [1]


async def test_desk_takes_no_batch_of_one_who_lost_the_lease(desks):
    clock, first, second = Clock(), await desks("a"), await desks("b")
    await first.hold(clock.ms, 10)
    assert await second.hold(clock.ms + 11, LEASE_MS)
    with pytest.raises(TetherError) as caught:
        await first.put(cut([usage(1)], ORIGIN), clock.ms + 11)
    assert caught.value.reason is Reason.STORE_UNAVAILABLE
    assert await second.waiting() is None


async def test_pump_of_several_sinks_is_done_when_all_took_it(desks):
    store, clock, one, two = Store(1), Clock(), Receiver(), Receiver()
    two.refuse = 1
    pump = pump_of(store, await desks("a"), [one, two], clock)
    await pump.round()
    assert store.rows
    await pump.round()
    assert (one.ids, two.ids, store.rows) == ([1], [1], {})


@pytest.mark.parametrize("seed", range(12))
async def test_pump_loses_and_repeats_nothing_under_random_faults(tmp_path, seed):
    rng, clock, store, receiver = random.Random(seed), Clock(), Store(), Receiver()
    desks = [await Desk.open(tmp_path / "billing.db", name) for name in "ab"]
    pumps = [pump_of(store, desk, [receiver], clock) for desk in desks]
    last = 0
    for step in range(60):
        if step < 40 and rng.random() < 0.6:
            last += 1
            store.rows[last] = usage(last)
        receiver.refuse = int(step < 45 and rng.random() < 0.3)
        store.down = step < 45 and rng.random() < 0.3
        clock.ms += rng.choice((1, 1_000, LEASE_MS + 1))
        await rng.choice(pumps).round()
    assert sorted(receiver.ids) == list(range(1, last + 1))
    assert store.rows == {}
    for desk in desks:
        await desk.close()


async def test_pump_pushes_signed_batches_over_http_until_2xx(desks, endpoint):
    endpoint.answers = [BAD, b"HTTP/1.1 503 Busy\r\nRetry-After: 90\r\n\r\n", None, b"", OK]
    store, clock = Store(1, 2), Clock()
    sink = HttpSink(endpoint.url, Signer(), 0.2)
    pump = pump_of(store, await desks("a"), [sink], clock)
    waits = [await pump.round() for _ in range(5)]
    assert waits == [2, 90, 8, 16, 60]
    assert store.rows == {}
    assert len(set(endpoint.keys)) == 1
    assert len(endpoint.keys) == 5
    assert len({body for _, body in endpoint.requests}) == 1
    headers, body = endpoint.requests[-1]

    class Trust:
        def signed(self, context, body, signature, credential, role, now_s):
            assert (context, signature, credential) == (SCHEMA, f"{SCHEMA} {len(body)}".encode(), b"credential")
            return role

    assert [row["tenant"] for row in verify(headers, body, Trust(), 0.0)["rows"]] == ["acme", "acme"]
    with pytest.raises(TetherError):
        verify({**headers, "idempotency-key": "other"}, body, Trust(), 0.0)
    with pytest.raises(TetherError):
        verify({**headers, "tether-signature": "*"}, body, Trust(), 0.0)
