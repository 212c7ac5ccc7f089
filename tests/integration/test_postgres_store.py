"""The job store on a PostgreSQL that restarts, dies, freezes and drops connections under load.

What was acknowledged is there afterwards, nothing is there twice, callers are told fast, and the books agree.
"""

import asyncio
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace

import pytest

from tether.errors import Reason, TetherError
from tether.job.hold import Position
from tether.job.price import Price
from tether.job.quota import Limits
from tether.job.state import State
from tether.store import open_jobs
from tether.store.jobs import (
    Attempt,
    Completion,
    Driver,
    JobStore,
    Lease,
    Reservation,
    Reserved,
    Session,
    Settled,
    Subject,
    Worker,
)
from tether.store.manage import check_jobs, facts, fence_jobs, migrate_jobs, promote_jobs
from tether.testing.postgres import PostgresServer, binaries

pytestmark = pytest.mark.skipif(binaries() is None, reason="PostgreSQL is not installed")
SESSION = b"s" * 16
WORKER = Worker("w1", 1, "127.0.0.1:9000")
RECOVER_S = 20.0  # of a loaded machine; a quiet one takes a second


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as running:
        yield running


@pytest.fixture
def url(server: PostgresServer) -> str:
    return server.create_database()


@pytest.fixture
async def store(url: str) -> AsyncIterator[JobStore]:
    opened = await open_jobs(url)
    yield opened
    await opened.close()


def reservation(store: JobStore, name: str, tenant: str = "t", limits: Limits | None = None) -> Reservation:
    subject = Subject(
        store.job_id(tenant, name, ""), tenant, name, "", True, name.encode().ljust(32, b"."), "demo", "1.0",
        b"d" * 32, b"header", 100,
    )  # fmt: skip
    deadline_ms = time.time_ns() // 1_000_000 + 3_600_000
    return Reservation(
        subject, Driver(SESSION, "g"), WORKER, 7, deadline_ms, limits or Limits(tokens_per_day=10**12), Price(1, 5, 7)
    )


async def answered(call: Callable[[], object]) -> object:
    """The result of a write, asked again while the store is away, as callers with a key do."""
    until_s = time.monotonic() + RECOVER_S
    while True:
        try:
            return await call()  # type: ignore[misc]
        except TetherError as error:
            if error.reason is not Reason.STORE_UNAVAILABLE or time.monotonic() > until_s:
                raise
            await asyncio.sleep(0.02)


@dataclass
class Load:
    """Callers that reserve and complete jobs, and remember what they were told."""

    store: JobStore
    reserved: list[bytes] = field(default_factory=list)
    settled: list[bytes] = field(default_factory=list)
    stop: bool = False

    async def caller(self, name: str, rng: random.Random) -> None:
        number = 0
        while not self.stop:
            number += 1
            asked = reservation(self.store, f"{name}-{number}", rng.choice("tuv"))
            await answered(lambda asked=asked: self.store.reserve([asked]))
            self.reserved.append(asked.subject.job)
            if rng.random() < 0.6:
                end = Completion(asked.subject.job, 1, State.DONE, Position(3, 5, 9), b"receipt", b"answer")
                await answered(lambda end=end: self.store.complete([end]))
                self.settled.append(asked.subject.job)


def terminate(server: PostgresServer, url: str) -> None:
    server.drop_connections(url.rsplit("/", 1)[1])


HURTS = {
    "immediate": lambda server, _url: server.restart("immediate"),
    "fast": lambda server, _url: server.restart("fast"),
    "kill9": lambda server, _url: (server.kill9(), server.start()),
    "connections": terminate,
}


