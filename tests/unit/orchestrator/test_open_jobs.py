"""Open jobs: what a drain waits for, and how long an attempt ran."""

import asyncio

from tether_orchestrator.open_jobs import OpenJobs


async def test_open_jobs_are_empty_once_all_have_ended() -> None:
    jobs = OpenJobs()
    await asyncio.wait_for(jobs.wait_empty(), 1)
    jobs.add(b"a", 10)
    jobs.add(b"b", 20)
    waiting = asyncio.create_task(jobs.wait_empty())
    jobs.discard(b"a")
    await asyncio.sleep(0)
    assert not waiting.done()
    jobs.discard(b"b")
    await asyncio.wait_for(waiting, 1)


def test_open_jobs_forget_what_is_overdue() -> None:
    jobs = OpenJobs()
    jobs.add(b"a", 10)
    jobs.add(b"b", 20)
    jobs.forget(15)
    assert len(jobs) == 1
    assert jobs.discard(b"unknown") == 0.0
    assert jobs.discard(b"b") >= 0.0


async def test_open_jobs_forget_what_ended_elsewhere() -> None:
    jobs = OpenJobs()
    jobs.add(b"a", 10)
    jobs.add(b"b", 20)

    async def ended(job: bytes) -> bool:
        return job == b"a"

    await jobs.forget_ended(ended)
    assert len(jobs) == 1
    assert jobs.discard(b"b") >= 0.0
