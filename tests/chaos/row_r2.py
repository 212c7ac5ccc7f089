"""R2: a gateway or an orchestrator is killed with -9 while answers stream; clients go on by their cursor.

Two gateways, clients that know both. Every second round kills the orchestrator instead. No job may run twice to a
committed result: each has one bill, of what was delivered.
"""

import asyncio
import random

from load import Record, read, seeds
from report import Outcome
from run import Args
from world import Plan, world

STREAMS, TOKENS = 24, 100


async def run(args: Args) -> Outcome:
    rng, outcome = random.Random(args.seed), Outcome(args.row, args.seed)
    delivered: dict[str, int] = {}
    hit, refused = {"gateway": 0, "orchestrator": 0}, 0
    plan = Plan(workers=2, gateways=2, store=args.store, mode=args.mode)
    async with world(plan, args.folder) as place:
        while min(hit.values()) < args.n:
            service = min(hit, key=lambda name: hit[name])
            victim = rng.choice(place.names(service))
            clients = [place.client(at=_turned(place.gateway_addresses, turn)) for turn in range(2)]
            tasks = [
                asyncio.create_task(read(clients[number % 2], seed, TOKENS))
                for number, seed in enumerate(seeds(rng, STREAMS))
            ]
            await asyncio.sleep(rng.uniform(0.05, 0.9))
            place.processes[victim].kill()
            if service == "orchestrator":  # the only one that SQLite allows: what needs it waits for the next life
                await asyncio.to_thread(place.restart, victim)
            records = await asyncio.gather(*tasks)
            for client in clients:
                await client.close()
            refused += sum(judge(record, victim, outcome, delivered) for record in records)
            # every stream was open while an orchestrator died; only those of the killed gateway were cut
            hit[service] += (
                sum(not record.refused for record in records)
                if service == "orchestrator"
                else sum(record.resumes > 0 for record in records)
            )
            outcome.n = sum(hit.values())
            if service == "gateway":
                await asyncio.to_thread(place.restart, victim)
        outcome.wrong += await place.audit(delivered)
    outcome.facts["refused_before_they_began"] = refused
    outcome.facts |= {f"streams_hit_{service}": count for service, count in hit.items()}
    return outcome


def judge(record: Record, victim: str, outcome: Outcome, delivered: dict[str, int]) -> bool:
    """Look at one stream; returns whether it was refused: nobody could place it, it was told so, nothing began."""
    if record.refused:
        return True
    wrong = record.wrong()
    outcome.wrong += [f"{victim}: seed {record.seed} job {record.job}: {words}" for words in wrong]
    if not wrong:
        delivered[record.job] = TOKENS
    if record.resumes:
        outcome.added_ms.append(record.gap_s * 1_000)
    return False


def _turned(addresses: str, turn: int) -> str:
    one, two = addresses.split(",")
    return f"{one},{two}" if turn == 0 else f"{two},{one}"
