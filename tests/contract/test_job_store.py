"""What every job store promises, whatever it is built on: every test runs on SQLite and on a real PostgreSQL."""

import asyncio
import contextlib
import random
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tether.errors import Reason, TetherError
from tether.job.hold import Position
from tether.job.price import Price
from tether.job.quota import Limits
from tether.job.repeat import ATTEMPTS_MAX
from tether.job.state import State
from tether.store import open_jobs
from tether.store.jobs import (
    ANSWER_BYTES_MAX,
    FIRST_OPEN,
    Attempt,
    Completion,
    Deposit,
    Driver,
    Existing,
    Imported,
    JobStore,
    Lease,
    Leased,
    LetterLimits,
    LetterQuery,
    Refused,
    Requeue,
    Reservation,
    Reserved,
    Session,
    Settled,
    Subject,
    Worker,
)
from tether.store.manage import check_jobs, export_jobs, import_jobs, promote_jobs
from tether.testing.postgres import PostgresServer, binaries

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
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty store may be made: one of each kind."""
    if request.param == "sqlite":
        return str(tmp_path / "jobs.db")
    address: str = request.getfixturevalue("server").create_schema()
    return address


@pytest.fixture
def other_url(url: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty store of the other kind may be made."""
    if url.startswith("postgresql"):
        return str(tmp_path / "other.db")
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed")
    address: str = request.getfixturevalue("server").create_schema()
    return address


Sql = Callable[[str, str], Callable[[], None]]


@pytest.fixture
def server_sql(request: pytest.FixtureRequest) -> Sql:
    """Changes a store behind its back; what it returns puts all tables back."""

    def on_sqlite(url: str, statement: str) -> Callable[[], None]:
        saved = sqlite3.connect(":memory:")
        with contextlib.closing(sqlite3.connect(url)) as connection:
            connection.backup(saved)
            connection.execute(statement)
            connection.commit()

        def undo() -> None:
            with contextlib.closing(sqlite3.connect(url)) as connection:
                saved.backup(connection)
            saved.close()

        return undo

    def on_postgres(url: str, statement: str) -> Callable[[], None]:
        server, schema = request.getfixturevalue("server"), url.rsplit("=", 1)[1]
        table = statement.replace("DELETE FROM", "UPDATE").split()[1]
        server.sql(f"SET search_path = {schema}; CREATE TABLE saved AS TABLE {table}; {statement}", "shared")
        back = f"TRUNCATE {table}; INSERT INTO {table} SELECT * FROM saved; DROP TABLE saved"
        return lambda: server.sql(f"SET search_path = {schema}; {back}", "shared")

    return lambda url, statement: (on_postgres if url.startswith("postgresql") else on_sqlite)(url, statement)


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


async def test_reserve_of_a_running_job_asks_for_no_room(store: JobStore) -> None:
    asked = replace(reservation(store), limits=Limits(requests_per_minute=1, concurrent_jobs=1))
    await reserved(store, asked)
    again, other = await store.reserve([asked, replace(reservation(store, "b"), limits=asked.limits)])
    assert isinstance(again, Existing)
    assert isinstance(other, Refused)
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


@pytest.mark.parametrize("keyed", [True, False])
async def test_late_receipt_commits_the_answer_of_an_abandoned_attempt(store: JobStore, keyed: bool) -> None:
    asked = reservation(store, keyed=keyed)
    job = asked.subject.job
    await store.reserve([asked])
    await store.complete([Completion(job, 1, State.ABANDONED, Position(3, 2, 9))])
    [settled] = await store.complete([Completion(job, 1, State.DONE, Position(3, 5, 20), b"receipt", b"answer")])
    assert isinstance(settled, Settled)
    assert settled.written
    row = await store.get(job)
    assert row is not None
    assert (row.state, row.settled, row.receipt) == (State.DONE, Position(3, 5, 20), b"receipt")
    assert row.answer == (b"answer" if keyed else None)
    assert await store.check() == []
    assert (await store.verify_quotas("")).violations == ()
    [again] = await store.complete([Completion(job, 1, State.DONE, Position(3, 5, 20), b"receipt", b"answer")])
    assert isinstance(again, Settled)
    assert not again.written


