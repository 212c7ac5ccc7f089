import pytest
from nacl.signing import SigningKey

from tether.errors import Reason, TetherError
from tether.identity import Role, Trust, network, signature
from tether.identity.credential import Grant, make_credential
from tether.v1 import identity_pb2

NOW_S = 1_800_000_000


def refused(trust, raw, now_s=NOW_S):
    with pytest.raises(TetherError) as error:
        trust.credential(raw, now_s)
    assert error.value.reason is Reason.NODE_TOKEN_INVALID
    return error.value.message


def test_credential_holds_and_says_who(world):
    node = world.node("worker", Role.WORKER, regions=["eu-west"])
    verified = world.trust.credential(node.credential, NOW_S)
    assert verified.node_id == node.node_id
    assert verified.roles == {Role.WORKER}
    assert verified.serves("eu-west")
    assert not verified.serves("us-east")
    assert len(node.credential) <= 600
    assert world.trust.known(node.credential_hash, NOW_S) == verified


def test_credential_expires_after_the_tolerance_even_when_cached(world):
    node = world.node("worker", Role.WORKER, ttl_s=100)
    world.trust.credential(node.credential, NOW_S)
    world.trust.credential(node.credential, NOW_S + 130)
    assert "expired" in refused(world.trust, node.credential, NOW_S + 131)
    assert "expired" in refused(world.trust, node.credential, NOW_S + 131)


def test_credential_of_the_future_is_refused(world):
    node = world.node("worker", Role.WORKER)
    assert "not valid yet" in refused(world.trust, node.credential, NOW_S - 31)


def test_credential_of_another_network_is_refused(world, tmp_path):
    network.init(tmp_path / "foreign", "home")
    network.issue(tmp_path / "foreign", tmp_path / "spy", [Role.GATEWAY], now_s=NOW_S)
    assert "another network" in refused(world.trust, (tmp_path / "spy" / "credential.bin").read_bytes())


def test_credential_of_a_self_made_issuer_is_refused(world):
    key = SigningKey.generate()
    grant = Grant(bytes(key.verify_key), [Role.GATEWAY], [], "", NOW_S, NOW_S + 60, bytes(8))
    assert "issuer" in refused(world.trust, make_credential(world.trust.network_id, key, grant))


def test_every_flipped_byte_of_a_credential_is_refused(world):
    node = world.node("worker", Role.WORKER)
    for place in range(len(node.credential)):
        broken = bytearray(node.credential)
        broken[place] ^= 1
        refused(world.trust, bytes(broken))


@pytest.mark.parametrize("raw", [b"", b"\xff", b"x" * 601])
def test_credential_that_is_malformed_is_refused(world, raw):
    refused(world.trust, raw)


def test_signed_body_holds_only_under_its_context_and_role(world):
    node = world.node("registry", Role.REGISTRY)
    signed = node.sign(signature.SNAPSHOT, b"body")
    check = world.trust.signed
    assert check(signature.SNAPSHOT, b"body", signed, node.credential, Role.REGISTRY, NOW_S).node_id == node.node_id
    for context, body, role, reason in (
        (signature.TICKET, b"body", Role.REGISTRY, Reason.NODE_TOKEN_INVALID),
        (signature.SNAPSHOT, b"bodY", Role.REGISTRY, Reason.NODE_TOKEN_INVALID),
        (signature.SNAPSHOT, b"body", Role.ORCHESTRATOR, Reason.ROLE_FORBIDDEN),
    ):
        with pytest.raises(TetherError) as error:
            check(context, body, signed, node.credential, role, NOW_S)
        assert error.value.reason is reason


def test_root_with_a_changed_body_or_version_is_refused(world):
    document = identity_pb2.RootDocument.FromString((world.folder / "network" / "root.bin").read_bytes())
    body = identity_pb2.RootBody.FromString(document.body)
    body.issuers[0].expires_at_s += 1
    document.body = body.SerializeToString()
    with pytest.raises(TetherError, match="signature"):
        Trust(document.SerializeToString())
    body.version = 2
    document.body = body.SerializeToString()
    with pytest.raises(TetherError, match="version"):
        Trust(document.SerializeToString())


def test_strict_check_refuses_small_order_keys_and_wrong_lengths():
    small_order = bytes([1] + [0] * 31)
    assert not signature.holds(small_order, signature.RECORD, b"", small_order + bytes(32))
    assert not signature.holds(b"", signature.RECORD, b"", bytes(64))
    assert not signature.holds(bytes(32), signature.RECORD, b"", b"")


def test_bad_ones_names_exactly_the_bad():
    key = SigningKey(bytes(32))
    good = (bytes(key.verify_key), b"m", bytes(key.sign(b"m").signature))
    batch = [good, (good[0], b"n", good[2]), good, (b"", b"m", good[2]), (good[0], b"m", b"")]
    assert signature.bad_ones(batch) == {1, 3, 4}
    assert signature.bad_ones([]) == set()
