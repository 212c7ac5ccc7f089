"""What does a paced token cost in the gateway's process, beside a plain grpc.aio relay of the same run?

64 streams of one token each 20 ms, from paced engines in processes of their own. The gateway runs in a whole region of
real processes: keys, placement, ticket, chain and commit are on. The relay is the least that grpc.aio can do: one call
up and one down per stream, bytes in and out, nothing looked at. The writer is what is left when nothing is relayed at
all: a plain grpc.aio server that writes as many chunks to as many streams on one clock; no gateway on grpc.aio can cost
less. CPU is user and system time of the process by /proc, while all streams run.
"""

import argparse
import asyncio
import itertools
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # benches are scripts, no package

import _common
import grpc
from grpc import aio

from tether.app import run
from tether.cli.operator import connect
from tether.cli.region import demo_folder
from tether.rpc import server as rpc_server
from tether.rpc.channel import open_channel
from tether.testing.processes import ProcessRegion
from tether.v1 import infer_pb2
from tether.v1.registry_pb2 import CreateKeyRequest, CreateTenantRequest

INFER = "/tether.v1.InferenceService/Infer"
MODEL = "tether-demo"
TICKS = os.sysconf("SC_CLK_TCK")
TOKENS = 250  # the demo model's context less the prompt: 5 s; what is measured lies inside
TARGET = 0.65  # docs: targets
KEPT: list[aio.Server] = []  # a server that nobody holds stops serving


@dataclass(frozen=True)
class Way:
    """One way from engine to client.

    Attributes:
        name: `gateway` or `relay`.
        address: where clients call.
        pid: whose CPU is counted.
        key: API key, or empty.
    """

    name: str
    address: str
    pid: int
    key: str


def cpu_s(pid: int) -> float:
    """CPU seconds of a process, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


# the plain relay, a process of its own


async def relay(upstreams: Sequence[str]) -> None:
    """Serve Infer by calling the upstreams in turn; prints its port."""
    calls: list[Any] = [open_channel(address).unary_stream(INFER) for address in upstreams]
    turn = itertools.cycle(calls)

    async def infer(request: bytes, _context: object) -> AsyncIterator[bytes]:
        async for chunk in next(turn)(request):
            yield chunk

    address = await serve_infer(infer)
    print(address, flush=True)
    await KEPT[0].wait_for_termination()


async def writer(token_ms: float) -> None:
    """Serve Infer by writing a chunk to every stream on each tick; prints its port."""
    tick = asyncio.Event()
    chunk = infer_pb2.Infer.Chunk(
        correlation_id="x" * 32, payload=infer_pb2.Infer.Payload(text="token ")
    ).SerializeToString()

    async def infer(_request: bytes, context: Any) -> None:
        for _ in range(TOKENS):
            await tick.wait()
            await context.write(chunk)

    async def beat() -> None:
        while True:
            await asyncio.sleep(token_ms / 1_000)
            tick.set()
            tick.clear()

    address = await serve_infer(infer)
    print(address, flush=True)
    await beat()


async def serve_infer(infer: Any) -> str:
    """Serve `infer` and return its host:port."""
    server = aio.server(options=rpc_server.options())
    handler: Any = grpc.unary_stream_rpc_method_handler(infer)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("tether.v1.InferenceService", {"Infer": handler}),)
    )
    address = await rpc_server.bind(server, "127.0.0.1:0")
    await server.start()
    KEPT.append(server)
    return address


# the load


class Load:
    """Paced streams, all begun at once, over so many connections."""

    def __init__(self, way: Way, streams: int, connections: int) -> None:
        self._way = way
        self._channels = [open_channel(way.address, own_connection=True) for _ in range(connections)]
        self._tasks = [asyncio.create_task(self._stream(index)) for index in range(streams)]
        self._seen = [0] * streams
        self.failures = 0

    @property
    def tokens(self) -> int:
        """Chunks that clients got."""
        return sum(self._seen)

    async def all_begun(self) -> None:
        """Return once every stream had a token."""
        async with asyncio.timeout(30):
            while not all(self._seen):  # noqa: ASYNC110 - only at the start, and not what is measured
                await asyncio.sleep(0.02)

    async def _stream(self, index: int) -> None:
        request = infer_pb2.Infer.Request(model_id=MODEL, input=infer_pb2.Infer.Input(text="x"))
        request.parameters.max_tokens = TOKENS
        raw = request.SerializeToString()
        infer: Any = self._channels[index % len(self._channels)].unary_stream(INFER)
        metadata = (("authorization", f"Bearer {self._way.key}"),) if self._way.key else ()
        call = infer(raw, metadata=metadata)
        try:
            while await call.read() is not aio.EOF:
                self._seen[index] += 1
        except aio.AioRpcError:
            self.failures += 1

    async def close(self) -> None:
        """End all streams."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(channel.close() for channel in self._channels))


