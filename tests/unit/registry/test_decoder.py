"""What a decoder folder says of itself, and why it could not be served."""

import json

import pytest

from tether.errors import Reason, TetherError
from tether.registry.folder import read_facts
from tether.testing.tiny_model import write_tiny_decoder
from tether.v1.infer_pb2 import Infer


@pytest.fixture
def folder(tmp_path):
    return write_tiny_decoder(tmp_path / "tiny")


def change(folder, **fields):
    path = folder / "config.json"
    config = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not ...}))
    return folder


def refusal(folder):
    with pytest.raises(TetherError) as caught:
        read_facts(folder, "tiny", "1.0")
    return caught.value


def test_folder_says_what_it_is(folder):
    facts = read_facts(folder, "other-name", "2.1")
    assert (facts.model_id, facts.version, facts.format, facts.context_tokens) == (
        "other-name",
        "2.1",
        "onnx-decoder",
        512,
    )
    assert set(facts.capabilities) == {"text", "chat", "choices", "logprobs", "response-format"}
    assert facts.defaults == Infer.Parameters()


def test_folder_states_defaults_and_requirements(folder):
    change(
        folder,
        defaults={"maxTokens": 64, "temperature": 0.5},
        requirements={"ramBytesMin": "1000"},
        capabilities=["text"],
        license="MIT",
    )
    facts = read_facts(folder, "tiny", "1.0")
    assert facts.defaults == Infer.Parameters(max_tokens=64, temperature=0.5)
    assert (facts.requirements.ram_bytes_min, facts.capabilities, facts.licence) == (1_000, ("text",), "MIT")


BAD = [
    {"format": "gguf"},
    {"format": ...},
    {"format_version": 2},
    {"graph": ...},
    {"graph": "gone.onnx"},
    {"weights": "../weights"},
    {"weights": "/etc/passwd"},
    {"tokenizer": 5},
    {"context_tokens_max": 0},
    {"context_tokens_max": True},
    {"context_tokens_max": "512"},
    {"defaults": {"temperature": 9}},
    {"defaults": {"maxTokens": 1_000}},
    {"defaults": {"warmth": 1}},
    {"defaults": "hot"},
    {"defaults": [1]},
    {"requirements": 7},
    {"capabilities": ["telepathy"]},
    {"capabilities": []},
    {"capabilities": [["text"]]},
]


@pytest.mark.parametrize("fields", BAD)
def test_folder_that_could_not_be_served_is_refused(folder, fields):
    assert refusal(change(folder, **fields)).reason in {Reason.INVALID_FIELD, Reason.UNSUPPORTED}


@pytest.mark.parametrize("content", [b"", b"[]", b"no json", b"\xff", b"[" * 100_000, b" " * (1 << 21)])
def test_folder_whose_config_is_no_object_is_refused(folder, content):
    (folder / "config.json").write_bytes(content)
    assert refusal(folder).reason is Reason.INVALID_FIELD


def test_folder_without_config_is_refused(tmp_path):
    assert refusal(tmp_path).reason is Reason.INVALID_FIELD


def test_folder_whose_config_is_a_link_is_refused(folder):
    (folder / "config.json").rename(folder / "real.json")
    (folder / "config.json").symlink_to(folder / "real.json")
    assert refusal(folder).reason in {Reason.INVALID_FIELD, Reason.STATE_UNUSABLE}
