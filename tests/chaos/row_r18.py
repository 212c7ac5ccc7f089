"""R18: a poison request that kills any worker it runs on: at most three, then the dead letters; innocents are unharmed.

Workers run the simulated engine with a fault: a prompt that holds a certain word ends the process at once. N counts
poison requests; between them innocents stream, some on the very workers that die.
"""

import asyncio
import random

from load import read, seeds
from report import Outcome
from run import Args
from world import MODEL, Plan, World, world

from tether.client.aio import Client
from tether.errors import Reason, TetherError
from tether.v1.control_pb2 import GetDeadLetterRequest

POISON, TOKENS, INNOCENTS, TOUCHED_MAX = "hemlock", 150, 12, 3
WORKER = {"engine": "simulated", "slots": 64, "simulated_token_ms": 10, "simulate_faults": f"poison_text={POISON}"}


async def run(args: Args) -> Outcome:
    rng, outcome = random.Random(args.seed), Outcome(args.row, args.seed)
    delivered: dict[str, int] = {}
    touched: list[int] = []
    async with world(Plan(workers=4, store=args.store, mode=args.mode, worker=WORKER), args.folder) as place:
        while outcome.n < args.n:
            async with place.client() as client:
                tasks = [asyncio.create_task(read(client, seed, TOKENS)) for seed in seeds(rng, INNOCENTS)]
                await asyncio.sleep(0.3)
                outcome.wrong += await poison(place, client, f"poison-{outcome.n}-{args.seed}")
                dead = [name for name in place.names("worker") if place.processes[name].child.poll() is not None]
                touched.append(len(dead))
                revived = [asyncio.to_thread(place.restart, name) for name in dead]
                records, *_ = await asyncio.gather(asyncio.gather(*tasks), *revived)
            for record in records:
                wrong = record.wrong()
                outcome.wrong += [f"innocent {record.seed} job {record.job}: {words}" for words in wrong]
                if not wrong:
                    delivered[record.job] = TOKENS
            if len(dead) > TOUCHED_MAX:
                outcome.wrong.append(f"{len(dead)} workers died of one request")
            outcome.n += 1
        outcome.wrong += await place.audit(delivered)
    outcome.facts |= {"workers_killed_max": max(touched), "workers_killed": sum(touched)}
    return outcome


async def poison(place: World, client: Client, name: str) -> list[str]:
    """Send a poison request; returns what was wrong with its end."""
    try:
        async with client.stream(POISON, model=MODEL, max_tokens=20, correlation_id=name, timeout_s=60.0) as stream:
            await stream.answer()
    except TetherError as error:
        if error.reason is not Reason.POISON:
            return [f"{name} ended with {error}"]
    else:
        return [f"{name} was answered"]
    job = (await client.job(correlation_id=name)).name
    async with place.operator() as operator:
        control = await operator.control()
        letter = (await control.GetDeadLetter(GetDeadLetterRequest(name=job))).dead_letter
    return [] if letter.reason == "POISON" and letter.attempts else [f"{name} is not among the dead letters"]