async def measure(way: Way, streams: int, connections: int, seconds: float) -> dict[str, float]:
    """CPU microseconds per token of one way."""
    load = Load(way, streams, connections)
    try:
        await load.all_begun()
        tokens, used, began = load.tokens, cpu_s(way.pid), time.monotonic()
        await asyncio.sleep(seconds)
        took = time.monotonic() - began
        tokens, used = load.tokens - tokens, cpu_s(way.pid) - used
    finally:
        await load.close()
    return {"us": used / tokens * 1e6, "tokens": tokens, "per_s": tokens / took, "failures": load.failures}


# the processes


@contextmanager
def plain_process(name: str, *arguments: str) -> Iterator[Way]:
    """The plain relay or writer, running."""
    child = subprocess.Popen([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        yield Way(name, child.stdout.readline().strip(), child.pid, "")
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()


@contextmanager
def region_of(folder: Path, workers: int, slots: int, token_ms: float) -> Iterator[tuple[ProcessRegion, list[str]]]:
    """A region of processes with paced workers, and the addresses of as many standalone ones for the relay."""
    paced = {"engine": "simulated", "slots": slots, "simulated_token_ms": token_ms}
    alone = {**paced, "standalone": "true", "insecure_no_key": "true", "models": MODEL}
    with ProcessRegion(folder) as region:
        region.start("registry", {"demo_model": demo_folder()})
        region.start("orchestrator")
        for number in range(workers):
            region.start(f"worker-{number + 1}", paced)
        region.start("gateway", {"listen": "127.0.0.1:0"})
        lonely = [region.start(f"worker-{100 + number}", alone) for number in range(workers)]
        yield region, [process.endpoints["worker"] for process in lonely]


async def gateway_of(region: ProcessRegion) -> Way:
    """The region's gateway, with an API key of a tenant without limits."""
    async with connect(region.folder, [region.bootstrap], region.region) as operator:
        access = await operator.access()
        await access.CreateTenant(CreateTenantRequest(tenant_id="bench"))
        made = await access.CreateKey(CreateKeyRequest(tenant_id="bench", label="bench"))
    gateway = region.running["gateway"]
    return Way("gateway", gateway.endpoints["gateway"], gateway.child.pid, str(made.token))


async def compare(arguments: argparse.Namespace, workers: int) -> list[dict[str, Any]]:
    """Both ways in turn, for each number of connections."""
    with (
        tempfile.TemporaryDirectory() as folder,
        region_of(Path(folder), workers, arguments.streams, arguments.token_ms) as (region, upstreams),
        plain_process("relay", "--relay", *upstreams) as plain,
        plain_process("writer", "--writer", "--token-ms", str(arguments.token_ms)) as floor,
    ):
        ways = (await gateway_of(region), plain, floor)
        return [await one_row(arguments, workers, connections, ways) for connections in arguments.connections]


async def one_row(arguments: argparse.Namespace, workers: int, connections: int, ways: Sequence[Way]) -> dict[str, Any]:
    """Medians of several rounds, the ways taking turns."""
    found: dict[str, list[dict[str, float]]] = {way.name: [] for way in ways}
    for _ in range(arguments.rounds):
        for way in ways:
            found[way.name].append(await measure(way, arguments.streams, connections, arguments.seconds))
    gateway = statistics.median(one["us"] for one in found["gateway"])
    plain = statistics.median(one["us"] for one in found["relay"])
    floor = statistics.median(one["us"] for one in found["writer"])
    return {
        "workers": workers,
        "connections": connections,
        "gateway µs": gateway,
        "relay µs": plain,
        "ratio": gateway / plain,
        "write only µs": floor,
        "write only ratio": floor / plain,
        "tokens": sum(one["tokens"] for one in found["gateway"]),
        "tokens/s": statistics.median(one["per_s"] for one in found["gateway"]),
        "failures": sum(one["failures"] for ways_ in found.values() for one in ways_),
    }


async def bench(arguments: argparse.Namespace) -> None:
    """Compare, print, keep."""
    rows = [row for workers in arguments.workers for row in await compare(arguments, workers)]
    _common.table(f"CPU of a paced token, {arguments.streams} streams, a token each {arguments.token_ms:g} ms", rows)
    print(f"\nworst ratio {max(row['ratio'] for row in rows):.2f}, target {TARGET}")
    kept = {"streams": arguments.streams, "token_ms": arguments.token_ms, "rounds": arguments.rounds, "rows": rows}
    _common.save("relay", {**kept, "target": TARGET})


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--relay", nargs="+", help="be the plain relay of these upstreams")
    parser.add_argument("--writer", action="store_true", help="be the plain writer")
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--token-ms", type=float, default=20.0)
    parser.add_argument("--seconds", type=float, default=3.5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4])
    arguments = parser.parse_args()
    if arguments.writer:
        run(writer(arguments.token_ms))
    else:
        run(relay(arguments.relay) if arguments.relay else bench(arguments))


if __name__ == "__main__":
    main()
