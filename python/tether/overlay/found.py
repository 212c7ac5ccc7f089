"""What a lookup or a watch tells: a verified record, and what became of it."""

from dataclasses import dataclass
from enum import Enum

from tether.v1 import identity_pb2


@dataclass(frozen=True, slots=True)
class Found:
    """A verified record.

    Attributes:
        node_id: its writer.
        body: what it says; its signature, credential, role and topic have been checked.
        age_s: seconds since a storer received it.
    """

    node_id: str
    body: identity_pb2.RecordBody
    age_s: float


class ChangeKind(Enum):
    """What became of a record."""

    UP = "up"
    UPDATED = "updated"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Change:
    """A change on a watched topic.

    Attributes:
        kind: UP for a new record, UPDATED for new content or a new life, GONE when withdrawn or over.
        found: the record; the last one known where it is gone.
    """

    kind: ChangeKind
    found: Found
