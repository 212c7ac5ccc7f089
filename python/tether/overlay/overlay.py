"""The overlay as services use it: announce, look up, watch, ping. One UDP socket per node.

This is where its parts are put together and where datagrams meet them; the decisions are theirs.
"""

import asyncio
import errno
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import structlog

from tether.errors import Reason, TetherError
from tether.identity import Identity, Trust, node_key
from tether.overlay.admission import Admission
from tether.overlay.clock import Clock
from tether.overlay.contact import Contact, dht_id
from tether.overlay.crawl import Crawl
from tether.overlay.found import Change, Found
from tether.overlay.highest import Highest
from tether.overlay.joiner import Joiner
from tether.overlay.memory import ContactFile, OrderFile, Row
from tether.overlay.parts import Parts
from tether.overlay.protocol import OverlayProtocol, Sender
from tether.overlay.publisher import Announcement, Publisher, require_topic
from tether.overlay.reach import Reach
from tether.overlay.reader import Reader
from tether.overlay.record import Content, Record
from tether.overlay.refusal import Refusals
from tether.overlay.session import Handshake
from tether.overlay.sessions import Sessions
from tether.overlay.setting import Settings
from tether.overlay.shelf import Shift
from tether.overlay.storer import Moment, Storer
from tether.overlay.view import View
from tether.overlay.watcher import Watch, Watcher, found

LOOPBACK = "127.0.0.1"  # only until the network is open to others: overlay.md §3
QUORUM = 3  # storers that answer a look-up before the others get only a little longer
GRACE_S = 0.25  # that little: a busy storer is not passed over, a dead one costs this once
_log = structlog.get_logger("tether.overlay")

__all__ = ["Announcement", "Overlay", "Watch"]


