"""R8: a worker stops (SIGSTOP) for three seconds. Its streams move in under two, and those of the others feel nothing.

N counts stops. Meanwhile single requests go on: none may wait for the stopped worker once a second is over.
"""

import asyncio
import random
import signal
import statistics

from load import Record, read, seeds
from report import Outcome
from run import Args
from world import Plan, world

STREAMS, TOKENS, STOP_S, MOVED_MS_MAX = 16, 300, 3.0, 2_000.0


async def run(args: Args) -> Outcome:
    rng, outcome = random.Random(args.seed), Outcome(args.row, args.seed)
    delivered: dict[str, int] = {}
    calm: list[float] = []
    late: list[float] = []
    async with world(Plan(workers=4, store=args.store, mode=args.mode), args.folder) as place:
        while outcome.n < args.n:
            async with place.client() as client:
                tasks = [asyncio.create_task(read(client, seed, TOKENS)) for seed in seeds(rng, STREAMS)]
                await asyncio.sleep(rng.uniform(0.2, 0.8))
                child = place.processes[rng.choice(place.names("worker"))].child
                child.send_signal(signal.SIGSTOP)
                await asyncio.sleep(1.2)
                new = [asyncio.create_task(read(client, seed, 20)) for seed in seeds(rng, 8)]
                await asyncio.sleep(STOP_S - 1.2)
                child.send_signal(signal.SIGCONT)
                records, fresh = await asyncio.gather(*tasks), await asyncio.gather(*new)
            late += [(record.at_s[0] - record.began_s) * 1_000 for record in fresh if record.at_s]
            for record in [*records, *fresh]:
                judge(record, outcome, delivered, calm)
            outcome.n += 1
        outcome.wrong += await place.audit(delivered)
    usual = statistics.median(calm) if calm else 0.0
    outcome.facts |= {
        "moved_streams": len(outcome.added_ms),
        "others_gap_ms_p50": round(usual, 1),
        "others_gap_ms_p99": round(statistics.quantiles(calm, n=100)[98], 1) if len(calm) > 2 else None,
        "first_chunk_after_1_s_ms_max": round(max(late, default=0.0), 1),
    }
    return outcome


def judge(record: Record, outcome: Outcome, delivered: dict[str, int], calm: list[float]) -> None:
    """Sort one stream into moved ones and others."""
    wrong = record.wrong()
    gap_ms = record.gap_s * 1_000
    moved = record.attempts > 1
    if moved and gap_ms > MOVED_MS_MAX:
        wrong.append(f"it moved after {gap_ms:.0f} ms")
    (outcome.added_ms if moved else calm).append(gap_ms)
    outcome.wrong += [f"seed {record.seed} job {record.job}: {words}" for words in wrong]
    if record.error is None:
        delivered[record.job] = record.tokens
