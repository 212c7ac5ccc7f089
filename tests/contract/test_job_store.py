"""What every job store promises, whatever it is built on: every test runs on SQLite and on a real PostgreSQL."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tether.errors import Reason
from tether.job.hold import Position
from tether.job.repeat import ATTEMPTS_MAX
from tether.job.state import State
from tether.store import open_jobs
from tether.store.jobs import (
    ANSWER_BYTES_MAX,
    FIRST_OPEN,
    Attempt,
    Completion,
    Driver,
    Existing,
    JobStore,
    Refused,
    Reservation,
    Reserved,
    Session,
    Settled,
    Subject,
    Worker,
)
from tether.testing.postgres import PostgresServer, binaries, database_of

SESSION, OTHER = b"s" * 16, b"o" * 16
WORKER = Worker("w1", 3, "127.0.0.1:9000")
HOUR_MS = 3_600_000


class Clock:
    """A wall clock that tests move."""

    now_ms = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now_ms


Open = Callable[[], Awaitable[JobStore]]
needs_server = pytest.mark.skipif(binaries() is None, reason="PostgreSQL is not installed")


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as running:
        yield running


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=needs_server)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where an empty store may be made: one of each kind."""
    if request.param == "sqlite":
        yield str(tmp_path / "jobs.db")
        return
    with database_of(request.getfixturevalue("server")) as address:
        yield address


@pytest.fixture
async def reopen(url: str, clock: Clock) -> AsyncIterator[Open]:
    """Opens the same store again after closing it."""
    held: list[JobStore] = []

    async def again() -> JobStore:
        while held:
            await held.pop().close()
        held.append(await open_jobs(url, now_ms=clock))
        return held[0]

    yield again
    while held:
        await held.pop().close()


@pytest.fixture
async def store(reopen: Open) -> JobStore:
    return await reopen()


def reservation(
    store: JobStore, name: str = "a", *, tenant: str = "t", keyed: bool = True, body: str = ""
) -> Reservation:
    subject = Subject(
        job=store.job_id(tenant, name, ""),
        tenant=tenant,
        correlation_id=name,
        retry_token="",
        keyed=keyed,
        request_hash=(body or name).encode().ljust(32, b"."),
        model="demo",
        version="1.0",
        digest=b"d" * 32,
        header=b"header of " + name.encode(),
        limit_tokens=100,
    )
    return Reservation(subject, Driver(SESSION, "gateway"), WORKER, 2**64 - 5, Clock.now_ms + HOUR_MS)


def done(job: bytes, epoch: int = 1, *, tokens: int = 7) -> Completion:
    return Completion(job, epoch, State.DONE, Position(10, tokens, 30), b"receipt", b"answer")


def again(asked: Reservation, after_epoch: int, of_session: bytes = SESSION, session: bytes = SESSION) -> Attempt:
    subject = asked.subject
    worker = Worker("w2", 1, "127.0.0.1:9001")
    return Attempt(subject.job, subject.request_hash, of_session, Driver(session, "gateway"), after_epoch, worker)


async def reserved(store: JobStore, asked: Reservation) -> Reserved:
    [result] = await store.reserve([asked])
    assert isinstance(result, Reserved)
    return result


async def ended(store: JobStore, completion: Completion) -> Settled:
    [result] = await store.complete([completion])
    assert isinstance(result, Settled)
    return result


async def test_store_keeps_its_id_and_its_secret(reopen: Open) -> None:
    store = await reopen()
    store_id, job = store.store_id, store.job_id("t", "a", "b")
    assert len(store_id) == len(job) == 16
    store = await reopen()
    assert (store.store_id, store.job_id("t", "a", "b")) == (store_id, job)


async def test_job_id_tells_every_part_of_the_key_apart(store: JobStore) -> None:
    keys = [("t", "a", "b"), ("ta", "", "b"), ("t", "ab", ""), ("t", "", "ab"), ("u", "a", "b")]
    assert len({store.job_id(*key) for key in keys}) == len(keys)


async def test_reserve_is_there_after_reopen(reopen: Open) -> None:
    store = await reopen()
    asked = reservation(store)
    assert await reserved(store, asked) == Reserved(1, 2**64 - 5)
    row = await (await reopen()).get(asked.subject.job)
    assert row is not None
    assert row.subject == asked.subject
    assert (row.state, row.epoch, row.driver, row.worker) == (State.RESERVED, 1, asked.driver, asked.worker)
    assert (row.seed, row.held_tokens, row.deadline_ms) == (asked.seed, 100, asked.deadline_ms)


