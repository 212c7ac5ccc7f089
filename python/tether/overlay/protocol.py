"""The datagram protocol: the package's, with everything it trusts replaced by sessions.

Kept: buckets, distances, the crawl. Replaced: its requests and answers (sealed, bounded, never raising, clean when
cancelled), its open store and value look-up (not offered), its welcome of strangers (only who opened a session enters
the table), and its answer to any misspelt method (an error here, not a call to the peer).
Source: `kademlia.protocol`, `rpcudp.protocol`.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import structlog
from kademlia.protocol import KademliaProtocol

from tether.overlay import message, metrics
from tether.overlay.budget import Budget, Rate
from tether.overlay.clock import Clock
from tether.overlay.contact import ID_BYTES, Address, Contact, read_contact
from tether.overlay.dead import DeadAddresses
from tether.overlay.refusal import Refusal, Refusals
from tether.overlay.session import Session
from tether.overlay.sessions import Answer, Began, Lost, Opened, Sessions
from tether.overlay.setting import Settings
from tether.overlay.table import Table

ASK_EACH = Rate(per_s=500, burst=2_000)  # a reader of 10,000 records asks for 500 pages
ASK_ALL = Rate(per_s=20_000, burst=40_000)  # above what one core answers
STALL_S = 0.1  # a timer this late means that this process stood still: its peers did not
OUTSTANDING_MAX = 4_096  # calls in flight; more is a fault of ours and is refused
CONTACTS_IN_REPLY_MAX = 16  # k is 8; a reply with more is not honest
_log = structlog.get_logger("tether.overlay")


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sent a message: proved by its session.

    Attributes:
        address: where it came from.
        session: how it is sealed; its `peer` is the sender's credential.
    """

    address: Address
    session: Session


Handler = Callable[[Sender, list[Any]], object]
Reply = tuple[bool, Any]  # whether the peer answered, and what: the package's own form
NO_REPLY: Reply = (False, None)
_LEFT: Reply = (False, "left")  # the peer said so: no silence to be noted
_LOST: Reply = (False, "session")  # the peer restarted and knows no session: greet it once more


@dataclass(slots=True)
class _Call:
    """A request that waits for its answer."""

    future: "asyncio.Future[Reply]"
    session: Session
    address: Address
    value: list[object]
    timer: asyncio.TimerHandle = field(init=False)


