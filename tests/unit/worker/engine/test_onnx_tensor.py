"""The engine of tensors: the same bytes whenever and beside whomever it runs, held answers, and bad input."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tether.errors import Reason, TetherError
from tether.testing.tiny_tensor import WIDTH_IN, write_tiny_tensors
from tether.v1 import infer_pb2
from tether_worker.engine.form import Form, FormKind
from tether_worker.engine.onnx_tensor import OnnxTensors
from tether_worker.engine.runtime import (
    Continuity,
    Emitted,
    Finish,
    GenerationJob,
    Position,
    Progress,
    TensorPrompt,
    TextPrompt,
)

Infer = infer_pb2.Infer
FP32 = Infer.DATA_TYPE_FP32


class Clock:
    """Time that only pausing moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def pause(self, seconds: float) -> None:
        self.now_s += seconds


def runtime_of(folder, **facts) -> OnnxTensors:
    clock = Clock()
    return OnnxTensors(write_tiny_tensors(folder, **facts), slots=6, clock=clock, pause=clock.pause)


@pytest.fixture(params=[True, False], ids=["batched", "whole"])
def runtime(request, tmp_path) -> OnnxTensors:
    return runtime_of(tmp_path, batched=request.param, piece_bytes=256)


def rows_of(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, WIDTH_IN)).astype("<f4")


def prompt(*tensors: Infer.Tensor) -> TensorPrompt:
    return TensorPrompt(Infer.Tensors(tensors=tensors).SerializeToString())


def job(key: object, count: int, seed: int = 0) -> GenerationJob:
    rows = rows_of(count, seed)
    tensor = Infer.Tensor(name="x", data_type=FP32, shape=rows.shape, data=rows.tobytes())
    return GenerationJob(key=key, prompt=prompt(tensor))


def finish(runtime: OnnxTensors) -> dict[object, list[Emitted]]:
    pieces: dict[object, list[Emitted]] = {}
    while runtime.slots_free < runtime.slots_max:
        for piece in runtime.step():
            pieces.setdefault(piece.key, []).append(piece)
    return pieces


def alone(runtime: OnnxTensors, one: GenerationJob) -> list[bytes]:
    runtime.open(one)
    return [piece.payload for piece in finish(runtime)[one.key]]


def joined(pieces: list[bytes], name: str) -> np.ndarray:
    """An output put together again from all pieces, along the first dimension."""
    kinds = {FP32: "<f4", Infer.DATA_TYPE_INT64: "<i8"}
    tensors = Infer.Payload.FromString(b"".join(pieces)).tensors.tensors
    parts = [np.frombuffer(one.data, kinds[one.data_type]).reshape(one.shape) for one in tensors if one.name == name]
    return np.concatenate(parts)


def test_promise_is_to_run_again(runtime):
    assert runtime.continuity is Continuity.RERUN
    assert (runtime.kind, len(runtime.fingerprint)) == ("onnx", 32)


@pytest.mark.parametrize("count", [1, 3, 4, 5, 33])
def test_outputs_are_those_of_the_graph(runtime, count):
    pieces = alone(runtime, job("a", count))
    values = joined(pieces, "values")
    assert values.shape == (count, 16)
    assert np.array_equal(joined(pieces, "best"), values.argmax(axis=1))
    assert np.abs(values).max() < 1


def test_answers_are_the_same_bytes_beside_any_mates(runtime):
    jobs = [job(index, count, index) for index, count in enumerate([1, 3, 4, 10, 33, 2])]
    expected = {one.key: alone(runtime, one) for one in jobs}
    for one in jobs:
        runtime.open(one)
        runtime.step()
    together = finish(runtime)
    for one in jobs:
        tail = [piece.payload for piece in together.get(one.key, [])]
        assert tail == expected[one.key][len(expected[one.key]) - len(tail) :]
    assert any(together.values())


def test_another_engine_of_the_same_folder_makes_the_same_bytes(tmp_path):
    one, other = runtime_of(tmp_path), runtime_of(tmp_path)
    assert one.fingerprint == other.fingerprint
    assert alone(one, job("a", 21)) == alone(other, job("a", 21))


def test_pieces_are_cut_at_fixed_rows_and_follow_each_other(tmp_path):
    runtime = runtime_of(tmp_path, piece_rows=4)
    runtime.open(job("a", 10))
    pieces, place = finish(runtime)["a"], 0
    for piece in pieces:
        assert (piece.start, piece.token_ids, piece.text) == (Position(0, place), (), b"")
        place += len(piece.payload)
    shapes = [list(Infer.Payload.FromString(piece.payload).tensors.tensors[0].shape) for piece in pieces]
    assert shapes == [[4, 16], [4, 16], [2, 16]]
    assert [piece.finish for piece in pieces] == [None, None, Finish.STOP]


def test_pieces_of_several_requests_share_a_run_after_a_short_wait(tmp_path):
    runtime = runtime_of(tmp_path, piece_rows=4, rows_max=16, wait_ms=5)
    assert runtime.shares
    runtime.open(job("a", 4))
    assert runtime.step() == []  # waits for mates
    runtime.open(job("b", 4))
    assert {piece.key for piece in runtime.step()} == {"a", "b"}
    for key in range(4):
        runtime.open(job(key, 4))
    assert {piece.key for piece in runtime.step()} == {0, 1, 2, 3}  # full: no wait


