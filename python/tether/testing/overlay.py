"""Overlay test kit: networks in a folder, records with any flaw, a clock that tests turn, and waits with an end."""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tether.identity import Identity, Role, Trust, network, signature
from tether.overlay import Overlay, Settings
from tether.overlay.admission import Admission
from tether.overlay.clock import Clock
from tether.overlay.record import Content, put_content
from tether.v1 import identity_pb2

NOW_S = 1_800_000_000  # when virtual networks are made
WAIT_S = 5.0  # longest that a test waits for what should come in milliseconds


@dataclass(slots=True)
class TurnedClock:
    """A clock that moves when the test says so.

    Attributes:
        now_s: seconds since the Unix epoch, and the monotonic time too.
        seed: of its chance.
    """

    now_s: float = NOW_S
    seed: int = 7

    def clock(self) -> Clock:
        """The same as the overlay takes it."""
        rng = random.Random(self.seed)  # noqa: S311  # reproducible on purpose
        return Clock(lambda: int(self.now_s * 1_000), lambda: self.now_s, rng.randbytes, lambda: 1.0)


class Mesh:
    """A network whose nodes live in one folder.

    Args:
        folder: gets the network and a folder per node.
        name: the network's name.
        now_s: when it is made; None for now.
    """

    def __init__(self, folder: Path, name: str = "home", now_s: float | None = None) -> None:
        self.folder = folder
        self._now_s = now_s
        network.init(folder / "network", name, now_s=now_s)
        self._open: list[Overlay] = []

    @property
    def trust(self) -> Trust:
        """A fresh trust in this network."""
        return Trust.load(self.folder / "network")

    def identity(self, name: str, *roles: Role, regions: Sequence[str] = (), ttl_s: float = 3_600.0) -> Identity:
        """The node in folder `name`, in a new life; a worker where no role is given."""
        if not (self.folder / name).exists():
            given = roles or (Role.WORKER,)
            network.issue(self.folder / "network", self.folder / name, given, regions, name, ttl_s, now_s=self._now_s)
        return Identity.load(self.folder / name)

    def admission(self, *known: Identity, now_s: float | None = None) -> Admission:
        """Checks of this network, with some credentials learned."""
        admission = Admission(self.trust)
        for identity in known:
            admission.learn(identity.credential, int((NOW_S if now_s is None else now_s) * 1_000))
        return admission

    async def node(
        self,
        name: str,
        *roles: Role,
        bootstrap: Sequence[str] = (),
        port: int = 0,
        settings: Settings | None = None,
    ) -> Overlay:
        """Start a node; it keeps its state in its folder."""
        identity = self.identity(name, *roles)
        overlay = Overlay(identity, self.trust, self.folder / name, settings)
        self._open.append(overlay)
        await overlay.start(port, bootstrap)
        return overlay

    async def close(self) -> None:
        """Close all nodes."""
        await asyncio.gather(*(overlay.close() for overlay in self._open))
        self._open.clear()


def presence(identity: Identity, role: Role = Role.WORKER, address: str = "127.0.0.1:1") -> identity_pb2.Presence:
    """What a node says of itself."""
    return identity_pb2.Presence(worker_id=identity.node_id, role=role.wire, addresses=[address])


def make_record(
    identity: Identity,
    topic: str,
    content: Content | None,
    *,
    now_s: float = NOW_S,
    change: Callable[[identity_pb2.RecordBody], object] = lambda _: None,
    **fields: object,
) -> bytes:
    """A signed record; `fields` and `change` put flaws into the body before it is signed.

    Args:
        identity: signs.
        topic: where.
        content: what; None withdraws.
        now_s: issue time.
        change: does anything else to the body.
        fields: replace fields of the body, such as `sequence=3`.
    """
    body = identity_pb2.RecordBody(
        network_id=identity.network_id,
        topic=topic,
        node_key=identity.public_key,
        incarnation=identity.incarnation,
        sequence=1,
        nonce=random.randbytes(12),  # noqa: S311  # uniqueness is all that is needed here
        issued_at_ms=int(now_s * 1_000),
        lifetime_ms=15_000,
        credential_hash=identity.credential_hash,
    )
    put_content(body, content)
    for name, value in fields.items():
        setattr(body, name, value)
    change(body)
    raw = body.SerializeToString()
    return identity_pb2.Record(body=raw, signature=identity.sign(signature.RECORD, raw)).SerializeToString()


async def until(condition: Callable[[], object], wait_s: float = WAIT_S) -> None:
    """Return once `condition` holds; fail where it does not in time.

    Raises:
        TimeoutError: it did not hold in time.
    """
    async with asyncio.timeout(wait_s):
        while not condition():  # noqa: ASYNC110  # any condition, not only one that has an event
            await asyncio.sleep(0.002)