@pytest.mark.parametrize("hurt", sorted(HURTS))
async def test_acknowledged_writes_survive(server: PostgresServer, url: str, store: JobStore, hurt: str) -> None:
    load = Load(store)
    callers = [asyncio.create_task(load.caller(f"c{at}", random.Random(at))) for at in range(16)]
    for _ in range(2):
        before = len(load.reserved)
        await until(lambda before=before: len(load.reserved) >= before + 50)
        await asyncio.to_thread(HURTS[hurt], server, url)
    before = len(load.reserved)
    await until(lambda: len(load.reserved) >= before + 50)
    load.stop = True
    await asyncio.gather(*callers)
    assert await answered(store.check) == []
    rows = {job: await answered(lambda job=job: store.get(job)) for job in load.reserved}
    assert [job for job, row in rows.items() if row is None] == []
    assert all(rows[job].state is State.DONE for job in load.settled)
    assert len(rows) == len(load.reserved)


async def until(true: Callable[[], bool]) -> None:
    end_s = time.monotonic() + RECOVER_S
    while not true():
        assert time.monotonic() < end_s
        await asyncio.sleep(0.01)


async def test_server_that_is_away_is_said_at_once_and_found_again(
    server: PostgresServer, url: str, store: JobStore
) -> None:
    await store.reserve([reservation(store, "a")])
    await asyncio.to_thread(server.stop, "immediate")
    try:
        for at in range(20):
            with pytest.raises(TetherError) as caught:
                await store.reserve([reservation(store, f"b{at}")])
            assert caught.value.reason is Reason.STORE_UNAVAILABLE
            assert caught.value.retry_after_s
        began_s = time.monotonic()
        with pytest.raises(TetherError):
            await store.get(b"x" * 16)
        with pytest.raises(TetherError):
            await store.list(tenant="", state=None, before=0, limit=1)
        with pytest.raises(TetherError):
            await open_jobs(url)
        assert time.monotonic() - began_s < 2
    finally:
        await asyncio.to_thread(server.start)
    await answered(lambda: store.reserve([reservation(store, "c")]))
    assert await store.get(reservation(store, "a").subject.job) is not None


async def test_server_that_hangs_is_given_up_and_found_again(server: PostgresServer, store: JobStore) -> None:
    await store.reserve([reservation(store, "a")])
    server.freeze()
    try:
        began_s = time.monotonic()
        with pytest.raises(TetherError) as caught:
            await store.reserve([reservation(store, "b")])
        assert caught.value.reason is Reason.STORE_UNAVAILABLE
        assert time.monotonic() - began_s < 8
        began_s = time.monotonic()
        for at in range(20):
            with pytest.raises(TetherError):
                await store.reserve([reservation(store, f"c{at}")])
        assert time.monotonic() - began_s < 1
    finally:
        server.thaw()
    await answered(lambda: store.reserve([reservation(store, "b")]))
    assert await store.check() == []


async def test_replica_serves_lists_and_takes_over_when_promoted(server: PostgresServer, url: str) -> None:
    replica = await asyncio.to_thread(server.replica)
    try:
        aside = replica.url(url.rsplit("/", 1)[1])
        store = await open_jobs(url, replica=aside)
        await store.reserve([reservation(store, "a")])
        await until_listed(store, 1)
        await asyncio.to_thread(replica.stop)
        await until_listed(store, 1)  # on the primary, while the replica is away
        await store.close()
    finally:
        replica.close()


async def lose_under_load(server: PostgresServer, store: JobStore) -> Load:
    """Stop the primary while callers write; returns what they were told.

    The server sends what it acknowledged before it goes: a replica that is not waited for may else be late.
    """
    load = Load(store)
    callers = [asyncio.create_task(load.caller(f"c{at}", random.Random(at))) for at in range(8)]
    await until(lambda: len(load.settled) >= 50)
    await asyncio.to_thread(server.stop, "fast")
    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    return load


async def come_back(server: PostgresServer, url: str, store: JobStore, seen: dict[bytes, int]) -> None:
    """Start the old primary: refused by who has seen the new one, and, once fenced, by who had it open all the time."""
    await asyncio.to_thread(server.start)
    with pytest.raises(TetherError) as caught:
        await open_jobs(url, generation_min=seen)
    assert caught.value.reason is Reason.STORE_UNUSABLE
    await fence_jobs(url)
    with pytest.raises(TetherError) as caught:
        await answered(lambda: store.reserve([reservation(store, "late")]))
    assert caught.value.reason is Reason.STORE_UNUSABLE


