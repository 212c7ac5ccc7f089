"""R6: PostgreSQL cannot be reached for a while. Streams finish, keyed work is refused at once, and nothing hangs.

The server is frozen, so that it neither answers nor closes, as behind a partition. N counts requests that were sent
meanwhile; their refusals are timed. Streams that had begun must end whole (PENDING), and be settled when it is back.
"""

import asyncio
import random
import time

from load import read, seeds
from report import Outcome
from run import Args
from world import Plan, world

from tether.errors import Reason

STREAMS, TOKENS, SETTLE_S = 16, 200, 3.0
REFUSALS = frozenset({Reason.STORE_UNAVAILABLE, Reason.NO_ORCHESTRATOR})
REFUSED_MS_MAX = 50.0


async def run(args: Args) -> Outcome:
    rng, outcome = random.Random(args.seed), Outcome(args.row, args.seed)
    delivered: dict[str, int] = {}
    plan = Plan(workers=2, gateways=1, orchestrators=2, store="postgres", mode=args.mode)
    async with world(plan, args.folder) as place, place.client() as client:
        tasks = [asyncio.create_task(read(client, seed, TOKENS)) for seed in seeds(rng, STREAMS)]
        await asyncio.sleep(0.7)
        place.postgres.freeze()
        await asyncio.sleep(SETTLE_S)  # the first write that fails opens the store's breaker
        refusals: list[float] = []
        try:
            for seed in seeds(rng, args.n):
                began_s = time.monotonic()
                record = await read(client, seed, 3, correlation_id=f"key-{seed}", timeout_s=20.0)
                refusals.append((time.monotonic() - began_s) * 1_000)
                if record.error is None or record.error.reason not in REFUSALS:
                    outcome.wrong.append(f"a keyed request without the store: {record.error or 'was answered'}")
                outcome.n += 1
            records = await asyncio.gather(*tasks)
        finally:
            place.postgres.thaw()
        pending = 0
        for record in records:
            wrong = record.wrong()
            outcome.wrong += [f"seed {record.seed} job {record.job}: {words}" for words in wrong]
            if not wrong:
                delivered[record.job] = TOKENS
                pending += record.chunks[-1].settlement == 2
        outcome.added_ms = refusals
        slow = sum(one > REFUSED_MS_MAX for one in refusals)
        outcome.facts |= {"slower_than_50_ms": slow, "streams": STREAMS, "settled_later": pending}
        outcome.wrong += await place.audit(delivered)
    return outcome