class Overlay:
    """This node on the overlay.

    Args:
        identity: who it is.
        trust: whom it believes.
        folder: where contacts and orders are kept; None keeps nothing.
        settings: limits and waits.
        clock: time and chance.
    """

    def __init__(
        self,
        identity: Identity,
        trust: Trust,
        folder: Path | None = None,
        settings: Settings | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._me = identity
        self._settings = settings or Settings()
        self._clock = clock or Clock()
        self._refusals = Refusals()
        self._admission = Admission(trust)
        self._admission.learn(identity.credential, self._clock.wall_ms())
        self._contacts = ContactFile(folder)
        self._orders = OrderFile(folder)
        self._storer = Storer(self._admission, Highest(self._orders.load()))
        self._build()
        self.address = ""
        self._closed = False
        self._saved_s = 0.0

    def _build(self) -> None:
        sessions = Sessions(Handshake(self._me, self._admission), self._clock)
        me = Contact(self._me.public_key, (LOOPBACK, 0))
        self._protocol = OverlayProtocol(me, sessions, self._settings, self._clock, self._refusals)
        self._reach = Reach(self._protocol, self._settings, self._clock)
        self._reader = Reader(self._protocol, self._admission, self._refusals, self._clock)
        parts = Parts(self._admission, self._protocol, self._reach, self._reader, self._settings, self._clock)
        self._publisher = Publisher(self._me, parts, self._keep_own)
        self._watcher = Watcher(parts, self._storer.shelf)
        self._joiner = Joiner(self._protocol, self._settings, self._clock)
        self._protocol.on_contact = self._on_contact
        self._protocol.on_silent = self._joiner.on_silent
        self._protocol.serve(
            {
                "store": self._answer_store,
                "fetch": lambda _, arguments: self._storer.fetch(arguments, self._now()),
                "credentials": lambda _, arguments: self._storer.credentials(arguments),
                "watch": lambda sender, arguments: self._storer.watch(sender.address, arguments, self._now()),
                "push": self._watcher.on_push,
            }
        )

    async def start(self, port: int, bootstrap: Sequence[str]) -> None:
        """Bind UDP on loopback and join.

        Args:
            port: 0 for any free one.
            bootstrap: host:port of other nodes; while none answers it is tried again in the background.

        Raises:
            TetherError: PORT_IN_USE, naming port and flag.
        """
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await loop.create_datagram_endpoint(lambda: self._protocol, local_addr=(LOOPBACK, port))
        except OSError as error:
            raise _port_error(port, error) from error
        host, bound = transport.get_extra_info("sockname")[:2]
        self._protocol.source_node.port = bound
        self.address = f"{host}:{bound}"
        self._protocol.spawn(self._tick())
        await self._joiner.start((host, bound), bootstrap, self._contacts.load())

    async def announce(
        self, topic: str, content: Content, *, renew_s: float | None = None, lifetime_s: float | None = None
    ) -> Announcement:
        """Say something on a topic until withdrawn; returns once the storers that are there have it.

        Args:
            topic: such as `tether/presence/eu-west`.
            content: what the topic takes.
            renew_s: how often it is said again, seconds; 5 where not given.
            lifetime_s: how long it holds, seconds; 15 where not given.

        Raises:
            TetherError: INVALID_FIELD, TOO_LARGE, ROLE_FORBIDDEN or NODE_TOKEN_INVALID.
        """
        renew_s = self._settings.renew_s if renew_s is None else renew_s
        lifetime_s = self._settings.lifetime_s if lifetime_s is None else lifetime_s
        return await self._publisher.announce(topic, content, renew_s, lifetime_s)

    async def lookup(self, topic: str) -> list[Found]:
        """All verified records of a topic, from this node and the storers that answer.

        Raises:
            TetherError: INVALID_FIELD where the name breaks the rules.
        """
        view = View(self._admission)
        now = self._now()
        for kept in self._storer.shelf.read(require_topic(topic), now.now_s):
            view.adopt(kept.record, kept.age_s(now.now_s), now)
        storers = await self._reach.storers(topic)
        await _most([self._reader.read(contact, topic, view) for contact in storers])
        now_s = self._clock.now_s()
        return [found(kept, now_s) for kept in view.shelf.read(topic, now_s)]

    def watch(self, topic: str, on_change: Callable[[Change], None]) -> Watch:
        """Tell what is on a topic and then what changes, until closed.

        Args:
            topic: such as `tether/presence/eu-west`.
            on_change: called in the event loop; must not block.

        Raises:
            TetherError: INVALID_FIELD where the name breaks the rules.
        """
        return self._watcher.watch(require_topic(topic), on_change)

    async def ping(self, node_id: str) -> float | None:
        """Round trip to a node in seconds; None where it does not answer or is not known.

        Raises:
            TetherError: MALFORMED where it is no node id.
        """
        target = dht_id(node_key(node_id))
        contact = self._protocol.router.contact(target)
        if contact is None:
            near = await Crawl(self._protocol, target, self._settings).contacts()
            contact = next((one for one in near if one.id == target), None)
        if contact is None:
            return None
        self._protocol.dead.heard(contact.address)  # a ping asks, whatever was heard before
        began_s = self._clock.now_s()
        happened, _ = await self._protocol.call_ping(contact)
        return self._clock.now_s() - began_s if happened else None

    @property
    def stats(self) -> dict[str, Any]:
        """Refusals by reason, and how much is kept."""
        return {
            "refused": self._refusals.by_reason(),
            "contacts": len(self._protocol.router),
            "sessions": len(self._protocol.sessions),
            "records": len(self._storer.shelf),
        }

    async def withdraw(self) -> None:
        """Withdraw all that was announced, and go on as a storer and reader."""
        await self._publisher.close()

    async def close(self) -> None:
        """Withdraw what was announced, leave, and keep what helps to come back. The same again does nothing."""
        if self._closed:
            return
        self._closed = True
        if self.address:
            await self._publisher.close()
            self._watcher.close()
            remembered = self._to_save()
            await self._protocol.close()
            await asyncio.to_thread(self._save, *remembered)
        await asyncio.sleep(0)  # lets the transport's close run

    def _now(self) -> Moment:
        return Moment(self._clock.wall_ms(), self._clock.now_s())

    def _answer_store(self, sender: Sender, arguments: list[Any]) -> object:
        """Keep a peer's record and tell watchers; the answer is the label of a refusal, or empty."""
        stored = self._storer.store(sender.session.peer.node_key, arguments, self._now())
        if stored.refusal is not None:
            self._refusals.add(stored.refusal)
            return stored.refusal.value
        if stored.record is not None:
            self._on_stored(stored.record, changed=stored.changed, writer=sender)
        return ""

    def _keep_own(self, topic: str, raw: bytes) -> None:
        stored = self._storer.store(self._me.public_key, [topic, raw], self._now())
        if stored.refusal is not None:
            self._refusals.add(stored.refusal)
        elif stored.record is not None:
            self._on_stored(stored.record, changed=stored.changed, writer=None)

    def _on_stored(self, record: Record, *, changed: bool, writer: Sender | None) -> None:
        self._watcher.on_stored(record)
        if not changed:
            return
        credential = self._admission.credential(record.body.credential_hash) or b""
        for address in self._storer.watchers(record.body.topic, self._clock.now_s()):
            if writer is None or address != writer.address:
                self._protocol.notify(address, "push", [record.body.topic, record.raw, 0, credential])

    def _on_contact(self, contact: Contact) -> None:
        self._publisher.on_contact(contact)
        self._watcher.on_contact(contact)

    async def _tick(self) -> None:
        """Drop what is over; keep on disk what helps after a restart."""
        while True:
            await asyncio.sleep(self._settings.tick_s)
            now_s = self._clock.now_s()
            self._storer.expire(now_s)
            self._watcher.expire(now_s)
            if now_s - self._saved_s >= self._settings.save_s:
                self._saved_s = now_s
                await asyncio.shield(asyncio.to_thread(self._save, *self._to_save()))

    def _to_save(self) -> tuple[list[Contact], list[Row]]:
        return self._protocol.router.contacts(), self._storer.shelf.highest.take_raised()

    def _save(self, contacts: list[Contact], orders: list[Row]) -> None:
        """Write what helps after a restart; a full disk must not end the overlay."""
        try:
            self._contacts.save(contacts)
            self._orders.save(orders)
        except TetherError as error:
            _log.warning("contacts or orders can't be kept", error=str(error))


async def _most(reads: Sequence[Coroutine[Any, Any, tuple[bool, list[Shift]]]]) -> None:
    """Run reads until all have ended, or a quorum has answered and a grace is over; the others are cancelled."""
    tasks = {asyncio.ensure_future(read) for read in reads}
    waiting, good = tasks, 0
    try:
        while waiting:
            grace_s = GRACE_S if good >= QUORUM else None
            done, waiting = await asyncio.wait(waiting, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
            good += sum(task.result()[0] for task in done)
            if not done:
                break
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _port_error(port: int, error: OSError) -> TetherError:
    flag = "--overlay-port"
    if error.errno == errno.EADDRINUSE:
        facts = {"port": str(port), "flag": flag}
        return TetherError(Reason.PORT_IN_USE, f"UDP port {port} of {LOOPBACK} is in use ({flag}).", metadata=facts)
    text = f"UDP port {port} of {LOOPBACK} ({flag}) cannot be bound: {error.strerror}."
    return TetherError(Reason.INVALID_FIELD, text, field="overlay_port")