async def test_promotion_under_load_leaves_one_history(server: PostgresServer, url: str) -> None:
    name = url.rsplit("/", 1)[1]
    store = await open_jobs(url)
    replica = await asyncio.to_thread(server.replica)
    try:
        told = await lose_under_load(server, store)
        assert await promote_jobs(replica.url(name)) == store.generation + 1
        new = await open_jobs(replica.url(name), generation_min={store.store_id: store.generation})
        rows = {job: await new.get(job) for job in told.reserved}
        assert [job for job, row in rows.items() if row is None] == []
        assert all(rows[job].state is State.DONE for job in told.settled)
        load = Load(new)
        callers = [asyncio.create_task(load.caller(f"n{at}", random.Random(at))) for at in range(8)]
        await come_back(server, url, store, {new.store_id: new.generation})
        await until(lambda: len(load.settled) >= 50)
        load.stop = True
        await asyncio.gather(*callers)
        assert await new.check() == []
        assert await new.get(reservation(store, "late").subject.job) is None
        await new.close()
    finally:
        await store.close()
        await asyncio.to_thread(replica.close)
        if server.pid is None:
            await asyncio.to_thread(server.start)


async def until_listed(store: JobStore, count: int) -> None:
    async def listed() -> int:
        return len(await store.list(tenant="", state=None, before=0, limit=9))

    end_s = time.monotonic() + RECOVER_S
    while await answered(listed) != count:
        assert time.monotonic() < end_s
        await asyncio.sleep(0.02)


INIT = """
import asyncio, sys
from tether.store.manage import init_jobs
print(asyncio.run(init_jobs(sys.argv[1])).store_id.hex())
"""


async def test_many_processes_migrate_at_once(url: str) -> None:
    def init() -> str:
        done = subprocess.run([sys.executable, "-c", INIT, url], capture_output=True, text=True, timeout=60, check=True)
        return done.stdout.strip().splitlines()[-1]

    ids = set(await asyncio.gather(*(asyncio.to_thread(init) for _ in range(4))))
    assert ids == {(await facts(url)).store_id.hex()}
    assert await migrate_jobs(url) == []


async def test_newer_schema_is_refused(server: PostgresServer, url: str) -> None:
    await migrate_jobs(url)
    server.sql("INSERT INTO schema_migrations VALUES ('jobs', '9999')", url.rsplit("/", 1)[1])
    for opening in (open_jobs(url), migrate_jobs(url)):
        with pytest.raises(TetherError) as caught:
            await opening
        assert caught.value.reason is Reason.STORE_UNUSABLE


@pytest.mark.parametrize("address", ["postgresql://nobody@127.0.0.1:1/x", "postgresql://127.0.0.1:no/x", "mysql://h/x"])
async def test_address_that_leads_nowhere_is_said(address: str) -> None:
    with pytest.raises(TetherError) as caught:
        await open_jobs(address)
    assert caught.value.reason in {Reason.STORE_UNAVAILABLE, Reason.STORE_UNUSABLE}


async def test_database_that_is_not_there_is_said(server: PostgresServer) -> None:
    with pytest.raises(TetherError) as caught:
        await open_jobs(server.url("nowhere"))
    assert caught.value.reason is Reason.STORE_UNUSABLE


