"""Announcing: records made, sent to the storers of their topic, renewed while they are meant, withdrawn when not."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterable

import structlog

from tether.errors import Reason, TetherError
from tether.identity import Identity, signature
from tether.overlay.contact import Contact
from tether.overlay.parts import Parts
from tether.overlay.record import NONCE_BYTES, Content, put_content
from tether.overlay.refusal import Refusal
from tether.overlay.topic import read_topic
from tether.v1 import identity_pb2

TELL_S = 0.3  # a region's round trips are under 0.1 s; who is slower is told in the background
_REASONS = {
    Refusal.OVERSIZED: Reason.TOO_LARGE,
    Refusal.ROLE: Reason.ROLE_FORBIDDEN,
    Refusal.REGION: Reason.ROLE_FORBIDDEN,
    Refusal.CREDENTIAL: Reason.NODE_TOKEN_INVALID,
}
_log = structlog.get_logger("tether.overlay")


class Announcement:
    """One thing that this node says on a topic, until withdrawn.

    Args:
        publisher: sends it.
        topic: where.
        content: what.
        renew_s: how often it is said again.
        lifetime_s: how long storers keep it.
    """

    def __init__(self, publisher: "Publisher", topic: str, content: Content, renew_s: float, lifetime_s: float) -> None:
        self.topic = topic
        self.content: Content = content
        self.renew_s = renew_s
        self.lifetime_s = lifetime_s
        self.raw = b""
        self.ended = False
        self.changed = asyncio.Event()
        self._publisher = publisher

    def update(self, content: Content) -> None:
        """Say something else from now on; what comes faster than it can be sent is said once.

        Raises:
            TetherError: as `Overlay.announce`.
        """
        self._publisher.check(self.topic, content, self.lifetime_s)
        self.content = content
        self.changed.set()

    async def withdraw(self) -> None:
        """Say it no more; storers drop it at once. The same again does nothing."""
        await self._publisher.withdraw(self)


class Publisher:
    """All that this node announces.

    Args:
        identity: signs.
        parts: checks own records before others refuse them, finds storers, calls them.
        keep: stores a record in this node's own shelf.
    """

    def __init__(self, identity: Identity, parts: Parts, keep: Callable[[str, bytes], object]) -> None:
        self._me = identity
        self._admission = parts.admission
        self._protocol = parts.protocol
        self._reach = parts.reach
        self._clock = parts.clock
        self._keep = keep
        self._sequences: Counter[str] = Counter()
        self._announcements: dict[Announcement, asyncio.Task[None]] = {}
        self._told: set[str] = set()

    async def announce(self, topic: str, content: Content, renew_s: float, lifetime_s: float) -> Announcement:
        """Say `content` on `topic` until withdrawn; returns once the storers that are there have it."""
        self.check(topic, content, lifetime_s)
        announcement = Announcement(self, topic, content, renew_s, lifetime_s)
        await self._say(announcement)
        self._announcements[announcement] = self._protocol.spawn(self._renew(announcement))
        return announcement

    def check(self, topic: str, content: Content, lifetime_s: float) -> None:
        """Refuse what storers would refuse.

        Raises:
            TetherError: INVALID_FIELD, TOO_LARGE, ROLE_FORBIDDEN or NODE_TOKEN_INVALID.
        """
        now_ms = self._clock.wall_ms()
        formed = self._admission.form(topic, self._make(topic, content, lifetime_s, 1), now_ms)
        refusal = formed if isinstance(formed, Refusal) else self._admission.rights(*formed, now_ms)
        if refusal is not None:
            reason = _REASONS.get(refusal, Reason.INVALID_FIELD)
            raise TetherError(reason, f"That can't be announced on {topic[:255]}: {refusal.value}.", field="topic")

    async def withdraw(self, announcement: Announcement) -> None:
        """Tell the storers that it is over, and say again what else stands on the topic."""
        task = self._announcements.pop(announcement, None)
        if task is None:
            return
        announcement.ended = True
        task.cancel()
        raw = self._make(announcement.topic, None, announcement.lifetime_s, self._next(announcement.topic))
        self._keep_own(announcement.topic, raw)
        telling = self._send(announcement.topic, raw, self._reach.last_storers(announcement.topic))
        if telling:
            await asyncio.wait(telling, timeout=TELL_S)
        for other in self._announcements:
            if other.topic == announcement.topic:
                other.changed.set()

    async def close(self) -> None:
        """Withdraw everything."""
        await asyncio.gather(*(announcement.withdraw() for announcement in list(self._announcements)))

    def on_contact(self, contact: Contact) -> None:
        """Give a new neighbour what it should keep."""
        for announcement in self._announcements:
            if announcement.raw and self._reach.concerns(announcement.topic, contact):
                self._protocol.spawn(self._store(contact, announcement.topic, announcement.raw))

    async def _renew(self, announcement: Announcement) -> None:
        while True:
            with contextlib.suppress(TimeoutError):  # time to say it again
                async with asyncio.timeout(announcement.renew_s * self._clock.jitter()):
                    await announcement.changed.wait()
            await self._say(announcement)

    async def _say(self, announcement: Announcement) -> None:
        """Tell the storers that are known at once, and then those that a crawl finds besides."""
        announcement.changed.clear()
        topic, number = announcement.topic, self._next(announcement.topic)
        announcement.raw = self._make(topic, announcement.content, announcement.lifetime_s, number)
        self._keep_own(topic, announcement.raw)
        known = self._reach.last_storers(topic)
        telling = self._send(topic, announcement.raw, known)
        told = {contact.id for contact in known}
        more = [contact for contact in await self._reach.storers(topic) if contact.id not in told]
        telling |= self._send(topic, announcement.raw, more)
        if telling:
            await asyncio.wait(telling, timeout=TELL_S)

    def _keep_own(self, topic: str, raw: bytes) -> None:
        if self._reach.is_storer(topic):
            self._keep(topic, raw)

    def _send(self, topic: str, raw: bytes, storers: Iterable[Contact]) -> set[asyncio.Task[None]]:
        """Give a record to storers, in the background."""
        return {self._protocol.spawn(self._store(contact, topic, raw)) for contact in storers}

    async def _store(self, contact: Contact, topic: str, raw: bytes) -> None:
        happened, label = await self._protocol.ask(contact, "store", [topic, raw])
        if not (happened and isinstance(label, str) and label) or self._is_overtaken(raw, label):
            return
        if label not in self._told:
            self._told.add(label[:32])
            _log.warning("a storer refuses this node's records", reason=label[:32], storer=contact.node_id)

    def _is_overtaken(self, raw: bytes, label: str) -> bool:
        """Whether a storer refused a record only because it has this node's newer one already."""
        return label == Refusal.STALE.value and all(raw is not one.raw for one in self._announcements)

    def _next(self, topic: str) -> int:
        self._sequences[topic] += 1
        return self._sequences[topic]

    def _make(self, topic: str, content: Content | None, lifetime_s: float, sequence: int) -> bytes:
        body = identity_pb2.RecordBody(
            network_id=self._me.network_id,
            topic=topic,
            node_key=self._me.public_key,
            incarnation=self._me.incarnation,
            sequence=sequence,
            nonce=self._clock.random_bytes(NONCE_BYTES),
            issued_at_ms=self._clock.wall_ms(),
            lifetime_ms=max(1, int(lifetime_s * 1_000)),
            credential_hash=self._me.credential_hash,
        )
        put_content(body, content)
        raw = body.SerializeToString()
        return identity_pb2.Record(body=raw, signature=self._me.sign(signature.RECORD, raw)).SerializeToString()


def require_topic(topic: str) -> str:
    """`topic`, where its name keeps the rules.

    Raises:
        TetherError: INVALID_FIELD.
    """
    if isinstance(read_topic(topic), Refusal):
        raise TetherError(Reason.INVALID_FIELD, f"{topic[:64]!a} is no topic.", field="topic")
    return topic
