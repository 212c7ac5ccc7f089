"""One virtual region: real gateways, orchestrators and workers on a virtual loop, wires, disk and clock.

Nothing of the services is replaced but what touches the machine: sockets, threads, files, clocks and chance. A node
that is killed keeps what its disk had: identity with a new incarnation, journal, and for orchestrators the job store.
"""

import asyncio
import atexit
import contextlib
import contextvars
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import clock  # first: it stands in for the process's clocks
import engine  # noqa: F401 - workers get virtual engines
from database import Disk, SimDatabase
from loop import NODE, WALL_S, VirtualLoop, nobody
from nacl.signing import SigningKey
from net import Channel, Net
from node import Board, SimJournal, SimNode

from tether.errors import TetherError
from tether.identity import Identity, Role
from tether.identity.signature import SNAPSHOT
from tether.node.find import Peers
from tether.store.jobs_store import SqlJobStore
from tether.testing.catalogue import key_of, model_of, token
from tether.testing.identities import Identities, TestNode
from tether.v1 import registry_pb2 as pb
from tether.v1.policy_pb2 import Policy
from tether_gateway.config import Config as GatewayConfig
from tether_gateway.core import GatewayCore
from tether_gateway.core import Ground as GatewayGround
from tether_orchestrator.app import Parts
from tether_orchestrator.config import Config as OrchestratorConfig
from tether_worker.config import Config as WorkerConfig
from tether_worker.core import Ground as WorkerGround
from tether_worker.core import WorkerCore
from tether_worker.engine.simulated import SimulatedRuntime
from tether_worker.fault import Faults
from tether_worker.faulty import FaultyRuntime

MODEL, TENANTS = "sim", ("acme", "bold")
ROLES = {"gateway": Role.GATEWAY, "orchestrator": Role.ORCHESTRATOR, "worker": Role.WORKER}
START_S = 1.0  # of virtual time until all have found each other


KEYS = random.Random(20_261_121)  # keys are the same in every process, or hashes over node ids would not be


