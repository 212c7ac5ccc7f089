import pytest

from tether.client.request import Options, build_request
from tether.errors import Reason, TetherError
from tether.v1.infer_pb2 import Infer


def test_request_unset_options_stay_unset():
    request = build_request("tether-demo", "hello", Options())
    assert request.input.text == "hello"
    assert request.version == ""
    assert not request.parameters.HasField("max_tokens")
    assert not request.parameters.HasField("temperature")
    assert not request.HasField("timeout")


def test_request_zero_temperature_is_kept():
    request = build_request("m", "hello", Options(temperature=0.0, seed=0))
    assert request.parameters.HasField("temperature")
    assert request.parameters.HasField("seed")


def test_request_model_may_carry_its_version():
    assert build_request("m:1.2", "x", Options()).version == "1.2"
    assert build_request("m:1.2", "x", Options(version="1.3")).version == "1.3"


def test_request_conversation_becomes_chat():
    request = build_request("m", [{"role": "user", "content": "hi"}], Options())
    assert [(one.role, one.content) for one in request.input.chat.messages] == [("user", "hi")]


def test_request_tensors_are_taken_as_they_are():
    tensors = Infer.Tensors(tensors=[Infer.Tensor(name="x")])
    assert build_request("m", tensors, Options()).input.tensors == tensors


@pytest.mark.parametrize(
    "options",
    [
        Options(max_tokens=-1),
        Options(max_tokens=2**40),
        Options(seed=-1),
        Options(timeout_s=0),
        Options(timeout_s=3601),
    ],
)
def test_request_value_that_does_not_fit_is_a_typed_error(options):
    with pytest.raises(TetherError) as caught:
        build_request("m", "x", options)
    assert caught.value.reason is Reason.INVALID_FIELD


def test_request_message_without_role_is_a_typed_error():
    with pytest.raises(TetherError) as caught:
        build_request("m", [{"content": "hi"}], Options())
    assert caught.value.reason is Reason.INVALID_FIELD
