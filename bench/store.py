"""What does a reservation cost? 64 callers against the job store, beside the same statements in a bare loop.

Both stores: SQLite in this process, and a real PostgreSQL that the bench starts. Targets: on SQLite at most 30 µs CPU
each with its caller; at least 0.6 times the bare loop at equal group size; one hot tenant at least 0.8 times many. The
disk's fdatasync stands beside it, since a commit can't be faster. A tenant's limits are set and never reached.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sqlite3
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import asyncpg
from _common import save, spread, table

from tether.job.hold import Position
from tether.job.price import Price
from tether.job.quota import Limits
from tether.job.state import State
from tether.store import jobs_write, open_jobs
from tether.store.jobs import Completion, Driver, JobStore, Reservation, Subject, Worker
from tether.store.migrate import apply, load
from tether.store.postgres_run import run as run_postgres
from tether.store.sqlite import PRAGMAS
from tether.store.sqlite_run import Writer
from tether.store.sqlite_run import run as run_sqlite
from tether.testing.postgres import PostgresServer, binaries

if TYPE_CHECKING:
    from collections.abc import Callable

HEADER = b"h" * 120  # a header with parameters is about so long
LIMITS = Limits(10**9, 10**12, 10**15, 10**9, 10**15)  # all are counted, none is reached
PRICE = Price(1, 500, 1_500)
GROUP = 64


def reservation(number: int, tenants: int) -> Reservation:
    """A new job of one of `tenants`."""
    subject = Subject(
        number.to_bytes(16, "little"), f"tenant-{number % tenants}", f"correlation-{number}", "", True, b"r" * 32,
        "demo", "1.0", b"d" * 32, HEADER, 512,
    )  # fmt: skip
    worker = Worker("w" * 52, 1, "127.0.0.1:9000")
    return Reservation(subject, Driver(b"s" * 16, "g" * 52), worker, number, 1 << 41, LIMITS, PRICE)


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


def batches(count: int, tenants: int) -> list[list[Reservation]]:
    """New jobs in groups."""
    return [[reservation(number, tenants) for number in range(at, at + GROUP)] for at in range(0, count, GROUP)]


def bare_sqlite(folder: Path, count: int, tenants: int) -> float:
    """Reservations a second of the same statements without threads, futures or callers."""
    connection = sqlite3.connect(folder / "bare.db", isolation_level=None, factory=Writer)
    for pragma in PRAGMAS:
        connection.execute(pragma)
    apply(connection, load("sqlite", "jobs"))
    groups = batches(count, tenants)
    begin = time.perf_counter()
    for batch in groups:
        connection.execute("BEGIN IMMEDIATE")
        run_sqlite(connection, jobs_write.reserve(batch), 1)
        connection.execute("COMMIT")
    took_s = time.perf_counter() - begin
    connection.close()
    return count / took_s


async def bare_postgres(url: str, count: int, tenants: int) -> float:
    """The same on PostgreSQL, over one connection."""
    await (await open_jobs(url)).close()
    connection = await asyncpg.connect(url)
    groups = batches(count, tenants)
    begin = time.perf_counter()
    for batch in groups:
        await connection.execute("BEGIN")
        await run_postgres(connection, jobs_write.reserve(batch), None)
        await connection.execute("COMMIT")
    took_s = time.perf_counter() - begin
    await connection.close()
    return count / took_s


def server_cpu_s(server: PostgresServer | None) -> float:
    """CPU that a server's processes took so far, seconds; 0 for none."""
    pid = server.pid if server is not None else None
    if pid is None:
        return 0.0
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    found = 0
    for one in (str(pid), *children):
        with contextlib.suppress(FileNotFoundError):  # it ended meanwhile
            found += int(Path(f"/proc/{one}/schedstat").read_text().split()[0])
    return found / 1e9


