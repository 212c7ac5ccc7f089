"""A small durable list on a node's own disk: what must outlive the process until somebody else has it.

Entries are appended, each with its SHA-256; `add` returns once they are on the disk, and adds that wait together share
one fsync. After a write that failed nothing is known of the file (the kernel may have dropped its dirty pages), so the
next one writes a new file from memory and renames it into place.
Source: Rebello et al., "Can Applications Recover from fsync Failures?" (2020); docs/design/streams.md §5.
"""

import asyncio
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self, TypeVar, TypeVarTuple

import structlog

from tether.errors import Reason, TetherError

MAGIC = b"TJ1\n"
HEAD_BYTES = 4 + 4 + 4 + 32  # magic, lengths of name and body (little-endian), SHA-256 over both lengths, name and body
NAME_BYTES_MAX = 255  # a job and an epoch are 20
DONE_BYTES = 0xFFFF_FFFF  # length of a body that says: this name is done
COMPACT_BYTES_MIN = 65_536  # a smaller file is not worth a second one
Given = TypeVarTuple("Given")
Result = TypeVar("Result")
_log = structlog.get_logger("tether.node")


class Journal:
    """Durable entries by name; see `open`."""

    def __init__(self, path: Path, bytes_max: int) -> None:
        self._path = path
        self._bytes_max = bytes_max
        self._live: dict[bytes, bytes] = {}
        self._live_bytes = 0
        self._waiting: list[tuple[bytes, asyncio.Future[None] | None]] = []
        self._flusher: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._handle = -1
        self._size = 0
        self._closed = False

    @classmethod
    async def open(cls, path: Path, *, bytes_max: int) -> Self:
        """Open a journal, or begin one.

        Args:
            path: its file; the folder is there.
            bytes_max: longest sum of the entries that are not done.

        Raises:
            TetherError: STATE_UNUSABLE where the file can't be read or written.
        """
        journal = cls(path, bytes_max)
        try:
            await journal._in_thread(journal._load)
        except OSError as fault:
            journal._thread.shutdown(wait=False)
            raise TetherError(Reason.STATE_UNUSABLE, f"The journal {path} can't be used: {fault.strerror}.") from fault
        return journal

    def __len__(self) -> int:
        return len(self._live)

    def __repr__(self) -> str:
        return f"Journal({len(self._live)} entries, {self._live_bytes} of {self._bytes_max} bytes)"

    def entries(self) -> list[tuple[bytes, bytes]]:
        """Name and body of all that is not done, oldest first."""
        return list(self._live.items())

    async def add(self, name: bytes, body: bytes) -> None:
        """Keep an entry, in place of one with the same name; durable on return.

        Args:
            name: 1 to 255 bytes.
            body: anything.

        Raises:
            TetherError: STORE_UNAVAILABLE where the journal is full or can't be written.
        """
        if not 1 <= len(name) <= NAME_BYTES_MAX:
            raise ValueError("a name has 1 to 255 bytes")
        self._keep(name, body)
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue(encode(name, body), written)
        try:
            await written
        except OSError as fault:
            self.done(name)
            message = f"The journal can't be written: {fault.strerror}."
            raise TetherError(Reason.STORE_UNAVAILABLE, message, retry_after_s=1.0) from fault

    def done(self, name: bytes) -> None:
        """Forget an entry; after a crash it may be there again."""
        if self._forget(name) and not self._closed:
            self._queue(encode(name, None), None)

    async def close(self) -> None:
        """Write what waits, and let the file go; idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._flusher is not None:
            await asyncio.gather(self._flusher, return_exceptions=True)
        await self._in_thread(self._close_file)
        self._thread.shutdown(wait=False)

    # on the loop

    def _keep(self, name: bytes, body: bytes) -> None:
        before = len(self._live.get(name, b""))
        if self._closed or self._live_bytes + len(body) - before > self._bytes_max:
            what = "closed" if self._closed else "full"
            raise TetherError(Reason.STORE_UNAVAILABLE, f"The journal is {what}.", retry_after_s=1.0)
        self._live[name] = body
        self._live_bytes += len(body) - before

    def _forget(self, name: bytes) -> bool:
        body = self._live.pop(name, None)
        self._live_bytes -= len(body or b"")
        return body is not None

    def _queue(self, record: bytes, written: "asyncio.Future[None] | None") -> None:
        self._waiting.append((record, written))
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush())

    async def _flush(self) -> None:
        """Write batches until nothing waits."""
        while self._waiting:
            batch, self._waiting = self._waiting, []
            durable = any(written is not None for _, written in batch)
            live = self._snapshot()
            fault = await self._in_thread(self._write, b"".join(record for record, _ in batch), live, durable)
            for _, written in batch:
                if written is not None and not written.done():
                    (written.set_result(None) if fault is None else written.set_exception(fault))

    def _snapshot(self) -> list[tuple[bytes, bytes]] | None:
        """All entries where the file is to be made anew, which holds the batch too."""
        stale = self._size > max(COMPACT_BYTES_MIN, 2 * self._live_bytes)
        return self.entries() if stale or self._handle < 0 else None

    async def _in_thread(self, work: Callable[[*Given], Result], *args: *Given) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)

    # in the thread

    def _write(self, records: bytes, live: list[tuple[bytes, bytes]] | None, durable: bool) -> OSError | None:  # noqa: FBT001
        try:
            if live is not None:
                self._renew(live)
                return None
            _write_all(self._handle, records)
            self._size += len(records)
            if durable:
                os.fdatasync(self._handle)
        except OSError as fault:
            _log.warning("journal could not be written", fault=fault.strerror)
            self._close_file()
            return fault
        return None

    def _renew(self, live: Iterable[tuple[bytes, bytes]]) -> None:
        """Write a new file and put it into the old one's place."""
        self._close_file()
        beside = self._path.with_suffix(".new")
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            content = b"".join(encode(name, body) for name, body in live)
            _write_all(handle, content)
            os.fsync(handle)
            beside.rename(self._path)
            _sync_folder(self._path.parent)
        except OSError:
            os.close(handle)
            raise
        self._handle, self._size = handle, len(content)

    def _load(self) -> None:
        content = self._path.read_bytes() if self._path.exists() else b""
        for name, body in decode(content):
            self._live.pop(name, None)
            if body is not None:
                self._live[name] = body
        self._live_bytes = sum(map(len, self._live.values()))
        self._renew(self._live.items())

    def _close_file(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
        self._handle = -1


def encode(name: bytes, body: bytes | None) -> bytes:
    """One record; a body of None says that the name is done."""
    length = DONE_BYTES if body is None else len(body)
    sized = len(name).to_bytes(4, "little") + length.to_bytes(4, "little") + name + (body or b"")
    return MAGIC + sized[:8] + hashlib.sha256(sized).digest() + sized[8:]


def decode(content: bytes) -> Iterator[tuple[bytes, bytes | None]]:
    """The records of a file that hold, in order; a torn tail, or what is damaged, is passed over."""
    at = content.find(MAGIC)
    while at >= 0:
        record = _record(content, at)
        if record is not None:
            yield record[:2]
        elif content.find(MAGIC, at + 1) >= 0:
            _log.warning("journal is damaged", offset=at)
        at = content.find(MAGIC, at + 1 if record is None else record[2])


def _record(content: bytes, at: int) -> tuple[bytes, bytes | None, int] | None:
    """Name, body and end of the record at an offset; None where it does not hold."""
    sizes, digest = content[at + 4 : at + 12], content[at + 12 : at + HEAD_BYTES]
    name_end = at + HEAD_BYTES + int.from_bytes(sizes[:4], "little")
    length = int.from_bytes(sizes[4:], "little")
    end = name_end + (0 if length == DONE_BYTES else length)
    held = content[at + HEAD_BYTES : end]
    if len(digest) < 32 or end > len(content) or hashlib.sha256(sizes + held).digest() != digest:
        return None
    return content[at + HEAD_BYTES : name_end], None if length == DONE_BYTES else content[name_end:end], end


def _write_all(handle: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(handle, view) :]


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
