"""Requests of a scenario, and clients that read, leave, come back, cancel and repeat them: the Python client itself."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from world import MODEL, World

from tether.client.request import Options, build_request
from tether.client.stream import Calls, Stream, Wanted
from tether.errors import TetherError
from tether.rpc.status import from_rpc_error
from tether.testing import invariants
from tether.v1.infer_pb2 import CancelRequest, Infer
from tether.v1.infer_pb2_grpc import InferenceServiceStub
from tether_worker.engine.row import noise_key
from tether_worker.engine.simulated import WORDS

TIMEOUT_S = 40.0  # of every request


@dataclass
class Ask:
    """One request of a scenario.

    Attributes:
        number: its place.
        tenant: who asks.
        seed: of the sampler.
        tokens: of the answer.
        at_s: when.
        name: correlation id, or empty.
        prompt: its text.
        on_disconnect: what becomes of its job when the client leaves.
        leaves_s: when the client goes away, or 0 for never.
        back_s: how long after that another one reads its answer by name, or 0 for never.
        cancel_s: when somebody cancels it, or 0 for never.
        twin: the request whose name it has, or -1.
    """

    number: int
    tenant: str
    seed: int
    tokens: int
    at_s: float
    name: str = ""
    prompt: str = "simulated"
    on_disconnect: Literal["detach", "cancel"] | None = None
    leaves_s: float = 0.0
    back_s: float = 0.0
    cancel_s: float = 0.0
    twin: int = -1
    chunks: list[Infer.Chunk] = field(default_factory=list)
    error: TetherError | None = None
    ended: bool = False
    left: bool = False
    called_off: bool = False
    resumes: int = 0

    @property
    def job(self) -> str:
        """Job's id, or empty."""
        return next((chunk.started.job_id for chunk in self.chunks if chunk.started.job_id), "")

    @property
    def whole(self) -> bool:
        """Whether it was answered to its end."""
        return self.ended and self.error is None and not self.left

    @property
    def expected(self) -> invariants.Expected:
        """What an unfaulted run gives."""
        ids = [noise_key(self.seed, 0, position) % len(WORDS) for position in range(self.tokens)]
        return invariants.Expected(b"".join(WORDS[token] for token in ids), ids)


class Ways:
    """`tether.client.gateways.Gateways` in a world: a gateway that begins a new life is found again."""

    def __init__(self, world: World, at: int) -> None:
        self._world, self._names, self._at = world, world.names("gateway"), at

    def __len__(self) -> int:
        return len(self._names)

    @property
    def current(self) -> str:
        """The gateway that is used now."""
        return self._names[self._at % len(self._names)]

    def channel(self) -> Any:
        """A channel to it."""
        return self._world.channel(self.current)

    def failed(self, address: str) -> None:
        """Take the next."""
        if address == self.current:
            self._at += 1


class Client:
    """Reads one answer.

    Args:
        world: where.
        ask: what.
        first: number of the gateway that is asked first.
        finished: hears of the last chunk.
    """

    def __init__(self, world: World, ask: Ask, first: int, finished: Callable[[Infer.Chunk], None]) -> None:
        self._world, self._ask, self._first = world, ask, first
        self._finished = finished

    async def read(self) -> None:
        """Ask, and read as long as the request says."""
        ask = self._ask
        await asyncio.sleep(ask.at_s)
        options = Options(
            seed=ask.seed,
            max_tokens=ask.tokens,
            correlation_id=ask.name or f"drawn-{ask.number}",
            timeout_s=TIMEOUT_S,
            on_disconnect=ask.on_disconnect,
        )
        await self._take(Wanted(build_request(MODEL, ask.prompt, options), ours=not ask.name))
        if ask.left and ask.back_s:
            await asyncio.sleep(ask.back_s)
            await self._come_back()
        ask.ended = True

    async def cancel(self) -> None:
        """Cancel the job, from another gateway."""
        ask, world = self._ask, self._world
        await asyncio.sleep(ask.at_s + ask.cancel_s)
        ways = Ways(world, self._first + 1)
        request = CancelRequest(correlation_id=ask.name or f"drawn-{ask.number}")
        for _ in range(5):
            try:
                ask.called_off = True
                stub: Any = InferenceServiceStub(ways.channel())
                done = await stub.Cancel(request, metadata=world.authorization(ask.tenant), timeout=3.0)
            except Exception as fault:  # noqa: BLE001 - a client tries again whatever it was
                world.tell(f"request {ask.number} is not cancelled: {_words(fault)}")
                ways.failed(ways.current)
                await asyncio.sleep(0.2)
            else:
                world.tell(f"request {ask.number} is cancelled, and stands at {done.job.state}")
                return

    async def _come_back(self) -> None:
        """Read the answer from its beginning, by its name."""
        ask = self._ask
        first, ask.chunks, ask.left = ask.chunks, [], False
        self._world.tell(f"request {ask.number}: its client comes back after {len(first)} chunks")
        await self._take(Wanted(None, name=ask.name, limit_s=TIMEOUT_S), back=True)

    async def _take(self, wanted: Wanted, *, back: bool = False) -> None:
        ask, world = self._ask, self._world
        calls = Calls(Ways(world, self._first), world.authorization(ask.tenant))  # type: ignore[arg-type]
        stream = Stream(calls, wanted, resume=True, check=None)
        until_s = world.loop.time() + ask.leaves_s if ask.leaves_s and not back else float("inf")
        try:
            async with stream:
                async for piece in stream:
                    ask.chunks.append(piece.chunk)
                    if piece.done:
                        self._finished(piece.chunk)
                    if world.loop.time() > until_s and not piece.done:
                        ask.left = True
                        break
        except TetherError as error:
            ask.error = error
            world.tell(f"request {ask.number} ends with {error.reason.name}: {error.message}")
        else:
            world.tell(f"request {ask.number} {'is left' if ask.left else 'is answered'}, job {ask.job[:8]}")
        ask.resumes += stream.resumes


def _words(fault: Exception) -> str:
    error = fault if isinstance(fault, TetherError) else from_rpc_error(fault)  # type: ignore[arg-type]
    return f"{error.reason.name}: {error.message}"
