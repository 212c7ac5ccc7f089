"""Manifests: what is signed is what is used, and whatever breaks a rule is refused with its reason."""

import hashlib

import pytest

from tests.unit.artifact.conftest import NOW_S
from tether.artifact.manifest import Checked, Facts, Limits, make_body, same_content, sign, verify
from tether.errors import Reason, TetherError
from tether.identity import Role
from tether.v1 import registry_pb2 as pb

FACTS = Facts("tiny", "1.0", "onnx-decoder", context_tokens=64, capabilities=("text",))


def file(path="config.json", size=3, **changes):
    digest = hashlib.sha256(bytes(size)).digest()
    parts = {"path": path, "size_bytes": size, "sha256": digest, "piece_sha256": digest}
    return pb.ManifestFile(**(parts | changes))


def body(files=None, trust=None, **changes):
    made = make_body(FACTS, files or [file()], trust.network_id if trust else bytes(32), NOW_S)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def reason_of(raw, trust, limits=None, now_s=NOW_S):
    with pytest.raises(TetherError) as caught:
        verify(raw, trust, limits or Limits(), now_s)
    return caught.value.reason


@pytest.mark.parametrize("role", [Role.PUBLISHER, Role.OPERATOR])
def test_manifest_of_a_publisher_holds(world, role):
    made = body(trust=world.trust)
    checked = verify(sign(made, world.node("p", role)), world.trust, Limits(), NOW_S)
    assert isinstance(checked, Checked)
    assert checked.body == made
    assert checked.digest == hashlib.sha256(made.SerializeToString(deterministic=True)).digest()
    assert checked.total_bytes == 3


@pytest.mark.parametrize("role", [Role.WORKER, Role.GATEWAY, Role.REGISTRY])
def test_manifest_of_another_role_is_untrusted(world, role):
    raw = sign(body(trust=world.trust), world.node("x", role))
    assert reason_of(raw, world.trust) is Reason.ARTIFACT_UNTRUSTED


def test_manifest_changed_after_signing_is_untrusted(world):
    manifest = pb.Manifest.FromString(sign(body(trust=world.trust), world.node("p", Role.PUBLISHER)))
    manifest.body = body(trust=world.trust, version="1.1").SerializeToString(deterministic=True)
    assert reason_of(manifest.SerializeToString(), world.trust) is Reason.ARTIFACT_UNTRUSTED


def test_manifest_without_signature_is_untrusted(world):
    raw = pb.Manifest(body=body(trust=world.trust).SerializeToString()).SerializeToString()
    assert reason_of(raw, world.trust) is Reason.ARTIFACT_UNTRUSTED


def test_manifest_of_another_network_is_untrusted(world):
    assert reason_of(sign(body(), world.node("p", Role.PUBLISHER)), world.trust) is Reason.ARTIFACT_UNTRUSTED


def test_manifest_past_its_end_is_untrusted(world):
    raw = sign(body(trust=world.trust, expires_at_s=NOW_S), world.node("p", Role.PUBLISHER))
    assert reason_of(raw, world.trust) is Reason.ARTIFACT_UNTRUSTED


def test_manifest_outlives_its_publishers_credential_where_the_registry_vouches(world):
    raw = sign(body(trust=world.trust), world.node("p", Role.PUBLISHER, ttl_s=60.0))
    later_s = NOW_S + 86_400
    assert reason_of(raw, world.trust, now_s=later_s) is Reason.ARTIFACT_UNTRUSTED
    assert verify(raw, world.trust, Limits()).body.model_id == "tiny"


@pytest.mark.parametrize("raw", [b"\xff", b"\x0a\x05ab"])
def test_manifest_that_is_no_message_is_malformed(world, raw):
    assert reason_of(raw, world.trust) is Reason.MALFORMED


def test_manifest_over_the_limit_is_not_even_parsed(world):
    assert reason_of(b"\xff" * 3_500_001, world.trust) is Reason.TOO_LARGE


BAD = [
    ({"model_id": "../x"}, Reason.INVALID_FIELD),
    ({"version": "1"}, Reason.INVALID_FIELD),
    ({"format": "gguf"}, Reason.UNSUPPORTED),
    ({"licence": "x" * 65}, Reason.INVALID_FIELD),
]


@pytest.mark.parametrize(("changes", "reason"), BAD)
def test_manifest_that_breaks_a_rule_is_refused(world, changes, reason):
    raw = sign(body(trust=world.trust, **changes), world.node("p", Role.PUBLISHER))
    assert reason_of(raw, world.trust) is reason


BAD_FILES = [
    ([file("../x")], Reason.INVALID_FIELD),
    ([file("a.json"), file("A.json")], Reason.INVALID_FIELD),
    ([file("w.pkl")], Reason.UNSUPPORTED),
    ([file(sha256=b"short")], Reason.INVALID_FIELD),
    ([file(piece_sha256=b"")], Reason.INVALID_FIELD),
    ([file(size_bytes=2 << 20)], Reason.INVALID_FIELD),
    ([file(size_bytes=1 << 50)], Reason.TOO_LARGE),
    ([file(f"{n}.json") for n in range(1_025)], Reason.INVALID_FIELD),
]


@pytest.mark.parametrize(("files", "reason"), BAD_FILES)
def test_manifest_with_a_bad_file_is_refused(world, files, reason):
    raw = sign(body(files, world.trust), world.node("p", Role.PUBLISHER))
    assert reason_of(raw, world.trust) is reason


def test_manifest_without_files_is_refused(world):
    made = body(trust=world.trust)
    del made.files[:]
    assert reason_of(sign(made, world.node("p", Role.PUBLISHER)), world.trust) is Reason.INVALID_FIELD


@pytest.mark.parametrize("capabilities", [(), ("text", "magic")])
def test_manifest_with_unknown_capabilities_is_refused(world, capabilities):
    made = body(trust=world.trust)
    made.capabilities[:] = capabilities
    assert reason_of(sign(made, world.node("p", Role.PUBLISHER)), world.trust) is Reason.INVALID_FIELD


def test_manifest_with_too_much_together_is_refused(world):
    raw = sign(body([file("a.json"), file("b.json")], world.trust), world.node("p", Role.PUBLISHER))
    assert reason_of(raw, world.trust, Limits(artifact_bytes_max=5)) is Reason.TOO_LARGE


def test_manifest_of_the_same_content_is_the_same_whenever_made():
    assert same_content(body(), body(created_at_s=5, sequence=9))
    assert not same_content(body(), body(version="1.1"))
