"""SDKs made by `buf generate` stream an answer from a running region, with nothing of ours but the contract."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Running

ROOT = Path(__file__).parents[2]
GO_SOURCES = Path(__file__).parent / "sdk_go"
LIMIT_S = 300  # a first build of grpc for Go takes half a minute on two cores
PATH = os.pathsep.join([str(ROOT / "bin"), sysconfig.get_path("scripts"), os.environ["PATH"]])
ENVIRON = os.environ | {"PATH": PATH}

PYTHON = """
import sys
sys.path[:0] = sys.argv[1:3]  # the generated code and the packages, but no editable install
import grpc
from tether.v1 import infer_pb2, infer_pb2_grpc
address, key, model, prompt = sys.argv[3:]
request = infer_pb2.Infer.Request(model_id=model, input={"text": prompt}, parameters={"max_tokens": 64})
with grpc.insecure_channel(address) as channel:
    stub = infer_pb2_grpc.InferenceServiceStub(channel)
    for chunk in stub.Infer(request, timeout=60, metadata=[("authorization", "Bearer " + key)]):
        print(chunk.payload.text, end="")
        if chunk.done:
            print(f"\\nfinish={infer_pb2.Infer.FinishReason.Name(chunk.finish_reason)} module={infer_pb2.__file__}")
"""


def run(*command: str | Path, folder: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    words = [str(word) for word in command]
    return subprocess.run(words, cwd=folder, env=ENVIRON, capture_output=True, text=True, timeout=LIMIT_S, check=False)


def need(*tools: str) -> None:
    missing = [tool for tool in tools if shutil.which(tool, path=PATH) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}; `make tools` installs what Go can")


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generate the SDKs into a folder of their own."""
    need("buf", "protoc-gen-go", "protoc-gen-go-grpc")
    folder = tmp_path_factory.mktemp("sdk")
    done = run("buf", "generate", "--template", "buf.gen.sdk.yaml", "-o", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def go_program(generated: Path) -> Path:
    """Build the Go program against the generated code."""
    need("go")
    shutil.copytree(GO_SOURCES, generated, dirs_exist_ok=True)
    done = run("go", "build", "-o", "ask", ".", folder=generated)
    assert done.returncode == 0, done.stderr
    return generated / "ask"


@pytest.mark.timeout(LIMIT_S)
def test_go_program_streams_an_answer(go_program: Path, region: "Running") -> None:
    done = run(go_program, region.gateway, region.key, region.model, region.prompt)
    assert done.returncode == 0, done.stderr
    answer, _, end = done.stdout.rstrip().rpartition("\n")
    assert answer.strip()
    assert end.startswith("finish=FINISH_REASON_")


@pytest.mark.timeout(LIMIT_S)
@pytest.mark.parametrize(
    ("key", "model", "reason"),
    [("tk_0123456789abcdef_wrong", "tether-demo", "KEY_INVALID"), ("", "tether-dmo", "MODEL_UNKNOWN")],
)
def test_go_program_gets_a_typed_error(go_program: Path, region: "Running", key: str, model: str, reason: str) -> None:
    done = run(go_program, region.gateway, key or region.key, model, region.prompt)
    assert done.returncode == 1
    assert f"reason={reason} domain=tether" in done.stderr


def test_python_sdk_streams_an_answer_without_this_repository(generated: Path, region: "Running") -> None:
    packages = sysconfig.get_path("purelib")
    arguments = (generated / "gen/python", packages, region.gateway, region.key, region.model, region.prompt)
    done = run(sys.executable, "-I", "-S", "-c", PYTHON, *arguments, folder=generated)
    assert done.returncode == 0, done.stderr
    answer, _, end = done.stdout.rstrip().rpartition("\n")
    assert answer.strip()
    assert end.startswith("finish=FINISH_REASON_")
    assert str(generated) in end
