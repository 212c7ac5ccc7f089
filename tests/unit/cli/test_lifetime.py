"""A greeting beside a region: it may end the region, and the region may end it, and neither counts as a signal."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from tether.cli.lifetime import hold
from tether.errors import Reason, TetherError


class Sample:
    """An app that does nothing."""

    name = "sample"

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.draining = asyncio.Event()

    async def start(self) -> None:
        self.steps.append("start")

    async def drain(self, grace_s: float) -> None:
        self.steps.append("drain")
        self.draining.set()

    async def close(self) -> None:
        self.steps.append("close")

    def endpoints(self) -> dict[str, str]:
        return {}


STEPS = ["start", "drain", "close"]


async def test_hold_once_drains_after_the_greeting() -> None:
    sample = Sample()

    async def greet() -> None:
        sample.steps.append("greet")

    assert await hold(sample, 1.0, greet, once=True) == 0
    assert sample.steps == ["start", "greet", "drain", "close"]


async def test_hold_tells_a_failed_greeting_once_it_has_closed() -> None:
    sample = Sample()

    async def greet() -> None:
        raise TetherError(Reason.NO_WORKER, "none")

    with pytest.raises(TetherError, match="none"):
        await hold(sample, 1.0, greet, once=False)
    assert sample.steps == STEPS


async def test_hold_signalled_during_the_greeting_drains_and_exits_0() -> None:
    sample = Sample()

    async def greet() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        await sample.draining.wait()
        raise TetherError(Reason.DRAINING, "the region stops")  # what a stream sees that is cut off

    assert await hold(sample, 1.0, greet, once=True) == 0
    assert sample.steps == STEPS


async def test_hold_gives_up_a_greeting_that_outlives_the_region() -> None:
    sample, gone = Sample(), asyncio.Event()

    async def greet() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()

    assert await hold(sample, 1.0, greet, once=False) == 0
    assert gone.is_set()


def test_second_signal_of_a_user_still_ends_at_once() -> None:
    code = """
    import asyncio, sys, structlog
    from tether.app import run
    from tether.cli.lifetime import hold
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    class Sample:
        name = "sample"
        async def start(self): pass
        async def drain(self, grace_s): print("draining", flush=True); await asyncio.sleep(60)
        async def close(self): pass
        def endpoints(self): return {}
    async def greet(): print("greeting", flush=True); await asyncio.sleep(60)
    sys.exit(run(hold(Sample(), 60.0, greet, once=True)))
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=-1, stderr=-1, text=True) as child:
        try:
            assert child.stdout is not None
            for said in ("greeting", "draining"):
                assert child.stdout.readline().strip() == said
                child.send_signal(signal.SIGINT)
            assert child.wait(10) == 130
        finally:
            child.kill()
