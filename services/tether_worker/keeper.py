"""Keeps ends on this node's disk until they are settled, so that a worker that dies loses no commit.

The journal is written only where no outcome came in time; `Committer` decides, this performs. A disk that is full or
failing costs nothing but that safety: the ends stay in memory, and writing them is tried again.
Source: docs/design/streams.md §5.
"""

import asyncio
import time
from pathlib import Path

import structlog

from tether.errors import TetherError
from tether.node.journal import Journal
from tether_worker import metrics
from tether_worker.commit import Committer, Name

CLOSE_S = 5.0  # a disk that does not answer must not keep a process from ending
FILE = "ends.journal"
_EPOCH_BYTES = 4
_JOB_BYTES = 16
_log = structlog.get_logger("tether.worker")


class Keeper:
    """Journal of a committer's ends.

    Args:
        committer: decides what is kept.
    """

    def __init__(self, committer: Committer) -> None:
        self._committer = committer
        self._journal: Journal | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"Keeper({self._journal!r}, {len(self._tasks)} under way)"

    async def open(self, path: Path, bytes_max: int) -> None:
        """Take up the journal that a former life left; without a usable one ends are kept in memory alone."""
        try:
            self._journal = journal = await Journal.open(path, bytes_max=bytes_max)
        except TetherError as error:
            metrics.JOURNAL_FAILED.inc()
            _log.error("ends are kept in memory alone", reason=error.reason.name, error=error.message)
            return
        left = journal.entries()
        for name, body in left:
            self._restore(journal, name, body)
        if left:
            _log.info("ends of a former life are sent again", ends=len(left))

    def tick(self) -> None:
        """Write what waited too long, forget what is settled; call it often."""
        journal = self._journal
        for name in self._committer.settled():
            if journal is not None:
                journal.done(_packed(name))
        if journal is None:
            return
        for name, body in self._committer.to_keep(time.monotonic()):
            task = asyncio.create_task(self._keep(journal, name, body))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Write all that is not settled, and let the journal go; idempotent."""
        self._committer.hurry(time.monotonic())
        self.tick()
        journal, self._journal = self._journal, None
        try:
            async with asyncio.timeout(CLOSE_S):
                await asyncio.gather(*self._tasks, return_exceptions=True)
                if journal is not None:
                    await journal.close()
        except TimeoutError:
            _log.error("the journal's disk does not answer", exposed=self._committer.exposed)

    def _restore(self, journal: Journal, name: bytes, body: bytes) -> None:
        if len(name) == _JOB_BYTES + _EPOCH_BYTES:
            job, epoch = _unpacked(name)
            self._committer.restore(job, epoch, body, time.monotonic())
        else:
            journal.done(name)

    async def _keep(self, journal: Journal, name: Name, body: bytes) -> None:
        safe = False
        try:
            await journal.add(_packed(name), body)
            safe = True
            metrics.JOURNALED.inc()
        except TetherError as error:
            metrics.JOURNAL_FAILED.inc()
            _log.warning("an end could not be journaled", job=name[0].hex(), error=error.message)
        finally:
            self._committer.kept(name, time.monotonic(), safe=safe)


def _packed(name: Name) -> bytes:
    job, epoch = name
    return job + epoch.to_bytes(_EPOCH_BYTES, "little")


def _unpacked(name: bytes) -> Name:
    return name[:_JOB_BYTES], int.from_bytes(name[_JOB_BYTES:], "little")
