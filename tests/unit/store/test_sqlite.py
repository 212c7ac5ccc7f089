"""The executor: durable before it answers, grouped when busy, one caller's mistake is its own."""

import asyncio
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from tether.errors import Reason, TetherError
from tether.store.migrate import Migration
from tether.store.sqlite import Sqlite

TABLE = Migration("0001", "items", ("CREATE TABLE items (name TEXT PRIMARY KEY, n INTEGER CHECK (n < 100))",), ())


class Insert:
    """Remembers how its batches came."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, connection: sqlite3.Connection, items: Sequence[tuple[str, int]]) -> list[str]:
        self.batches.append(len(items))
        connection.executemany("INSERT INTO items VALUES (?, ?)", items)
        return [name for name, _n in items]


def count(connection: sqlite3.Connection) -> int:
    return connection.execute("SELECT count(*) FROM items").fetchone()[0]


async def open_at(path: Path) -> Sqlite:
    return await Sqlite.open(path / "items.db", [TABLE])


async def test_batch_is_there_after_reopen(tmp_path: Path) -> None:
    database = await open_at(tmp_path)
    assert await database.batch(Insert(), [("a", 1), ("b", 2)]) == ["a", "b"]
    await database.close()
    database = await open_at(tmp_path)
    assert await database.read(count) == 2
    await database.close()


async def test_batch_of_callers_that_wait_together_is_one(tmp_path: Path) -> None:
    database, insert = await open_at(tmp_path), Insert()
    results = await asyncio.gather(*(database.batch(insert, [(f"n{n}", n)]) for n in range(64)))
    assert results == [[f"n{n}"] for n in range(64)]
    assert insert.batches == [64]
    await database.close()


async def test_batch_of_callers_that_come_while_busy_is_the_next(tmp_path: Path) -> None:
    database, insert = await open_at(tmp_path), Insert()
    first = asyncio.create_task(database.batch(insert, [("first", 0)]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    rest = [asyncio.create_task(database.batch(insert, [(f"n{n}", n)])) for n in range(8)]
    await asyncio.gather(first, *rest)
    assert insert.batches == [1, 8]
    await database.close()


async def test_batch_with_one_bad_caller_fails_it_alone(tmp_path: Path) -> None:
    database, insert = await open_at(tmp_path), Insert()
    names = [("a", 1), ("b", 100), ("c", 3)]
    results = await asyncio.gather(*(database.batch(insert, [name]) for name in names), return_exceptions=True)
    assert results[0] == ["a"]
    assert results[2] == ["c"]
    assert isinstance(results[1], TetherError)
    assert results[1].reason is Reason.INTERNAL
    assert await database.read(count) == 2
    await database.close()


async def test_write_that_raises_leaves_nothing(tmp_path: Path) -> None:
    database = await open_at(tmp_path)

    def work(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO items VALUES ('a', 1)")
        raise TetherError(Reason.JOB_CONFLICT, "no")

    with pytest.raises(TetherError, match="JOB_CONFLICT"):
        await database.write(work)
    assert await database.read(count) == 0
    await database.close()


async def test_caller_that_gave_up_before_its_turn_writes_nothing(tmp_path: Path) -> None:
    database, insert = await open_at(tmp_path), Insert()
    task = asyncio.create_task(database.batch(insert, [("a", 1)]))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await database.read(count) == 0
    await database.close()


@pytest.mark.parametrize("kind", ["read", "browse"])
async def test_read_does_not_wait_for_the_writer(tmp_path: Path, kind: str) -> None:
    database, insert = await open_at(tmp_path), Insert()
    await database.batch(insert, [("a", 1)])
    writing, go_on = threading.Event(), threading.Event()

    def work(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO items VALUES ('b', 1)")
        writing.set()
        assert go_on.wait(5)

    task = asyncio.create_task(database.write(work))
    await asyncio.to_thread(writing.wait, 5)
    read = getattr(database, kind)
    assert await read(count) == 1
    go_on.set()
    await task
    assert await read(count) == 2
    await database.close()


async def test_browse_may_not_write(tmp_path: Path) -> None:
    database = await open_at(tmp_path)
    with pytest.raises(TetherError, match="read-only"):
        await database.browse(lambda connection: connection.execute("DELETE FROM items").fetchall())
    await database.close()


async def test_browse_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tether.store.reader.READ_S_MAX", 0.05)
    database = await open_at(tmp_path)
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
    with pytest.raises(TetherError, match="too long"):
        await database.browse(lambda connection: connection.execute(endless).fetchall())
    await database.close()


async def test_close_finishes_what_was_submitted_and_refuses_more(tmp_path: Path) -> None:
    database, insert = await open_at(tmp_path), Insert()
    task = asyncio.create_task(database.batch(insert, [("a", 1)]))
    await asyncio.sleep(0)
    await database.close()
    assert await task == ["a"]
    with pytest.raises(TetherError, match="closed"):
        await database.batch(insert, [("b", 1)])
    await database.close()


async def test_waiting_over_the_limit_is_refused_at_once(tmp_path: Path) -> None:
    database, insert = await open_at(tmp_path), Insert()
    many = [(f"n{n}", 1) for n in range(16_384)]
    first = asyncio.create_task(database.batch(insert, many))
    await asyncio.sleep(0)
    with pytest.raises(TetherError, match="many writes"):
        await database.batch(insert, [("late", 1)])
    assert len(await first) == 16_384
    await database.close()


async def test_open_of_a_file_that_is_no_database_says_so(tmp_path: Path) -> None:
    (tmp_path / "items.db").write_bytes(b"nothing like a database" * 100)
    with pytest.raises(TetherError, match="damaged") as caught:
        await open_at(tmp_path)
    assert caught.value.reason is Reason.STORE_CORRUPT


async def test_open_in_a_folder_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(TetherError, match="cannot be opened"):
        await open_at(tmp_path / "gone")


async def test_write_to_a_full_disk_says_so_and_recovers(tmp_path: Path) -> None:
    database, insert = await open_at(tmp_path), Insert()
    await database.write(lambda connection: connection.execute("PRAGMA max_page_count = 8").fetchall())
    big = [("x" * 4000 + str(n), 1) for n in range(100)]
    with pytest.raises(TetherError, match="full") as caught:
        await database.batch(insert, big)
    assert caught.value.reason is Reason.STORE_UNAVAILABLE
    await database.write(lambda connection: connection.execute("PRAGMA max_page_count = 10000").fetchall())
    assert len(await database.batch(insert, big)) == 100
    await database.close()


async def test_write_to_a_read_only_store_says_so(tmp_path: Path) -> None:
    database = await open_at(tmp_path)
    await database.write(lambda connection: connection.execute("PRAGMA query_only = 1").fetchall())
    with pytest.raises(TetherError, match="read-only"):
        await database.batch(Insert(), [("a", 1)])
    await database.close()
