"""Five real processes that know one bootstrap address: they serve, they lose a worker, they gain one."""

import asyncio
import json
import subprocess
import sys
import time

import pytest

from tether.cli.operator import connect, pages
from tether.cli.region import demo_folder
from tether.client.aio import Client
from tether.errors import Reason, TetherError
from tether.testing.processes import ProcessRegion
from tether.v1.control_pb2 import WORKER_STANDING_LIVE, ListWorkersRequest
from tether.v1.registry_pb2 import CreateKeyRequest, RevokeKeyRequest

MODEL = "tether-demo"
PROMPT = "What does str.split do?"


@pytest.fixture(scope="module")
def region(tmp_path_factory):
    with ProcessRegion(tmp_path_factory.mktemp("region")) as running:
        running.start_all(
            workers=[{}, {}],
            registry={"demo_model": demo_folder()},
            gateway={"listen": "127.0.0.1:0"},
            bridge={"http": "127.0.0.1:0"},
        )
        yield running


@pytest.fixture(scope="module")
def key(region):
    async def make():
        async with connect(region.folder, [region.bootstrap], region.region) as operator:
            access = await operator.access()
            return (await access.CreateKey(CreateKeyRequest(tenant_id="demo", label="test"))).token

    return asyncio.run(make())


@pytest.fixture
async def client(region, key):
    async with Client(region.running["gateway"].endpoints["gateway"], key) as made:
        yield made


async def live_workers(region):
    async with connect(region.folder, [region.bootstrap], region.region) as operator:
        control = await operator.control()
        found = await pages(control.ListWorkers, ListWorkersRequest(), "workers")
    return {one.name for one in found if one.standing == WORKER_STANDING_LIVE}


async def until(condition, limit_s=10.0):
    """Poll `condition` until it holds; return how long that took."""
    began_s = time.monotonic()
    while not await condition():
        assert time.monotonic() - began_s < limit_s, "did not come true in time"
        await asyncio.sleep(0.02)
    return time.monotonic() - began_s


async def answered(client, **options):
    try:
        return await client.infer(PROMPT, model=MODEL, max_tokens=8, timeout_s=10, **options)
    except TetherError as error:
        if not error.row.again:
            raise
        return None


async def test_region_streams_an_answer_with_a_receipt(client):
    await until(lambda: live(client))
    answer = await client.infer(PROMPT, model=MODEL, max_tokens=48, timeout_s=20)
    assert answer.text
    assert answer.output_tokens > 1
    assert answer.settled
    assert answer.receipt.signature


async def live(client):
    return await answered(client) is not None


async def test_region_greedy_answers_are_equal_on_every_worker(client):
    answers = {(await client.infer(PROMPT, model=MODEL, temperature=0, max_tokens=32)).text for _ in range(6)}
    assert len(answers) == 1


async def test_region_repeat_of_a_key_reads_the_stored_answer(client):
    first = await client.infer(PROMPT, model=MODEL, max_tokens=16, correlation_id="again-1")
    again = await client.infer(PROMPT, model=MODEL, max_tokens=16, correlation_id="again-1")
    assert (again.text, again.job_id) == (first.text, first.job_id)
    with pytest.raises(TetherError) as caught:
        await client.infer("Something else", model=MODEL, correlation_id="again-1")
    assert caught.value.reason is Reason.JOB_CONFLICT


async def test_region_repeats_at_once_run_once(client):
    answers = await asyncio.gather(
        *(client.infer(PROMPT, model=MODEL, max_tokens=32, correlation_id="at-once") for _ in range(8))
    )
    assert len({(one.text, one.job_id) for one in answers}) == 1


async def test_region_revoked_key_is_refused_within_two_seconds(region):
    async with connect(region.folder, [region.bootstrap], region.region) as operator:
        access = await operator.access()
        made = await access.CreateKey(CreateKeyRequest(tenant_id="demo"))
        async with Client(region.running["gateway"].endpoints["gateway"], made.token) as client:
            await until(lambda: live_key(client))
            await access.RevokeKey(RevokeKeyRequest(key_id=made.key.name))

            async def refused():
                return not await live_key(client)

            assert await until(refused) < 2


async def live_key(client):
    try:
        await client.infer(PROMPT, model=MODEL, max_tokens=1)
    except TetherError as error:
        if error.reason is Reason.KEY_INVALID:
            return False
        raise
    return True


async def test_region_openai_path_answers(region, key):
    import openai

    bridge = f"http://{region.running['bridge'].endpoints['bridge']}/v1"
    async with openai.AsyncOpenAI(base_url=bridge, api_key=key) as http:
        assert MODEL in [one.id.partition(":")[0] async for one in await http.models.list()]
        stream = await http.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": PROMPT}], max_tokens=24, stream=True
        )
        text = "".join([part.choices[0].delta.content or "" async for part in stream if part.choices])
    assert text


def test_region_verbs_print_objects_with_names(region):
    for verb in (
        ["workers", "ls"],
        ["models", "ls"],
        ["tenants", "ls"],
        ["keys", "ls"],
        ["jobs", "ls"],
        ["explain", MODEL],
    ):
        place = ["--state", str(region.folder), "--bootstrap", region.bootstrap, "-o", "json"]
        done = subprocess.run(
            [sys.executable, "-m", "tether.cli", *verb, *place], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, (verb, done.stderr)
        assert all(one["name"] for one in json.loads(done.stdout)), verb


async def test_region_late_worker_is_used_and_a_killed_one_is_not(region, client):
    before = await live_workers(region)
    region.start("worker-3")

    async def arrived():
        return len(await live_workers(region) - before) == 1

    assert await until(arrived) < 2
    new = await live_workers(region) - before

    region.running["worker-1"].kill()
    region.running["worker-2"].kill()

    async def only_new():
        return await live_workers(region) == new

    assert await until(only_new) < 2
    answer = await client.infer(PROMPT, model=MODEL, max_tokens=8, timeout_s=20)
    assert answer.text


async def test_region_worker_killed_mid_stream_never_looks_finished(region, client):
    region.running["worker-3"].kill()
    slow = region.start("worker-4", {"engine": "simulated", "simulated_token_ms": 20})
    await until(lambda: live(client))
    pieces = []

    async def read():
        async with client.stream(PROMPT, model=MODEL, max_tokens=400, timeout_s=5) as stream:
            async for piece in stream:
                pieces.append(piece)
                if len(pieces) == 3:
                    slow.kill()

    with pytest.raises(TetherError) as caught:
        await read()
    assert caught.value.reason in {Reason.NO_WORKER, Reason.DEADLINE}  # it waited for another worker
    assert len(pieces) >= 3
    assert not any(piece.done for piece in pieces)


def test_region_drains_to_exit_code_zero(region):
    for name in ("bridge", "gateway", "orchestrator", "registry"):
        assert region.running[name].stop() == 0, name
