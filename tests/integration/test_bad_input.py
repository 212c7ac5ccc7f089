"""Bad input against a running region: each is refused fast with a typed error, and the region goes on."""

import json
import math
import subprocess
import sys
import time

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from tether.v1.infer_pb2 import Infer

METHOD = "/tether.v1.InferenceService/Infer"
FAST_S = 2.0  # a loaded machine; what is meant is "not at a time-out"


@pytest.fixture
def channel(region):
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(region.gateway, options=options) as made:
        yield made


def send(channel, raw, key, timeout=20.0):
    """Send raw bytes and return the chunks."""
    call = channel.unary_stream(METHOD, request_serializer=None, response_deserializer=Infer.Chunk.FromString)
    metadata = [("authorization", f"Bearer {key}")] if key else []
    return list(call(raw, metadata=metadata, timeout=timeout))


def refusal(channel, raw, key, timeout=20.0):
    """Send raw bytes; return (code, reason, error) of the refusal, which must be fast and typed."""
    began_s = time.monotonic()
    with pytest.raises(grpc.RpcError) as caught:
        send(channel, raw, key, timeout)
    assert time.monotonic() - began_s < FAST_S
    status = rpc_status.from_call(caught.value)
    reason = ""
    for detail in status.details if status else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            assert info.domain == "tether"
            reason = info.reason
    return caught.value.code(), reason, caught.value


def request(**fields):
    """A request that is fine but for `fields`."""
    parameters = fields.pop("parameters", {})
    given = {"model_id": "tether-demo", "input": Infer.Input(text="hello")} | fields
    return Infer.Request(parameters=Infer.Parameters(**{"max_tokens": 4} | parameters), **given).SerializeToString()


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("", "KEY_MISSING"),
        ("nonsense", "KEY_INVALID"),
        ("tk_0123456789abcdef_" + "A" * 43, "KEY_INVALID"),
    ],
)
def test_key_that_does_not_hold_is_refused(channel, key, reason):
    assert refusal(channel, request(), key)[:2] == (grpc.StatusCode.UNAUTHENTICATED, reason)


