"""A reader driven by futures, without a task of its own."""

import asyncio

import pytest

from tether_gateway.reader import Reader


class Source:
    """Chunks that wait, and what was written of them."""

    def __init__(self, *chunks: bytes) -> None:
        self.waiting = list(chunks)
        self.written: list[bytes] = []
        self.gates: list[asyncio.Future[None]] = []
        self.blocked = False
        self.fault: Exception | None = None

    def take(self, _number: int) -> bytes | None:
        return self.waiting.pop(0) if self.waiting else None

    async def write(self, chunk: bytes) -> None:
        if self.fault is not None:
            raise self.fault
        if self.blocked:
            gate = asyncio.get_running_loop().create_future()
            self.gates.append(gate)
            await gate
        self.written.append(chunk)

    def reader(self) -> Reader:
        return Reader(1, self.take, lambda: None)


async def turns() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_reader_writes_what_waits_and_ends() -> None:
    source = Source(b"a", b"b")
    reader = source.reader()
    reader.over = True
    assert await reader.run(source.write) is None
    assert source.written == [b"a", b"b"]
    assert reader.delivered == 2
    assert reader.first_ms > 0


async def test_reader_ends_with_its_failure_after_what_waits() -> None:
    source = Source(b"a")
    reader = source.reader()
    reader.over, reader.failure = True, b"lost"
    assert await reader.run(source.write) == b"lost"
    assert source.written == [b"a"]


async def test_ring_writes_without_a_turn_of_the_loop() -> None:
    source = Source()
    reader = source.reader()
    running = asyncio.create_task(reader.run(source.write))
    await turns()
    source.waiting.append(b"now")
    reader.ring()
    assert source.written == [b"now"]
    reader.over = True
    reader.ring()
    assert await running is None


async def test_write_that_waits_keeps_the_order() -> None:
    source = Source(b"1")
    source.blocked = True
    reader = source.reader()
    running = asyncio.create_task(reader.run(source.write))
    await turns()
    source.waiting += [b"2", b"3"]
    reader.ring()
    reader.over = True
    reader.ring()
    while not running.done():
        for gate in source.gates:
            if not gate.done():
                gate.set_result(None)
        await turns()
    assert source.written == [b"1", b"2", b"3"]


async def test_write_that_lets_others_go_first_goes_on() -> None:
    source = Source(b"1", b"2")
    reader = source.reader()
    reader.over = True

    async def write(chunk: bytes) -> None:
        await asyncio.sleep(0)
        source.written.append(chunk)

    assert await asyncio.wait_for(reader.run(write), 1) is None
    assert source.written == [b"1", b"2"]


async def test_write_that_fails_fails_the_reader() -> None:
    source = Source(b"1")
    source.fault = ConnectionError("gone")
    with pytest.raises(ConnectionError):
        await source.reader().run(source.write)


async def test_cancelled_reader_lets_its_write_end() -> None:
    source = Source(b"1", b"2")
    source.blocked = True
    running = asyncio.create_task(source.reader().run(source.write))
    await turns()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    source.gates[0].set_result(None)
    await turns()
    assert source.written == [b"1"]