class OverlayProtocol(KademliaProtocol):  # type: ignore[misc]  # the package has no types
    """One UDP socket's end of the overlay.

    Args:
        me: this node; its address is set once the socket is bound.
        sessions: who may be talked to.
        settings: waits.
        clock: time and chance.
        refusals: counts what is dropped.
    """

    transport: asyncio.DatagramTransport

    def __init__(self, me: Contact, sessions: Sessions, settings: Settings, clock: Clock, refusals: Refusals) -> None:
        super().__init__(me, None, settings.k)
        self.router = Table(self, settings.k, me, self.spawn)
        self.sessions = sessions
        self.dead = DeadAddresses(settings)
        self.on_contact: Callable[[Contact], None] = lambda _: None
        self.on_silent: Callable[[Address], None] = lambda _: None
        self._settings = settings
        self._clock = clock
        self._refusals = refusals
        self._handlers: dict[str, Handler] = {
            "ping": _answer_ping,
            "find_node": self._answer_find_node,
            "leave": self._on_leave,
        }
        self._budget = Budget(ASK_EACH, ASK_ALL)
        self._calls: dict[bytes, _Call] = {}
        self._greetings: dict[Address, asyncio.Task[Session | None]] = {}
        self._welcomes: dict[bytes, asyncio.Future[Session]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    def __getattr__(self, name: str) -> NoReturn:
        """A misspelt name is an error; in the package it would become a call to a peer."""
        raise AttributeError(name)

    def serve(self, handlers: Mapping[str, Handler]) -> None:
        """Add methods that peers may call; a handler returns its answer, or a Refusal."""
        self._handlers.update(handlers)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run `work` until `close`."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("overlay task failed", exc_info=task.exception())

    async def close(self) -> None:
        """Tell the contacts, and end all tasks and calls, and the socket."""
        for contact in self.router.contacts():
            self.notify(contact.address, "leave", [])
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for call in self._calls.values():
            call.future.cancel()
        self.transport.close()

    # Receiving. Nothing here may raise: each datagram is hostile until its seal opened.

    def datagram_received(self, data: bytes, addr: Any) -> None:  # noqa: ANN401  # as asyncio gives it
        """Take a datagram."""
        metrics.RECEIVED.inc()
        try:
            self._receive(data, (addr[0], addr[1]))
        except Exception:  # noqa: BLE001  # no datagram may end the socket; the fault is logged and counted
            _log.exception("a datagram met a fault of ours", size=len(data))
            self._refusals.add(Refusal.FAULT)

    def _receive(self, data: bytes, address: Address) -> None:
        meaning = self.sessions.handle(data, address, self._clock.wall_ms(), self._clock.now_s())
        match meaning:
            case Opened():
                self._on_opened(Sender(address, meaning.session), meaning.plain)
            case Answer():
                self._send(meaning.datagram, address)
            case Began():
                self._on_began(meaning, address)
            case Lost():
                self._end_calls(meaning.session, _LOST)
            case Refusal():
                self._refusals.add(meaning)

    async def _solve_datagram(self, datagram: bytes, address: Any) -> None:  # noqa: ANN401
        self.datagram_received(datagram, address)

    def error_received(self, exc: Exception) -> None:
        """An address that takes no datagrams tells so here; the call's timeout does the rest."""
        metrics.SEND_ERRORS.inc()
        _log.debug("socket error", error=repr(exc))

    def _on_opened(self, sender: Sender, plain: bytes) -> None:
        read = message.unpack(plain)
        if isinstance(read, Refusal):
            self._refusals.add(read)
            return
        self.dead.heard(sender.address)
        self._introduce(sender)
        if read.type == message.ANSWER:
            self._accept_response(read.message_id, read.value, sender.address)
        else:
            self._answer(sender, read)

    def _introduce(self, sender: Sender) -> None:
        """Enter the sender; each new session is told of, since a peer that restarted in place knows nothing now."""
        contact = Contact(sender.session.peer.node_key, sender.address)
        self.welcome_if_new(contact)
        if not sender.session.introduced:
            sender.session.introduced = True
            self.on_contact(contact)

    def _answer(self, sender: Sender, asked: message.Message) -> None:
        handler = self._handlers.get(asked.method)
        answer: object = Refusal.CLOSED
        if handler is not None:
            may = self._budget.take(sender.address, self._clock.now_s())
            answer = handler(sender, asked.value) if may else Refusal.BUDGET
        if isinstance(answer, Refusal):
            self._refusals.add(answer)
        elif asked.type == message.REQUEST:
            self._send_sealed(sender.session, sender.address, message.ANSWER, asked.message_id, answer)

    def _accept_response(self, msg_id: bytes, data: Any, address: Any) -> None:  # noqa: ANN401
        call = self._calls.get(msg_id)
        if call is not None and call.address == address and not call.future.done():
            call.future.set_result((True, data))

    def _on_began(self, began: Began, address: Address) -> None:
        self.dead.heard(address)
        waiting = self._welcomes.pop(began.hello_id, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(began.session)

    def _on_leave(self, sender: Sender, _arguments: list[Any]) -> None:
        """Forget a peer that leaves, at once and without waiting for its silence."""
        self.router.remove_contact(Contact(sender.session.peer.node_key, sender.address))
        self.sessions.drop(sender.address)
        self.dead.left(sender.address)
        self._end_calls(sender.session, _LEFT)

    def _end_calls(self, session: Session, reply: Reply) -> None:
        for call in self._calls.values():
            if call.session is session and not call.future.done():
                call.future.set_result(reply)

    # Sending.

    def _send(self, datagram: bytes, address: Address) -> None:
        if not self.transport.is_closing():
            metrics.SENT.inc()
            try:
                self.transport.sendto(datagram, address)
            except (OSError, ValueError) as error:  # uvloop raises for addresses that it can't reach
                self.error_received(error)

    def _send_sealed(self, session: Session, address: Address, type_: int, message_id: bytes, value: object) -> None:
        self._send(session.seal(message.pack(type_, message_id, value)), address)

    def notify(self, address: Address, method: str, arguments: list[object]) -> bool:
        """Tell a peer with whom a session is open; nothing comes back."""
        session = self.sessions.at(address)
        if session is not None:
            name = self._clock.random_bytes(message.ID_BYTES)
            self._send_sealed(session, address, message.NOTICE, name, [method, arguments])
        return session is not None

    async def call(self, address: Address, node_key: bytes | None, method: str, arguments: list[object]) -> Reply:
        """Ask a peer; `(False, None)` where it does not answer in time or is another node.

        Args:
            address: where it is.
            node_key: who must answer; None where anyone of the network may.
            method: what is asked.
            arguments: what is sent along.
        """
        if self.dead.is_dead(address, self._clock.now_s()) or len(self._calls) >= OUTSTANDING_MAX:
            return NO_REPLY
        reply = _LOST
        for _ in range(2):
            session = await self._session(address)
            if session is None or (node_key is not None and session.peer.node_key != node_key):
                return NO_REPLY
            reply = await self._exchange(session, address, [method, arguments])
            if reply is not _LOST:
                break
        if not reply[0] and reply is not _LEFT:
            self._timeout_at(address)
        return reply if reply[0] else NO_REPLY

    def _timeout_at(self, address: Address) -> None:
        metrics.TIMEOUTS.inc()
        self.sessions.drop(address)
        self.dead.silent(address, self._clock.now_s())
        self.on_silent(address)

    async def _exchange(self, session: Session, address: Address, value: list[object]) -> Reply:
        """Send a request, once more when nothing comes, and wait for its answer."""
        name = self._clock.random_bytes(message.ID_BYTES)
        loop = asyncio.get_running_loop()
        call = self._calls[name] = _Call(loop.create_future(), session, address, value)
        call.timer = loop.call_later(self._settings.resend_s, self._resend, name)
        try:
            self._send_sealed(session, address, message.REQUEST, name, value)
            return await call.future
        finally:
            del self._calls[name]
            call.timer.cancel()

    def _resend(self, name: bytes) -> None:
        """Ask once more, and set the end of the call."""
        call, loop = self._calls[name], asyncio.get_running_loop()
        self._send_sealed(call.session, call.address, message.REQUEST, name, call.value)
        rest_s = self._settings.call_s - self._settings.resend_s
        call.timer = loop.call_later(rest_s, self._give_up, name, loop.time() + rest_s)

    def _give_up(self, name: bytes, due_s: float) -> None:
        """End a call that nobody answered; wait once more where this process itself stood still."""
        call, loop = self._calls[name], asyncio.get_running_loop()
        if loop.time() - due_s < STALL_S:
            self._timeout(name)
        else:
            rest_s = self._settings.resend_s
            call.timer = loop.call_later(rest_s, self._give_up, name, loop.time() + rest_s)

    def _timeout(self, msg_id: bytes) -> None:
        call = self._calls.get(msg_id)
        if call is not None and not call.future.done():
            call.future.set_result(NO_REPLY)

    async def _session(self, address: Address) -> Session | None:
        """The session with an address, greeted first where there is none; one greeting for all who wait."""
        known = self.sessions.at(address)
        if known is not None:
            return known
        greeting = self._greetings.get(address)
        if greeting is None:
            greeting = self._greetings[address] = self.spawn(self._greet(address))
            greeting.add_done_callback(lambda _: self._greetings.pop(address, None))
        return await asyncio.shield(greeting)

    async def _greet(self, address: Address) -> Session | None:
        """Say hello until a welcome comes or the time of a call is over."""
        waiting: asyncio.Future[Session] = asyncio.get_running_loop().create_future()
        names: list[bytes] = []
        try:
            async with asyncio.timeout(self._settings.call_s):
                while not waiting.done():
                    offer = self.sessions.hello(address, self._clock.wall_ms())
                    names.append(offer.hello_id)
                    self._welcomes[offer.hello_id] = waiting
                    self._send(offer.datagram, address)
                    await asyncio.wait([waiting], timeout=self._settings.resend_s)
                return waiting.result()
        except TimeoutError:
            self._timeout_at(address)
            return None
        finally:
            for name in names:
                self._welcomes.pop(name, None)

    # The table.

    def welcome_if_new(self, node: Contact) -> None:
        """Enter a contact that proved itself; an address that changed replaces the old one."""
        known = self.router.contact(node.id)
        if known is not None and known.address == node.address:
            return
        self.router.add_contact(node)

    def handle_call_response(self, result: Reply, node: Contact) -> Reply:
        """Take a contact that did not answer out of the table."""
        if not result[0]:
            self.router.remove_contact(node)
        return result

    async def ask(self, contact: Contact, method: str, arguments: list[object]) -> Reply:
        """Ask a contact; one that does not answer leaves the table."""
        result = await self.call(contact.address, contact.node_key, method, arguments)
        return self.handle_call_response(result, contact)

    async def call_ping(self, node_to_ask: Contact) -> Reply:
        """Whether a contact lives."""
        return await self.ask(node_to_ask, "ping", [])

    async def call_find_node(self, node_to_ask: Contact, node_to_find: Any) -> Reply:  # noqa: ANN401
        """The contacts nearest to an id, as a contact knows them; what is malformed is left out."""
        happened, value = await self.ask(node_to_ask, "find_node", [node_to_find.id])
        if not happened:
            return NO_REPLY
        if not isinstance(value, list):
            self._refusals.add(Refusal.MALFORMED)
            return (True, [])
        contacts = [read_contact(item) for item in value[:CONTACTS_IN_REPLY_MAX]]
        for _ in range(contacts.count(None)):
            self._refusals.add(Refusal.MALFORMED)
        return (True, [c for c in contacts if c is not None and c.id != self.source_node.id])

    def _answer_find_node(self, sender: Sender, arguments: list[Any]) -> object:
        match arguments:
            case [bytes(target)] if len(target) == ID_BYTES:
                asker = Contact(sender.session.peer.node_key, sender.address)
                return [near.wire() for near in self.nearest(target) if near.id != asker.id]
        return Refusal.MALFORMED

    def nearest(self, target: bytes) -> list[Contact]:
        """Up to k contacts nearest to an id, this node left out."""
        distance = int.from_bytes(target, "big")
        return sorted(self.router.contacts(), key=lambda c: c.long_id ^ distance)[: self._settings.k]


def _answer_ping(_sender: Sender, _arguments: list[Any]) -> object:
    return True
