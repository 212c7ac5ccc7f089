"""R3: every worker is gone: a stream that cannot be finished never looks finished, over gRPC and over SSE.

All workers are killed while answers stream. gRPC clients without resume must get a status and no last chunk; readers of
SSE must get an error event or a broken connection, and neither `[DONE]` nor a finish reason.
"""

import asyncio
import json
import random

from load import read, seeds
from report import Outcome
from run import Args
from world import MODEL, Plan, world

from tether.testing import invariants

STREAMS, TOKENS, TIMEOUT_S = 40, 400, 3.0


async def run(args: Args) -> Outcome:
    rng, outcome = random.Random(args.seed), Outcome(args.row, args.seed)
    plan = Plan(workers=2, store=args.store, mode=args.mode, bridge={"timeout_s": TIMEOUT_S})
    counts = {"grpc": 0, "sse": 0}
    async with world(plan, args.folder) as place:
        bridge, key = place.processes["bridge"].endpoints["bridge"], place.keys["chaos"]
        while outcome.n < args.n:
            async with place.client(resume=False) as client:
                tasks = [
                    asyncio.create_task(read(client, seed, TOKENS, timeout_s=TIMEOUT_S))
                    for seed in seeds(rng, STREAMS // 2)
                ]
                events = [asyncio.create_task(sse(bridge, key, seed)) for seed in seeds(rng, STREAMS // 2)]
                await asyncio.sleep(rng.uniform(0.3, 1.2))
                for name in place.names("worker"):
                    place.processes[name].kill()
                records, ends = await asyncio.gather(*tasks), await asyncio.gather(*events)
            for record in records:
                words = invariants.check_failure(record.chunks, failed=record.error is not None)
                if record.error is None:
                    words.append("a stream without workers ended well")
                outcome.wrong += [f"grpc seed {record.seed}: {one}" for one in words]
            outcome.wrong += [f"sse: {end}" for end in ends if end]
            counts["grpc"] += len(records)
            counts["sse"] += len(ends)
            outcome.n += STREAMS
            for name in place.names("worker"):
                await asyncio.to_thread(place.restart, name)
            await place.ready()
    outcome.facts |= {f"streams_{edge}": count for edge, count in counts.items()}
    return outcome


async def sse(address: str, key: str, seed: int) -> str:
    """What was wrong with the end of one SSE stream, or nothing."""
    host, _, port = address.rpartition(":")
    body = json.dumps(
        {
            "model": MODEL,
            "messages": [{"role": "user", "content": "chaos"}],
            "stream": True,
            "seed": seed % 2**31,
            "max_tokens": TOKENS,
        }
    ).encode()
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\n"
    head += "content-type: application/json\r\n"
    writer.write(f"{head}content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body)
    try:
        async with asyncio.timeout(60):
            raw = await reader.read(-1)
            while more := await reader.read(65_536):
                raw += more
    except TimeoutError:
        return "the stream hung"
    except ConnectionError:
        raw = b""
    finally:
        writer.close()
    if b"[DONE]" in raw:
        return "it ended with [DONE]"
    if b'"finish_reason":"stop"' in raw or b'"finish_reason":"length"' in raw:
        return "it told a finish reason"
    whole = raw.endswith(b"0\r\n\r\n")
    return "it was closed cleanly and says nothing of an error" if whole and b'"error"' not in raw else ""
