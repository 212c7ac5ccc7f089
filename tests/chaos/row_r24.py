"""R24: worker, driver or both die between the last chunk and the commit: no free answer, no second one, no lost hold.

The orchestrator is stopped (SIGSTOP) when an answer is nearly whole, so that its commit hangs; then worker, gateway or
both are killed, and the orchestrator goes on. The client takes its answer up again at the other gateway.
"""

import asyncio
import random
import signal

from load import read, seeds
from report import Outcome
from run import Args
from world import Plan, world

STREAMS, TOKENS, TOKEN_S = 8, 40, 0.01


async def run(args: Args) -> Outcome:
    rng, outcome = random.Random(args.seed), Outcome(args.row, args.seed)
    delivered: dict[str, int] = {}
    counts = {"worker": 0, "gateway": 0, "both": 0}
    plan = Plan(workers=2, gateways=2, store=args.store, mode=args.mode)
    async with world(plan, args.folder) as place:
        while outcome.n < args.n:
            what = min(counts, key=lambda name: counts[name])
            worker, gateway = rng.choice(place.names("worker")), rng.choice(place.names("gateway"))
            victims = {"worker": [worker], "gateway": [gateway], "both": [worker, gateway]}[what]
            async with place.client() as client:
                tasks = [asyncio.create_task(read(client, seed, TOKENS)) for seed in seeds(rng, STREAMS)]
                await asyncio.sleep(TOKENS * TOKEN_S * rng.uniform(0.7, 1.2))
                stopped = place.processes["orchestrator-1"].child
                stopped.send_signal(signal.SIGSTOP)
                await asyncio.sleep(rng.uniform(0.02, 0.4))
                for name in victims:
                    place.processes[name].kill()
                await asyncio.sleep(rng.uniform(0.0, 0.3))
                stopped.send_signal(signal.SIGCONT)
                restarts = [asyncio.to_thread(place.restart, name) for name in victims]
                records, *_ = await asyncio.gather(asyncio.gather(*tasks), *restarts)
            for record in records:
                wrong = record.wrong()
                outcome.wrong += [f"{what}: seed {record.seed} job {record.job}: {words}" for words in wrong]
                if not wrong:
                    delivered[record.job] = TOKENS
            counts[what] += STREAMS
            outcome.n += STREAMS
        outcome.wrong += await place.audit(delivered)
    outcome.facts |= {f"killed_{what}": count for what, count in counts.items()}
    return outcome