async def test_late_receipt_in_the_batch_that_abandons_is_the_outcome(store: JobStore) -> None:
    asked = reservation(store)
    job = asked.subject.job
    await store.reserve([asked])
    await store.complete(
        [
            Completion(job, 1, State.ABANDONED, Position(3, 0, 0)),
            Completion(job, 1, State.DONE, Position(3, 5, 20), b"receipt", b"answer"),
        ]
    )
    row = await store.get(job)
    assert row is not None
    assert (row.state, row.receipt) == (State.DONE, b"receipt")
    assert await store.check() == []


async def test_late_receipt_of_a_job_that_runs_again_is_stale(store: JobStore) -> None:
    asked = reservation(store)
    job = asked.subject.job
    await store.reserve([asked])
    await store.complete([Completion(job, 1, State.ABANDONED, Position(3, 2, 9))])
    await store.reserve([asked])
    [late] = await store.complete([Completion(job, 1, State.DONE, Position(3, 5, 20), b"receipt", b"answer")])
    assert isinstance(late, Settled)
    assert not late.written
    assert late.row.state is State.RESERVED
    assert await store.check() == []


async def test_reserve_of_an_abandoned_unkeyed_job_stays_abandoned(store: JobStore) -> None:
    asked = reservation(store, keyed=False)
    await reserved(store, asked)
    await ended(store, Completion(asked.subject.job, 1, State.ABANDONED))
    [result] = await store.reserve([asked])
    assert isinstance(result, Existing)
    assert result.row.state is State.ABANDONED
    assert await reserved(store, replace(asked, resumed=True)) == Reserved(2, asked.seed)
    assert not await store.check()


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


async def test_price_is_fixed_at_the_first_reservation_and_paid_by_position(store: JobStore) -> None:
    asked = replace(reservation(store), price=Price(3, 500, 1_500))
    await reserved(store, asked)
    row = await store.get(asked.subject.job)
    assert row is not None
    assert (row.price, row.held_micros, row.cost_micros) == (Price(3, 500, 1_500), 150, 0)
    await ended(store, Completion(asked.subject.job, 1, State.ABANDONED, Position(10, 5, 20)))
    await reserved(store, replace(asked, price=Price(4, 9_000, 9_000)))
    after = (await ended(store, done(asked.subject.job, 2))).row
    assert (after.cost_micros, after.price.version) == (16, 3)  # 10 x .5 + 7 x 1.5, rounded up once
    assert [(row.price_version, row.cost_micros) for row in await store.outbox(0, 9)] == [(3, 13), (3, 3)]
    [account] = await store.accounts(tenant="t", after="", limit=9)
    assert (account.settled_micros, account.held_micros, account.open_jobs) == (16, 0, 0)
    assert not await store.check()


@pytest.mark.parametrize(
    ("limits", "admitted", "reason"),
    [
        (Limits(requests_per_minute=2), 2, Reason.RATE_LIMITED),
        (Limits(tokens_per_minute=300), 3, Reason.RATE_LIMITED),
        (Limits(tokens_per_day=250), 2, Reason.QUOTA_EXCEEDED),
        (Limits(concurrent_jobs=1), 1, Reason.QUOTA_EXCEEDED),
        (Limits(spend_per_day_micros=199), 1, Reason.QUOTA_EXCEEDED),
    ],
)
async def test_limit_admits_in_order_within_a_group(
    store: JobStore, limits: Limits, admitted: int, reason: Reason
) -> None:
    batch = [replace(reservation(store, name), limits=limits, price=Price(1, 1_000, 1_000)) for name in "abcdef"]
    results = await store.reserve(batch)
    assert [isinstance(result, Reserved) for result in results] == [True] * admitted + [False] * (6 - admitted)
    refused = results[-1]
    assert isinstance(refused, Refused)
    assert (refused.error.reason, (refused.error.retry_after_s or 0) > 0) == (reason, True)
    assert await store.get(batch[-1].subject.job) is None
    assert not await store.check()


async def test_limit_of_one_tenant_is_none_of_another(store: JobStore) -> None:
    batch = [replace(reservation(store, "a", tenant=tenant), limits=Limits(concurrent_jobs=1)) for tenant in "tu"]
    assert all(isinstance(result, Reserved) for result in await store.reserve(batch))


