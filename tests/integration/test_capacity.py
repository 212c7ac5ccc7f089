"""A region with one small simulated worker: full, gone, left by its clients; refusals are typed and nothing leaks."""

import asyncio
import time

import pytest

from tether.cli.operator import connect, pages
from tether.cli.region import demo_folder
from tether.client.aio import Client
from tether.errors import Reason, TetherError
from tether.testing.processes import ProcessRegion
from tether.v1.control_pb2 import ListWorkersRequest
from tether.v1.infer_pb2 import JOB_STATE_ABANDONED, JOB_STATE_CANCELLED, JOB_STATE_DONE
from tether.v1.registry_pb2 import CreateKeyRequest, CreateTenantRequest, Quota, SetQuotaRequest

MODEL = "tether-demo"
SMALL = {"engine": "simulated", "slots": 1, "queue_max": 0, "simulated_token_ms": 20}


@pytest.fixture(scope="module")
def region(tmp_path_factory):
    with ProcessRegion(tmp_path_factory.mktemp("small")) as running:
        running.start("registry", {"demo_model": demo_folder()})
        launched = [
            running.launch("orchestrator"),
            running.launch("worker-1", SMALL),
            running.launch("gateway", {"listen": "127.0.0.1:0", "detach_grace_s": 1}),
        ]
        for process in launched:
            running.wait(process)
        yield running


async def make_key(region, tenant, quota=None):
    async with connect(region.folder, [region.bootstrap], region.region) as operator:
        access = await operator.access()
        if quota is not None:
            await access.CreateTenant(CreateTenantRequest(tenant_id=tenant))
            await access.SetQuota(SetQuotaRequest(tenant_id=tenant, quota=quota))
        return (await access.CreateKey(CreateKeyRequest(tenant_id=tenant))).token


@pytest.fixture
async def client(region):
    async with Client(region.running["gateway"].endpoints["gateway"], await make_key(region, "demo")) as made:
        await until_answered(made)
        await until(lambda: all_free(region))
        yield made


async def until(condition, limit_s=10.0):
    began_s = time.monotonic()
    while not await condition():
        assert time.monotonic() - began_s < limit_s, "did not come true in time"
        await asyncio.sleep(0.02)


async def until_answered(client):
    async def answered():
        try:
            await client.infer("hello", model=MODEL, max_tokens=1, timeout_s=5)
        except TetherError as error:
            if not (error.row.again or error.reason is Reason.KEY_INVALID):
                raise
            return False
        return True

    await until(answered)


async def first_piece(stream):
    async for piece in stream:
        if piece.text:
            return piece
    return None


async def free_slots(region):
    async with connect(region.folder, [region.bootstrap], region.region) as operator:
        control = await operator.control()
        found = await pages(control.ListWorkers, ListWorkersRequest(), "workers")
    return sum(one.report.capacity.slots_free for one in found)


async def all_free(region):
    return await free_slots(region) == 1


async def none_free(region):
    return await free_slots(region) == 0


async def test_full_worker_refuses_with_a_hint_and_serves_again(region, client):
    async with client.stream("hold", model=MODEL, max_tokens=400, timeout_s=20) as held:
        assert await first_piece(held)
        with pytest.raises(TetherError) as caught:
            await client.infer("refused", model=MODEL, max_tokens=1, timeout_s=5)
        assert caught.value.reason is Reason.OVERLOADED
        assert caught.value.retry_after_s
    await until_answered(client)


async def test_client_that_leaves_under_cancel_frees_the_slot(region, client):
    async with client.stream("leave", model=MODEL, max_tokens=480, on_disconnect="cancel", timeout_s=60) as stream:
        assert await first_piece(stream)
        job = stream.job_id
    left_s = time.monotonic()
    await until(lambda: all_free(region), 5)
    assert time.monotonic() - left_s < 3

    async def over():  # the client cancels what it leaves; the gateway sees it go: the first one written holds
        return (await client.job(job_id=job)).state in (JOB_STATE_ABANDONED, JOB_STATE_CANCELLED)

    await until(over, 5)


async def test_client_that_leaves_under_detach_frees_the_slot_after_the_grace(region, client):
    async with client.stream(
        "detach", model=MODEL, max_tokens=480, correlation_id="detach-1", on_disconnect="detach", timeout_s=60
    ) as stream:
        assert await first_piece(stream)
    await until(lambda: none_free(region), 0.9)
    await until(lambda: all_free(region), 8)


async def test_client_that_comes_back_within_the_grace_reads_the_whole_answer(region, client):
    options = {"model": MODEL, "max_tokens": 60, "correlation_id": "back-1", "timeout_s": 20}
    async with client.stream("come back", **options) as stream:
        assert await first_piece(stream)
    answer = await client.infer("come back", **options)
    assert answer.joined
    assert answer.output_tokens == 60
    assert (await client.job(correlation_id="back-1")).state == JOB_STATE_DONE


async def test_cancel_ends_the_stream_and_is_replayed(region, client):
    async with client.stream("cancel", model=MODEL, max_tokens=480, correlation_id="cancel-1", timeout_s=60) as stream:
        assert await first_piece(stream)
        assert (await client.cancel(correlation_id="cancel-1")).state == JOB_STATE_CANCELLED
        with pytest.raises(TetherError) as caught:
            await stream.answer()
        assert caught.value.reason is Reason.JOB_CANCELLED
    with pytest.raises(TetherError) as caught:
        await client.infer("cancel", model=MODEL, max_tokens=480, correlation_id="cancel-1")
    assert caught.value.reason is Reason.JOB_CANCELLED
    await until(lambda: all_free(region), 5)


async def test_deadline_ends_the_job_and_frees_the_slot(region, client):
    with pytest.raises(TetherError) as caught:
        await client.infer("late", model=MODEL, max_tokens=480, timeout_s=0.3)
    assert caught.value.reason is Reason.DEADLINE
    await until(lambda: all_free(region), 5)


async def test_rate_limit_refuses_with_a_hint(region, client):
    key = await make_key(region, "slow", Quota(requests_per_minute=2))
    async with Client(region.running["gateway"].endpoints["gateway"], key) as slow:
        limited = None
        for _ in range(40):
            try:
                await slow.infer("x", model=MODEL, max_tokens=1, timeout_s=5)
            except TetherError as error:
                limited = error if error.reason is Reason.RATE_LIMITED else None
            if limited is not None:
                break
            await asyncio.sleep(0.05)
    assert limited is not None
    assert limited.retry_after_s


async def test_no_worker_is_said_fast(region, client):
    region.running["worker-1"].kill()
    began_s = time.monotonic()
    reason = None
    while reason is not Reason.NO_WORKER:
        with pytest.raises(TetherError) as caught:
            await client.infer("anybody", model=MODEL, max_tokens=1, timeout_s=5)
        reason = caught.value.reason
        assert time.monotonic() - began_s < 4, reason
