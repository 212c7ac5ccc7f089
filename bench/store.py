"""What does a reservation cost? 64 callers against the job store, beside the same statements in a bare loop.

Targets: at most 30 µs CPU each with its caller; at least 0.6 times the bare loop at equal group size; one hot tenant at
least 0.8 times many. The disk's fdatasync stands beside it, since a commit can't be faster.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sqlite3
import tempfile
import time
from pathlib import Path

from _common import save, spread, table

from tether.job.hold import Position
from tether.job.state import State
from tether.store import jobs_write
from tether.store.jobs import Completion, Driver, Reservation, Subject, Worker
from tether.store.jobs_sqlite import SqliteJobStore
from tether.store.migrate import apply, load
from tether.store.sqlite import PRAGMAS

HEADER = b"h" * 120  # a header with parameters is about so long


def reservation(number: int, tenants: int) -> Reservation:
    """A new job of one of `tenants`."""
    subject = Subject(
        number.to_bytes(16, "little"), f"tenant-{number % tenants}", f"correlation-{number}", "", True, b"r" * 32,
        "demo", "1.0", b"d" * 32, HEADER, 512,
    )  # fmt: skip
    worker = Worker("w" * 52, 1, "127.0.0.1:9000")
    return Reservation(subject, Driver(b"s" * 16, "g" * 52), worker, number, 1 << 41)


def disk(folder: Path, rounds: int) -> dict[str, float]:
    """fdatasync after 4 KiB appended, milliseconds."""
    times = []
    handle = os.open(folder / "probe", os.O_CREAT | os.O_WRONLY)
    try:
        for _ in range(rounds):
            os.write(handle, b"x" * 4096)
            begin = time.perf_counter()
            os.fdatasync(handle)
            times.append((time.perf_counter() - begin) * 1e3)
    finally:
        os.close(handle)
    return spread(times)


def bare(folder: Path, count: int, group: int, tenants: int) -> float:
    """Reservations a second of the same statements without threads, futures or callers."""
    connection = sqlite3.connect(folder / "bare.db", isolation_level=None)
    for pragma in PRAGMAS:
        connection.execute(pragma)
    apply(connection, load("sqlite", "jobs"))
    batches = [
        [reservation(number, tenants) for number in range(start, start + group)] for start in range(0, count, group)
    ]
    begin = time.perf_counter()
    for batch in batches:
        connection.execute("BEGIN IMMEDIATE")
        jobs_write.reserve(connection, batch, 1)
        connection.execute("COMMIT")
    took_s = time.perf_counter() - begin
    connection.close()
    return count / took_s


async def store(folder: Path, count: int, callers: int, tenants: int) -> dict[str, float]:
    """Reservations through the store by `callers` at a time."""
    jobs = await SqliteJobStore.open(folder / f"jobs-{callers}-{tenants}.db")
    numbers, times = iter(range(count)), []
    made = [reservation(number, tenants) for number in range(count)]

    async def caller() -> None:
        for number in numbers:
            begin = time.perf_counter()
            await jobs.reserve([made[number]])
            times.append((time.perf_counter() - begin) * 1e3)

    begin, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(caller() for _ in range(callers)))
    took_s, cpu_s = time.perf_counter() - begin, time.process_time() - cpu
    figures = {"per_s": count / took_s, "cpu_us": cpu_s / count * 1e6, **spread(times)}
    if callers == 1:
        figures["complete_cpu_us"] = await completions(jobs, count)
    await jobs.close()
    return figures


async def completions(jobs: SqliteJobStore, count: int) -> float:
    """CPU µs of an outcome with receipt and answer, 64 at a time."""
    ends = [
        Completion(number.to_bytes(16, "little"), 1, State.DONE, Position(10, 20, 80), b"r" * 900, b"a" * 100)
        for number in range(count)
    ]
    cpu = time.process_time()
    for start in range(0, count, 64):
        await asyncio.gather(*(jobs.complete([end]) for end in ends[start : start + 64]))
    return (time.process_time() - cpu) / count * 1e6


async def run(folder: Path, count: int) -> None:
    """Print and keep the figures."""
    synced = disk(folder, 200)
    rows = []
    for callers, tenants in ((1, 64), (64, 64), (64, 1)):
        figures = await store(folder, count if callers > 1 else count // 8, callers, tenants)
        rows.append({"callers": callers, "tenants": tenants, **figures})
    per_s = bare(folder, count, 64, 64)
    table("fdatasync of the disk, ms", [synced])
    shown = [{key: row[key] for key in ("callers", "tenants", "per_s", "cpu_us", "p50", "p99")} for row in rows]
    table("reservations (p50 and p99 in ms)", shown)
    ratios = {"store / bare": rows[1]["per_s"] / per_s, "hot / many": rows[2]["per_s"] / rows[1]["per_s"]}
    table("bare loop, groups of 64", [{"per_s": per_s, **ratios, "complete_cpu_us": rows[0]["complete_cpu_us"]}])
    save("store", {"fdatasync_ms": synced, "reserve": rows, "bare_per_s": per_s, "ratios": ratios})


def main() -> None:
    """Run in a temporary folder on the disk of `--folder`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=16_384)
    parser.add_argument("--folder", type=Path, default=Path.cwd())
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="bench-store-") as folder:
        asyncio.run(run(Path(folder), options.count))


if __name__ == "__main__":
    main()
