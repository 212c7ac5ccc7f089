"""The hello of a link: who speaks, proved by a node token made for the listener.

Either side sends one HELLO entry alone in its frame. The dialler's comes first, so that the listener's token can name
its audience. (node, incarnation, counter) orders the links of a node: the newest wins.

On a relayed link either end proves itself to the orchestrator in the middle, which proves itself to both and says for
whom it speaks: what gateway and worker see is a link with each other, `via` that orchestrator.
Source: docs/design/link.md, docs/design/seams.md ("Relay").
"""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Protocol

from google.protobuf.message import DecodeError

from tether import _native
from tether.errors import Reason, TetherError
from tether.link.kind import NO_JOB, Kind
from tether.v1 import health_pb2, identity_pb2, link_pb2

PROTOCOL = 1
FEATURES = ("credit", "reattach")
_FEATURES_MAX = 32  # as link.proto says
_RELAYS = frozenset({int(identity_pb2.Role.ROLE_ORCHESTRATOR)})  # who may speak for others


class Speaker(Protocol):
    """What a hello needs of `tether.identity.Identity`."""

    @property
    def node_id(self) -> str:
        """Own node id."""

    @property
    def incarnation(self) -> int:
        """Own life."""

    def token(self, audience: str, now_ms: int) -> bytes:
        """Serialized NodeToken for `audience`."""


class Verifier(Protocol):
    """What a hello needs of `tether.identity.Trust`."""

    def token(self, raw: bytes, audience: str, now_ms: int) -> Any:  # noqa: ANN401 - Verified, by its attributes
        """Who made the token: node_id, roles, regions. TetherError where it does not hold."""


@dataclass(frozen=True, slots=True)
class LinkPeer:
    """Who is at the other end.

    Attributes:
        node_id: proved by its token; of a relayed link, vouched for by the orchestrator that relays it.
        incarnation: its life, as it says.
        counter: number of the link in that life, or in the life of the orchestrator that relays it.
        roles: roles of its credential (`identity_pb2.Role` values).
        regions: regions of its credential; empty for all.
        features: what it knows.
        report: its state, when it is a worker; the speaker has been checked to be the worker.
        via: orchestrator that relays the link, or empty.
        via_incarnation: life of that orchestrator, or 0.
        relay_to: worker that the peer asks this orchestrator to relay the link to, or empty.
    """

    node_id: str
    incarnation: int
    counter: int
    roles: frozenset[int] = frozenset()
    regions: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    report: health_pb2.Health.Report | None = None
    via: str = ""
    via_incarnation: int = 0
    relay_to: str = ""

    @property
    def age_key(self) -> tuple[int, int, int]:
        """Orders the links of one node that came the same way."""
        return (self.incarnation, self.via_incarnation, self.counter)

    @property
    def relayed_for(self) -> str:
        """Node id of whoever speaks through a relay; empty on a link of its own."""
        return self.node_id if self.via else ""


