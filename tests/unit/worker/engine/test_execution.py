"""The engine's thread: submits, cancels, deadlines, failures, drain and close, seen from the event loop."""

import asyncio
import threading
import time
from contextlib import asynccontextmanager

import pytest

from tether.errors import Reason, TetherError
from tether_worker.engine.execution import ExecutionEngine
from tether_worker.engine.form import Form, FormKind
from tether_worker.engine.runtime import Finish, GenerationJob, Phase, Sampling, TextPrompt
from tether_worker.engine.simulated import SimulatedRuntime


class Told:
    """What the engine told, and when a job's end came."""

    def __init__(self):
        self.pieces = []
        self.calls = 0
        self.ends = {}
        self.changed = asyncio.Event()

    def __call__(self, pieces):
        self.calls += 1
        self.pieces += pieces
        self.ends |= {piece.key: piece for piece in pieces if piece.finish}
        self.changed.set()

    def tokens(self, key):
        return sum(len(piece.token_ids) for piece in self.pieces if piece.key == key)

    async def until(self, condition):
        async with asyncio.timeout(10):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def end(self, key):
        await self.until(lambda: key in self.ends)
        return self.ends[key]


@asynccontextmanager
async def running(runtime=None, **settings):
    told = Told()
    engine = ExecutionEngine(runtime or SimulatedRuntime(slots=2, token_ms=1, chunk_ms=0.1), told, **settings)
    engine.start()
    try:
        yield engine, told
    finally:
        await engine.close()
        assert not engine._thread.is_alive()


def job(key, max_tokens=5, **more):
    return GenerationJob(key=key, prompt=TextPrompt("hi"), sampling=Sampling(max_tokens=max_tokens), **more)


async def test_jobs_run_and_end():
    async with running() as (engine, told):
        submissions = [engine.submit(job(key)) for key in range(5)]
        for key in range(5):
            assert (await told.end(key)).finish is Finish.LENGTH
            assert told.tokens(key) == 5
        assert all(one.done and one.opened for one in submissions)
        assert engine.get(0) is None
        assert engine.stats.tokens_total == 25


async def test_cancel_reaches_the_next_step():
    async with running() as (engine, told):
        engine.submit(job("a", max_tokens=4000))
        await told.until(lambda: told.tokens("a") >= 3)
        begin = time.monotonic()
        engine.cancel("a")
        assert (await told.end("a")).finish is Finish.CANCELLED
        assert time.monotonic() - begin < 0.5
        assert engine.runtime.slots_free == 2


async def test_cancelled_piece_stands_at_the_reached_position():
    async with running() as (engine, told):
        engine.submit(job("a", max_tokens=4000))
        await told.until(lambda: told.tokens("a") >= 3)
        engine.cancel("a")
        end = await told.end("a")
        assert end.start.tokens == told.tokens("a")
        assert end.start.text_bytes == sum(len(piece.text) for piece in told.pieces)


async def test_cancel_takes_a_job_out_of_the_queue():
    async with running() as (engine, told):
        for key in "ab":
            engine.submit(job(key, max_tokens=4000))
        waiting = engine.submit(job("c"))
        await told.until(lambda: told.tokens("b") > 0)
        assert waiting.progress.phase is Phase.QUEUED
        engine.cancel("c")
        assert (await told.end("c")).finish is Finish.CANCELLED
        assert told.tokens("c") == 0


async def test_unknown_key_is_not_cancelled():
    async with running() as (engine, _):
        engine.cancel("nobody")


async def test_deadline_ends_jobs_that_run_and_that_wait():
    async with running(SimulatedRuntime(slots=1, token_ms=1, chunk_ms=0.1)) as (engine, told):
        soon = time.monotonic() + 0.05
        for key in "ab":
            engine.submit(job(key, max_tokens=4000), deadline_s=soon)
        for key in "ab":
            end = await told.end(key)
            assert end.finish is Finish.FAILED
            assert end.error.reason is Reason.DEADLINE


async def test_progress_goes_from_the_queue_to_the_end():
    async with running(SimulatedRuntime(slots=1, token_ms=1, chunk_ms=0.1)) as (engine, told):
        engine.submit(job("a", max_tokens=30))
        one, two = engine.submit(job("b", max_tokens=30)), engine.submit(job("c", max_tokens=30))
        await told.until(lambda: told.tokens("a") > 0)
        assert [one.progress.n, two.progress.n] == [0, 1]
        await told.until(lambda: told.tokens("b") > 0)
        assert one.progress.phase is Phase.RUNNING
        assert one.progress.of == 30
        assert one.opened.prompt_tokens == 1


async def test_continuations_go_before_new_jobs():
    async with running(SimulatedRuntime(slots=1, token_ms=1, chunk_ms=0.1)) as (engine, told):
        engine.submit(job("first", max_tokens=20))
        await told.until(lambda: told.tokens("first") > 0)
        engine.submit(job("new", max_tokens=3))
        engine.submit(job("low", max_tokens=3), rank=2)
        engine.submit(job("moved", max_tokens=3, prefix=(1,)))
        for key in ("new", "low", "moved"):
            await told.end(key)
        assert list(told.ends) == ["first", "moved", "new", "low"]


async def test_too_many_jobs_are_refused():
    async with running(queue_jobs_max=1) as (engine, _):
        for key in "abc":
            engine.submit(job(key, max_tokens=4000))
        with pytest.raises(TetherError) as refused:
            engine.submit(job("d"))
        assert refused.value.reason is Reason.OVERLOADED