async def test_unused_hold_goes_back(store: JobStore) -> None:
    limits = Limits(tokens_per_minute=100, tokens_per_day=120)
    first, second = (replace(reservation(store, name), limits=limits) for name in "ab")
    await reserved(store, first)
    [refused] = await store.reserve([second])
    assert isinstance(refused, Refused)
    await ended(store, Completion(first.subject.job, 1, State.FAILED))
    await reserved(store, second)
    assert not await store.check()


async def test_rate_refills_with_time_and_clock_stepping_back_changes_nothing(store: JobStore, clock: Clock) -> None:
    limits = Limits(requests_per_minute=2)

    async def admitted(name: str) -> bool:
        [result] = await store.reserve([replace(reservation(store, name), limits=limits)])
        return isinstance(result, Reserved)

    assert [await admitted("a"), await admitted("b"), await admitted("c")] == [True, True, False]
    clock.now_ms -= 10 * HOUR_MS
    assert not await admitted("c")
    clock.now_ms += 30_000
    assert [await admitted("c"), await admitted("d")] == [True, False]
    clock.now_ms += 10 * HOUR_MS
    assert await admitted("d")


async def test_day_begins_anew_at_midnight_and_does_not_begin_twice(store: JobStore, clock: Clock) -> None:
    clock.now_ms = 20_000 * 24 * HOUR_MS - 1_000
    limits = Limits(tokens_per_day=100)

    async def admitted(name: str) -> bool:
        [result] = await store.reserve([replace(reservation(store, name), limits=limits)])
        return isinstance(result, Reserved)

    assert [await admitted("a"), await admitted("b")] == [True, False]
    clock.now_ms += 10_000
    assert [await admitted("b"), await admitted("c")] == [True, False]
    clock.now_ms -= 20_000
    assert not await admitted("c")
    clock.now_ms += 20_000
    assert not await admitted("c")


async def test_limit_holds_over_two_stores_at_once(url: str, clock: Clock) -> None:
    if not url.startswith("postgresql"):
        pytest.skip("SQLite has one owner")
    stores = [await open_jobs(url, now_ms=clock) for _ in range(3)]
    limits = Limits(requests_per_minute=50)
    try:
        asked = [replace(reservation(stores[0], f"j{at}"), limits=limits) for at in range(120)]
        results = await asyncio.gather(*(stores[at % 3].reserve([one]) for at, one in enumerate(asked)))
        assert sum(isinstance(result, Reserved) for [result] in results) == 50
        assert not await stores[0].check()
    finally:
        for one in stores:
            await one.close()


async def test_attempts_are_kept_with_where_they_began_and_how_they_ended(store: JobStore, clock: Clock) -> None:
    asked = replace(reservation(store), fingerprint=b"f" * 32)
    await reserved(store, asked)
    clock.now_ms += 5
    lost = replace(
        again(asked, 1), position=Position(3, 20, 90), cause=2, error="WORKER_LOST: silent", fingerprint=b"g" * 32
    )
    await store.attempt([lost])
    await store.attempt([replace(again(asked, 2), position=Position(0, 90, 400), cause=2, alone=True)])
    row = await store.get(asked.subject.job)
    assert row is not None
    assert (row.poison, row.alone, row.position, row.attempts) == (1, True, Position(0, 90, 400), 3)
    first, second, third = await store.attempts_of(asked.subject.job)
    assert (first.epoch, first.worker, first.error, first.gained) == (
        1, WORKER, "WORKER_LOST: silent", Position(0, 20, 90),
    )  # fmt: skip
    assert (first.ended_ms or 0) - first.placed_ms == 5
    assert (second.fingerprint, second.began, second.gained) == (b"g" * 32, Position(0, 20, 90), Position(0, 70, 310))
    assert (third.epoch, third.ended_ms, third.cause) == (3, None, 2)
    await ended(store, done(asked.subject.job, 3, tokens=100))
    assert (await store.attempts_of(asked.subject.job))[2].gained.output_tokens == 10


async def test_raced_attempts_both_live_and_either_may_end_the_job(store: JobStore) -> None:
    for name, epoch, worker in (("a", 1, "w1"), ("b", 2, "w2")):
        asked = reservation(store, name)
        await reserved(store, asked)
        assert await store.attempt([replace(again(asked, 1), race=True, cause=7)]) == [Reserved(2, asked.seed)]
        row = await store.get(asked.subject.job)
        assert row is not None
        assert (row.raced_epoch, row.epoch) == (1, 2)
        [wrong] = await store.complete([replace(done(asked.subject.job, epoch), worker="w3")])
        assert isinstance(wrong, Refused)
        assert (await ended(store, replace(done(asked.subject.job, epoch), worker=worker))).written
    assert not await store.check()


