"""A service's life: start, serve until told to stop, drain, close.

The first SIGTERM or SIGINT drains: running work finishes and the process ends with 0. A second one ends it at once, as
the shell expects of a killed process.
Source: POSIX signals; systemd's and Kubernetes' stop sequence.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

import structlog

from tether.errors import Reason, TetherError

SIGNALS = (signal.SIGTERM, signal.SIGINT)
DRAIN_SLACK_S = 5.0  # over the grace: what ends late is cut off by `close`
CLOSE_S_MAX = 10.0  # longer than any flush or fsync that `close` may wait for
EXIT_FAULT = 70  # EX_SOFTWARE of sysexits.h

T = TypeVar("T")
_log = structlog.get_logger("tether.app")


class App(Protocol):
    """What `build(config)` of a service returns."""

    name: str

    async def start(self) -> None:
        """Bind, join the overlay, and return when it can serve."""

    async def drain(self, grace_s: float) -> None:
        """Say NOT_SERVING, finish what runs within `grace_s`, and take no more."""

    async def close(self) -> None:
        """Stop now; the same again does nothing."""

    def endpoints(self) -> dict[str, str]:
        """Return host:port by name, such as `gateway`."""
        ...


class _Stop:
    """The first signal asks for a drain; the second ends the process.

    Args:
        asked: set by the first signal, or by whoever ends the service without one.
    """

    def __init__(self, asked: asyncio.Event) -> None:
        self.asked = asked
        self._signalled = False

    def install(self, loop: asyncio.AbstractEventLoop) -> None:
        for number in SIGNALS:
            loop.add_signal_handler(number, self._on_signal, number)

    def remove(self, loop: asyncio.AbstractEventLoop) -> None:
        for number in SIGNALS:
            loop.remove_signal_handler(number)

    def _on_signal(self, number: int) -> None:
        if self._signalled:
            _log.warning("stopped at once", signal=signal.Signals(number).name)
            os._exit(128 + number)
        _log.info("draining", signal=signal.Signals(number).name)
        self._signalled = True
        self.asked.set()


async def serve(
    app: App,
    drain_grace_s: float,
    on_ready: Callable[[], object] | None = None,
    *,
    until: asyncio.Event | None = None,
) -> int:
    """Run a service until SIGTERM or SIGINT and return the process's exit code.

    Args:
        app: the service.
        drain_grace_s: seconds that running work has after the first signal.
        on_ready: called once the service can serve.
        until: drains as well once it is set, which is no signal; the first signal sets it.

    Returns:
        0 after a drain; the exit code of the error's row where it could not start.
    """
    loop = asyncio.get_running_loop()
    stop = _Stop(until or asyncio.Event())
    stop.install(loop)
    try:
        code = await _guarded(app, "start", _started(app, stop))
        if code == 0 and not stop.asked.is_set():
            if on_ready is not None:
                on_ready()
            await stop.asked.wait()
            code = await _guarded(app, "drain", _drained(app, drain_grace_s))
        closed = await _guarded(app, "close", asyncio.wait_for(app.close(), CLOSE_S_MAX))
        return code or closed
    finally:
        stop.remove(loop)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` on the process's one event loop, uvloop where it is installed."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(main)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's factory: it saves a tenth of the CPU of a gRPC call."""
    try:
        import uvloop  # noqa: PLC0415  absent on some platforms
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _started(app: App, stop: _Stop) -> None:
    """Start, or give up when a signal comes first."""
    start = asyncio.ensure_future(app.start())
    asked = asyncio.ensure_future(stop.asked.wait())
    try:
        await asyncio.wait({start, asked}, return_when=asyncio.FIRST_COMPLETED)
        if start.done():
            start.result()
    finally:
        for task in (start, asked):
            task.cancel()
        await asyncio.gather(start, asked, return_exceptions=True)


async def _drained(app: App, grace_s: float) -> None:
    """Drain, but not for much longer than the grace."""
    try:
        await asyncio.wait_for(app.drain(grace_s), grace_s + DRAIN_SLACK_S)
    except TimeoutError:
        _log.warning("drain ran over its grace", service=app.name, grace_s=grace_s)


async def _guarded(app: App, step: str, work: Coroutine[Any, Any, None]) -> int:
    """Do one step of a service's life and turn its failure into a log line and an exit code."""
    try:
        await work
    except TetherError as error:
        _log.error(f"{step} failed", service=app.name, reason=error.reason.name, error=str(error))
        return error.row.exit
    except TimeoutError:
        _log.error(f"{step} took too long", service=app.name)
        return EXIT_FAULT
    except Exception as error:  # noqa: BLE001  the last resort of a process: logged, and its exit code says so
        _log.exception(f"{step} failed", service=app.name, reason=Reason.INTERNAL.name, error=repr(error))
        return EXIT_FAULT
    return 0