async def test_same_key_twice_is_refused():
    async with running() as (engine, _):
        engine.submit(job("a", max_tokens=4000))
        with pytest.raises(TetherError) as refused:
            engine.submit(job("a"))
        assert refused.value.reason is Reason.JOB_CONFLICT


async def test_bad_job_fails_alone():
    async with running() as (engine, told):
        engine.submit(job("bad", max_tokens=0))
        engine.submit(job("good"))
        assert (await told.end("bad")).error.reason is Reason.INVALID_FIELD
        assert (await told.end("good")).finish is Finish.LENGTH


class Broken(SimulatedRuntime):
    """Fails at one step."""

    def __init__(self):
        super().__init__(slots=2, token_ms=1, chunk_ms=0.1)
        self.left = 5

    def step(self):
        self.left -= 1
        if self.left == 0:
            raise RuntimeError("kernel fault")
        return super().step()


async def test_step_that_raises_ends_its_jobs_and_not_the_thread(caplog):
    async with running(Broken()) as (engine, told):
        for key in "ab":
            engine.submit(job(key, max_tokens=4000))
        for key in "ab":
            end = await told.end(key)
            assert end.error.reason is Reason.ENGINE_FAILED
            assert "kernel" not in end.error.message
        engine.submit(job("c"))
        assert (await told.end("c")).finish is Finish.LENGTH
        assert engine.runtime.slots_free == 2


async def test_drain_finishes_jobs_and_takes_no_more():
    async with running() as (engine, told):
        engine.submit(job("a", max_tokens=20))
        assert await engine.drain(10)
        assert told.ends["a"].finish is Finish.LENGTH
        with pytest.raises(TetherError) as refused:
            engine.submit(job("b"))
        assert refused.value.reason is Reason.DRAINING


async def test_drain_gives_up_after_its_grace():
    async with running() as (engine, _):
        engine.submit(job("a", max_tokens=4000))
        assert not await engine.drain(0.02)


async def test_close_ends_all_as_cancelled_and_may_be_repeated():
    told = Told()
    engine = ExecutionEngine(SimulatedRuntime(slots=1, token_ms=1), told)
    engine.start()
    for key in "ab":
        engine.submit(job(key, max_tokens=4000))
    await engine.close()
    await engine.close()
    assert {key: end.finish for key, end in told.ends.items()} == {"a": Finish.CANCELLED, "b": Finish.CANCELLED}


async def test_lagging_loop_gets_one_call_and_halts_the_engine():
    async with running(SimulatedRuntime(slots=1, token_ms=0.01, chunk_ms=0.01), pieces_ahead_max=50) as (engine, told):
        engine.submit(job("a", max_tokens=4000))
        time.sleep(0.2)  # noqa: ASYNC251  (the loop is kept busy on purpose)
        assert len(engine._outbox) == 50
        await told.until(lambda: told.tokens("a") >= 50)
        assert told.calls == 1


async def test_step_runs_in_one_thread_that_is_not_the_loops():
    seen = set()

    class Watching(SimulatedRuntime):
        def step(self):
            seen.add(threading.current_thread().name)
            return super().step()

    async with running(Watching(token_ms=1, chunk_ms=0.1)) as (engine, told):
        engine.submit(job("a"))
        await told.end("a")
    assert seen == {"tether-engine"}


class SlowToPrepare(SimulatedRuntime):
    """Compiles a form once it may."""

    def __init__(self):
        super().__init__(slots=2, token_ms=1, chunk_ms=0.1)
        self.may = threading.Event()

    def prepare(self, form):
        self.may.wait(10)
        return super().prepare(form)


async def test_form_is_compiled_beside_streams_that_run():
    runtime = SlowToPrepare()
    async with running(runtime) as (engine, told):
        formed = engine.submit(job("formed", form=Form(FormKind.REGEX, "ab")))
        engine.submit(job("later"))
        assert (await told.end("later")).finish is Finish.LENGTH
        assert (formed.progress.phase, formed.opened) == (Phase.QUEUED, None)
        runtime.may.set()
        assert (await told.end("formed")).finish is Finish.STOP
    assert b"".join(piece.text for piece in told.pieces if piece.key == "formed") == b"ab"


async def test_form_that_is_none_fails_its_job_alone():
    async with running() as (engine, told):
        engine.submit(job("bad", form=Form(FormKind.REGEX, "(")))
        engine.submit(job("good"))
        assert (await told.end("bad")).error.reason is Reason.SCHEMA_INVALID
        assert (await told.end("good")).finish is Finish.LENGTH


async def test_job_whose_form_is_being_compiled_is_cancelled_and_expires():
    runtime = SlowToPrepare()
    async with running(runtime) as (engine, told):
        engine.submit(job("gone", form=Form(FormKind.REGEX, "a")))
        engine.submit(job("late", form=Form(FormKind.REGEX, "b")), deadline_s=time.monotonic() + 0.05)
        engine.cancel("gone")
        assert (await told.end("gone")).finish is Finish.CANCELLED
        assert (await told.end("late")).error.reason is Reason.DEADLINE
        runtime.may.set()


async def test_close_does_not_wait_for_forms_that_nobody_needs():
    runtime = SlowToPrepare()
    async with running(runtime) as (engine, told):
        for key in range(4):
            engine.submit(job(key, form=Form(FormKind.REGEX, f"a{{{key}}}")))
        runtime.may.set()
        await engine.close()
        assert {piece.finish for piece in told.ends.values()} <= {Finish.CANCELLED, Finish.STOP}
        assert len(told.ends) == 4
