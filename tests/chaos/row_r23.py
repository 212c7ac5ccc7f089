"""R23: quotas never drift: random holds, attempts, settlements, abandonments and leases, with kill -9 between.

Processes of their own open the store and work on it with 64 callers each; they are killed with -9 at random and started
again, and a PostgreSQL server is killed too. After every kill, and in the middle of the work, the books are verified:
settled = usage, held = open holds, counters = ledger. N counts operations that were acknowledged.
"""

import asyncio
import random
import secrets
import sys
import time
from pathlib import Path

from report import Outcome
from run import Args

from tether.errors import TetherError
from tether.job.hold import Position
from tether.job.quota import Limits
from tether.job.state import State
from tether.observe.log import configure_logging
from tether.store import open_jobs
from tether.store.jobs import Attempt, Completion, Driver, JobStore, Lease, Reservation, Reserved, Subject, Worker

CALLERS, SESSION, WORKER = 64, b"s" * 16, Worker("w1", 1, "127.0.0.1:9000")
TENANTS, NAMES = "tuvwxyz", 4_000
LIFE_S = (1.0, 6.0)
TOLD = 250


async def run(args: Args) -> Outcome:
    rng, outcome = random.Random(args.seed), Outcome(args.row, args.seed)
    postgres, kills = None, 0
    url = str(args.folder / "jobs.db")
    owners = 1
    if args.store == "postgres":
        from tether.testing.postgres import PostgresServer

        postgres, owners = PostgresServer(), 2
        await asyncio.to_thread(postgres.start)
        url = await asyncio.to_thread(postgres.create_database, "chaos")
    try:
        while outcome.n < args.n:
            children = [await child(url, rng.getrandbits(32)) for _ in range(owners)]
            left = args.n - outcome.n
            counts = await asyncio.gather(
                *(count(one, left // owners + TOLD, rng.uniform(*LIFE_S)) for one in children)
            )
            outcome.n += sum(counts)
            kills += owners
            if postgres is not None and rng.random() < 0.3:
                await asyncio.to_thread(postgres.kill9)
                await asyncio.to_thread(postgres.start)
            outcome.wrong += await verify(url)
            if outcome.wrong:
                break
    finally:
        if postgres is not None:
            await asyncio.to_thread(postgres.stop)
    outcome.facts |= {"kills": kills}
    return outcome


async def child(url: str, seed: int) -> asyncio.subprocess.Process:
    """A process that works on the store."""
    return await asyncio.create_subprocess_exec(
        sys.executable, str(Path(__file__)), url, str(seed), stdout=asyncio.subprocess.PIPE
    )


async def count(one: asyncio.subprocess.Process, most: int, life_s: float) -> int:
    """Let it work, kill it; returns how many operations it said were acknowledged."""
    done, until_s = 0, None
    while done < most:
        left_s = 30.0 if until_s is None else until_s - time.monotonic()
        try:
            line = await asyncio.wait_for(one.stdout.readline(), max(0.001, left_s))
        except TimeoutError:
            break
        if not line:
            break
        if line.startswith(b"WRONG"):
            raise AssertionError(line.decode())
        done = int(line)
        until_s = until_s or time.monotonic() + life_s
    one.kill()
    await one.wait()
    return done


async def verify(url: str) -> list[str]:
    """What does not add up."""
    store = await open_jobs(url)
    try:
        return [*await store.check(), *(await store.verify_quotas("")).violations]
    finally:
        await store.close()


# the child


async def work(url: str, seed: int) -> None:
    """Operate on the store until killed, and say how far it is."""
    rng, store, done = random.Random(seed), await open_jobs(url), 0
    print(0, flush=True)

    async def caller(number: int) -> None:
        nonlocal done
        own = random.Random(rng.getrandbits(64) + number)
        while True:
            try:
                await step(store, own)
            except TetherError as error:
                if not error.row.again:
                    print(f"WRONG {error}", flush=True)
                await asyncio.sleep(0.05)
                continue
            done += 1
            if done % TOLD == 0:
                print(done, flush=True)

    async def auditor() -> None:
        while True:
            await asyncio.sleep(1.0)
            try:
                found = await store.verify_quotas("")
            except TetherError:
                continue
            for words in found.violations:
                print(f"WRONG {words}", flush=True)

    await asyncio.gather(auditor(), *(caller(number) for number in range(CALLERS)))


async def step(store: JobStore, rng: random.Random) -> None:
    """One operation, or two."""
    limits = Limits(concurrent_jobs=rng.choice((0, 400)), tokens_per_minute=rng.choice((0, 1_000_000)))
    tenant, name = rng.choice(TENANTS), f"j{rng.randrange(NAMES)}"
    subject = Subject(
        job=store.job_id(tenant, name, ""),
        tenant=tenant,
        correlation_id=name,
        retry_token="",
        keyed=rng.random() < 0.8,
        request_hash=bytes(32),
        model="m",
        version="1.0",
        digest=bytes(32),
        header=b"",
        limit_tokens=rng.randint(100, 300),
    )
    which = rng.random()
    if which < 0.55:
        deadline_ms = int(time.time() * 1_000) + 60_000
        asked = Reservation(subject, Driver(SESSION, "g1"), WORKER, rng.getrandbits(62), deadline_ms, limits=limits)
        [found] = await store.reserve([asked])
        if isinstance(found, Reserved) and rng.random() < 0.8:
            await end(store, rng, subject.job, found.epoch)
    elif which < 0.7:
        await store.attempt(
            [Attempt(subject.job, bytes(32), SESSION, Driver(SESSION, "g1"), rng.randint(1, 3), WORKER, cause=2)]
        )
    elif which < 0.95:
        await end(store, rng, subject.job, rng.choice((0, 1, 1, 2)))
    else:
        until_ms = int(time.time() * 1_000) + 60_000
        lease = Lease(secrets.token_bytes(16), tenant, "o1", rng.randint(1, 500), rng.randint(1, 5), until_ms)
        await store.lease_quota([lease])
        if rng.random() < 0.9:
            await store.settle_lease([lease.lease])


async def end(store: JobStore, rng: random.Random, job: bytes, epoch: int) -> None:
    """Ask for some outcome of a job."""
    outcome = rng.choice((State.DONE, State.DONE, State.FAILED, State.ABANDONED, State.CANCELLED, State.DEAD))
    used = Position(rng.choice((0, 10)), rng.randint(0, 90), rng.randint(0, 400))
    await store.complete([Completion(job, epoch, outcome, used, b"receipt" if outcome is State.DONE else b"")])


if __name__ == "__main__":
    configure_logging("error")  # to standard error: standard output is for counts
    asyncio.run(work(sys.argv[1], int(sys.argv[2])))
