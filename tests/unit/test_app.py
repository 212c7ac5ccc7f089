"""A service's life, as a real process sees it: signals and exit codes."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tether import app
from tether.errors import Reason, TetherError

PROGRAM = """
import asyncio, sys, structlog
from tether import app
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
class Sample:
    name = "sample"
    async def start(self): {start}
    async def drain(self, grace_s): {drain}
    async def close(self): print("closed", flush=True)
    def endpoints(self): return {{}}
ready = lambda: print("ready", flush=True)
sys.exit(app.run(app.serve(Sample(), {grace}, ready)))
"""


@contextmanager
def process(start: str = "pass", drain: str = "pass", grace: float = 1.0) -> Iterator[subprocess.Popen[str]]:
    code = textwrap.dedent(PROGRAM).format(start=start, drain=drain, grace=grace)
    with subprocess.Popen([sys.executable, "-c", code], stdout=-1, stderr=-1, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


def line(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_drains_and_exits_0(number: signal.Signals) -> None:
    with process(drain='print("drained", flush=True)') as child:
        assert line(child) == "ready"
        child.send_signal(number)
        assert (line(child), line(child), child.wait(10)) == ("drained", "closed", 0)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_second_signal_ends_at_once(number: signal.Signals, code: int) -> None:
    with process(drain='print("draining", flush=True); await asyncio.sleep(60)', grace=60) as child:
        assert line(child) == "ready"
        child.send_signal(number)
        assert line(child) == "draining"
        child.send_signal(number)
        assert child.wait(10) == code
        assert line(child) == ""


def test_failed_start_exits_with_the_code_of_its_reason() -> None:
    start = "from tether.errors import TetherError, Reason; raise TetherError(Reason.PORT_IN_USE, 'port 1 is in use')"
    with process(start=start) as child:
        out, err = child.communicate(timeout=10)
    assert child.returncode == 2
    assert "port 1 is in use" in err
    assert "PORT_IN_USE" in err
    assert out == "closed\n"


def test_unexpected_failure_exits_70() -> None:
    with process(start="raise ValueError('odd')") as child:
        _, err = child.communicate(timeout=10)
    assert child.returncode == 70
    assert "odd" in err


def test_signal_while_starting_gives_up_and_exits_0() -> None:
    with process(start='print("starting", flush=True); await asyncio.sleep(60)') as child:
        assert line(child) == "starting"
        child.terminate()
        assert (line(child), child.wait(10)) == ("closed", 0)


class Sample:
    """An app whose steps are given."""

    name = "sample"

    def __init__(self, drain_error: BaseException | None = None) -> None:
        self.steps: list[str] = []
        self.drain_error = drain_error

    async def start(self) -> None:
        self.steps.append("start")

    async def drain(self, grace_s: float) -> None:
        self.steps.append(f"drain {grace_s}")
        if self.drain_error is not None:
            raise self.drain_error

    async def close(self) -> None:
        self.steps.append("close")

    def endpoints(self) -> dict[str, str]:
        return {}


async def test_serve_runs_the_steps_in_order() -> None:
    sample = Sample()
    assert await app.serve(sample, 2.0, lambda: os.kill(os.getpid(), signal.SIGTERM)) == 0
    assert sample.steps == ["start", "drain 2.0", "close"]


async def test_serve_drains_once_it_is_told_to_without_a_signal() -> None:
    sample, until = Sample(), asyncio.Event()
    assert await app.serve(sample, 2.0, until.set, until=until) == 0
    assert sample.steps == ["start", "drain 2.0", "close"]


async def test_signal_after_the_end_was_told_is_the_first_one() -> None:
    sample, until = Sample(), asyncio.Event()
    drained = sample.drain

    async def signalled(grace_s: float) -> None:
        os.kill(os.getpid(), signal.SIGINT)  # a second signal would end this process
        await asyncio.sleep(0)
        await drained(grace_s)

    sample.drain = signalled  # type: ignore[method-assign]
    assert await app.serve(sample, 2.0, until.set, until=until) == 0
    assert sample.steps[-1] == "close"


async def test_first_signal_sets_what_ends_the_service() -> None:
    until = asyncio.Event()
    assert await app.serve(Sample(), 2.0, lambda: os.kill(os.getpid(), signal.SIGTERM), until=until) == 0
    assert until.is_set()


async def test_failed_drain_still_closes() -> None:
    sample = Sample(TetherError(Reason.STORE_UNAVAILABLE, "gone"))
    assert await app.serve(sample, 2.0, lambda: os.kill(os.getpid(), signal.SIGTERM)) == 7
    assert sample.steps[-1] == "close"


async def test_drain_over_its_grace_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "DRAIN_SLACK_S", 0.01)
    sample = Sample()

    async def forever(_grace_s: float) -> None:
        await asyncio.Event().wait()

    sample.drain = forever  # type: ignore[method-assign]
    assert await app.serve(sample, 0.01, lambda: os.kill(os.getpid(), signal.SIGTERM)) == 0
    assert sample.steps[-1] == "close"


def test_run_uses_uvloop_where_it_is_there() -> None:
    async def loop_name() -> str:
        return type(asyncio.get_running_loop()).__module__

    assert app.run(loop_name()) == "uvloop"
