"""R4: the same key is sent 2 to 16 times at once, with restarts between: one outcome, one charge, the same answer.

Some of the sendings carry another body under the same key: those must be refused, ALREADY_EXISTS / JOB_CONFLICT.
Gateway, orchestrator and workers are killed in turn while it goes on. N counts sendings.
"""

import asyncio
import random
import uuid

from load import Record, read, unfaulted
from report import Outcome
from run import Args
from world import Plan, World, world

from tether.client.aio import Client
from tether.errors import Reason
from tether.testing import invariants

TOKENS, KEYS_AT_ONCE, KILL_EVERY_S = 3, 16, 8.0


async def run(args: Args) -> Outcome:
    rng, outcome = random.Random(args.seed), Outcome(args.row, args.seed)
    delivered: dict[str, int] = {}
    plan = Plan(workers=2, gateways=2, store=args.store, mode=args.mode)
    async with world(plan, args.folder) as place:
        stop = asyncio.Event()
        killer = asyncio.create_task(kill(place, random.Random(args.seed + 1), stop))
        clients = [place.client(), place.client()]
        try:
            while outcome.n < args.n:
                keys = [one_key(clients, rng, outcome, delivered) for _ in range(KEYS_AT_ONCE)]
                outcome.n += sum(await asyncio.gather(*keys))
        finally:
            stop.set()
            outcome.facts["kills"] = await killer
            for client in clients:
                await client.close()
        outcome.wrong += await place.audit(delivered)
    outcome.facts["keys"] = len(delivered)
    return outcome


async def one_key(clients: list[Client], rng: random.Random, outcome: Outcome, delivered: dict[str, int]) -> int:
    """Send one key several times at once; returns how often."""
    name, seed, copies = uuid.UUID(int=rng.getrandbits(128)).hex, rng.getrandbits(63), rng.randint(2, 16)
    other = rng.random() < 0.2
    tasks = [asyncio.create_task(read(clients[copy % 2], seed, TOKENS, correlation_id=name)) for copy in range(copies)]
    if other:
        tasks.append(asyncio.create_task(read(clients[0], seed ^ 1, TOKENS, correlation_id=name)))
    records = list(await asyncio.gather(*tasks))
    winner = [record for record in records if record.error is None]
    won = {record.seed for record in winner}
    outcome.wrong += [f"key {name}: {words}" for words in check(records, winner, won)]
    if len(won) == 1 and winner:
        delivered[winner[0].job] = TOKENS
    return len(records)


def check(records: list[Record], winner: list[Record], won: set[int]) -> list[str]:
    """What does not hold of the sendings of one key."""
    wrong = []
    if len(won) != 1:
        wrong.append(f"{len(won)} different requests were answered under it")
    for record in winner:
        wrong += invariants.check_stream(record.chunks, unfaulted(record.seed, TOKENS))
    jobs = {record.job for record in winner}
    if len(jobs) > 1:
        wrong.append(f"it became {len(jobs)} jobs")
    for record in records:
        if record.error is not None and not (record.seed not in won and record.error.reason is Reason.JOB_CONFLICT):
            wrong.append(f"a sending failed: {record.error}")
    return wrong


async def kill(place: World, rng: random.Random, stop: asyncio.Event) -> int:
    """Kill and restart one process after the other until told to stop; returns how many."""
    kills = 0
    names = [*place.names("gateway"), *place.names("orchestrator"), *place.names("worker")]
    while not stop.is_set():
        try:
            async with asyncio.timeout(KILL_EVERY_S * rng.uniform(0.5, 1.5)):
                await stop.wait()
        except TimeoutError:
            name = rng.choice(names)
            place.processes[name].kill()
            await asyncio.to_thread(place.restart, name)
            kills += 1
    return kills
