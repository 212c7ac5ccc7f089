"""One client's place in a job, driven without a task of its own.

Each ready chunk starts `context.write` right where the frame came in, and the write's own future goes on with the next
chunk. A task per stream would be woken twice per token; that alone is a tenth of the cost (bench/relay.py).
Source: PEP 3156 and PEP 492: a coroutine may be stepped by whoever answers the futures that it yields.
"""

import asyncio
from collections.abc import Callable, Coroutine
from time import monotonic_ns
from typing import Any

Write = Callable[[bytes], Coroutine[Any, Any, object]]


class Reader:
    """A reader of the stream table and the call that it writes to.

    Args:
        number: its name in the table.
        take: next chunk of a reader, or None.
        taken: called after each take.

    Attributes:
        over: whether the end is known: after what `take` still has.
        failure: serialized `Link.Failure` of an end without an answer.
        delivered: chunks written to the client.
        last: the chunk that was written last; empty before the first.
        first_ms: when the first one was, monotonic; 0 before.
    """

    __slots__ = (
        "_ended",
        "_idle",
        "_take",
        "_taken",
        "_write",
        "_writing",
        "delivered",
        "failure",
        "first_ms",
        "last",
        "number",
        "over",
    )

    def __init__(self, number: int, take: Callable[[int], bytes | None], taken: Callable[[], None]) -> None:
        self.number = number
        self.over = False
        self.failure: bytes | None = None
        self.delivered = 0
        self.first_ms = 0
        self.last = b""
        self._take = take
        self._taken = taken
        self._idle = False  # not before `run`
        self._write: Write
        self._writing: Coroutine[Any, Any, object] | None = None
        self._ended: asyncio.Future[None]

    async def run(self, write: Write) -> bytes | None:
        """Write chunks until the end; returns None, or the failure that it ends with. Raises what `write` raises."""
        self._write = write
        self._ended = asyncio.get_running_loop().create_future()
        self._go()
        await self._ended
        return self.failure

    def ring(self) -> None:
        """There is something to take, or the end is known."""
        if self._idle:
            self._idle = False
            self._go()

    def interrupt(self, fault: BaseException) -> None:
        """End `run` with an error, before whatever may still come."""
        self._fail(fault)

    def _go(self) -> None:
        """Start the next write; without one, wait for the next ring, or end."""
        while not self._ended.done():
            chunk = self._take(self.number)
            if chunk is None:
                self._rest()
                return
            self._taken()
            self.last = chunk
            self._writing = self._write(chunk)
            if not self._step():
                return

    def _rest(self) -> None:
        if self.over:
            self._ended.set_result(None)
        else:
            self._idle = True

    def _step(self) -> bool:
        """Run the write until it waits; returns whether it is done."""
        writing = self._writing
        if writing is None:
            return False
        try:
            waits_for = writing.send(None)
        except StopIteration:
            self._written()
            return True
        except BaseException as fault:  # noqa: BLE001 - handed on to whoever runs this reader
            self._fail(fault)
            return False
        if waits_for is None:  # it only lets others go first
            asyncio.get_running_loop().call_soon(self._on_done, None)
            return False
        waits_for._asyncio_future_blocking = False  # noqa: SLF001 - what a task does with a future it is given
        waits_for.add_done_callback(self._on_done)
        return False

    def _on_done(self, _future: "asyncio.Future[object] | None") -> None:
        """What the write waited for is there."""
        if self._step():
            self._go()

    def _written(self) -> None:
        self._writing = None
        if not self.delivered:
            self.first_ms = monotonic_ns() // 1_000_000
        self.delivered += 1

    def _fail(self, fault: BaseException) -> None:
        self._writing = None
        if not self._ended.done():
            self._ended.set_exception(fault)
