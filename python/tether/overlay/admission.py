"""Admission: every check between bytes from the network and a record that may be believed, cheapest first.

Storers and readers run the same checks; a reader trusts no storer.
"""

from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256

from tether.errors import TetherError
from tether.identity import Trust, Verified, node_id
from tether.identity.lru import Lru
from tether.identity.signature import bad_ones
from tether.name import Topic
from tether.overlay.record import Record, check_window, parse
from tether.overlay.refusal import Refusal
from tether.overlay.topic import check_claim, check_writer, read_topic

CREDENTIALS_MAX = 16_384  # as `Trust` keeps; 600 bytes each
REFUSED_MAX = 4_096  # hashes of credentials that were refused
REFUSED_S = 30.0  # how long a refused credential is not looked at again

_name = lru_cache(maxsize=16_384)(node_id)  # as many writers as credentials


class Admission:
    """Checks records against this network's trust.

    Args:
        trust: root document and verified credentials.
    """

    def __init__(self, trust: Trust) -> None:
        self._trust = trust
        self._raw: Lru[bytes, bytes] = Lru(CREDENTIALS_MAX)
        self._refused: Lru[bytes, float] = Lru(REFUSED_MAX)

    @property
    def network_id(self) -> bytes:
        """This network, 32 bytes."""
        return self._trust.network_id

    def learn(self, raw: bytes, now_ms: int) -> Verified | Refusal:
        """Check a credential and keep it for those who ask by its hash."""
        name = sha256(raw).digest()
        until = self._refused.get(name)
        if until is not None and now_ms / 1_000 < until:
            return Refusal.CREDENTIAL
        try:
            verified = self._trust.credential(raw, now_ms / 1_000)
        except TetherError:
            self._refused.put(name, now_ms / 1_000 + REFUSED_S)
            return Refusal.CREDENTIAL
        self._raw.put(name, raw)
        return verified

    def credential(self, name: bytes) -> bytes | None:
        """A credential by its hash, as it was learned."""
        return self._raw.get(name)

    def known(self, name: bytes, now_ms: int) -> Verified | None:
        """A learned credential by its hash, where it still holds."""
        try:
            known = self._trust.known(name, now_ms / 1_000)
        except TetherError:
            return None
        if known is not None:
            return known
        raw = self._raw.get(name)
        verified = self.learn(raw, now_ms) if raw is not None else None
        return verified if isinstance(verified, Verified) else None

    def form(self, topic: str, raw: bytes, now_ms: int) -> tuple[Topic, Record] | Refusal:
        """All that can be checked without credential and signature."""
        parsed = read_topic(topic)
        if isinstance(parsed, Refusal):
            return parsed
        record = parse(raw)
        if isinstance(record, Refusal):
            return record
        refusal = check_window(record, self.network_id, topic, now_ms)
        refusal = refusal or check_claim(parsed, record, _name(record.body.node_key))
        return refusal or (parsed, record)

    def rights(self, topic: Topic, record: Record, now_ms: int) -> Refusal | None:
        """Whether the writer's credential is known, is that writer's, and allows what it wrote."""
        writer = self.known(record.body.credential_hash, now_ms)
        if writer is None or writer.node_key != record.body.node_key:
            return Refusal.CREDENTIAL
        return check_writer(topic, record, writer)

    def signed(self, records: Sequence[Record]) -> list[bool]:
        """Which signatures hold; one native call for all."""
        bad = bad_ones([record.triple for record in records])
        return [index not in bad for index in range(len(records))]
