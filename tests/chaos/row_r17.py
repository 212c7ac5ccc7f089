"""R17: deadlines and cancels. The engine stops within 50 ms, and after thousands of them no slot is lost.

N counts requests that are cut off: by their own deadline, by Cancel, or by a client that goes away. Every hundred it is
measured how long it takes from the last end to workers without a busy slot.
"""

import asyncio
import random
import time

from report import Outcome
from run import Args
from world import MODEL, Plan, world

from tether.client.aio import Client
from tether.errors import TetherError
from tether.v1.control_pb2 import ListWorkersRequest

BATCH, TOKENS, SLOTS, FREE_S_MAX = 50, 4_000, 64, 5.0


async def run(args: Args) -> Outcome:
    rng, outcome = random.Random(args.seed), Outcome(args.row, args.seed)
    async with world(Plan(workers=2, store=args.store, mode=args.mode), args.folder) as place:
        async with place.client(resume=False) as client, place.operator() as operator:
            control = await operator.control()
            while outcome.n < args.n:
                await asyncio.gather(*(cut(client, rng.random(), rng, outcome) for _ in range(BATCH)))
                began_s = time.monotonic()
                busy = await running(control)
                while busy and time.monotonic() - began_s < FREE_S_MAX:
                    await asyncio.sleep(0.005)
                    busy = await running(control)
                outcome.added_ms.append((time.monotonic() - began_s) * 1_000)
                if busy:
                    outcome.wrong.append(
                        f"{busy} slots are still taken {FREE_S_MAX} s after the last of {outcome.n + BATCH}"
                    )
                    break
                outcome.n += BATCH
        outcome.wrong += await place.audit({})
    return outcome


async def running(control: object) -> int:
    """Busy slots of all workers, by their own reports."""
    found = await control.ListWorkers(ListWorkersRequest())
    return sum(worker.report.capacity.slots - worker.report.capacity.slots_free for worker in found.workers)


async def cut(client: Client, which: float, rng: random.Random, outcome: Outcome) -> None:
    """One request that is cut off, one way or another."""
    timeout_s = rng.uniform(0.1, 0.6) if which < 0.34 else 30.0
    stream = client.stream("cut", model=MODEL, max_tokens=TOKENS, timeout_s=timeout_s)
    reader = aiter(stream)
    try:
        async with stream:
            await anext(reader)
            if which < 0.34:
                async for _ in reader:
                    pass
            elif which < 0.67:
                await asyncio.sleep(rng.uniform(0.0, 0.2))
                await client.cancel(job_id=stream.job_id)
                async for _ in reader:
                    pass
            else:
                await asyncio.sleep(rng.uniform(0.0, 0.2))
                return
    except TetherError:
        return
    except StopAsyncIteration:
        pass
    outcome.wrong.append("a request that was cut off ended well")
