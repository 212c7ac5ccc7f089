"""All sessions of one socket: a state machine from datagrams to what they mean.

It answers hellos, takes welcomes, opens what is sealed, says why it drops the rest. It knows no socket and no clock.
"""

from dataclasses import dataclass

from tether.identity.lru import Lru
from tether.overlay import metrics, session
from tether.overlay.budget import Budget, Rate
from tether.overlay.clock import Clock
from tether.overlay.contact import Address
from tether.overlay.refusal import Refusal
from tether.overlay.session import Chance, Handshake, Kind, Offer, Session

SESSIONS_MAX = 8_192  # peers that a storer or watcher meets; about 1 KiB each
OFFERS_MAX = 1_024  # hellos in flight
HELLOS_MAX = 16_384  # hello ids that count as seen; the clock refuses older ones
_HELLO_EACH = Rate(per_s=8, burst=16)  # an honest peer needs one per life; two cross sometimes
_HELLO_ALL = Rate(per_s=1_000, burst=2_000)  # about a fifth of a core of signatures
_UNKNOWN_EACH = Rate(per_s=4, burst=8)  # one tells a peer enough
_UNKNOWN_ALL = Rate(per_s=200, burst=400)


@dataclass(frozen=True, slots=True)
class Answer:
    """Send this back."""

    datagram: bytes


@dataclass(frozen=True, slots=True)
class Opened:
    """A peer said this."""

    session: Session
    plain: bytes


@dataclass(frozen=True, slots=True)
class Began:
    """A welcome came: the session may be used."""

    hello_id: bytes
    session: Session


@dataclass(frozen=True, slots=True)
class Lost:
    """The peer does not know this session any more."""

    session: Session


Meaning = Answer | Opened | Began | Lost | Refusal


class Sessions:
    """Sessions by address.

    Args:
        handshake: makes and reads hellos and welcomes.
        clock: only its chance is used; times are arguments.
    """

    def __init__(self, handshake: Handshake, clock: Clock) -> None:
        self._handshake = handshake
        self._clock = clock
        self._open: Lru[tuple[Address, bytes], Session] = Lru(SESSIONS_MAX)
        self._latest: Lru[Address, Session] = Lru(SESSIONS_MAX)
        self._offers: Lru[bytes, tuple[Offer, Address]] = Lru(OFFERS_MAX)
        self._seen: Lru[bytes, None] = Lru(HELLOS_MAX)
        self._hellos = Budget(_HELLO_EACH, _HELLO_ALL)
        self._notices = Budget(_UNKNOWN_EACH, _UNKNOWN_ALL)

    def __len__(self) -> int:
        return len(self._open)

    def at(self, address: Address) -> Session | None:
        """The newest session with an address."""
        return self._latest.get(address)

    def hello(self, address: Address, now_ms: int) -> Offer:
        """Begin a handshake with an address."""
        offer = self._handshake.hello(self._chance(16), now_ms)
        self._offers.put(offer.hello_id, (offer, address))
        metrics.HANDSHAKES.labels("asked").inc()
        return offer

    def drop(self, address: Address) -> None:
        """Forget the sessions with an address that does not answer, so that the next call greets it anew."""
        known = self._latest.get(address)
        if known is not None:
            self._latest.drop(address)
            self._open.drop((address, known.session_id))

    def handle(self, datagram: bytes, address: Address, now_ms: int, now_s: float) -> Meaning:
        """What a datagram means."""
        kind = session.read_head(datagram, self._handshake.tag)
        match kind:
            case Kind.SEALED:
                return self._sealed(datagram, address, now_ms, now_s)
            case Kind.HELLO:
                return self._hello(datagram, address, now_ms, now_s)
            case Kind.WELCOME:
                return self._welcome(datagram, address, now_ms)
            case Kind.UNKNOWN:
                return self._unknown(datagram, address)
        return kind

    def _sealed(self, datagram: bytes, address: Address, now_ms: int, now_s: float) -> Meaning:
        name = session.session_id_of(datagram)
        known = self._open.get((address, name))
        if known is None:
            may = self._notices.take(address, now_s)
            return Answer(self._handshake.unknown(name)) if may else Refusal.SESSION
        if known.peer.expired(now_ms / 1_000):
            return Refusal.CREDENTIAL
        plain = known.open(datagram)
        return plain if isinstance(plain, Refusal) else Opened(known, plain)

    def _hello(self, datagram: bytes, address: Address, now_ms: int, now_s: float) -> Meaning:
        name = session.hello_id_of(datagram)
        if name in self._seen:
            return Refusal.REPLAYED
        if not self._hellos.take(address, now_s):
            return Refusal.BUDGET
        answer = self._handshake.answer(datagram, self._chance(8), now_ms)
        if isinstance(answer, Refusal):
            return answer
        self._seen.put(name, None)
        self._keep(address, answer[1])
        metrics.HANDSHAKES.labels("answered").inc()
        return Answer(answer[0])

    def _welcome(self, datagram: bytes, address: Address, now_ms: int) -> Meaning:
        name = session.hello_id_of(datagram)
        known = self._offers.get(name)
        if known is None or known[1] != address:
            return Refusal.REPLAYED
        began = self._handshake.accept(known[0], datagram, now_ms)
        if isinstance(began, Refusal):
            return began
        self._offers.drop(name)
        self._keep(address, began)
        return Began(name, began)

    def _unknown(self, datagram: bytes, address: Address) -> Meaning:
        known = self._open.get((address, session.session_id_of(datagram)))
        if known is None or len(datagram) != len(self._handshake.unknown(bytes(8))):
            return Refusal.SESSION
        self._open.drop((address, known.session_id))
        if self._latest.get(address) is known:
            self._latest.drop(address)
        return Lost(known)

    def _keep(self, address: Address, began: Session) -> None:
        self._open.put((address, began.session_id), began)
        self._latest.put(address, began)

    def _chance(self, name_bytes: int) -> Chance:
        return Chance(self._clock.random_bytes(name_bytes), self._clock.random_bytes(32))