@cache
def _people() -> tuple[Identities, Path]:
    """One network for all worlds: identities do not change with a seed."""
    folder = Path(tempfile.mkdtemp(prefix="tether-simulation-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with _same_keys():
        return Identities(folder), folder


@cache
def _member(name: str) -> TestNode:
    people = _people()[0]
    with _same_keys():
        return people.node(name, Role.REGISTRY if name == "registry" else ROLES[name.partition("-")[0]])


@cache
def _meet() -> None:
    """Make members in one order, whatever a world starts first."""
    for name in ["registry", *(f"{service}-{number}" for service in ROLES for number in range(1, 10))]:
        _member(name)


def _drawn_key() -> SigningKey:
    return SigningKey(KEYS.randbytes(32))


@contextlib.contextmanager
def _same_keys() -> Iterator[None]:
    then = SimpleNamespace(monotonic=lambda: 0.0, wall=lambda: WALL_S)
    drawn = mock.patch.object(SigningKey, "generate", _drawn_key)
    with clock.taken_over(then, KEYS), drawn:
        yield


class Died(BaseException):
    """A process ends in the middle of what it was doing."""


@dataclass(frozen=True)
class Setting:
    """What a region is like.

    Attributes:
        counts: how many of each service.
        policies: that hold.
        quota: of every tenant.
        slots: of a worker.
        journal_max: entries that a node's disk has room for.
        poison: a text that ends the process of a worker that reads it, or empty.
    """

    counts: dict[str, int]
    policies: tuple[Policy, ...] = ()
    quota: pb.Quota | None = None
    slots: int = 4
    journal_max: int = 10_000
    poison: str = ""


class Opener:
    """Opens every model as a paced engine on virtual time."""

    def __init__(self, config: WorkerConfig, loop: VirtualLoop, poison: str, die: Callable[[int], None]) -> None:
        self._config, self._loop = config, loop
        self._faults, self._die = Faults(poison_text=poison), die

    async def open(self, model: pb.Model) -> tuple[SimulatedRuntime, int]:
        """A runtime."""
        runtime = FaultyRuntime(
            self._faults,
            die=self._die,
            slots=self._config.slots,
            token_ms=self._config.simulated_token_ms,
            context_tokens_max=4_096,
            clock=self._loop.monotonic,
            pause=lambda _seconds: None,
        )
        return runtime, 0


class World:
    """A region in virtual time.

    Args:
        seed: of everything.
        setting: what it is like.

    Attributes:
        lives: present life of each node that runs; None while it begins.
        story: what happened, in order.
        deaths: workers that a prompt has killed.
    """

    def __init__(self, seed: int, setting: Setting) -> None:
        self.loop, self.rng = VirtualLoop(), random.Random(seed)
        self.net, self.board = Net(self.loop, random.Random(seed + 1)), Board(self.loop)
        self.disk = Disk(self.loop, random.Random(seed + 2))
        self.setting, self.counts, self.deaths = setting, setting.counts, 0
        self.lives: dict[str, Any] = {}
        self.story: list[str] = []
        self._incarnations: dict[str, int] = {}
        self._journals: dict[str, dict[bytes, bytes]] = {}
        self._chance = random.Random(seed + 3)
        _meet()
        self._snapshot_of(setting.policies, setting.quota or pb.Quota())

    def _snapshot_of(self, policies: tuple[Policy, ...], quota: pb.Quota) -> None:
        registry = _member("registry")
        self.tokens = {tenant: token(number + 1) for number, tenant in enumerate(TENANTS)}
        body = pb.Snapshot(
            network_id=registry.trust.network_id,
            revision=1,
            tenants=[pb.Tenant(name=tenant, quota=quota) for tenant in TENANTS],
            keys=[key_of(self.tokens[tenant], tenant) for tenant in TENANTS],
            models=[model_of(MODEL, context_tokens=4_096)],
            policies=policies,
        ).SerializeToString()
        self.snapshot = pb.WatchSnapshotResponse(
            snapshot=body,
            signature=registry.identity.sign(SNAPSHOT, body),
            credential=registry.identity.credential,
            revision=1,
        )

    # lives

    def names(self, service: str) -> list[str]:
        """Names of the nodes of a service."""
        return [f"{service}-{number + 1}" for number in range(self.counts[service])]

    def life(self, name: str) -> str:
        """Present life of a node."""
        return f"{name}#{self._incarnations.get(name, 0)}"

    def tell(self, words: str) -> None:
        """Put something into the story."""
        self.story.append(f"{self.loop.time():9.4f} s  {words}")

    def begin(self, name: str) -> None:
        """Start a node's next life."""
        self._incarnations[name] = self._incarnations.get(name, 0) + 1
        self.lives[name] = None
        life = self.life(name)
        own = contextvars.Context()
        own.run(NODE.set, life)
        self.tell(f"{name} begins its life {self._incarnations[name]}")
        self.loop.call_soon(lambda: self.loop.create_task(self._start(name)), context=own)

    async def _start(self, name: str) -> None:
        member = _member(name)
        of = member.identity
        identity = Identity(of._key, of.credential, of.network_id, self._incarnations[name])
        node = SimNode(self.net, self.board, identity, member.trust, ROLES[name.partition("-")[0]], name)
        starts = {"gateway": self._gateway, "orchestrator": self._orchestrator, "worker": self._worker}
        try:
            self.lives[name] = await starts[name.partition("-")[0]](name, node)
        except TetherError as error:  # whoever runs it starts it again
            self.tell(f"{name} cannot begin: {error.reason.name}")
            self.loop.call_at(self.loop.time() + 0.5, self._again, name, self.life(name), context=nobody())

    def _journal(self, name: str) -> SimJournal:
        kept = self._journals.setdefault(name, {})
        return SimJournal(kept, lambda: self._chance.uniform(0.0002, 0.002), self.setting.journal_max)

    def node_id(self, name: str) -> str:
        """A node's id."""
        return _member(name).identity.node_id

    def kept(self, name: str) -> int:
        """Entries of a node's journal."""
        return len(self._journals.get(name, ()))

    async def _gateway(self, name: str, node: SimNode) -> GatewayCore:
        from tether.registry.catalogue import Catalogue

        config = GatewayConfig(state=_people()[1])
        catalogue = Catalogue(node.trust, node.trust.network_id, None, serve_s=float("inf"))
        catalogue.apply(self.snapshot, time.time())
        peers = Peers(node.overlay, "local", Role.ORCHESTRATOR)
        ground = GatewayGround(node.identity, node.trust, node.channels, peers, catalogue, journal=self._journal(name))
        core = GatewayCore(ground, config)
        core.start()
        peers.listen(lambda: core.sessions.follow(peers.all()))
        core.sessions.follow(peers.all())
        await node.serve(core.add_to)
        return core

    async def _orchestrator(self, name: str, node: SimNode) -> Parts:
        config = OrchestratorConfig(state=_people()[1])
        store = await SqlJobStore.over(SimDatabase(self.disk))
        parts = Parts(config, node, store, self._journal(name))
        parts.catalogue._file = None
        parts.catalogue._serve_s = float("inf")
        parts.catalogue.apply(self.snapshot, time.time())
        await parts.start()
        return parts

    async def _worker(self, name: str, node: SimNode) -> WorkerCore:
        config = WorkerConfig(state=_people()[1], engine="simulated", slots=self.setting.slots, simulated_token_ms=10)
        ground = WorkerGround(node.identity, node.trust, node.channels, node.overlay)
        core = WorkerCore(
            ground, config, Opener(config, self.loop, self.setting.poison, lambda _: self._poisoned(name))
        )
        core.keeper._journal = self._journal(name)
        for kept, body in core.keeper._journal.entries():
            core.keeper._restore(core.keeper._journal, kept, body)
        await node.serve(core.add_to)
        core.serve_at(node.address)
        await core.supply.reconcile([model_of(MODEL, context_tokens=4_096)])
        core.start()
        peers = Peers(node.overlay, "local", Role.ORCHESTRATOR)
        peers.listen(lambda: core.orchestrators_are(peers.all()))
        core.orchestrators_are(peers.all())
        return core

    def kill(self, name: str) -> None:
        """End a node as kill -9 does."""
        life = self.life(name)
        self.tell(f"{name} is killed")
        self.loop.kill(life)
        self.net.died(life)
        self.lives.pop(name, None)

    def _poisoned(self, name: str) -> None:
        self.deaths += 1
        self.tell(f"{name} is ended by a prompt")
        self.kill(name)
        self.loop.call_at(self.loop.time() + 0.5, self._revive, name, context=nobody())
        raise Died

    def _revive(self, name: str) -> None:
        if name not in self.lives:
            self.begin(name)

    def drain(self, name: str, grace_s: float) -> None:
        """Let a node leave, as SIGTERM does; then its next life begins."""
        if self.lives.get(name) is None:
            return
        self.tell(f"{name} is asked to leave")
        own = contextvars.Context()
        own.run(NODE.set, self.life(name))
        self.loop.call_soon(lambda: self.loop.create_task(self._leave(name, grace_s)), context=own)

    async def _leave(self, name: str, grace_s: float) -> None:
        core, life = self.lives[name], self.life(name)
        await core.drain(grace_s)
        await core.close()
        self.tell(f"{name} has left")
        self.board.leave(_member(name).identity.node_id)
        self.loop.call_at(self.loop.time(), self._again, name, life, context=nobody())

    def _again(self, name: str, life: str) -> None:
        if life not in self.loop.dead:
            self.kill(name)
            self._revive(name)

    def stop(self, name: str, for_s: float) -> None:
        """Stop a node for a while, as SIGSTOP does."""
        self.tell(f"{name} stops for {for_s:.2f} s")
        self.loop.stop_life(self.life(name), for_s)

    # clients

    def channel(self, gateway: str) -> Channel:
        """A client's way to a gateway's present life."""
        return Channel(self.net, f"{gateway}:{self._incarnations.get(gateway, 0)}")

    def authorization(self, tenant: str) -> tuple[tuple[str, str], ...]:
        """A client's metadata."""
        return (("authorization", f"Bearer {self.tokens[tenant].text()}"),)

    # running

    def run(self, main: Any) -> Any:
        """Run a coroutine function to its end on this world's loop."""
        with clock.taken_over(self.loop, self._chance):
            asyncio.set_event_loop(self.loop)
            try:
                return self.loop.run_until_complete(main())
            finally:
                for task in asyncio.all_tasks(self.loop):
                    task._log_destroy_pending = False  # type: ignore[attr-defined]
                asyncio.set_event_loop(None)

    async def start_all(self) -> None:
        """Begin all lives, and let them find each other."""
        for service in ("orchestrator", "worker", "gateway"):
            for name in self.names(service):
                self.begin(name)
        await asyncio.sleep(START_S)
