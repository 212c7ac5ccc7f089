"""The board: the newest signed snapshot, and those who wait for the next.

There are three forms: one with the hashes of keys for the edges, which see keys in plain anyway, one with policies for
those who place, and a bare one for the rest. Each is signed once per revision, however many watch.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from tether.identity.signature import SNAPSHOT
from tether.v1 import registry_pb2 as pb
from tether_registry import metrics

Sign = Callable[[str, bytes], bytes]
Read = Callable[[], Awaitable[pb.Snapshot]]


class Form(Enum):
    """How much of a snapshot a reader gets."""

    WITH_KEYS = "with-keys"
    WITH_POLICIES = "with-policies"
    BARE = "bare"


@dataclass(frozen=True, slots=True)
class Posted:
    """One revision in all forms.

    Attributes:
        revision: its number.
        forms: signed responses by form.
    """

    revision: int
    forms: Mapping[Form, pb.WatchSnapshotResponse]


class Board:
    """Shows the newest snapshot.

    Args:
        read: returns all that the store holds.
        sign: signs under a context with the registry's key.
        credential: the registry's serialized credential.
        beat_s: time between two signs of life, seconds.
    """

    def __init__(self, read: Read, sign: Sign, credential: bytes, beat_s: float) -> None:
        self._read = read
        self._sign = sign
        self._credential = credential
        self._beat_s = beat_s
        self._posted: Posted | None = None
        self._changed = asyncio.Event()
        self._turn = asyncio.Lock()
        self._wanted = self._served = 0
        self._closed = False

    @property
    def revision(self) -> int:
        """Revision that is posted; 0 for none."""
        return self._posted.revision if self._posted is not None else 0

    async def refresh(self) -> None:
        """Post what the store holds now; calls that wait together share one reading."""
        self._wanted += 1
        mine = self._wanted
        async with self._turn:
            if self._served >= mine:
                return
            reaches = self._wanted
            snapshot = await self._read()
            if snapshot.revision != self.revision:
                self._post(snapshot)
            self._served = reaches

    def _post(self, snapshot: pb.Snapshot) -> None:
        forms = {Form.WITH_KEYS: self._signed(snapshot)}
        del snapshot.keys[:]
        forms[Form.WITH_POLICIES] = self._signed(snapshot)
        del snapshot.policies[:]
        forms[Form.BARE] = self._signed(snapshot)
        self._posted = Posted(snapshot.revision, forms)
        metrics.REVISION.set(snapshot.revision)
        metrics.SNAPSHOT_BYTES.set(len(forms[Form.WITH_KEYS].snapshot))
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _signed(self, snapshot: pb.Snapshot) -> pb.WatchSnapshotResponse:
        body = snapshot.SerializeToString(deterministic=True)
        return pb.WatchSnapshotResponse(
            snapshot=body,
            signature=self._sign(SNAPSHOT, body),
            credential=self._credential,
            revision=snapshot.revision,
        )

    def close(self) -> None:
        """End every watch; the same again does nothing."""
        self._closed = True
        self._changed.set()

    async def watch(self, revision: int, form: Form) -> AsyncIterator[pb.WatchSnapshotResponse]:
        """Yield the newest snapshot, then each that follows, and a sign of life where nothing does.

        Args:
            revision: what the watcher has; 0 for nothing.
            form: how much of it the watcher gets.
        """
        with metrics.WATCHERS.track_inprogress():
            while not self._closed:
                changed, posted = self._changed, self._posted
                if posted is not None and posted.revision != revision:
                    revision = posted.revision
                    yield posted.forms[form]
                elif not await _happens(changed, self._beat_s):
                    yield pb.WatchSnapshotResponse(revision=revision)


async def _happens(event: asyncio.Event, timeout_s: float) -> bool:
    """Wait for an event; tell whether it came in time."""
    try:
        await asyncio.wait_for(event.wait(), timeout_s)
    except TimeoutError:
        return False
    return True
