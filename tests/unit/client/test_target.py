import json

import pytest

from tether.client.target import Target, default_state, read_endpoints, resolve
from tether.errors import Reason, TetherError


@pytest.fixture
def state(tmp_path):
    (tmp_path / "endpoints.json").write_text(json.dumps({"gateway": "127.0.0.1:7400"}))
    (tmp_path / "demo.key").write_text("tk_0_secret\n")
    return tmp_path


def test_target_argument_goes_before_environment_and_state(state):
    environment = {"TETHER_ADDRESS": "127.0.0.1:2", "TETHER_KEY": "tk_env"}
    assert resolve("127.0.0.1:1", "tk_arg", state, environment) == Target(("127.0.0.1:1",), "tk_arg")
    assert resolve(None, None, state, environment) == Target(("127.0.0.1:2",), "tk_env")
    assert resolve(None, None, state, {}) == Target(("127.0.0.1:7400",), "tk_0_secret")


def test_target_several_addresses_keep_their_order(state):
    assert resolve("a:1, b:2", "k", state, {}).addresses == ("a:1", "b:2")


def test_target_without_address_says_what_to_do(tmp_path):
    with pytest.raises(TetherError) as caught:
        resolve(None, "k", tmp_path, {})
    assert caught.value.reason is Reason.INVALID_FIELD
    assert "tether up" in caught.value.message


def test_target_without_key_is_key_missing(tmp_path):
    with pytest.raises(TetherError) as caught:
        resolve("127.0.0.1:1", None, tmp_path, {})
    assert caught.value.reason is Reason.KEY_MISSING


def test_target_repr_hides_the_key():
    assert "tk_secret" not in repr(Target(("a:1",), "tk_secret"))


@pytest.mark.parametrize("text", ["{", "[]", '{"gateway": 3}'])
def test_endpoints_broken_file_is_a_typed_error(tmp_path, text):
    (tmp_path / "endpoints.json").write_text(text)
    with pytest.raises(TetherError) as caught:
        read_endpoints(tmp_path)
    assert caught.value.reason is Reason.STATE_UNUSABLE


def test_default_state_follows_the_environment(tmp_path):
    assert default_state({"TETHER_STATE": str(tmp_path)}) == tmp_path
    assert default_state({"XDG_STATE_HOME": str(tmp_path)}) == tmp_path / "tether"
    assert default_state({"HOME": str(tmp_path)}) == tmp_path / ".local" / "state" / "tether"


@pytest.mark.parametrize("address", ["nonsense", "host:", ":7400", "host:port", "a:1,b"])
def test_target_that_is_no_address_is_named(tmp_path, address):
    with pytest.raises(TetherError) as caught:
        resolve(address, "k", tmp_path, {})
    assert (caught.value.reason, caught.value.field) == (Reason.INVALID_FIELD, "address")
