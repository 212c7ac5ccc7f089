"""R5: PostgreSQL is restarted or killed in the middle of a burst: what was acknowledged is there, and nothing hangs.

Short jobs run without pause over two orchestrators and two gateways. N counts restarts: fast, immediate and kill -9 in
turn. Every whole answer must be in the store, paid once, once all has come to rest. The recovery is the time from the
server's own readiness to the first answer to a request that was sent after it.
"""

import asyncio
import random
import time

from load import read
from report import Outcome
from run import Args
from world import MODEL, Plan, World, world

from tether.client.aio import Client
from tether.errors import TetherError

TOKENS, CALLERS, PAUSE_S = 5, 24, 3.0
MODES = ("fast", "immediate", "kill9")


async def run(args: Args) -> Outcome:
    rng, outcome = random.Random(args.seed), Outcome(args.row, args.seed)
    delivered: dict[str, int] = {}
    plan = Plan(workers=2, gateways=2, orchestrators=2, store="postgres", mode=args.mode)
    async with world(plan, args.folder) as place:
        stop = asyncio.Event()
        counts = {"answers": 0, "refused": 0}
        clients = [place.client(), place.client()]
        callers = [
            asyncio.create_task(
                call(clients[number % 2], random.Random(rng.getrandbits(64)), stop, outcome, delivered, counts)
            )
            for number in range(CALLERS)
        ]
        for number in range(args.n):
            await asyncio.sleep(PAUSE_S * rng.uniform(0.5, 1.0))
            mode = MODES[number % len(MODES)]
            await asyncio.to_thread(restart, place, mode)
            outcome.added_ms.append(1_000 * await recovered(clients[0]))
            outcome.n += 1
        stop.set()
        await asyncio.gather(*callers)
        for client in clients:
            await client.close()
        outcome.wrong += await place.audit(delivered)
    outcome.facts |= counts
    return outcome


def restart(place: World, mode: str) -> None:
    """Restart the server."""
    if mode == "kill9":
        place.postgres.kill9()
        place.postgres.start()
    else:
        place.postgres.restart(mode)


async def recovered(client: Client) -> float:
    """Seconds until a new request is answered."""
    began_s = time.monotonic()
    while time.monotonic() - began_s < 30:
        try:
            await client.infer("back?", model=MODEL, max_tokens=1, timeout_s=10)
        except TetherError:
            await asyncio.sleep(0.02)
        else:
            return time.monotonic() - began_s
    return 30.0


async def call(
    client: Client,
    rng: random.Random,
    stop: asyncio.Event,
    outcome: Outcome,
    delivered: dict[str, int],
    counts: dict[str, int],
) -> None:
    """One request after the other; a refusal is no fault, an answer that does not hold is."""
    while not stop.is_set():
        record = await read(client, rng.getrandbits(63), TOKENS, timeout_s=20.0)
        if record.error is not None:
            counts["refused"] += 1
            if not record.error.row.again:
                outcome.wrong.append(f"seed {record.seed} job {record.job}: {record.error}")
            await asyncio.sleep(0.05)
            continue
        wrong = record.wrong()
        outcome.wrong += [f"seed {record.seed} job {record.job}: {words}" for words in wrong]
        delivered[record.job] = TOKENS
        counts["answers"] += 1
