"""An end that nobody could write outlives its worker: gateway, orchestrator and then the worker are killed."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from tether.cli.operator import connect
from tether.cli.region import demo_folder
from tether.client.aio import Client
from tether.errors import TetherError
from tether.node.journal import decode
from tether.testing.processes import ProcessRegion
from tether.v1.infer_pb2 import Job, JobState
from tether.v1.registry_pb2 import CreateKeyRequest, CreateTenantRequest
from tether_worker.keeper import FILE

MODEL = "tether-demo"
PACED = {"engine": "simulated", "slots": 4, "simulated_token_ms": 10}
LIMIT_S = 20.0


def journaled(folder: Path) -> bool:
    """Whether the worker's journal has an end that is not done."""
    path = folder / "worker-1" / FILE
    newest = dict(decode(path.read_bytes() if path.exists() else b""))
    return any(body is not None for body in newest.values())


async def until(condition: Callable[[], bool]) -> None:
    """Poll with a limit."""
    async with asyncio.timeout(LIMIT_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def answered(client: Client) -> None:
    """Ask until the gateway knows key, model and worker."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            try:
                await client.infer("x", model=MODEL, max_tokens=1)
            except TetherError:
                await asyncio.sleep(0.05)
            else:
                return


def kill(running: ProcessRegion, *names: str) -> None:
    """End services as `kill -9` does."""
    for name in names:
        process = running.running.pop(name)
        process.kill()
        if process.child.stdout is not None:
            process.child.stdout.close()


async def new_key(running: ProcessRegion) -> str:
    """A key of a new tenant."""
    async with connect(running.folder, [running.bootstrap], running.region) as operator:
        access = await operator.access()
        await access.CreateTenant(CreateTenantRequest(tenant_id="test"))
        return (await access.CreateKey(CreateKeyRequest(tenant_id="test", label="test"))).token


async def ended(client: Client) -> Job:
    """The job once it has ended."""
    async with asyncio.timeout(LIMIT_S):
        while (job := await client.job(correlation_id="orphan")).state == JobState.JOB_STATE_RESERVED:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return job


async def test_end_outlives_gateway_orchestrator_and_worker(tmp_path: Path) -> None:
    with ProcessRegion(tmp_path) as running:
        running.start("registry", {"demo_model": demo_folder()})
        running.start("orchestrator")
        running.start("worker-1", PACED)
        gateway = running.start("gateway", {"listen": "127.0.0.1:0"})
        key = await new_key(running)
        async with Client(gateway.endpoints["gateway"], key) as client:
            await answered(client)
            first = await anext(aiter(client.stream("x", model=MODEL, max_tokens=60, correlation_id="orphan")))
            kill(running, "orchestrator", "gateway")
        await until(lambda: journaled(tmp_path))
        kill(running, "worker-1")

        running.start("orchestrator")
        running.start("worker-1", PACED)
        gateway = running.start("gateway", {"listen": "127.0.0.1:0"})
        async with Client(gateway.endpoints["gateway"], key) as client:
            await answered(client)
            job = await ended(client)
            assert (JobState.Name(job.state), job.usage.output_tokens, job.epoch) == ("JOB_STATE_DONE", 60, 1)
            again = await client.infer("x", model=MODEL, max_tokens=60, correlation_id="orphan")
            assert again.text.startswith(first.text)
        await until(lambda: not journaled(tmp_path))
