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
from statistics import median

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


async def one_round(folder: Path, count: int) -> dict[str, dict[str, float]]:
    """All variants once, one after the other, so that they meet the same machine."""
    return {
        "1 caller": await store(folder, count // 8, 1, 64),
        "64 callers, 64 tenants": await store(folder, count, 64, 64),
        "64 callers, 1 tenant": await store(folder, count, 64, 1),
        "bare loop, groups of 64": {"per_s": bare(folder, count, 64, 64)},
    }


def middle(rounds: list[dict[str, dict[str, float]]], variant: str, figure: str) -> float | None:
    """Median over rounds of a figure of a variant; None where it has none."""
    values = [one[variant][figure] for one in rounds if figure in one[variant]]
    return median(values) if values else None


async def run(folder: Path, count: int, rounds_count: int) -> None:
    """Print and keep medians over rounds."""
    synced = disk(folder, 200)
    rounds = [await one_round(folder / str(number), count) for number in range(rounds_count)]
    figures = ("per_s", "cpu_us", "p50", "p95", "p99")
    rows = [{"variant": variant, **{name: middle(rounds, variant, name) for name in figures}} for variant in rounds[0]]
    many, hot, loop = "64 callers, 64 tenants", "64 callers, 1 tenant", "bare loop, groups of 64"
    ratios = {
        "store / bare loop": median(one[many]["per_s"] / one[loop]["per_s"] for one in rounds),
        "hot / many tenants": median(one[hot]["per_s"] / one[many]["per_s"] for one in rounds),
        "outcome, cpu_us": middle(rounds, "1 caller", "complete_cpu_us"),
    }
    table("fdatasync of the disk, ms", [synced])
    table(f"reservations, medians of {rounds_count} rounds (p50, p95, p99 in ms; cpu_us with the caller)", rows)
    table("ratios within a round, medians", [ratios])
    save("store", {"fdatasync_ms": synced, "reserve": rows, "ratios": ratios, "rounds": rounds})


def main() -> None:
    """Run in a temporary folder on the disk of `--folder`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=8_192)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path.cwd())
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="bench-store-") as folder:
        for number in range(options.rounds):
            (Path(folder) / str(number)).mkdir()
        asyncio.run(run(Path(folder), options.count, options.rounds))


if __name__ == "__main__":
    main()