async def test_reserve_of_a_running_job_joins(store: JobStore) -> None:
    asked = reservation(store)
    await reserved(store, asked)
    [result] = await store.reserve([asked])
    assert isinstance(result, Existing)
    assert result.row.state is State.RESERVED
    assert not await store.check()


async def test_reserve_twice_in_one_batch_runs_once(store: JobStore) -> None:
    first, second, other = await store.reserve([reservation(store), reservation(store), reservation(store, "b")])
    assert isinstance(first, Reserved)
    assert isinstance(second, Existing)
    assert isinstance(other, Reserved)
    assert not await store.check()


async def test_reserve_of_another_body_is_refused(store: JobStore) -> None:
    await reserved(store, reservation(store))
    [result] = await store.reserve([reservation(store, body="else")])
    assert isinstance(result, Refused)
    assert result.error.reason is Reason.JOB_CONFLICT


async def test_reserve_of_a_finished_job_gets_receipt_and_answer(reopen: Open) -> None:
    store = await reopen()
    asked = reservation(store)
    await reserved(store, asked)
    assert (await ended(store, done(asked.subject.job))).written
    [result] = await (await reopen()).reserve([asked])
    assert isinstance(result, Existing)
    row = result.row
    assert (row.state, row.receipt, row.answer) == (State.DONE, b"receipt", b"answer")
    assert (row.held_tokens, row.settled) == (0, Position(10, 7, 30))


@pytest.mark.parametrize("outcome", [State.CANCELLED, State.FAILED])
async def test_reserve_of_a_job_that_ended_badly_is_replayed(store: JobStore, outcome: State) -> None:
    asked = reservation(store)
    await reserved(store, asked)
    await ended(store, Completion(asked.subject.job, 1, outcome, error="why"))
    [result] = await store.reserve([asked])
    assert isinstance(result, Existing)
    assert (result.row.state, result.row.error) == (outcome, "why")


async def test_reserve_of_an_abandoned_job_runs_again_with_its_seed(store: JobStore) -> None:
    asked = reservation(store)
    await reserved(store, asked)
    await ended(store, Completion(asked.subject.job, 1, State.ABANDONED, Position(10, 5, 20)))
    assert await reserved(store, replace(asked, seed=1)) == Reserved(2, asked.seed)
    row = await store.get(asked.subject.job)
    assert row is not None
    assert (row.held_tokens, row.state, row.ended_ms) == (85, State.RESERVED, None)
    after = (await ended(store, done(asked.subject.job, 2))).row
    assert after.settled == Position(10, 7, 30)  # the prompt once, the text to where it ended
    assert not await store.check()


async def test_reserve_of_an_abandoned_unkeyed_job_stays_abandoned(store: JobStore) -> None:
    asked = reservation(store, keyed=False)
    await reserved(store, asked)
    await ended(store, Completion(asked.subject.job, 1, State.ABANDONED))
    [result] = await store.reserve([asked])
    assert isinstance(result, Existing)
    assert result.row.state is State.ABANDONED


async def test_reserve_of_an_abandoned_job_under_another_digest_is_told(store: JobStore) -> None:
    asked = reservation(store)
    await reserved(store, asked)
    await ended(store, Completion(asked.subject.job, 1, State.ABANDONED))
    [result] = await store.reserve([replace(asked, subject=replace(asked.subject, version="1.1", digest=b"e" * 32))])
    assert isinstance(result, Existing)
    assert result.row.subject.version == "1.0"


async def test_reserve_by_many_callers_at_once_runs_once(store: JobStore) -> None:
    results = await asyncio.gather(*(store.reserve([reservation(store)]) for _ in range(16)))
    assert sum(isinstance(result, Reserved) for [result] in results) == 1
    assert not await store.check()


async def test_attempt_raises_the_epoch_once(store: JobStore) -> None:
    asked = reservation(store)
    await reserved(store, asked)
    first, second = await store.attempt([again(asked, 1), again(asked, 1)])
    assert first == Reserved(2, asked.seed)
    assert isinstance(second, Existing)
    assert (second.row.epoch, second.row.after_epoch, second.row.worker.node) == (2, 1, "w2")
    assert not await store.check()


async def test_attempt_by_another_session_changes_nothing(store: JobStore) -> None:
    asked = reservation(store)
    await reserved(store, asked)
    [result] = await store.attempt([again(asked, 1, of_session=OTHER, session=OTHER)])
    assert isinstance(result, Existing)
    assert (result.row.epoch, result.row.driver.session) == (1, SESSION)


async def test_attempt_takes_over_from_the_session_it_names(store: JobStore) -> None:
    asked = reservation(store)
    await reserved(store, asked)
    [result] = await store.attempt([again(asked, 1, of_session=SESSION, session=OTHER)])
    assert result == Reserved(2, asked.seed)
    row = await store.get(asked.subject.job)
    assert row is not None
    assert row.driver.session == OTHER