async def test_dead_job_leaves_a_letter_and_comes_back_as_itself(store: JobStore, clock: Clock) -> None:
    asked = reservation(store)
    job = asked.subject.job
    await reserved(store, asked)
    await store.attempt([replace(again(asked, 1), cause=2, error="WORKER_LOST: gone")])
    dead = Completion(job, 2, State.DEAD, error="POISON: it kills", reason="POISON", trace_id="ab" * 16)
    assert (await ended(store, dead)).row.held_tokens == 0
    assert await store.deposit(Deposit(job, b"the request"))
    [listed] = await store.dead_letters(LetterQuery(tenant="t"))
    assert (listed.name, listed.reason, listed.message, listed.worker) == (
        job.hex(),
        "POISON",
        "POISON: it kills",
        "w2",
    )
    assert (listed.request, listed.kept_bytes, listed.row is not None) == (b"", 11, True)
    letter = await store.dead_letter(job.hex())
    assert letter is not None
    assert (letter.request, letter.trace_id, len(letter.attempts)) == (b"the request", "ab" * 16, 2)
    [back] = await store.requeue([Requeue(job, Driver(OTHER, "g2"), WORKER, clock.now_ms + HOUR_MS)])
    assert back == Reserved(3, asked.seed)
    row = await store.get(job)
    assert row is not None
    assert (row.state, row.requeues, row.poison, row.held_tokens) == (State.RESERVED, 1, 0, 100)
    [twice] = await store.requeue([Requeue(job, Driver(OTHER, "g2"), WORKER, clock.now_ms)])
    assert isinstance(twice, Existing)
    await ended(store, replace(dead, epoch=3, error="FAILED: again", reason="ENGINE_FAILED"))
    letter = await store.dead_letter(job.hex())
    assert letter is not None
    assert (letter.reason, letter.requeues, letter.requeued_ms, letter.request) == (
        "ENGINE_FAILED", 1, clock.now_ms, b"the request",
    )  # fmt: skip
    assert await store.drop(job.hex())
    assert not await store.drop(job.hex())
    assert await store.dead_letter(job.hex()) is None
    assert not await store.check()


async def test_deposit_for_a_job_that_is_not_dead_is_not_kept(store: JobStore) -> None:
    asked = reservation(store)
    await reserved(store, asked)
    assert not await store.deposit(Deposit(asked.subject.job, b"request"))
    assert not await store.deposit(Deposit(b"x" * 16, b"request"))


async def test_frames_become_letters_of_their_own(store: JobStore, clock: Clock) -> None:
    frame = Deposit(frame=b"x" * 9_000, reason="LINK_PROTOCOL", message="no such\0 kind", peer="w7")
    assert await store.deposit(frame)
    clock.now_ms += 10
    assert await store.deposit(replace(frame, reason="MALFORMED"))
    [newest, first] = await store.dead_letters(LetterQuery())
    assert (newest.reason, first.reason, first.peer, first.message) == (
        "MALFORMED",
        "LINK_PROTOCOL",
        "w7",
        "no such kind",
    )
    letter = await store.dead_letter(first.name)
    assert letter is not None
    assert (len(letter.frame), letter.row, letter.attempts) == (4_096, None, ())
    groups = await store.analyze("reason", 0)
    assert [(group.value, group.count, group.example) for group in groups] == [
        ("LINK_PROTOCOL", 1, first.name), ("MALFORMED", 1, newest.name),
    ]  # fmt: skip
    assert [group.value for group in await store.analyze("reason", clock.now_ms)] == ["MALFORMED"]
    assert {group.by for group in await store.analyze("", 0)} == {"reason", "model", "worker", "fingerprint"}
    assert await store.analyze("tenant", 0) == []


