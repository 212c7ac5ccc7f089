"""R1: a worker is killed with -9 while it streams: no hole, no repeat, no other word, and no client sees it.

32 streams over four workers; at a moment drawn at random one worker is killed; then it is started again. N counts the
streams that ran on a killed worker. The added gap is a stream's longest wait beyond that of streams that nothing hit.
"""

import asyncio
import random
import statistics

from load import read, seeds
from report import Outcome
from run import Args
from world import Plan, world

STREAMS, TOKENS = 32, 120


async def run(args: Args) -> Outcome:
    rng, outcome = random.Random(args.seed), Outcome(args.row, args.seed)
    delivered: dict[str, int] = {}
    async with world(Plan(workers=4, store=args.store, mode=args.mode), args.folder) as place:
        calm: list[float] = []
        kills = 0
        while outcome.n < args.n:
            async with place.client() as client:
                tasks = [asyncio.create_task(read(client, seed, TOKENS)) for seed in seeds(rng, STREAMS)]
                await asyncio.sleep(rng.uniform(0.05, 1.1))
                victim = rng.choice(place.names("worker"))
                place.processes[victim].kill()
                kills += 1
                records = await asyncio.gather(*tasks)
            for record in records:
                wrong = record.wrong()
                if record.resumes:
                    wrong.append(
                        f"the client had to go on by itself after {', '.join(record.cuts)}, {len(record.chunks)} chunks"
                    )
                outcome.wrong += [f"seed {record.seed} job {record.job}: {words}" for words in wrong]
                if not wrong:
                    delivered[record.job] = TOKENS
                (outcome.added_ms if record.attempts > 1 or wrong else calm).append(record.gap_s * 1_000)
            outcome.n = len(outcome.added_ms)
            await asyncio.to_thread(place.restart, victim)
        usual = statistics.median(calm) if calm else 0.0
        outcome.added_ms = [max(0.0, gap - usual) for gap in outcome.added_ms]
        outcome.wrong += await place.audit(delivered)
        outcome.facts |= {"kills": kills, "streams": len(delivered), "usual_gap_ms": round(usual, 1)}
    return outcome