def test_requests_take_turns_where_a_run_has_no_room_for_all(tmp_path):
    runtime = runtime_of(tmp_path, piece_rows=4, rows_max=8, wait_ms=0)
    for key in range(4):
        runtime.open(job(key, 8))
    runs = [{piece.key for piece in runtime.step()} for _ in range(4)]
    assert runs == [{0, 1}, {2, 3}, {0, 1}, {2, 3}]


def test_request_whose_reader_takes_nothing_is_held(tmp_path):
    runtime = runtime_of(tmp_path, wait_ms=0)
    expected = alone(runtime, job("slow", 20))
    slot = runtime.open(job("slow", 20)).slot
    got = [piece.payload for piece in runtime.step()]
    runtime.hold(slot, held=True)
    assert runtime.step() == runtime.step() == []
    assert runtime.progress(slot) == Progress(runtime.progress(slot).phase, 4, 20)
    runtime.open(job("quick", 4))
    assert [piece.key for piece in runtime.step()] == ["quick"]
    runtime.hold(slot, held=False)
    assert got + [piece.payload for piece in finish(runtime)["slow"]] == expected


def test_cancel_frees_the_slot(runtime):
    opened = [runtime.open(job(key, 40)) for key in range(6)]
    with pytest.raises(TetherError) as refused:
        runtime.open(job("late", 1))
    assert refused.value.reason is Reason.OVERLOADED
    for one in opened:
        runtime.cancel(one.slot)
        runtime.cancel(one.slot)
    assert runtime.slots_free == 6
    assert runtime.step() == []


def tensor(name: str = "x", kind: int = FP32, shape: tuple[int, ...] = (1, WIDTH_IN), data: bytes = bytes(32)):
    return Infer.Tensor(name=name, data_type=kind, shape=shape, data=data)


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (TensorPrompt(b"\xff"), "input.tensors"), (prompt(), "input.tensors"), (prompt(tensor("y")), "input.tensors"),
        (prompt(tensor(), tensor("y")), "input.tensors"), (prompt(tensor(kind=11)), "input.tensors.x"),
        (prompt(tensor(shape=(1, 7))), "input.tensors.x"), (prompt(tensor(shape=(8,))), "input.tensors.x"),
        (prompt(tensor(data=bytes(31))), "input.tensors.x"), (prompt(tensor(shape=(-1, 8))), "input.tensors.x"),
    ],
)  # fmt: skip
def test_tensors_that_the_model_does_not_take_are_refused(runtime, asked, field):
    with pytest.raises(TetherError) as refused:
        runtime.open(GenerationJob(key="a", prompt=asked))
    assert (refused.value.reason, refused.value.field) == (Reason.INVALID_FIELD, field)


def test_text_prefix_and_form_are_unsupported(runtime):
    for asked in (GenerationJob(key="a", prompt=TextPrompt("hi")), replace(job("a", 1), prefix=(1,))):
        with pytest.raises(TetherError) as refused:
            runtime.open(asked)
        assert refused.value.reason is Reason.UNSUPPORTED
    for call in (lambda: runtime.replay(job("a", 1)), lambda: runtime.prepare(Form(FormKind.JSON_OBJECT))):
        with pytest.raises(TetherError) as refused:
            call()
        assert refused.value.reason is Reason.UNSUPPORTED


def test_run_that_fails_fails_its_request_alone(tmp_path, monkeypatch):
    runtime = runtime_of(tmp_path, wait_ms=0)
    call = runtime._call

    def fails_on_nines(inputs):
        if (inputs["x"] == 9).any():
            raise RuntimeError
        return call(inputs)

    monkeypatch.setattr(runtime, "_call", fails_on_nines)
    bad = np.full((2, WIDTH_IN), 9, "<f4")
    runtime.open(GenerationJob(key="bad", prompt=prompt(tensor(shape=bad.shape, data=bad.tobytes()))))
    runtime.open(job("good", 4))
    ended = finish(runtime)
    assert (ended["bad"][-1].finish, ended["bad"][-1].error.reason) == (Finish.FAILED, Reason.ENGINE_FAILED)
    assert ended["good"][-1].finish is Finish.STOP


@pytest.mark.parametrize(
    "change",
    [
        {"format": "onnx-decoder"}, {"format_version": 2}, {"inputs": []}, {"outputs": [{}]}, {"piece_rows": 0},
        {"wait_ms": 1_000}, {"batched": True, "inputs": [{"name": "x", "data_type": "FP32", "shape": [4, 8]}]},
        {"inputs": [{"name": "x", "data_type": "BF16", "shape": [-1, 8]}]}, {"graph": "../model.onnx"},
        {"inputs": [{"name": "nope", "data_type": "FP32", "shape": [-1, 8]}]},
        {"outputs": [{"name": "values", "data_type": "FP64", "shape": [-1, 16]}]},
        {"outputs": [{"name": "best", "data_type": "INT64", "shape": [-1, 16]}]},
    ],
)  # fmt: skip
def test_folder_that_is_unusable_is_refused(tmp_path, change):
    folder = write_tiny_tensors(tmp_path)
    config = json.loads((folder / "config.json").read_text()) | change
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(TetherError) as refused:
        OnnxTensors(folder)
    assert refused.value.reason is Reason.ARTIFACT_CORRUPT