async def test_letters_are_kept_within_limits(url: str, clock: Clock) -> None:
    store = await open_jobs(
        url, now_ms=clock, letters=LetterLimits(rows_max=3, bytes_max=5_000, one_bytes_max=10, kept_ms=HOUR_MS)
    )
    try:
        batch = [reservation(store, name) for name in "abcd"]
        await store.reserve(batch)
        await store.complete([Completion(one.subject.job, 1, State.DEAD, error="POISON: x") for one in batch])
        assert not await store.deposit(Deposit(batch[0].subject.job, b"x" * 11))
        assert await store.deposit(Deposit(batch[3].subject.job, b"x" * 10))
        assert await store.deposit(Deposit(frame=b"f" * 4_096))
        assert not await store.deposit(Deposit(frame=b"f" * 4_096))
        await store.purge(10)
        letters = await store.dead_letters(LetterQuery())
        assert len(letters) == 3
        clock.now_ms += 2 * HOUR_MS
        await store.purge(10)
        assert await store.dead_letters(LetterQuery()) == []
        assert not await store.check()
    finally:
        await store.close()


async def test_leases_hold_quota_and_pay_for_what_ran_from_them(store: JobStore, clock: Clock) -> None:
    lease = Lease(b"l" * 16, "t", "o1", 1_000, 500, clock.now_ms + 60_000, Limits(tokens_per_day=1_500))
    [leased] = await store.lease_quota([lease])
    assert isinstance(leased, Leased)
    assert (leased.open, leased.written, leased.lease.tokens) == (True, True, 1_000)
    [same] = await store.lease_quota([lease])
    assert isinstance(same, Leased)
    assert not same.written
    [over] = await store.lease_quota([replace(lease, lease=b"m" * 16)])
    assert isinstance(over, Refused)
    [account] = await store.accounts(tenant="t", after="", limit=9)
    assert (account.held_tokens, account.held_micros, account.open_jobs) == (1_000, 500, 0)
    ran = Imported(
        reservation(store, "away", keyed=False).subject, lease.lease, "w1", "g1", Position(10, 20, 80),
        Price(2, 1_000, 2_000), b"receipt", 7, clock.now_ms - 9, clock.now_ms,
    )  # fmt: skip
    first, again_ = (await store.import_jobs([ran]))[0], (await store.import_jobs([ran]))[0]
    assert (first.written, again_.written, again_.row.state) == (True, False, State.DONE)
    assert (again_.row.cost_micros, again_.row.settled) == (50, Position(10, 20, 80))
    assert not await store.check()
    [left] = await store.leases("o1")
    assert (left.tokens, left.micros) == (970, 450)
    for written in (True, False):
        [settled] = await store.settle_lease([lease.lease])
        assert isinstance(settled, Leased)
        assert (settled.open, settled.written) == (False, written)
    assert await store.leases("") == []
    [account] = await store.accounts(tenant="t", after="", limit=9)
    assert (account.held_tokens, account.settled_output, account.day_tokens) == (0, 20, 30)
    [late] = await store.import_jobs([replace(ran, subject=reservation(store, "late").subject)])
    assert late.written
    [unknown] = await store.settle_lease([b"n" * 16])
    assert isinstance(unknown, Refused)
    assert not await store.check()


async def test_leases_that_nobody_returns_come_back_by_themselves(store: JobStore, clock: Clock) -> None:
    await store.lease_quota([Lease(b"l" * 16, "t", "o1", 1_000, 500, clock.now_ms + 60_000)])
    await store.purge(9)
    assert len(await store.leases("o1")) == 1
    clock.now_ms += HOUR_MS
    await store.purge(9)
    assert await store.leases("o1") == []
    clock.now_ms += 50 * HOUR_MS
    await store.purge(9)
    assert not await store.check()
    [account] = await store.accounts(tenant="", after="", limit=9)
    assert account.held_tokens == 0


async def test_outbox_gives_each_usage_until_it_is_taken(url: str, clock: Clock) -> None:
    store = await open_jobs(url, now_ms=clock, outbox=True)
    try:
        names = [reservation(store, name) for name in "abc"]
        await store.reserve(names)
        await store.complete([done(one.subject.job) for one in names])
        rows = await store.outbox(0, 2)
        assert [row.position for row in rows] == [Position(10, 7, 30)] * 2
        await store.outbox_done([rows[1].number])
        left = await store.outbox(0, 9)
        assert [row.number for row in left] == [rows[0].number, left[-1].number]
        assert len(await store.outbox(rows[0].number, 9)) == 1
        hour = clock.now_ms // HOUR_MS
        before = await store.usage_hour(hour)
        clock.now_ms += 25 * HOUR_MS
        await store.purge(9)
        assert [row.number for row in await store.outbox(0, 9)] == [row.number for row in left]
        [after] = await store.usage_hour(hour)
        assert [after] == list(before)
        assert (after.position, after.model) == (Position(30, 21, 90), "demo")
        assert not await store.check()
    finally:
        await store.close()


