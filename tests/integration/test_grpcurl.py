"""grpcurl, which knows nothing of Tether, lists, describes, streams, and gets a typed error."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Running

BIN = Path(__file__).parents[2] / "bin"
GRPCURL = shutil.which("grpcurl", path=os.pathsep.join([str(BIN), os.environ["PATH"]]))
INFER = "tether.v1.InferenceService/Infer"
LIMIT_S = 60

pytestmark = pytest.mark.skipif(GRPCURL is None, reason="grpcurl is not installed; `make tools` installs it")


def call(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [str(GRPCURL), "-plaintext", "-max-time", "30", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)


def infer(region: "Running", body: object, key: str = "") -> "subprocess.CompletedProcess[str]":
    text = body if isinstance(body, str) else json.dumps(body)
    head = ["-H", f"authorization: Bearer {key or region.key}"]
    return call("-format-error", *head, "-d", text, region.gateway, INFER)


def objects(text: str) -> list[dict[str, object]]:
    """Read the JSON objects that grpcurl prints one after the other."""
    decoder, found, text = json.JSONDecoder(), [], text.strip()
    while text:
        item, end = decoder.raw_decode(text)
        found.append(item)
        text = text[end:].lstrip()
    return found


def failure(done: "subprocess.CompletedProcess[str]") -> tuple[int, dict[str, object]]:
    """Return code and ErrorInfo of a failed call."""
    (error,) = objects(done.stderr)
    details = error.get("details", [])
    assert isinstance(details, list)
    info = next((one for one in details if one["@type"].endswith("ErrorInfo")), {})
    code = error["code"]
    assert isinstance(code, int)
    return code, info


def test_list_names_the_services(region: "Running") -> None:
    done = call(region.gateway, "list")
    assert done.returncode == 0, done.stderr
    assert {"tether.v1.InferenceService", "grpc.health.v1.Health"} <= set(done.stdout.split())


def test_describe_shows_the_contract(region: "Running") -> None:
    service = call(region.gateway, "describe", "tether.v1.InferenceService").stdout
    message = call(region.gateway, "describe", "tether.v1.Infer.Request").stdout
    assert "rpc Infer ( .tether.v1.Infer.Request ) returns ( stream .tether.v1.Infer.Chunk );" in service
    assert "string model_id = 2;" in message


def test_health_is_serving(region: "Running") -> None:
    done = call(region.gateway, "grpc.health.v1.Health/Check")
    assert objects(done.stdout) == [{"status": "SERVING"}]


def test_infer_streams_to_a_last_chunk(region: "Running") -> None:
    body = {"modelId": region.model, "input": {"text": region.prompt}, "parameters": {"maxTokens": 32}}
    done = infer(region, body)
    assert done.returncode == 0, done.stderr
    chunks = objects(done.stdout)
    assert [int(str(chunk.get("seq", 0))) for chunk in chunks] == list(range(len(chunks)))
    assert chunks[-1]["done"] is True
    assert "receipt" in chunks[-1]
    assert chunks[0]["correlationId"], "a missing correlation id is made and returned"
    assert all("done" not in chunk for chunk in chunks[:-1])


@pytest.mark.parametrize(
    ("body", "code", "reason"),
    [
        ({"modelId": "tether-dmo", "input": {"text": "x"}}, 5, "MODEL_UNKNOWN"),
        ({"modelId": "tether-demo", "version": "9.9", "input": {"text": "x"}}, 5, "VERSION_UNKNOWN"),
        ({"modelId": "tether-demo"}, 3, "INVALID_FIELD"),
        ({"modelId": "tether-demo", "input": {"text": ""}}, 3, "INVALID_FIELD"),
        ({"modelId": "tether-demo", "input": {"text": "x"}, "parameters": {"maxTokens": 4294967295}}, 3, None),
        ({"modelId": "tether-demo", "input": {"text": "x"}, "parameters": {"temperature": "NaN"}}, 3, "INVALID_FIELD"),
        ({"modelId": "tether-demo", "input": {"text": "x"}, "tenantId": "other"}, 7, "TENANT_MISMATCH"),
        ({"modelId": "tether-demo", "input": {"tensors": {"tensors": [{"name": "x"}]}}}, 12, "UNSUPPORTED"),
    ],
)
def test_bad_request_gets_a_typed_error(region: "Running", body: object, code: int, reason: str | None) -> None:
    found, info = failure(infer(region, body))
    assert found == code
    assert info["domain"] == "tether"
    assert reason is None or info["reason"] == reason


def test_wrong_key_gets_a_typed_error(region: "Running") -> None:
    found, info = failure(infer(region, {"modelId": region.model, "input": {"text": "x"}}, "tk_0123456789abcdef_no"))
    assert (found, info["reason"]) == (16, "KEY_INVALID")


def test_no_key_gets_a_typed_error(region: "Running") -> None:
    done = call("-format-error", "-d", "{}", region.gateway, INFER)
    found, info = failure(done)
    assert (found, info["reason"]) == (16, "KEY_MISSING")


def test_model_that_is_unknown_names_the_nearest(region: "Running") -> None:
    done = infer(region, {"modelId": "tether-dmo", "input": {"text": "x"}})
    assert "tether-demo" in done.stderr
