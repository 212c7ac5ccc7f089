"""The hello of a link: who speaks, proved by a node token made for the listener.

Either side sends one HELLO entry alone in its frame. The dialler's comes first, so that the listener's token can name
its audience. (node, incarnation, counter) orders the links of a node: the newest wins.
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
        node_id: proved by its token.
        incarnation: its life, as it says.
        counter: number of the link in that life.
        roles: roles of its credential (`identity_pb2.Role` values).
        regions: regions of its credential; empty for all.
        features: what it knows.
        report: its state, when it is a worker; the speaker has been checked to be the worker.
    """

    node_id: str
    incarnation: int
    counter: int
    roles: frozenset[int] = frozenset()
    regions: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    report: health_pb2.Health.Report | None = None

    @property
    def age_key(self) -> tuple[int, int]:
        """Orders the links of one node."""
        return (self.incarnation, self.counter)


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

    def hello(self, audience: str) -> bytes:
        """A frame with this node's hello for the node `audience`, with the next counter."""
        self._counter += 1
        body = link_pb2.Link.Hello(
            protocol=PROTOCOL,
            features=FEATURES,
            node_id=self._speaker.node_id,
            incarnation=self._speaker.incarnation,
            counter=self._counter,
            token=self._speaker.token(audience, self._wall_ms()),
            report=self._report() if self._report else None,
        )
        (frame,) = _native.encode_frame([(NO_JOB, 0, int(Kind.HELLO), 0, 0, 0, body.SerializeToString())])
        return frame

    def check(self, frame: bytes, roles: Collection[int]) -> LinkPeer:
        """Who sent `frame`.

        Args:
            frame: the first frame of the link.
            roles: the peer needs one of these (`identity_pb2.Role`).

        Raises:
            TetherError: LINK_PROTOCOL, NODE_TOKEN_INVALID or ROLE_FORBIDDEN.
        """
        hello = parse_hello(frame)
        who = self._verifier.token(hello.token, self._speaker.node_id, self._wall_ms())
        if who.node_id != hello.node_id:
            raise TetherError(Reason.NODE_TOKEN_INVALID, "the hello names another node than its token")
        held = frozenset(int(role) for role in who.roles)
        if not held.intersection(roles):
            named = " or ".join(identity_pb2.Role.Name(identity_pb2.Role.ValueType(role))[5:] for role in sorted(roles))
            raise TetherError(Reason.ROLE_FORBIDDEN, f"this link is for the role {named}")
        return _peer(hello, held, tuple(who.regions))


def _peer(hello: link_pb2.Link.Hello, roles: frozenset[int], regions: tuple[str, ...]) -> LinkPeer:
    report = hello.report if hello.HasField("report") else None
    if report is not None and (report.worker_id, report.incarnation) != (hello.node_id, hello.incarnation):
        raise TetherError(Reason.LINK_PROTOCOL, "the hello reports on another worker")
    return LinkPeer(
        hello.node_id, hello.incarnation, hello.counter, roles, regions, tuple(hello.features[:_FEATURES_MAX]), report
    )


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