async def test_fenced_store_refuses_writes_and_owners(url: str, clock: Clock) -> None:
    store, other = await open_jobs(url, now_ms=clock), await open_jobs(url, now_ms=clock)
    try:
        await reserved(store, reservation(store))
        assert await other.fence() == store.generation + 1
        for one in (store, other):
            with pytest.raises(TetherError) as caught:
                await one.reserve([reservation(store, "b")])
            assert caught.value.reason is Reason.STORE_UNUSABLE
        assert len(await store.list(tenant="", state=None, before=0, limit=9)) == 1
    finally:
        await store.close()
        await other.close()
    with pytest.raises(TetherError) as caught:
        await open_jobs(url)
    assert caught.value.reason is Reason.STORE_UNUSABLE
    generation = await promote_jobs(url)
    store = await open_jobs(url, generation_min=generation)
    await reserved(store, reservation(store, "b"))
    await store.close()
    with pytest.raises(TetherError):
        await open_jobs(url, generation_min=generation + 1)


async def test_end_of_more_than_the_job_may_use_is_refused_and_bills_nothing(store: JobStore) -> None:
    await store.reserve([reservation(store, "much")])
    job = store.job_id("t", "much", "")
    for outcome in (State.DONE, State.CANCELLED):
        [refused] = await store.complete([replace(done(job, tokens=101), outcome=outcome)])
        assert isinstance(refused, Refused)
        assert refused.error.reason is Reason.INVALID_FIELD
    assert not await store.check()
    [settled] = await store.complete([done(job, tokens=100)])
    assert settled.row.settled.output_tokens == 100


async def test_row_changed_by_hand_is_found_and_named(store: JobStore, url: str, server_sql: Sql) -> None:
    await store.reserve([replace(reservation(store, name, tenant="acme"), price=Price(1, 5, 5)) for name in "ab"])
    await store.complete([done(store.job_id("acme", "a", ""))])
    assert not await store.check()
    for statement, words in (
        ("UPDATE accounts SET held_tokens = held_tokens + 1", "held of the account"),
        ("UPDATE accounts SET settled_micros = settled_micros - 1", "settled spend of the account"),
        ("UPDATE jobs SET held_tokens = 7 WHERE state = 1", "what a job holds"),
        ("UPDATE ledger SET settled = settled + 1 WHERE kind = 3", "what a job settled"),
        ("UPDATE usage SET output_tokens = 1", "settled output of the account"),
        ("DELETE FROM outcomes", "outcome is missing"),
        ("UPDATE jobs SET price_output = 9000 WHERE state = 2", "cost differs from its price"),
        ("UPDATE jobs SET price_version = 0 WHERE state = 2", "cost differs from its price"),
        ("UPDATE jobs SET limit_tokens = 1 WHERE state = 2", "more output than it may use"),
        ("UPDATE ledger SET tenant = 'zebra' WHERE kind = 3", "another tenant than its ledger"),
        ("UPDATE usage SET tenant = 'zebra'", "settled output of the account"),
        ("UPDATE accounts SET open_jobs = 5", "open jobs of the account"),
    ):
        undo = server_sql(url, statement)
        found = await store.verify_quotas("acme")
        assert any(words in one for one in found.violations), (statement, found)
        assert not (await store.verify_quotas("other")).violations
        undo()