INVALID = grpc.StatusCode.INVALID_ARGUMENT
CASES = {
    "other tenant": (request(tenant_id="other"), grpc.StatusCode.PERMISSION_DENIED, "TENANT_MISMATCH"),
    "unknown model": (request(model_id="tether-dem"), grpc.StatusCode.NOT_FOUND, "MODEL_UNKNOWN"),
    "unknown version": (request(version="9.9"), grpc.StatusCode.NOT_FOUND, "VERSION_UNKNOWN"),
    "bad model name": (request(model_id="../../etc/passwd"), INVALID, "INVALID_FIELD"),
    "bad version": (request(version="1"), INVALID, "INVALID_FIELD"),
    "no input": (request(input=Infer.Input()), INVALID, "INVALID_FIELD"),
    "empty text": (request(input=Infer.Input(text="")), INVALID, "INVALID_FIELD"),
    "large input": (request(input=Infer.Input(text="x" * 1_100_000)), INVALID, "TOO_LARGE"),
    "long prompt": (request(input=Infer.Input(text="word " * 4_000)), INVALID, "CONTEXT_EXCEEDED"),
    "huge max_tokens": (request(parameters={"max_tokens": 2**32 - 1}), INVALID, None),
    "zero max_tokens": (request(parameters={"max_tokens": 0}), INVALID, "INVALID_FIELD"),
    "nan temperature": (request(parameters={"temperature": math.nan}), INVALID, "INVALID_FIELD"),
    "hot temperature": (request(parameters={"temperature": 2.5}), INVALID, "INVALID_FIELD"),
    "zero top_p": (request(parameters={"top_p": 0.0}), INVALID, "INVALID_FIELD"),
    "infinite penalty": (request(parameters={"presence_penalty": math.inf}), INVALID, "INVALID_FIELD"),
    "many stops": (request(parameters={"stop": ["x"] * 9}), INVALID, "INVALID_FIELD"),
    "long correlation id": (request(correlation_id="x" * 129), INVALID, "INVALID_FIELD"),
    "line feed in correlation id": (request(correlation_id="a\r\nb"), INVALID, "INVALID_FIELD"),
    "negative max_tokens": (request() + b"\x42\x0b\x08" + b"\xff" * 9 + b"\x01", INVALID, None),
    "invalid utf-8": (b"\x12\x0btether-demo\x22\x04\x0a\x02\xff\xfe", INVALID, "MALFORMED"),
    "truncated": (request()[:-1], INVALID, "MALFORMED"),
    "garbage": (b"\xff" * 64, INVALID, "MALFORMED"),
    "unknown field": (request() + b"\xf8\x3f\x01", INVALID, "UNKNOWN_FIELD"),
    "zero timeout": (request(timeout=Duration()), INVALID, "INVALID_FIELD"),
    "tensors to a text model": (
        request(
            input=Infer.Input(
                tensors=Infer.Tensors(tensors=[Infer.Tensor(name="x", data_type=12, shape=[1], data=b"\0" * 4)])
            )
        ),
        grpc.StatusCode.UNIMPLEMENTED,
        "UNSUPPORTED",
    ),
    "schema that is none": (
        request(parameters={"response_format": Infer.ResponseFormat(json_schema='"string"')}),
        INVALID,
        "SCHEMA_INVALID",
    ),
    "schema that needs itself": (
        request(parameters={"response_format": Infer.ResponseFormat(json_schema='{"$ref":"#"}')}),
        INVALID,
        "SCHEMA_INVALID",
    ),
    "schema that no text satisfies": (
        request(parameters={"response_format": Infer.ResponseFormat(json_schema='{"enum":[]}')}),
        INVALID,
        "SCHEMA_INVALID",
    ),
    "regex that no text satisfies": (
        request(parameters={"response_format": Infer.ResponseFormat(regex="a^")}),
        INVALID,
        "SCHEMA_INVALID",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_request_that_breaks_a_rule_is_refused(region, channel, case):
    raw, code, reason = CASES[case]
    found = refusal(channel, raw, region.key)
    assert found[0] is code, found
    if reason is not None:
        assert found[1] == reason


def test_unknown_model_names_the_nearest(region, channel):
    _, _, error = refusal(channel, request(model_id="tether-dmeo"), region.key)
    assert "tether-demo" in error.details()


def test_message_of_100_mb_is_refused_and_the_region_goes_on(region, channel):
    raw = request(input=Infer.Input(text="x" * 100_000_000))
    with pytest.raises(grpc.RpcError) as caught:
        send(channel, raw, region.key)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert send(channel, request(), region.key)[-1].done


def test_deadline_that_is_over_is_deadline_exceeded(region, channel):
    with pytest.raises(grpc.RpcError) as caught:
        send(channel, request(parameters={"max_tokens": 400}), region.key, timeout=0.001)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_unknown_method_is_typed(region, channel):
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/tether.v1.InferenceService/Nothing")(b"", timeout=5)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "METHOD_UNKNOWN" in str(rpc_status.from_call(caught.value))


def test_internal_services_refuse_callers_without_a_token(region):
    with grpc.insecure_channel(region.endpoints["registry"]) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/tether.v1.AccessService/ListKeys")(b"", timeout=5)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_second_process_on_the_same_state_folder_is_refused(region):
    ports = ["--gateway-port", "0", "--bridge-port", "0", "--metrics-port", "0"]
    done = up(["--state", str(region.state), *ports])
    assert done.returncode != 0
    assert "in use" in done.stderr
    assert json.loads((region.state / "endpoints.json").read_text()) == region.endpoints


def test_port_in_use_names_port_and_flag(region, tmp_path):
    port = region.gateway.rpartition(":")[2]
    done = up(["--state", str(tmp_path / "s"), "--gateway-port", port, "--bridge-port", "0", "--metrics-port", "0"])
    assert done.returncode != 0
    assert port in done.stderr
    assert "--gateway-port" in done.stderr
    assert "Traceback" not in done.stderr


def up(arguments):
    command = [sys.executable, "-m", "tether.cli", "up", "--once", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_state_folder_that_cannot_be_written_is_said_fast():
    began_s = time.monotonic()
    done = up(["--state", "/proc/tether", "--gateway-port", "0", "--bridge-port", "0", "--metrics-port", "0"])
    assert time.monotonic() - began_s < 10
    assert done.returncode == 8
    assert "STATE_UNUSABLE" in done.stderr
    assert "Traceback" not in done.stderr
