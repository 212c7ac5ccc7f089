"""The job store's SQLite file: what an older Tether left, what a full disk and a damaged file do."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tether.errors import Reason, TetherError
from tether.job.hold import Position
from tether.job.quota import Limits
from tether.job.state import State
from tether.store import open_jobs
from tether.store.jobs import Completion, Driver, Existing, JobStore, Reservation, Reserved, Subject, Worker
from tether.store.jobs_sqlite import SqliteJobStore
from tether.store.manage import check_jobs, facts, import_jobs, migrate_jobs
from tether.store.migrate import apply, load, undo

NOW_MS = 1_700_000_000_000
OLD = """
INSERT INTO meta VALUES ('store_id', x'00112233445566778899aabbccddeeff'), ('job_secret', zeroblob(32));
INSERT INTO jobs (job, tenant, correlation_id, retry_token, keyed, request_hash, state, epoch, after_epoch, attempts,
  session, driver, worker, worker_incarnation, worker_address, model, version, digest, header, seed, limit_tokens,
  held_tokens, settled_input, settled_output, settled_bytes, entries, created_ms, deadline_ms, ended_ms, error) VALUES
  (x'01', 't', 'a', '', 1, x'aa', 1, 1, 0, 1, x'05', 'g', 'w', 1, 'h:1', 'demo', '1.0', x'dd', x'', 1, 100,
   100, 0, 0, 0, 1, 1700000000000, 1800000000000, NULL, ''),
  (x'02', 't', 'b', '', 1, x'bb', 2, 1, 0, 1, x'05', 'g', 'w', 1, 'h:1', 'demo', '1.0', x'dd', x'', 1, 100,
   0, 10, 20, 80, 3, 1700000000000, 1800000000000, 1700000005000, '');
INSERT INTO outcomes VALUES (x'02', x'11', NULL);
INSERT INTO ledger VALUES (x'01', 0, 't', 1, 1, 100, 0, 1), (x'02', 0, 't', 1, 1, 100, 0, 1),
  (x'02', 1, 't', 1, 2, -100, 0, 1), (x'02', 2, 't', 1, 3, 0, 30, 1);
INSERT INTO usage (tenant, job, epoch, model, version, input_tokens, output_tokens, output_bytes, at_ms)
  VALUES ('t', x'02', 1, 'demo', '1.0', 10, 20, 80, 1700000005000);
