"""Records: making them, and the checks that cost little, in the order of their cost.

What a check refuses is a value, not an exception: hostile input is the normal case here.
"""

from dataclasses import dataclass
from hashlib import sha256

from google.protobuf.message import DecodeError

from tether.identity import signature
from tether.identity.name import KEY_BYTES
from tether.overlay.refusal import Refusal
from tether.v1 import identity_pb2

RECORD_BYTES_MAX = 1_000  # overlay.md §2
NONCE_BYTES = 12  # identity.proto
CLOCK_TOLERANCE_MS = 30_000  # overlay.md §2
HASH_BYTES = 32
Content = identity_pb2.Presence | identity_pb2.ModelOffer | identity_pb2.ControlMessage | identity_pb2.JobHolder

# (node's key, kind of content)
Key = tuple[bytes, str]


@dataclass(frozen=True, slots=True)
class Record:
    """A parsed record, not yet trusted.

    Attributes:
        raw: as it travels.
        body: parsed body.
        signed: the bytes of the body that were signed.
        signature: 64 bytes.
        kind: kind of content; empty where it withdraws.
    """

    raw: bytes
    body: identity_pb2.RecordBody
    signed: bytes
    signature: bytes
    kind: str

    @property
    def key(self) -> Key:
        """What it replaces: (node, kind of content) on its topic."""
        return (self.body.node_key, self.kind)

    @property
    def order(self) -> tuple[int, int]:
        """Which of two records of one key holds: the higher."""
        return (self.body.incarnation, self.body.sequence)

    @property
    def withdraws(self) -> bool:
        """Whether it withdraws all that its node said on its topic before."""
        return not self.kind

    @property
    def triple(self) -> tuple[bytes, bytes, bytes]:
        """(key, message, signature), as a batch check takes it."""
        return (self.body.node_key, signature.message(signature.RECORD, self.signed), self.signature)


def parse(raw: bytes) -> Record | Refusal:
    """Read a record's form; its content is checked by `check_window` and `tether.overlay.topic`."""
    if len(raw) > RECORD_BYTES_MAX:
        return Refusal.OVERSIZED
    try:
        outer = identity_pb2.Record.FromString(raw)
        body = identity_pb2.RecordBody.FromString(outer.body)
    except DecodeError:
        return Refusal.MALFORMED
    kind = kind_of(body)
    if kind is None or not _well_formed(body) or len(outer.signature) != signature.SIGNATURE_BYTES:
        return Refusal.MALFORMED
    return Record(raw, body, outer.body, outer.signature, kind)


def _well_formed(body: identity_pb2.RecordBody) -> bool:
    sizes = (len(body.node_key), len(body.nonce), len(body.credential_hash))
    return sizes == (KEY_BYTES, NONCE_BYTES, HASH_BYTES) and body.sequence > 0 and body.incarnation > 0


def kind_of(body: identity_pb2.RecordBody) -> str | None:
    """Kind of content, so that each replaces only its own; empty where it withdraws; None where it has none."""
    content = body.WhichOneof("content")
    if content == "withdrawn":
        return "" if body.withdrawn else None
    if content != "control":
        return content
    match body.control.WhichOneof("kind"):
        case "presence":
            return "control.presence"
        case "drain_worker_id":
            return f"control.drain.{body.control.drain_worker_id}"
    return None


def check_window(record: Record, network_id: bytes, topic: str, now_ms: int) -> Refusal | None:
    """Refuse what is of another network, topic or time.

    Args:
        record: parsed.
        network_id: this network, 32 bytes.
        topic: the topic it was given for.
        now_ms: milliseconds since the Unix epoch.
    """
    body = record.body
    if body.network_id != network_id:
        return Refusal.FOREIGN
    if body.topic != topic:
        return Refusal.TOPIC
    over_ms = body.issued_at_ms + body.lifetime_ms + CLOCK_TOLERANCE_MS
    if not body.issued_at_ms - CLOCK_TOLERANCE_MS <= now_ms <= over_ms:
        return Refusal.EXPIRED
    return None


def put_content(body: identity_pb2.RecordBody, content: Content | None) -> None:
    """Set the content of a body; None withdraws."""
    match content:
        case identity_pb2.Presence():
            body.presence.CopyFrom(content)
        case identity_pb2.ModelOffer():
            body.model_offer.CopyFrom(content)
        case identity_pb2.ControlMessage():
            body.control.CopyFrom(content)
        case identity_pb2.JobHolder():
            body.job_holder.CopyFrom(content)
        case None:
            body.withdrawn = True


def same_content(one: identity_pb2.RecordBody, other: identity_pb2.RecordBody) -> bool:
    """Whether two bodies say the same in the same life."""
    return one.incarnation == other.incarnation and _content(one) == _content(other)


def _content(body: identity_pb2.RecordBody) -> object:
    name = body.WhichOneof("content")
    return getattr(body, name) if name else None


def fingerprint(raw: bytes) -> bytes:
    """SHA-256 of a record as it travels: names exact duplicates."""
    return sha256(raw).digest()