async def test_store_moves_whole_to_another(store: JobStore, url: str, tmp_path: Path, other_url: str) -> None:
    await store.reserve([reservation(store, name, tenant=tenant) for name in "abc" for tenant in "tu"])
    await store.complete([done(store.job_id("t", "a", ""))])
    await store.deposit(Deposit(frame=b"frame", reason="MALFORMED"))
    before = await store.get(store.job_id("t", "a", ""))
    await export_jobs(url, tmp_path / "out.jsonl")
    assert (await import_jobs(other_url, tmp_path / "out.jsonl")).rows["jobs"] == 6
    assert not (await import_jobs(other_url, tmp_path / "out.jsonl")).written
    assert not (await check_jobs(other_url)).violations
    other = await open_jobs(other_url)
    try:
        assert other.store_id == store.store_id
        assert await other.get(store.job_id("t", "a", "")) == before
        await reserved(other, reservation(other, "new"))
        with pytest.raises(TetherError) as caught:
            await import_jobs(url, await changed(tmp_path))
        assert caught.value.reason is Reason.STORE_CORRUPT
    finally:
        await other.close()


async def changed(folder: Path) -> Path:
    """The export with one digit of one row changed."""
    lines = (folder / "out.jsonl").read_text().splitlines(keepends=True)
    at = next(at for at, line in enumerate(lines) if line.startswith("[") and '"demo"' in line)
    lines[at] = lines[at].replace('"demo"', '"dime"')
    (folder / "changed.jsonl").write_text("".join(lines))
    return folder / "changed.jsonl"


STEPS = (
    "reserve", "reserve", "reserve", "attempt", "complete", "complete", "complete", "expire", "purge", "reopen", "wait",
    "lease", "settle", "import", "requeue", "deposit",
)  # fmt: skip


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_books_agree_after_every_step_and_every_reopen(reopen: Open, clock: Clock, seed: int) -> None:
    rng, store, steps = random.Random(seed), await reopen(), []
    for _ in range(150):
        step = rng.choice(STEPS)
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
        case "lease" | "settle" | "import":
            await random_lease(step, rng, store, clock)
        case "requeue":
            driver = Driver(OTHER, "g2")
            await store.requeue(
                [Requeue(one.subject.job, driver, WORKER, one.deadline_ms, one.limits) for one in asked]
            )
        case "deposit":
            await store.deposit(Deposit(asked[0].subject.job, b"request"))
        case "expire":
            await store.expire(rng.randint(1, 5))
        case "purge":
            await store.purge(rng.randint(1, 5))
        case "reopen":
            return await reopen()
        case _:
            clock.now_ms += rng.choice((1_000, HOUR_MS, 25 * HOUR_MS, -500, -2 * HOUR_MS))
    return store


async def random_lease(step: str, rng: random.Random, store: JobStore, clock: Clock) -> None:
    number = rng.randint(0, 5)
    lease, tenant = bytes([number] * 16), "tuv"[number % 3]
    if step == "lease":
        limits = Limits(tokens_per_day=rng.choice((0, 3_000)))
        await store.lease_quota([Lease(lease, tenant, "o1", 500, 40, clock.now_ms + 90_000, limits)])
    elif step == "settle":
        await store.settle_lease([lease])
    else:
        subject = reservation(store, f"away-{rng.randint(0, 20)}", tenant=tenant, keyed=False).subject
        used = Position(rng.choice((0, 10)), rng.randint(0, 90), 200)
        await store.import_jobs(
            [Imported(subject, lease, "w1", "g1", used, Price(2, 700, 900), b"r", 1, 5, clock.now_ms)]
        )


def random_reservation(rng: random.Random, store: JobStore, clock: Clock) -> Reservation:
    name, tenant = rng.choice("abcdefgh"), rng.choice("tuv")
    body = "" if rng.random() < 0.9 else "else"
    asked = reservation(store, name, tenant=tenant, keyed=name < "g", body=body)
    limits = Limits(rng.choice((0, 5)), rng.choice((0, 900)), rng.choice((0, 2_000)), rng.choice((0, 3)), 0)
    price = rng.choice((Price(), Price(1, 333, 777), Price(2, 5_000, 9)))
    deadline_ms = clock.now_ms + rng.choice((1, 60_000, HOUR_MS))
    return replace(asked, deadline_ms=deadline_ms, limits=limits, price=price)


def random_completion(rng: random.Random, job: bytes) -> Completion:
    outcome = rng.choice((State.DONE, State.FAILED, State.CANCELLED, State.ABANDONED, State.ABANDONED, State.DEAD))
    used = Position(rng.choice((0, 10)), rng.randint(0, 90), rng.randint(0, 400))
    return Completion(job, rng.randint(0, 3), outcome, used, b"receipt", b"answer")
