"""Reading a topic from a storer, page by page, into a view; missing credentials are asked of the same storer."""

from typing import Any

from tether.overlay.admission import Admission
from tether.overlay.clock import Clock
from tether.overlay.contact import Contact
from tether.overlay.protocol import OverlayProtocol
from tether.overlay.record import parse
from tether.overlay.refusal import Refusal, Refusals
from tether.overlay.shelf import Shift
from tether.overlay.storer import CREDENTIALS_IN_REPLY_MAX, Moment
from tether.overlay.view import Sifted, Told, View

PAGES_MAX = 1_024  # 16,384 records at the fewest that a page holds
RECORDS_IN_PAGE_MAX = 256  # a datagram holds fewer than 100 real ones


class Reader:
    """Reads topics.

    Args:
        protocol: asks storers.
        admission: learns credentials.
        refusals: counts what is dropped.
        clock: time.
    """

    def __init__(self, protocol: OverlayProtocol, admission: Admission, refusals: Refusals, clock: Clock) -> None:
        self._protocol = protocol
        self._admission = admission
        self._refusals = refusals
        self._clock = clock

    def now(self) -> Moment:
        """Now, on both clocks."""
        return Moment(self._clock.wall_ms(), self._clock.now_s())

    async def read(self, contact: Contact, topic: str, view: View) -> tuple[bool, list[Shift]]:
        """Read all that a storer has on a topic; whether it answered, and what changed in the view."""
        shifts: list[Shift] = []
        after: list[object] = []
        for _ in range(PAGES_MAX):
            happened, value = await self._protocol.ask(contact, "fetch", [topic, after])
            page = _read_page(value) if happened else None
            if page is None:
                return False, shifts
            shifts.extend(await self._take(contact, topic, page[0], view))
            if not page[1] or not page[0]:
                break
            last = _cursor(page[0][-1][0])
            if last is None or last == after:
                break
            after = last
        return True, shifts

    async def _take(self, contact: Contact, topic: str, told: list[Told], view: View) -> list[Shift]:
        sifted = view.sift(topic, told, self.now())
        await self._learn(contact, view.missing(sifted, self.now()))
        return self.settle(view, sifted)

    def settle(self, view: View, sifted: Sifted) -> list[Shift]:
        """Take what was sifted, counting what is refused."""
        shifts, refused = view.take(sifted, self.now())
        for refusal in refused:
            self._refusals.add(refusal)
        return shifts

    async def _learn(self, contact: Contact, names: list[bytes]) -> None:
        """Ask for credentials by hash; what is not one of this network is refused and counted."""
        for start in range(0, len(names), CREDENTIALS_IN_REPLY_MAX):
            asked = names[start : start + CREDENTIALS_IN_REPLY_MAX]
            happened, value = await self._protocol.ask(contact, "credentials", [asked])
            if not happened or not isinstance(value, list):
                return
            for raw in value[:CREDENTIALS_IN_REPLY_MAX]:
                self.learn(raw)

    def learn(self, raw: object) -> None:
        """Learn one credential that a peer gave."""
        learned = self._admission.learn(raw, self._clock.wall_ms()) if isinstance(raw, bytes) else Refusal.MALFORMED
        if isinstance(learned, Refusal):
            self._refusals.add(learned)


def _read_page(value: Any) -> tuple[list[Told], bool] | None:  # noqa: ANN401  # from the network
    """A page as a storer told it; None where it is malformed."""
    match value:
        case [list(items), bool(more)] if len(items) <= RECORDS_IN_PAGE_MAX:
            told = [(item[0], item[1]) for item in items if _is_told(item)]
            return (told, more) if len(told) == len(items) else None
    return None


def _is_told(item: Any) -> bool:  # noqa: ANN401  # from the network
    match item:
        case [bytes(), int()]:
            return True
    return False


def _cursor(raw: bytes) -> list[object] | None:
    """Where the next page begins: behind this record."""
    record = parse(raw)
    return None if isinstance(record, Refusal) else [record.body.node_key, record.kind]
