"""R26: any two at once: a worker with the gateway that drives it, both orchestrators, the database with a worker.

Two gateways, two orchestrators and three workers on PostgreSQL under load without pause. N counts rounds: in each a set
of processes is drawn and ended together, by `kill -9`, by SIGTERM or stopped for three seconds, then started again. No
stream that had begun may fail, nothing may outlive its deadline, and at the end nothing may be left over: no held slot,
no open stream, no job without an end, nothing in a log that nobody expected.
"""

import asyncio
import random
import signal
import threading
import time
from dataclasses import dataclass, field

from leftover import leftovers
from load import Record, read
from report import Outcome
from run import Args
from world import Plan, World, world

from tether.client.aio import Client

TOKENS, CALLERS, DOWN_S, STOPPED_S, TIMEOUT_S, LATE_S = 120, 16, 1.0, 3.0, 30.0, 2.0
ENDED_S = 20.0  # a drain takes two
DRAIN = {"drain_grace_s": 2.0}
SETS = (
    ("gateway-1", "worker-1"),
    ("orchestrator-1", "worker-2"),
    ("orchestrator-1", "orchestrator-2"),
    ("gateway-2", "orchestrator-2"),
    ("gateway-1", "gateway-2"),
    ("worker-1", "worker-2"),
    ("postgres", "worker-3"),
    ("postgres", "gateway-1"),
    ("postgres", "orchestrator-1"),
    ("worker-1", "worker-2", "worker-3"),
    ("gateway-1", "orchestrator-1", "worker-1", "worker-2"),
)
WAYS = ("kill", "kill", "term", "stop")


@dataclass
class Seen:
    """What came of the load."""

    answers: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    moved: int = 0
    resumed: int = 0
    delivered: dict[str, int] = field(default_factory=dict)


async def run(args: Args) -> Outcome:
    rng, outcome, seen = random.Random(args.seed), Outcome(args.row, args.seed), Seen()
    worker = {"engine": "simulated", "slots": 64, "simulated_token_ms": 10, **DRAIN}
    plan = Plan(3, 2, 2, "postgres", args.mode, worker=worker, gateway=DRAIN, orchestrator=DRAIN)
    async with world(plan, args.folder) as place:
        stop, clients = asyncio.Event(), [place.client(), place.client()]
        callers = [
            asyncio.create_task(call(clients[number % 2], random.Random(rng.getrandbits(64)), stop, outcome, seen))
            for number in range(CALLERS)
        ]
        while outcome.n < args.n:
            names, way = rng.choice(SETS), rng.choice(WAYS)
            await asyncio.sleep(rng.uniform(0.5, 1.5))
            before = len(outcome.wrong)
            await asyncio.to_thread(hit, place, names, way, rng.uniform(0.1, DOWN_S))
            await place.ready()
            outcome.n += 1
            outcome.wrong[before:] = [f"{way} {'+'.join(names)}: {words}" for words in outcome.wrong[before:]]
        stop.set()
        await asyncio.gather(*callers)
        for client in clients:
            await client.close()
        outcome.wrong += await place.audit(seen.delivered)
        outcome.wrong += await leftovers(place)
    outcome.facts |= {"answers": seen.answers, "moved": seen.moved, "resumed": seen.resumed, "refused": seen.refused}
    return outcome


def hit(place: World, names: tuple[str, ...], way: str, down_s: float) -> None:
    """End these processes together, and start them again."""
    number = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "stop": signal.SIGSTOP}[way]
    processes, waited = [name for name in names if name != "postgres"], threading.Event()
    for name in processes:
        place.processes[name].child.send_signal(number)
    if "postgres" in names:
        place.postgres.freeze() if way == "stop" else place.postgres.kill9()
    waited.wait(STOPPED_S if way == "stop" else down_s)
    if "postgres" in names:
        place.postgres.thaw() if way == "stop" else place.postgres.start()
    for name in processes:
        if way == "stop":
            place.processes[name].child.send_signal(signal.SIGCONT)
        else:
            place.processes[name].child.wait(ENDED_S)
            place.restart(name)


async def call(client: Client, rng: random.Random, stop: asyncio.Event, outcome: Outcome, seen: Seen) -> None:
    """One request after the other, half of them by a name of their own."""
    while not stop.is_set():
        seed = rng.getrandbits(63)
        name = {"correlation_id": f"own-{seed}"} if rng.random() < 0.5 else {}
        record = await read(client, seed, TOKENS, timeout_s=TIMEOUT_S, **name)
        took_s = time.monotonic() - record.began_s
        outcome.wrong += [f"seed {seed} job {record.job}: {words}" for words in judge(record, took_s, seen)]
        if record.error is not None:
            await asyncio.sleep(0.05)


def judge(record: Record, took_s: float, seen: Seen) -> list[str]:
    """What does not hold of one stream; a refusal before its first chunk is none."""
    late = [f"it took {took_s:.1f} s of {TIMEOUT_S:g}"] if took_s > TIMEOUT_S + LATE_S else []
    if record.error is not None and not record.chunks and record.error.row.again:
        seen.refused[record.error.reason.name] = seen.refused.get(record.error.reason.name, 0) + 1
        return late
    wrong = record.wrong()
    if not wrong:
        seen.delivered[record.job] = TOKENS
        seen.answers += 1
        seen.moved += record.attempts > 1
        seen.resumed += record.resumes > 0
    return [*wrong, *late]