INSERT INTO usage_hours VALUES ('t', 400000, 'demo', '1.0', 5, 6, 7);
INSERT INTO accounts VALUES ('t', 100, 15, 26);
"""


def reservation(store: JobStore, name: str) -> Reservation:
    subject = Subject(
        store.job_id("t", name, ""), "t", name, "", True, b"r" * 32, "demo", "1.0", b"d" * 32, b"header", 100
    )
    return Reservation(subject, Driver(b"s" * 16, "g"), Worker("w", 1, "h:1"), 7, 1 << 45)


def old_store(path: Path) -> None:
    """A store as the first schema left it."""
    connection = sqlite3.connect(path, isolation_level=None)
    apply(connection, load("sqlite", "jobs")[:1])
    connection.executescript(OLD)
    connection.close()


async def test_accounts_are_read_again_once_another_wrote_them(tmp_path: Path) -> None:
    one, other = [await open_jobs(tmp_path / "jobs.db") for _ in range(2)]
    try:
        for at in range(6):
            [result] = await (one, other)[at % 2].reserve(
                [replace(reservation(one, f"j{at}"), limits=Limits(0, 0, 0, 5))]
            )
            assert isinstance(result, Reserved) is (at < 5)
        [account] = await one.accounts(tenant="t", after="", limit=1)
        assert (account.open_jobs, account.held_tokens) == (5, 500)
        assert not await one.check()
    finally:
        await one.close()
        await other.close()


async def test_accounts_stay_right_when_a_group_is_rolled_back(tmp_path: Path) -> None:
    store = await open_jobs(tmp_path / "jobs.db")
    try:
        await store.reserve([reservation(store, "first")])
        good = [reservation(store, f"g{at}") for at in range(3)]
        wrong = replace(reservation(store, "bad"), seed=1 << 70)
        asked = [store.reserve([one]) for one in (good[0], wrong, *good[1:])]
        results = await asyncio.gather(*asked, store.renew([]), return_exceptions=True)
        assert [isinstance(result, TetherError) for result in results] == [False, True, False, False, False]
        repeated = await asyncio.gather(*(store.reserve([one]) for one in (*good, reservation(store, "new"))))
        assert [type(result) for [result] in repeated] == [Existing, Existing, Existing, Reserved]
        [account] = await store.accounts(tenant="t", after="", limit=1)
        assert (account.open_jobs, account.held_tokens) == (5, 500)
        assert not await store.check()
    finally:
        await store.close()


async def test_store_of_the_first_schema_comes_along_with_its_books(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    old_store(path)
    store = await open_jobs(path, now_ms=lambda: NOW_MS + 10_000)
    try:
        assert not await store.check()
        row = await store.get(b"\x01")
        assert row is not None
        assert (row.state, row.held_tokens, row.placed_ms, row.price.version) == (State.RESERVED, 100, NOW_MS, 0)
        await store.complete([Completion(b"\x01", 1, State.DONE, Position(1, 2, 3), b"r")])
        assert not await store.check()
        assert await store.purge(9) == 0
        [hour] = await store.usage_hour(400_000)
        assert hour.position == Position(5, 6, 7)
        assert store.store_id.hex() == "00112233445566778899aabbccddeeff"
    finally:
        await store.close()
    assert (await check_jobs(path)).violations == ()


def test_newer_schemas_can_be_undone_and_applied_again(tmp_path: Path) -> None:
    path, schemas = tmp_path / "jobs.db", load("sqlite", "jobs")
    old_store(path)
    connection = sqlite3.connect(path, isolation_level=None)
    before = "\n".join(connection.iterdump())
    assert apply(connection, schemas) == ["0002", "0003"]
    assert undo(connection, schemas[1:]) == ["0003", "0002"]
    after = "\n".join(connection.iterdump())
    assert sorted(line for line in before.splitlines() if line.startswith("INSERT")) == sorted(
        line for line in after.splitlines() if line.startswith("INSERT")
    )
    assert apply(connection, schemas) == ["0002", "0003"]
    connection.close()


async def test_full_disk_while_settling_writes_nothing_and_recovers(tmp_path: Path) -> None:
    store = await SqliteJobStore.open(tmp_path / "jobs.db", lambda: NOW_MS)
    try:
        asked = [reservation(store, f"j{at}") for at in range(40)]
        await store.reserve(asked)
        ends = [
            Completion(one.subject.job, 1, State.DONE, Position(1, 2, 3), b"r", os.urandom(200_000)) for one in asked
        ]
        executor = store._database._database  # type: ignore[attr-defined]
        pages = await executor.write(lambda c: c.execute("PRAGMA page_count").fetchone()[0])
        await executor.write(lambda c: c.execute(f"PRAGMA max_page_count = {pages + 60}").fetchone())
        with pytest.raises(TetherError) as caught:
            await store.complete(ends)
        assert caught.value.reason is Reason.STORE_UNAVAILABLE
        assert not await store.check()
        row = await store.get(asked[0].subject.job)
        assert row is not None
        assert row.state is State.RESERVED
        await executor.write(lambda c: c.execute("PRAGMA max_page_count = 1000000").fetchone())
        assert all(result.written for result in await store.complete(ends))
        assert not await store.check()
    finally:
        await store.close()


@pytest.mark.parametrize("at", [0, 40, 5_000])
async def test_damaged_file_is_said(tmp_path: Path, at: int) -> None:
    path = tmp_path / "jobs.db"
    store = await open_jobs(path)
    await store.reserve([reservation(store, f"j{number}") for number in range(200)])
    await store.close()
    raw = bytearray(path.read_bytes())
    raw[at : at + 20_000] = os.urandom(20_000)
    path.write_bytes(raw)
    assert any("damaged" in one for one in await found_in(path))


async def found_in(path: Path) -> tuple[str, ...]:
    """What a check finds, or what it says where the file cannot be read at all."""
    try:
        return (await check_jobs(path)).violations
    except TetherError as error:
        return (error.message,) if error.reason is Reason.STORE_CORRUPT else ()


async def test_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    await migrate_jobs(path)
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO schema_migrations VALUES ('9999')")
    connection.commit()
    connection.close()
    with pytest.raises(TetherError) as caught:
        await open_jobs(path)
    assert caught.value.reason is Reason.STORE_UNUSABLE


async def test_store_that_is_not_there_is_not_made_by_looking(tmp_path: Path) -> None:
    for work in (facts, check_jobs):
        with pytest.raises(TetherError) as caught:
            await work(tmp_path / "none.db")
        assert caught.value.reason is Reason.STORE_UNUSABLE
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize("text", ["", "no json\n", '{"kind": "other"}\n', '{"kind": "tether-jobs", "format": 1}\n'])
async def test_import_of_what_is_no_export_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text(text)
    with pytest.raises(TetherError) as caught:
        await import_jobs(tmp_path / "new.db", file)
    assert caught.value.reason in {Reason.STORE_CORRUPT, Reason.STORE_UNUSABLE}
    assert (await facts(tmp_path / "new.db")).store_id == b""


WRITER = """
import asyncio, sys
sys.path.insert(0, sys.argv[2])
from test_jobs_sqlite import open_jobs, reservation
async def main():
    store = await open_jobs(sys.argv[1])
    at = 0
    while True:
        at += 1
        asked = [reservation(store, f"{at}-{n}") for n in range(8)]
        await asyncio.gather(*(store.reserve([one]) for one in asked))
        print(*(one.subject.job.hex() for one in asked), flush=True)
asyncio.run(main())
"""


async def test_acknowledged_reservations_survive_a_killed_owner(tmp_path: Path) -> None:
    path, told = tmp_path / "jobs.db", []
    for _ in range(3):
        command = [sys.executable, "-c", WRITER, str(path), str(Path(__file__).parent)]
        told += await asyncio.to_thread(killed_while_writing, command)
        assert (await check_jobs(path)).violations == ()
    store = await open_jobs(path)
    try:
        assert len(told) >= 3 * 40
        missing = [job for job in told if await store.get(bytes.fromhex(job)) is None]
        assert missing == []
    finally:
        await store.close()


def killed_while_writing(command: list[str]) -> list[str]:
    """What a writer said was durable before it was killed."""
    told: list[str] = []
    until_s = time.monotonic() + 60
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while len(told) < 40 and time.monotonic() < until_s and process.stdout is not None:
            told += process.stdout.readline().split()
        process.send_signal(signal.SIGKILL)
    return told