class Chance:
    """Random work on a store, by several owners at once."""

    def __init__(self, stores: list[JobStore], seed: int) -> None:
        self._stores = stores
        self._rng = random.Random(seed)
        self.done = 0

    async def step(self) -> None:
        rng, store = self._rng, self._rng.choice(self._stores)
        limits = Limits(concurrent_jobs=rng.choice((0, 40)), tokens_per_minute=rng.choice((0, 100_000)))
        asked = reservation(store, f"j{rng.randint(0, 60)}", rng.choice("tuvw"), limits)
        job = asked.subject.job
        used = Position(rng.choice((0, 10)), rng.randint(0, 90), rng.randint(0, 400))
        outcome = rng.choice((State.DONE, State.FAILED, State.ABANDONED, State.ABANDONED, State.CANCELLED, State.DEAD))
        lease = rng.randint(0, 9).to_bytes(16, "big")
        works: list[Callable[[], object]] = [
            lambda: store.reserve([asked]),
            lambda: store.reserve([asked]),
            lambda: store.attempt(
                [Attempt(job, asked.subject.request_hash, SESSION, asked.driver, rng.randint(1, 2), WORKER, used, 2)]
            ),
            lambda: store.complete([Completion(job, rng.randint(0, 2), outcome, used, b"receipt")]),
            lambda: store.complete([Completion(job, 0, outcome, used, b"receipt")]),
            lambda: store.lease_quota([Lease(lease, asked.subject.tenant, "o", 500, 5, asked.deadline_ms)]),
            lambda: store.settle_lease([lease]),
            lambda: store.renew([Session(SESSION, "g", 1, self.done)]),
            lambda: store.expire(5),
            lambda: store.purge(5),
        ]
        try:
            await rng.choice(works)()  # type: ignore[misc]
        except TetherError as error:
            if error.reason is not Reason.STORE_UNAVAILABLE:
                raise
            await asyncio.sleep(0.01)
        self.done += 1


async def test_books_agree_in_every_state_whatever_happens(server: PostgresServer, url: str) -> None:
    stores = [await open_jobs(url) for _ in range(3)]
    chance = Chance(stores, 5)
    try:
        for hurt in ("connections", "immediate", "connections", "kill9"):
            target = chance.done + 250
            workers = [asyncio.create_task(drive(chance, target)) for _ in range(12)]
            for _ in range(3):
                assert await answered(stores[0].check) == []
            await asyncio.to_thread(HURTS[hurt], server, url)
            await asyncio.gather(*workers)
            assert await answered(stores[0].check) == []
        assert chance.done >= 1_000
        assert (await check_jobs(url)).violations == ()
    finally:
        for store in stores:
            await store.close()


async def drive(chance: Chance, target: int) -> None:
    while chance.done < target:
        await chance.step()


async def test_two_owners_reserve_the_same_keys_once(url: str) -> None:
    stores = [await open_jobs(url) for _ in range(2)]
    try:
        asked = [reservation(stores[0], f"j{at}") for at in range(60)]
        results = await asyncio.gather(*(store.reserve([one]) for one in asked for store in stores))
        assert sum(isinstance(result, Reserved) for [result] in results) == 60
        ends = [Completion(one.subject.job, 1, State.DONE, Position(1, 2, 3), b"r") for one in asked]
        ended = await asyncio.gather(*(store.complete([end]) for end in ends for store in stores))
        assert sum(isinstance(result, Settled) and result.written for [result] in ended) == 60
        raced = [replace(one, subject=replace(one.subject, job=bytes([at] * 16))) for at, one in enumerate(asked)]
        await asyncio.gather(*(store.reserve(raced[:: 1 if at else -1]) for at, store in enumerate(stores)))
        assert await stores[0].check() == []
    finally:
        for store in stores:
            await store.close()


@pytest.mark.parametrize("bad", [{"correlation_id": "a\0b"}, {"limit_tokens": 2**70}, {"tenant": "\ud800"}])
async def test_what_the_database_cannot_hold_fails_alone(store: JobStore, bad: dict[str, object]) -> None:
    good = [reservation(store, f"g{at}") for at in range(4)]
    one = reservation(store, "bad")
    wrong = replace(one, subject=replace(one.subject, **bad), limits=Limits())
    results = await asyncio.gather(*(store.reserve([asked]) for asked in (*good, wrong)), return_exceptions=True)
    assert all(isinstance(result, list) and isinstance(result[0], Reserved) for result in results[:4])
    failed = results[4]
    assert isinstance(failed, TetherError)
    assert failed.reason is Reason.INTERNAL
    assert await store.check() == []