@dataclass(frozen=True, slots=True)
class Behalf:
    """For whom an orchestrator speaks that relays a link.

    Attributes:
        node_id: of the gateway towards the worker, of the worker towards the gateway.
        incarnation: its life.
    """

    node_id: str
    incarnation: int


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class Handshake:
    """Makes and checks hellos for one node.

    Args:
        speaker: own identity.
        verifier: own trust.
        wall_ms: wall clock in milliseconds since the Unix epoch; tokens live by it.
        report: makes the report that a worker's hello carries; None for others.
    """

    def __init__(
        self,
        speaker: Speaker,
        verifier: Verifier,
        *,
        wall_ms: Callable[[], int] = _wall_ms,
        report: Callable[[], health_pb2.Health.Report] | None = None,
    ) -> None:
        self._speaker = speaker
        self._verifier = verifier
        self._wall_ms = wall_ms
        self._report = report
        self._counter = 0

    def hello(self, audience: str, *, relay_to: str = "", behalf: Behalf | None = None) -> bytes:
        """A frame with this node's hello, with the next counter.

        Args:
            audience: node that it is for.
            relay_to: worker that the audience is asked to relay the link to, or empty.
            behalf: for whom this node relays the link, or None.
        """
        self._counter += 1
        body = link_pb2.Link.Hello(
            protocol=PROTOCOL,
            features=FEATURES,
            node_id=self._speaker.node_id,
            incarnation=self._speaker.incarnation,
            counter=self._counter,
            token=self._speaker.token(audience, self._wall_ms()),
            report=self._report() if self._report else None,
            relay_to=relay_to,
            relayed_for=behalf.node_id if behalf is not None else "",
            relayed_incarnation=behalf.incarnation if behalf is not None else 0,
        )
        (frame,) = _native.encode_frame([(NO_JOB, 0, int(Kind.HELLO), 0, 0, 0, body.SerializeToString())])
        return frame

    def check(self, frame: bytes, roles: Collection[int]) -> LinkPeer:
        """Who sent `frame`.

        Args:
            frame: the first frame of the link.
            roles: the peer needs one of these (`identity_pb2.Role`); an orchestrator may relay for it.

        Raises:
            TetherError: LINK_PROTOCOL, NODE_TOKEN_INVALID or ROLE_FORBIDDEN.
        """
        hello = parse_hello(frame)
        who = self._verifier.token(hello.token, self._speaker.node_id, self._wall_ms())
        if who.node_id != hello.node_id:
            raise TetherError(Reason.NODE_TOKEN_INVALID, "the hello names another node than its token")
        held = frozenset(int(role) for role in who.roles)
        needed = _RELAYS if hello.relayed_for else roles
        if not held.intersection(needed):
            named = " or ".join(
                identity_pb2.Role.Name(identity_pb2.Role.ValueType(role))[5:] for role in sorted(needed)
            )
            raise TetherError(Reason.ROLE_FORBIDDEN, f"this link is for the role {named}")
        if hello.relayed_for:
            return _relayed(hello, frozenset(int(role) for role in roles), tuple(who.regions))
        return _peer(hello, held, tuple(who.regions))


def _relayed(hello: link_pb2.Link.Hello, roles: frozenset[int], regions: tuple[str, ...]) -> LinkPeer:
    if hello.relayed_for == hello.node_id or hello.relay_to:
        raise TetherError(Reason.LINK_PROTOCOL, "a relay speaks for one other node")
    return LinkPeer(
        hello.relayed_for, hello.relayed_incarnation, hello.counter, roles, regions,
        tuple(hello.features[:_FEATURES_MAX]), via=hello.node_id, via_incarnation=hello.incarnation,
    )  # fmt: skip


def _peer(hello: link_pb2.Link.Hello, roles: frozenset[int], regions: tuple[str, ...]) -> LinkPeer:
    report = hello.report if hello.HasField("report") else None
    if report is not None and (report.worker_id, report.incarnation) != (hello.node_id, hello.incarnation):
        raise TetherError(Reason.LINK_PROTOCOL, "the hello reports on another worker")
    return LinkPeer(
        hello.node_id, hello.incarnation, hello.counter, roles, regions, tuple(hello.features[:_FEATURES_MAX]), report,
        relay_to=hello.relay_to,
    )  # fmt: skip


def parse_hello(frame: bytes) -> link_pb2.Link.Hello:
    """The hello that stands alone in `frame`; TetherError LINK_PROTOCOL for anything else."""
    try:
        entries = _native.decode_frame(frame)
        if len(entries) != 1 or entries[0][0] != NO_JOB or entries[0][2] != Kind.HELLO:
            raise TetherError(Reason.LINK_PROTOCOL, "a link begins with one HELLO, alone in its frame")
        hello = link_pb2.Link.Hello.FromString(entries[0][6])
    except (ValueError, DecodeError) as fault:
        raise TetherError(Reason.LINK_PROTOCOL, "the first frame of the link is malformed") from fault
    if hello.protocol != PROTOCOL:
        raise TetherError(Reason.LINK_PROTOCOL, f"link protocol {hello.protocol} is not spoken here; {PROTOCOL} is")
    return hello
