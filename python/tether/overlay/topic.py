"""What may stand on which topic, by whom, for how long: the table of overlay.md §2, a function per kind of topic."""

from dataclasses import dataclass
from functools import lru_cache

from tether import name as names
from tether.errors import TetherError
from tether.identity import Role, Verified
from tether.name import Topic, TopicKind
from tether.overlay.record import Record
from tether.overlay.refusal import Refusal
from tether.v1 import identity_pb2

HINT_LIFETIME_MS_MAX = 15_000  # presence, offers, holders: overlay.md §2
CONTROL_LIFETIME_MS_MAX = 3_600_000  # messages that hold until replaced are renewed hourly at the latest; a guess
ADDRESSES_MAX = 4  # identity.proto
_CONTROL = frozenset({Role.ORCHESTRATOR, Role.REGISTRY, Role.ISSUER, Role.OPERATOR})
_DRAIN = frozenset({Role.ORCHESTRATOR, Role.OPERATOR})
_WORKER = frozenset({Role.WORKER})
_BY_NUMBER = {int(role): frozenset({role}) for role in Role}
_ALL = frozenset(Role)


@dataclass(frozen=True, slots=True)
class Rule:
    """What a record's content claims.

    Attributes:
        writer: node id that the content speaks for; empty where it names none.
        roles: the writer needs one of these.
        lifetime_ms_max: longest lifetime.
    """

    writer: str
    roles: frozenset[Role]
    lifetime_ms_max: int


@lru_cache(maxsize=4_096)  # a node meets few topics, each again with every record
def read_topic(text: str) -> Topic | Refusal:
    """Parse a topic's name, or refuse it before any work."""
    try:
        return names.parse_topic(text)
    except TetherError:
        return Refusal.TOPIC


def check_claim(topic: Topic, record: Record, node: str) -> Refusal | None:
    """Refuse content that does not belong on the topic, speaks for another node, or holds too long.

    Args:
        topic: parsed topic.
        record: parsed record.
        node: node id of the record's key.
    """
    rule = _rule(topic, record)
    if isinstance(rule, Refusal):
        return rule
    if rule.writer and rule.writer != node:
        return Refusal.CONTENT
    if not 0 < record.body.lifetime_ms <= rule.lifetime_ms_max:
        return Refusal.LIFETIME
    return None


def check_writer(topic: Topic, record: Record, writer: Verified) -> Refusal | None:
    """Refuse a writer whose credential does not allow what the record says."""
    rule = _rule(topic, record)
    if isinstance(rule, Refusal):
        return rule
    if not writer.roles & rule.roles:
        return Refusal.ROLE
    if topic.region and not writer.serves(topic.region):
        return Refusal.REGION
    return None


def _rule(topic: Topic, record: Record) -> Rule | Refusal:
    if record.withdraws:
        return Rule("", _ALL, CONTROL_LIFETIME_MS_MAX)
    match topic.kind:
        case TopicKind.PRESENCE:
            return _presence(record.body)
        case TopicKind.MODELS:
            return _offer(topic, record.body)
        case TopicKind.CONTROL:
            return _control(record.body)
        case TopicKind.JOBS:
            return _holder(topic, record.body)


def _presence(body: identity_pb2.RecordBody) -> Rule | Refusal:
    said = body.presence
    if body.WhichOneof("content") != "presence" or len(said.addresses) > ADDRESSES_MAX:
        return Refusal.CONTENT
    return Rule(said.worker_id or "-", _as_roles(said.role), HINT_LIFETIME_MS_MAX)


def _offer(topic: Topic, body: identity_pb2.RecordBody) -> Rule | Refusal:
    said = body.model_offer
    fits = (said.model_id, said.version) == (topic.model, topic.version)
    if body.WhichOneof("content") != "model_offer" or not fits:
        return Refusal.CONTENT
    return Rule(said.worker_id or "-", _WORKER, HINT_LIFETIME_MS_MAX)


def _control(body: identity_pb2.RecordBody) -> Rule | Refusal:
    said = body.control
    if body.WhichOneof("content") != "control":
        return Refusal.CONTENT
    if said.WhichOneof("kind") == "drain_worker_id":
        return Rule("", _DRAIN, CONTROL_LIFETIME_MS_MAX) if names.is_node(said.drain_worker_id) else Refusal.CONTENT
    if len(said.presence.addresses) > ADDRESSES_MAX:
        return Refusal.CONTENT
    return Rule(said.presence.node_id or "-", _as_roles(said.presence.role) & _CONTROL, HINT_LIFETIME_MS_MAX)


def _holder(topic: Topic, body: identity_pb2.RecordBody) -> Rule | Refusal:
    said = body.job_holder
    if body.WhichOneof("content") != "job_holder" or said.job_id != topic.job_id:
        return Refusal.CONTENT
    return Rule("", _WORKER, HINT_LIFETIME_MS_MAX)


def _as_roles(number: int) -> frozenset[Role]:
    """The role that a body claims, as the set of roles that may claim it."""
    return _BY_NUMBER.get(number, frozenset())
