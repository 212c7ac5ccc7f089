"""A worker that stands alone, over real gRPC."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from grpc import aio

from tether.errors import Reason, TetherError
from tether.rpc.channel import open_channel
from tether.rpc.status import from_rpc_error
from tether.v1 import infer_pb2
from tether.v1.infer_pb2_grpc import InferenceServiceStub
from tether_worker.app import build
from tether_worker.config import Config
from tether_worker.standalone import StandaloneWorker

WAIT_S = 5.0


def config(folder: Path, **settings: Any) -> Config:
    return Config(
        state=folder, standalone=True, engine="simulated", simulated_token_ms=2.0, models=("sim",), **settings
    )


@pytest.fixture
async def worker(tmp_path: Path) -> AsyncIterator[StandaloneWorker]:
    (tmp_path / "keys").write_text("first\nsecond\n")
    app = build(config(tmp_path, keys_file=tmp_path / "keys"))
    assert isinstance(app, StandaloneWorker)
    await app.start()
    yield app
    await app.close()


async def infer(worker: StandaloneWorker, key: str = "second", **fields: Any) -> list[infer_pb2.Infer.Chunk]:
    request = infer_pb2.Infer.Request(**{"model_id": "sim", "input": {"text": "hi"}, **fields})
    if not request.parameters.max_tokens:
        request.parameters.max_tokens = 5
    async with open_channel(worker.endpoints()["worker"]) as channel:
        metadata = (("authorization", f"Bearer {key}"),) if key else ()
        call = InferenceServiceStub(channel).Infer(request, metadata=metadata, timeout=WAIT_S)
        return [chunk async for chunk in call]


async def test_standalone_worker_streams_to_its_end(worker: StandaloneWorker) -> None:
    chunks = await infer(worker)
    assert [chunk.seq for chunk in chunks] == list(range(6))
    assert [chunk.done for chunk in chunks] == [False] * 5 + [True]
    assert chunks[-1].usage.output_tokens == 5
    assert chunks[-1].finish_reason == infer_pb2.Infer.FINISH_REASON_LENGTH
    assert chunks[0].started.model_id == "sim"


async def test_same_seed_gives_the_same_answer(worker: StandaloneWorker) -> None:
    texts = {"".join(chunk.payload.text for chunk in await infer(worker, parameters={"seed": 4})) for _ in range(2)}
    assert len(texts) == 1


@pytest.mark.parametrize(
    ("key", "fields", "reason"),
    [
        ("", {}, Reason.KEY_MISSING),
        ("third", {}, Reason.KEY_INVALID),
        ("first", {"model_id": "other"}, Reason.MODEL_UNKNOWN),
        ("first", {"version": "3.0"}, Reason.VERSION_UNKNOWN),
        ("first", {"input": {"text": ""}}, Reason.INVALID_FIELD),
        ("first", {"adapters": [{"adapter_id": "a", "version": "1.0"}]}, Reason.UNSUPPORTED),
    ],
)
async def test_bad_call_gets_a_typed_error(
    worker: StandaloneWorker, key: str, fields: dict[str, Any], reason: Reason
) -> None:
    with pytest.raises(aio.AioRpcError) as raised:
        await infer(worker, key, **fields)
    assert from_rpc_error(raised.value).reason is reason


def test_standalone_worker_without_keys_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TetherError) as raised:
        build(config(tmp_path))
    assert raised.value.reason is Reason.INVALID_FIELD


async def test_standalone_worker_drains(worker: StandaloneWorker) -> None:
    await worker.drain(WAIT_S)
    with pytest.raises(aio.AioRpcError):
        await infer(worker)