async def store(url: str, count: int, callers: int, tenants: int, server: PostgresServer | None) -> dict[str, float]:
    """Reservations through the store by `callers` at a time."""
    jobs = await open_jobs(url)
    numbers, times = iter(range(count)), []
    made = [reservation(number, tenants) for number in range(count)]

    async def caller() -> None:
        for number in numbers:
            begin = time.perf_counter()
            await jobs.reserve([made[number]])
            times.append((time.perf_counter() - begin) * 1e3)

    begin, cpu, server_s = time.perf_counter(), time.process_time(), server_cpu_s(server)
    await asyncio.gather(*(caller() for _ in range(callers)))
    took_s, cpu_s, server_s = time.perf_counter() - begin, time.process_time() - cpu, server_cpu_s(server) - server_s
    figures = {"per_s": count / took_s, "cpu_us": cpu_s / count * 1e6, **spread(times)}
    if server is not None:
        figures["server_cpu_us"] = server_s / count * 1e6
    if callers == 1:
        figures["complete_cpu_us"] = await completions(jobs, count)
    await jobs.close()
    return figures


async def completions(jobs: JobStore, count: int) -> float:
    """CPU µs of an outcome with receipt and answer, 64 at a time."""
    ends = [
        Completion(number.to_bytes(16, "little"), 1, State.DONE, Position(10, 20, 80), b"r" * 900, b"a" * 100)
        for number in range(count)
    ]
    cpu = time.process_time()
    for start in range(0, count, 64):
        await asyncio.gather(*(jobs.complete([end]) for end in ends[start : start + 64]))
    return (time.process_time() - cpu) / count * 1e6


async def one_round(folder: Path, server: PostgresServer | None, count: int) -> dict[str, dict[str, float]]:
    """All variants once, one after the other, so that they meet the same machine."""
    names = iter(range(100))

    def sqlite() -> str:
        return str(folder / f"jobs-{next(names)}.db")

    found = await _variants("sqlite", sqlite, count, None)
    found["sqlite, bare loop"] = {"per_s": bare_sqlite(folder, count, 64)}
    if server is not None:
        found |= await _variants("postgres", server.create_schema, count, server)
        found["postgres, bare loop"] = {"per_s": await bare_postgres(server.create_schema(), count, 64)}
    return found


async def _variants(
    name: str, url: Callable[[], str], count: int, server: PostgresServer | None
) -> dict[str, dict[str, float]]:
    return {
        f"{name}, 1 caller": await store(url(), count // 8, 1, 64, server),
        f"{name}, 64 callers, 64 tenants": await store(url(), count, 64, 64, server),
        f"{name}, 64 callers, 1 tenant": await store(url(), count, 64, 1, server),
    }


def middle(rounds: list[dict[str, dict[str, float]]], variant: str, figure: str) -> float | None:
    """Median over rounds of a figure of a variant; None where it has none."""
    values = [one[variant][figure] for one in rounds if figure in one[variant]]
    return median(values) if values else None


async def run(folder: Path, server: PostgresServer | None, count: int, rounds_count: int) -> None:
    """Print and keep medians over rounds."""
    synced = disk(folder, 200)
    rounds = [await one_round(folder / str(number), server, count) for number in range(rounds_count)]
    figures = ("per_s", "cpu_us", "server_cpu_us", "p50", "p95", "p99")
    rows = [{"variant": variant, **{name: middle(rounds, variant, name) for name in figures}} for variant in rounds[0]]
    ratios = {}
    for name in ("sqlite", "postgres") if server is not None else ("sqlite",):
        many, hot, loop = f"{name}, 64 callers, 64 tenants", f"{name}, 64 callers, 1 tenant", f"{name}, bare loop"
        ratios[f"{name}: store / bare loop"] = median(one[many]["per_s"] / one[loop]["per_s"] for one in rounds)
        ratios[f"{name}: hot / many tenants"] = median(one[hot]["per_s"] / one[many]["per_s"] for one in rounds)
        ratios[f"{name}: outcome, cpu_us"] = middle(rounds, f"{name}, 1 caller", "complete_cpu_us")
    table("fdatasync of the disk, ms", [synced])
    table(f"reservations, medians of {rounds_count} rounds (p50, p95, p99 in ms; cpu_us with the caller)", rows)
    table("ratios within a round, medians", [{"ratio": name, "value": value} for name, value in ratios.items()])
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
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(PostgresServer()) if binaries() is not None else None
            asyncio.run(run(Path(folder), server, options.count, options.rounds))


if __name__ == "__main__":
    main()
