"""Real processes, killed with -9 while they answer: tensors are run again and compared, unequal engines go on.

Two workers of one model whose fingerprints differ (`--prefill-chunk`). An answer of tensors comes out byte for byte; an
answer in a form keeps its form, and its chunks and its receipt say COHERENT.
"""

import json
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from tether.cli.operator import connect
from tether.client.aio import Client
from tether.client.result import Answer
from tether.identity import node_id
from tether.registry.push import push
from tether.testing.processes import ProcessRegion
from tether.testing.tiny_model import write_tiny_decoder
from tether.testing.tiny_tensor import WIDTH_IN, write_tiny_tensors
from tether.v1.control_pb2 import ListJobsRequest
from tether.v1.infer_pb2 import Infer, JobState
from tether.v1.registry_pb2 import CreateKeyRequest, CreateTenantRequest

WORKERS: dict[str, dict[str, object]] = {"worker-1": {}, "worker-2": {"prefill_chunk": 7}}
SCHEMA = {
    "type": "object",
    "properties": {"what": {"type": "string", "minLength": 30, "maxLength": 40}, "how": {"enum": ["well", "badly"]}},
    "required": ["what", "how"],
    "additionalProperties": False,
}
ROWS = 120


class Place:
    """The region, a client of it, and the operator."""

    def __init__(self, region: ProcessRegion, client: Client, control: object) -> None:
        self.client = client
        self._region, self._control = region, control
        self._nodes = {}
        for name in WORKERS:
            key = SigningKey((region.folder / name / "node.key").read_bytes()[:32])
            self._nodes[node_id(bytes(key.verify_key))] = name

    async def kill_the_one_that_answers(self) -> None:
        page = await self._control.ListJobs(ListJobsRequest(page_size=10))
        (job,) = (job for job in page.jobs if job.state == JobState.JOB_STATE_RESERVED)
        self._region.running[self._nodes[job.worker_id]].kill()

    async def killed(self, prompt: object, after: int, **options: object) -> tuple[Answer, list[Infer.Chunk]]:
        """An answer whose worker is killed after some pieces; its chunks."""
        chunks = []
        async with self.client.stream(prompt, **options) as stream:
            async for piece in stream:
                chunks.append(piece.chunk)
                if len(chunks) == after:
                    await self.kill_the_one_that_answers()
            return await stream.answer(), chunks


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    tensors = write_tiny_tensors(tmp_path / "tensors", step_delay_ms=20, piece_rows=4)
    decoder = write_tiny_decoder(tmp_path / "decoder", step_delay_ms=10)
    with ProcessRegion(tmp_path / "region") as region:
        region.start("registry")
        for name in ("orchestrator", "gateway"):
            region.launch(name, {"listen": "127.0.0.1:0"} if name == "gateway" else {})
        async with connect(region.folder, [region.bootstrap], region.region) as operator:
            channel, metadata = await operator.registry_channel()
            for folder, model in ((tensors, "tensors"), (decoder, "decoder")):
                await push(folder, model, "1.0", channel=channel, metadata=metadata, identity=operator.identity)
            for name, settings in WORKERS.items():
                region.launch(name, settings)
            for process in list(region.running.values())[1:]:
                region.wait(process)
            access = await operator.access()
            await access.CreateTenant(CreateTenantRequest(tenant_id="test"))
            key = (await access.CreateKey(CreateKeyRequest(tenant_id="test", label="test"))).token
            async with Client(region.running["gateway"].endpoints["gateway"], key) as client:
                yield Place(region, client, await operator.control())


def continued(chunks: list[Infer.Chunk]) -> set[int]:
    return {chunk.continuity for chunk in chunks if chunk.continuity}


def receipt(chunks: list[Infer.Chunk]) -> Infer.ReceiptBody:
    return Infer.ReceiptBody.FromString(chunks[-1].receipt.body)


async def test_tensors_are_run_again_and_their_bytes_are_the_same(place: Place) -> None:
    data = struct.pack(f"<{ROWS * WIDTH_IN}f", *(one % 7 / 7 - 0.5 for one in range(ROWS * WIDTH_IN)))
    tensor = Infer.Tensor(name="x", data_type=Infer.DATA_TYPE_FP32, shape=[ROWS, WIDTH_IN], data=data)
    prompt = Infer.Tensors(tensors=[tensor])
    whole = await place.client.infer(prompt, model="tensors", timeout_s=20)
    again, chunks = await place.killed(prompt, after=5, model="tensors", timeout_s=20)
    assert again.tensors == whole.tensors
    assert sum(one.shape[0] for one in again.tensors.tensors if one.name == "values") == ROWS
    assert continued(chunks) == {Infer.CONTINUITY_RERUN}
    assert (receipt(chunks).attempts, receipt(chunks).continuity) == (2, Infer.CONTINUITY_RERUN)
    assert len(receipt(chunks).handed) == 0


async def test_form_is_kept_by_an_unequal_engine_that_goes_on(place: Place) -> None:
    options = {"model": "decoder", "max_tokens": 200, "seed": 5, "temperature": 0.8, "timeout_s": 20}
    answer, chunks = await place.killed("Tell me all of it. " * 3, after=12, json_schema=SCHEMA, **options)
    value = json.loads(answer.text)
    assert value.keys() == {"what", "how"}
    assert value["how"] in ("well", "badly")
    assert 30 <= len(value["what"]) <= 40
    assert continued(chunks) == {Infer.CONTINUITY_COHERENT}
    assert (receipt(chunks).attempts, receipt(chunks).continuity) == (2, Infer.CONTINUITY_COHERENT)
    assert [one.end.tokens for one in receipt(chunks).handed] != [0]
