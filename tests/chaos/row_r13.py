"""R13: a retry storm. 100 naive clients retry at once whatever fails, while 30 % of attempts fail by injection.

What reaches the workers may be at most 1.20 of what was offered first, and the region must recover by itself within ten
seconds of the fault's end. The fault: two of three workers run with a failure rate; they are replaced by sound ones.
N is the number of seconds of the storm.
"""

import asyncio
import random
import time

import grpc
from load import unfaulted
from report import Outcome
from run import Args
from world import MODEL, Plan, World, world

from tether.rpc.channel import open_channel
from tether.rpc.status import from_rpc_error
from tether.v1.infer_pb2 import Infer
from tether.v1.infer_pb2_grpc import InferenceServiceStub

CLIENTS, TOKENS, RETRIES_MAX = 100, 5, 10
RATIO_MAX, RECOVERED_S_MAX = 1.20, 10.0
FAULTY = {"engine": "simulated", "slots": 64, "simulated_token_ms": 10, "simulate_faults": "fail_rate=0.3"}
SOUND = {"engine": "simulated", "slots": 64, "simulated_token_ms": 10}


async def run(args: Args) -> Outcome:
    rng, outcome = random.Random(args.seed), Outcome(args.row, args.seed)
    async with world(Plan(workers=2, store=args.store, mode=args.mode, worker=FAULTY), args.folder) as place:
        counts = {"offered": 0, "sent": 0, "answered": 0, "refused": 0}
        until_s = time.monotonic() + args.n
        address = place.gateway_addresses
        async with open_channel(address) as channel:
            callers = [
                naive(channel, place, random.Random(rng.getrandbits(64)), until_s, counts) for _ in range(CLIENTS)
            ]
            await asyncio.gather(*callers)
        started = await total_started(place)
        ratio = started / max(1, counts["offered"])
        for name in place.names("worker"):
            place.processes[name].kill()
        place.plan = Plan(workers=2, store=args.store, mode=args.mode, worker=SOUND)
        for name in place.names("worker"):
            await asyncio.to_thread(place.restart, name)
        began_s = time.monotonic()
        await place.ready()
        recovered_s = time.monotonic() - began_s
        outcome.wrong += await place.audit({})
    outcome.n = counts["offered"]
    outcome.facts |= {
        **counts,
        "started": started,
        "sent_per_offered": round(ratio, 3),
        "recovered_s": round(recovered_s, 2),
    }
    if ratio > RATIO_MAX:
        outcome.wrong.append(f"{ratio:.2f} attempts were started for each request")
    if recovered_s > RECOVERED_S_MAX:
        outcome.wrong.append(f"it took {recovered_s:.1f} s to recover")
    return outcome


async def total_started(place: World) -> int:
    """Attempts that workers started."""
    from tether.v1.control_pb2 import ListWorkersRequest

    async with place.operator() as operator:
        control = await operator.control()
        found = await control.ListWorkers(ListWorkersRequest())
    return sum(worker.report.started_total for worker in found.workers)


async def naive(channel: object, place: World, rng: random.Random, until_s: float, counts: dict[str, int]) -> None:
    """A client that sends again at once whatever comes, with gRPC's own header of earlier attempts."""
    stub = InferenceServiceStub(channel)
    key = ("authorization", f"Bearer {place.keys['chaos']}")
    while time.monotonic() < until_s:
        seed = rng.getrandbits(63)
        request = Infer.Request(model_id=MODEL, input=Infer.Input(text="storm"))
        request.parameters.seed, request.parameters.max_tokens = seed, TOKENS
        counts["offered"] += 1
        for attempt in range(RETRIES_MAX):
            counts["sent"] += 1
            again = (("grpc-previous-rpc-attempts", str(attempt)),) if attempt else ()
            try:
                chunks = [chunk async for chunk in stub.Infer(request, metadata=(key, *again), timeout=10)]
            except grpc.aio.AioRpcError as fault:
                counts["refused"] += 1
                reason = from_rpc_error(fault).reason.name.lower()
                counts[f"refused_{reason}"] = counts.get(f"refused_{reason}", 0) + 1
                if time.monotonic() > until_s:
                    return
                continue
            text = "".join(chunk.payload.text for chunk in chunks).encode()
            counts["answered"] += text == unfaulted(seed, TOKENS).text
            break