async def test_attempt_past_the_limit_is_refused(store: JobStore) -> None:
    asked = reservation(store)
    await reserved(store, asked)
    for epoch in range(1, ATTEMPTS_MAX):
        [result] = await store.attempt([again(asked, epoch)])
        assert isinstance(result, Reserved)
    [result] = await store.attempt([again(asked, ATTEMPTS_MAX)])
    assert isinstance(result, Refused)
    assert result.error.reason is Reason.JOB_FAILED


async def test_attempt_of_nothing_is_refused(store: JobStore) -> None:
    [result] = await store.attempt([again(reservation(store), 1)])
    assert isinstance(result, Refused)
    assert result.error.reason is Reason.JOB_UNKNOWN


async def test_complete_again_is_no_change(store: JobStore) -> None:
    asked = reservation(store)
    await reserved(store, asked)
    first = await ended(store, done(asked.subject.job))
    second = await ended(store, done(asked.subject.job))
    assert (first.written, second.written) == (True, False)
    assert first.row == second.row
    assert not await store.check()


async def test_complete_after_another_outcome_gets_that_one(store: JobStore) -> None:
    asked = reservation(store)
    await reserved(store, asked)
    job = asked.subject.job
    cancelled, late = await store.complete([Completion(job, 0, State.CANCELLED), done(job)])
    assert isinstance(cancelled, Settled)
    assert isinstance(late, Settled)
    assert (cancelled.written, late.written, late.row.state) == (True, False, State.CANCELLED)
    assert not await store.check()


async def test_complete_of_an_older_attempt_leaves_the_newer_running(store: JobStore) -> None:
    asked = reservation(store)
    await reserved(store, asked)
    await store.attempt([again(asked, 1)])
    late = await ended(store, done(asked.subject.job, 1))
    assert (late.written, late.row.state, late.row.epoch) == (False, State.RESERVED, 2)


async def test_complete_of_an_attempt_that_never_was_is_refused(store: JobStore) -> None:
    asked = reservation(store)
    await reserved(store, asked)
    [result] = await store.complete([done(asked.subject.job, 2)])
    assert isinstance(result, Refused)
    assert result.error.reason is Reason.STALE_EPOCH


async def test_complete_by_another_worker_is_refused(store: JobStore) -> None:
    asked = reservation(store)
    await reserved(store, asked)
    [result] = await store.complete([replace(done(asked.subject.job), worker="w9")])
    assert isinstance(result, Refused)
    assert result.error.reason is Reason.ROLE_FORBIDDEN
    assert (await ended(store, replace(done(asked.subject.job), worker=WORKER.node))).written


async def test_complete_of_nothing_is_refused(store: JobStore) -> None:
    [result] = await store.complete([done(b"n" * 16)])
    assert isinstance(result, Refused)
    assert result.error.reason is Reason.JOB_UNKNOWN


@pytest.mark.parametrize(("keyed", "over", "kept"), [(True, 0, True), (True, 1, False), (False, 0, False)])
async def test_complete_keeps_answers_of_keyed_jobs_up_to_the_limit(
    store: JobStore, keyed: bool, over: int, kept: bool
) -> None:
    asked = reservation(store, keyed=keyed)
    await reserved(store, asked)
    row = (await ended(store, replace(done(asked.subject.job), answer=b"x" * (ANSWER_BYTES_MAX + over)))).row
    assert (row.answer is not None) == kept
    assert row.receipt == b"receipt"


async def test_list_is_newest_first_and_pages(store: JobStore) -> None:
    await store.reserve([reservation(store, name, tenant=tenant) for name in "abc" for tenant in ("t", "u")])
    page = await store.list(tenant="t", state=None, before=0, limit=2)
    assert [row.subject.correlation_id for row in page] == ["c", "b"]
    rest = await store.list(tenant="t", state=None, before=page[-1].number, limit=2)
    assert [row.subject.correlation_id for row in rest] == ["a"]
    await ended(store, done(page[0].subject.job))
    finished = await store.list(tenant="", state=State.DONE, before=0, limit=9)
    listed = [(row.subject.job, row.receipt, row.answer) for row in finished]
    assert listed == [(page[0].subject.job, b"receipt", None)]


async def test_sessions_are_kept_and_left(reopen: Open) -> None:
    store = await reopen()
    await store.renew([Session(SESSION, "g1", 1, 5), Session(OTHER, "g2", 1, 1)])
    await store.renew([Session(SESSION, "g1", 1, 6)])
    await store.leave(OTHER)
    assert await (await reopen()).sessions() == [Session(SESSION, "g1", 1, 6)]


