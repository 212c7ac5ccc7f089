"""Watching: leases at the storers of a topic, so that they tell what changes, and a slow poll that repairs the rest."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import structlog

from tether.identity import node_id
from tether.overlay.admission import Admission
from tether.overlay.contact import Contact
from tether.overlay.found import Change, ChangeKind, Found
from tether.overlay.parts import Parts
from tether.overlay.protocol import Sender
from tether.overlay.record import Record
from tether.overlay.refusal import Refusal
from tether.overlay.shelf import Kept, Shelf, Shift
from tether.overlay.view import View

STORERS_READ = 2  # a poll reads from this many of the k, in turn; the first one from all; the others only push
_log = structlog.get_logger("tether.overlay")


class Watch:
    """Tells what changes on a topic until closed.

    Args:
        close: ends it.
        on_change: called with each change, in the event loop; must not block.
    """

    def __init__(self, close: Callable[["Watch"], None], on_change: Callable[[Change], None]) -> None:
        self._close = close
        self._on_change = on_change

    def tell(self, change: Change) -> None:
        """Tell a change; what the listener raises is its own fault and is logged."""
        try:
            self._on_change(change)
        except Exception:  # noqa: BLE001  # a listener's fault must not end the watch of others; it is logged
            _log.exception("a watch's listener failed")

    def close(self) -> None:
        """Tell nothing any more. The same again does nothing."""
        self._close(self)


class _Watched:
    """A topic that is watched: one view for all its watches."""

    def __init__(self, admission: Admission, task: asyncio.Task[None]) -> None:
        self.view = View(admission)
        self.watches: list[Watch] = []
        self.task = task
        self.polls = 0


class Watcher:
    """All that this node watches.

    Args:
        parts: finds storers, calls them, reads from them.
        own: this node's own shelf, read first.
    """

    def __init__(self, parts: Parts, own: Shelf) -> None:
        self._protocol = parts.protocol
        self._admission = parts.admission
        self._reach = parts.reach
        self._reader = parts.reader
        self._settings = parts.settings
        self._clock = parts.clock
        self._own = own
        self._topics: dict[str, _Watched] = {}

    def watch(self, topic: str, on_change: Callable[[Change], None]) -> Watch:
        """Tell what is on a topic, and then what changes."""
        watched = self._topics.get(topic)
        if watched is None:
            watched = self._topics[topic] = _Watched(self._admission, self._protocol.spawn(self._poll(topic)))
            self._adopt(watched, self._own.read(topic, self._clock.now_s()))
        watch = Watch(lambda one: self._unwatch(topic, one), on_change)
        watched.watches.append(watch)
        for kept in watched.view.shelf.read(topic, self._clock.now_s()):
            watch.tell(Change(ChangeKind.UP, found(kept, self._clock.now_s())))
        return watch

    def _unwatch(self, topic: str, watch: Watch) -> None:
        watched = self._topics.get(topic)
        if watched is None or watch not in watched.watches:
            return
        watched.watches.remove(watch)
        if not watched.watches:
            watched.task.cancel()
            del self._topics[topic]

    def _adopt(self, watched: _Watched, kept: Iterable[Kept]) -> None:
        now = self._reader.now()
        for one in kept:
            watched.view.adopt(one.record, one.age_s(now.now_s), now)

    def on_stored(self, record: Record) -> None:
        """Take a record that this node's own storer has verified."""
        watched = self._topics.get(record.body.topic)
        if watched is not None:
            self._tell(watched, watched.view.adopt(record, 0.0, self._reader.now()))

    def on_push(self, sender: Sender, arguments: list[Any]) -> object:
        """Take what a storer tells: `[topic, record, age in ms, credential]`."""
        match arguments:
            case [str(topic), bytes(raw), int(age_ms), bytes(credential)]:
                watched = self._topics.get(topic)
                if watched is None:
                    return None
                sifted = watched.view.sift(topic, [(raw, age_ms)], self._reader.now())
                if watched.view.missing(sifted, self._reader.now()):
                    self._reader.learn(credential)
                self._tell(watched, self._reader.settle(watched.view, sifted))
                return None
        return Refusal.MALFORMED

    def on_contact(self, contact: Contact) -> None:
        """Ask a new neighbour to tell this node too."""
        for topic in self._topics:
            if self._reach.concerns(topic, contact):
                self._protocol.spawn(self._ask_one(topic, contact, read=True))

    def expire(self, now_s: float) -> None:
        """Tell what is over."""
        for watched in list(self._topics.values()):
            self._tell(watched, watched.view.shelf.expire(now_s))

    def close(self) -> None:
        """End all watches."""
        for watched in self._topics.values():
            watched.task.cancel()
        self._topics.clear()

    async def _poll(self, topic: str) -> None:
        while True:
            storers = await self._reach.storers(topic)
            watched = self._topics[topic]
            start = watched.polls % max(1, len(storers))
            most = len(storers) if watched.polls == 0 else STORERS_READ
            watched.polls += STORERS_READ
            turn = storers[start:] + storers[:start]
            await asyncio.gather(
                *(self._ask_one(topic, contact, read=place < most) for place, contact in enumerate(turn))
            )
            await asyncio.sleep(self._settings.poll_s * self._clock.jitter())

    async def _ask_one(self, topic: str, contact: Contact, *, read: bool) -> None:
        """Renew the lease at one storer; read what it has."""
        lease_ms = int(self._settings.lease_s * 1_000)
        happened, _ = await self._protocol.ask(contact, "watch", [topic, lease_ms])
        watched = self._topics.get(topic)
        if happened and read and watched is not None:
            self._tell(watched, (await self._reader.read(contact, topic, watched.view))[1])

    def _tell(self, watched: _Watched, shifts: list[Shift]) -> None:
        now_s = self._clock.now_s()
        for shift in shifts:
            if shift.kind is not None:
                change = Change(shift.kind, found(shift.kept, now_s))
                for watch in list(watched.watches):
                    watch.tell(change)


def found(kept: Kept, now_s: float) -> Found:
    """A kept record as callers see it."""
    return Found(node_id(kept.record.body.node_key), kept.record.body, kept.age_s(now_s))
