"""R14: a rolling restart: each worker and each gateway gets SIGTERM in turn under load, and no request fails.

N counts full rolls. Clients know both gateways and do what the Python client does; a stream that a drain hands over
goes on at the next gateway, and its bytes equal the unfaulted run.
"""

import asyncio
import random

from load import read
from report import Outcome
from run import Args
from world import Plan, World, world

from tether.client.aio import Client

TOKENS, CALLERS = 60, 12


async def run(args: Args) -> Outcome:
    rng, outcome = random.Random(args.seed), Outcome(args.row, args.seed)
    delivered: dict[str, int] = {}
    drain = {"drain_grace_s": 2.0}
    worker = {"engine": "simulated", "slots": 64, "simulated_token_ms": 10, **drain}
    plan = Plan(workers=3, gateways=2, store=args.store, mode=args.mode, worker=worker, gateway=drain)
    answers = 0
    async with world(plan, args.folder) as place:
        stop = asyncio.Event()
        clients = [place.client(), place.client()]
        callers = [
            asyncio.create_task(call(clients[number % 2], random.Random(rng.getrandbits(64)), stop, outcome, delivered))
            for number in range(CALLERS)
        ]
        codes: list[int] = []
        for _ in range(args.n):
            names = [*place.names("worker"), *place.names("gateway")]
            codes += [await asyncio.to_thread(roll, place, name) for name in names]
            outcome.n += 1
        stop.set()
        answers = sum(await asyncio.gather(*callers))
        for client in clients:
            await client.close()
        outcome.wrong += [f"a process ended with {code}" for code in codes if code]
        outcome.wrong += await place.audit(delivered)
    outcome.facts |= {"restarts": len(codes), "answers": answers}
    return outcome


def roll(place: World, name: str) -> int:
    """Drain one process and start it again; returns its exit code."""
    code = place.processes[name].stop()
    place.restart(name)
    return code


async def call(
    client: Client, rng: random.Random, stop: asyncio.Event, outcome: Outcome, delivered: dict[str, int]
) -> int:
    """One request after the other; returns how many were answered."""
    answers = 0
    while not stop.is_set():
        record = await read(client, rng.getrandbits(63), TOKENS)
        wrong = record.wrong()
        outcome.wrong += [f"seed {record.seed} job {record.job}: {words}" for words in wrong]
        if not wrong:
            delivered[record.job] = TOKENS
            answers += 1
        if record.attempts > 1 or record.resumes:
            outcome.added_ms.append(record.gap_s * 1_000)
    return answers