async def test_undriven_are_open_jobs_of_other_sessions_by_deadline(store: JobStore, clock: Clock) -> None:
    names = [
        replace(reservation(store, name), deadline_ms=clock.now_ms + ms)
        for name, ms in zip("abcd", (9, 5, 5, 1), strict=True)
    ]
    await store.reserve(names)
    other = reservation(store, "other")
    await store.reserve([replace(other, driver=Driver(OTHER, "gateway-2"))])
    await ended(store, done(names[3].subject.job))

    async def named(standing: list[bytes], after: tuple[int, int] = FIRST_OPEN, limit: int = 9) -> list[str]:
        return [row.subject.correlation_id for row in await store.undriven(standing, after, limit)]

    assert await named([]) == ["b", "c", "a", "other"]
    assert await named([OTHER]) == ["b", "c", "a"]
    assert await named([SESSION]) == ["other"]
    assert await named([SESSION, OTHER]) == []
    [first] = await store.undriven([OTHER], FIRST_OPEN, 1)
    assert (first.epoch, first.driver.session, first.worker) == (1, SESSION, WORKER)
    assert await named([OTHER], (first.deadline_ms, first.number), 1) == ["c"]


async def test_expire_abandons_what_nobody_ended(store: JobStore, clock: Clock) -> None:
    asked = reservation(store)
    await store.reserve([asked, replace(reservation(store, "b"), deadline_ms=clock.now_ms + 9 * HOUR_MS)])
    clock.now_ms += 2 * HOUR_MS
    assert await store.expire(10) == 1
    assert await store.expire(10) == 0
    row = await store.get(asked.subject.job)
    assert row is not None
    assert (row.state, row.held_tokens) == (State.ABANDONED, 0)
    assert not await store.check()


async def test_purge_keeps_keyed_jobs_a_day_and_the_books_for_good(store: JobStore, clock: Clock) -> None:
    names = [reservation(store, name, keyed=name != "c") for name in "abc"]
    await store.reserve([*names, reservation(store, "open")])
    await store.complete([done(asked.subject.job) for asked in names])
    clock.now_ms += 2 * HOUR_MS
    assert await store.purge(10) == 1
    clock.now_ms += 21 * HOUR_MS
    assert await store.purge(10) == 0
    clock.now_ms += 2 * HOUR_MS
    assert [await store.purge(1), await store.purge(1), await store.purge(1)] == [1, 1, 0]
    left = await store.list(tenant="", state=None, before=0, limit=9)
    assert [row.subject.correlation_id for row in left] == ["open"]
    assert not await store.check()


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_books_agree_after_every_step_and_every_reopen(reopen: Open, clock: Clock, seed: int) -> None:
    rng, store, steps = random.Random(seed), await reopen(), []
    for _ in range(150):
        step = rng.choice(
            ("reserve", "reserve", "attempt", "complete", "complete", "expire", "purge", "reopen", "wait")
        )
        steps.append(step)
        store = await random_step(step, rng, store, reopen, clock)
        assert not await store.check(), (seed, steps)


async def random_step(step: str, rng: random.Random, store: JobStore, reopen: Open, clock: Clock) -> JobStore:
    asked = [random_reservation(rng, store, clock) for _ in range(rng.randint(1, 4))]
    match step:
        case "reserve":
            await asyncio.gather(*(store.reserve([one]) for one in asked))
        case "attempt":
            await store.attempt([again(one, rng.randint(1, 3)) for one in asked])
        case "complete":
            await asyncio.gather(*(store.complete([random_completion(rng, one.subject.job)]) for one in asked))
        case "expire":
            await store.expire(rng.randint(1, 5))
        case "purge":
            await store.purge(rng.randint(1, 5))
        case "reopen":
            return await reopen()
        case _:
            clock.now_ms += rng.choice((1_000, HOUR_MS, 25 * HOUR_MS))
    return store


def random_reservation(rng: random.Random, store: JobStore, clock: Clock) -> Reservation:
    name, tenant = rng.choice("abcdefgh"), rng.choice("tuv")
    body = "" if rng.random() < 0.9 else "else"
    asked = reservation(store, name, tenant=tenant, keyed=name < "g", body=body)
    return replace(asked, deadline_ms=clock.now_ms + rng.choice((1, 60_000, HOUR_MS)))


def random_completion(rng: random.Random, job: bytes) -> Completion:
    outcome = rng.choice((State.DONE, State.FAILED, State.CANCELLED, State.ABANDONED, State.ABANDONED))
    used = Position(rng.choice((0, 10)), rng.randint(0, 90), rng.randint(0, 400))
    return Completion(job, rng.randint(0, 3), outcome, used, b"receipt", b"answer")
