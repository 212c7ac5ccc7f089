import pytest
from nacl.signing import SigningKey

from tether.errors import Reason, TetherError
from tether.identity.name import node_id, node_key


def test_node_id_is_base32_of_the_key_and_reads_back():
    key = bytes(SigningKey(bytes(32)).verify_key)
    name = node_id(key)
    assert len(name) == 52
    assert name == name.lower()
    assert node_key(name) == key


@pytest.mark.parametrize("bad", ["", "a" * 51, "a" * 53, "A" * 52, "1" * 52, "é" * 52, "a" * 51 + "b"])
def test_node_key_refuses_what_is_no_canonical_id(bad):
    with pytest.raises(TetherError) as error:
        node_key(bad)
    assert error.value.reason is Reason.MALFORMED


def test_node_id_refuses_a_key_of_another_length():
    with pytest.raises(TetherError):
        node_id(bytes(31))
