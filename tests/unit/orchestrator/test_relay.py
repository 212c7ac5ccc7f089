"""Relay: a gateway's link to a worker through an orchestrator, over real gRPC on loopback."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tether.errors import Reason, TetherError
from tether.identity import Role
from tether.link import Behalf, Dialler, Entry, Handshake, Kind, LinkEnd, LinkLocal, LinkServer, Outbox
from tether.node.channels import Channels
from tether.rpc import server as rpc_server
from tether.testing.identities import Identities, TestNode
from tether_orchestrator.relay import Relays

WAIT_S = 3.0


class End:
    """One end of links: a machine for control, and who hears of them."""

    def __init__(self, node: TestNode) -> None:
        self.node = node
        self.outbox = Outbox(lambda link, entry: self.entries.put_nowait((link, entry)))
        self.entries: asyncio.Queue[tuple[LinkEnd, Entry]] = asyncio.Queue()
        self.local = LinkLocal(Handshake(node.identity, node.trust), self.outbox)
        self.links: list[LinkEnd] = []
        self.gone: asyncio.Queue[str] = asyncio.Queue()

    def up(self, link: LinkEnd) -> None:
        self.links.append(link)

    def down(self, link: LinkEnd, why: str) -> None:
        self.outbox.forget(link)
        self.gone.put_nowait(why)

    async def heard(self) -> tuple[LinkEnd, Entry]:
        while True:
            link, entry = await asyncio.wait_for(self.entries.get(), WAIT_S)
            if entry.kind != Kind.BEAT:
                return link, entry


class Middle:
    """A worker that serves links, an orchestrator that relays them, and gateways that dial."""

    def __init__(self, folder: Path) -> None:
        self.network = Identities(folder)
        self.orchestrator = self.network.node("orchestrator", Role.ORCHESTRATOR)
        self.worker = End(self.network.node("worker", Role.WORKER))
        self.addresses: dict[str, str] = {}
        self.channels = [Channels(self.orchestrator.identity)]
        self.relays = Relays(
            Handshake(self.orchestrator.identity, self.orchestrator.trust),
            self.channels[0],
            lambda worker: self.addresses.get(worker, ""),
            relays_max=2,
        )
        self.servers: list[Any] = []
        self.tasks: list[asyncio.Task[Any]] = []

    async def start(self) -> None:
        own = End(self.orchestrator)
        worker = LinkServer(self.worker.local, (Role.GATEWAY,), self.worker)
        self.addresses[self.worker.node.node_id] = await self._serve(worker)
        relaying = LinkServer(own.local, (Role.WORKER,), own, self.relays)
        self.address = await self._serve(relaying)

    async def _serve(self, links: LinkServer) -> str:
        server = rpc_server.create()
        links.add_to(server)
        address = await rpc_server.bind(server, "127.0.0.1:0")
        await server.start()
        self.servers.append(server)
        return address

    def dialler(self, end: End) -> Dialler:
        channels = Channels(end.node.identity)
        self.channels.append(channels)
        return Dialler(end.local, channels, (Role.WORKER,), end)

    async def dial(self, end: End, worker: str = "") -> LinkEnd:
        dialler = self.dialler(end)
        to = worker or self.worker.node.node_id
        link = await dialler.dial(self.orchestrator.node_id, self.address, relay_to=to)
        self.tasks.append(asyncio.create_task(dialler.hold(link)))
        return link

    async def close(self) -> None:
        self.relays.close()
        for task in self.tasks:
            await asyncio.wait_for(task, WAIT_S)
        for channels in self.channels:
            await channels.close()
        for server in self.servers:
            await server.stop(0)


@pytest.fixture
async def middle(tmp_path: Path) -> AsyncIterator[Middle]:
    middle = Middle(tmp_path)
    await middle.start()
    yield middle
    await middle.close()


def gateway(middle: Middle, name: str = "gateway") -> End:
    return End(middle.network.node(name, Role.GATEWAY))


async def test_relayed_link_carries_entries_both_ways_between_its_ends(middle: Middle) -> None:
    end = gateway(middle)
    link = await middle.dial(end)
    assert (link.peer.node_id, link.peer.via) == (middle.worker.node.node_id, middle.orchestrator.node_id)
    assert end.local.book.of(middle.worker.node.node_id) is None
    assert end.local.book.of(middle.worker.node.node_id, middle.orchestrator.node_id) is link
    end.outbox.send(link, Kind.START, b"x" * 200_000, job=b"j" * 16, epoch=3)
    there, entry = await middle.worker.heard()
    assert (entry.job, entry.epoch, entry.kind, len(entry.body)) == (b"j" * 16, 3, Kind.START, 200_000)
    assert there.peer.relayed_for == end.node.node_id
    assert there.peer.incarnation == end.node.identity.incarnation
    middle.worker.outbox.send(there, Kind.END, b"done", job=b"j" * 16, epoch=3)
    _, entry = await end.heard()
    assert (entry.kind, entry.body) == (Kind.END, b"done")
    assert len(middle.relays) == 1


@pytest.mark.parametrize("who", ["gateway", "worker", "orchestrator"])
async def test_end_of_either_side_or_of_the_relay_ends_both(middle: Middle, who: str) -> None:
    end = gateway(middle)
    link = await middle.dial(end)
    end.outbox.send(link, Kind.DETACH, b"", job=b"j" * 16, epoch=1)
    there, _ = await middle.worker.heard()
    if who == "orchestrator":
        middle.relays.close()
    else:
        (link if who == "gateway" else there).close("closed")
    for side in (end, middle.worker):
        await asyncio.wait_for(side.gone.get(), WAIT_S)
    assert len(middle.relays) == 0


async def test_newer_link_of_the_same_gateway_and_worker_replaces_the_older(middle: Middle) -> None:
    end = gateway(middle)
    await middle.dial(end)
    newer = await middle.dial(end)
    assert await asyncio.wait_for(end.gone.get(), WAIT_S) in ("replaced", "ended", "broken")
    assert not newer.closed
    assert len(middle.relays) == 1


async def test_relay_to_an_unknown_worker_is_refused(middle: Middle) -> None:
    with pytest.raises(TetherError) as caught:
        await middle.dial(gateway(middle), "nobody")
    assert caught.value.reason is Reason.WORKER_LOST


async def test_relays_are_bounded(middle: Middle) -> None:
    for name in ("one", "two"):
        await middle.dial(gateway(middle, name))
    with pytest.raises(TetherError):
        await middle.dial(gateway(middle, "three"))
    assert len(middle.relays) == 2


async def test_relay_is_for_gateways_alone(middle: Middle) -> None:
    with pytest.raises(TetherError):
        await middle.dial(End(middle.network.node("other", Role.WORKER)))
    assert len(middle.relays) == 0


async def test_only_an_orchestrator_may_speak_for_another(middle: Middle) -> None:
    liar = gateway(middle)
    handshake = liar.local.handshake
    peer = handshake.hello(middle.worker.node.node_id, behalf=None)
    assert middle.worker.local.handshake.check(peer, (Role.GATEWAY,)).via == ""
    forged = handshake.hello(middle.worker.node.node_id, behalf=Behalf("victim", 1))
    with pytest.raises(TetherError) as caught:
        middle.worker.local.handshake.check(forged, (Role.GATEWAY,))
    assert caught.value.reason is Reason.ROLE_FORBIDDEN


async def test_node_that_relays_nothing_refuses_to(middle: Middle) -> None:
    end = gateway(middle)
    dialler = middle.dialler(end)
    worker = middle.worker.node.node_id
    with pytest.raises(TetherError):
        await dialler.dial(worker, middle.addresses[worker], relay_to="another")
