"""Node tokens: what is forged, old, aimed elsewhere or malformed proves nobody."""

import pytest
from nacl.signing import SigningKey

from tether.errors import Reason, TetherError
from tether.identity import Identity, Role, Trust, network
from tether.identity.token import from_header, make_token, to_header
from tether.v1 import identity_pb2

NOW_S = 1_800_000_000
NOW_MS = NOW_S * 1_000
ME = "me"


@pytest.fixture
def gateway(tmp_path):
    network.init(tmp_path / "network", "home", now_s=NOW_S)
    network.issue(tmp_path / "network", tmp_path / "gateway", [Role.GATEWAY], now_s=NOW_S)
    return Identity.load(tmp_path / "gateway")


@pytest.fixture
def trust(tmp_path, gateway):
    return Trust.load(tmp_path / "network")


def refused(trust, raw, audience=ME, now_ms=NOW_MS):
    with pytest.raises(TetherError) as error:
        trust.token(raw, audience, now_ms)
    assert error.value.reason is Reason.NODE_TOKEN_INVALID
    return error.value.message


def test_token_proves_its_caller_also_from_the_cache(trust, gateway):
    raw = gateway.token(ME, NOW_MS)
    assert trust.token(raw, ME, NOW_MS).node_id == gateway.node_id
    assert trust.token(raw, ME, NOW_MS + 1).roles == {Role.GATEWAY}


def test_token_is_kept_half_its_life_by_the_sender(gateway):
    first = gateway.token(ME, NOW_MS)
    assert gateway.token(ME, NOW_MS + 29_999) == first
    assert gateway.token("other", NOW_MS) != first
    assert gateway.token(ME, NOW_MS + 30_001) != first
    assert gateway.token(ME, NOW_MS - 1_000) != first


def test_token_for_another_receiver_is_refused_also_when_cached(trust, gateway):
    raw = gateway.token(ME, NOW_MS)
    assert "another node" in refused(trust, raw, "someone")
    trust.token(raw, ME, NOW_MS)
    assert "another node" in refused(trust, raw, "someone")


def test_token_expires_after_the_tolerance_also_when_cached(trust, gateway):
    raw = gateway.token(ME, NOW_MS)
    trust.token(raw, ME, NOW_MS + 90_000)
    assert "expired" in refused(trust, raw, now_ms=NOW_MS + 90_001)


def test_token_that_lasts_too_long_is_refused(trust, gateway):
    assert "too long" in refused(trust, gateway.token(ME, NOW_MS + 31_000))


def test_token_signed_by_another_key_is_refused(trust, gateway):
    raw = make_token(SigningKey.generate(), gateway.credential, ME, NOW_MS + 60_000, bytes(16))
    assert "signature" in refused(trust, raw)


def test_token_with_a_swapped_credential_is_refused(trust, gateway, tmp_path):
    network.issue(tmp_path / "network", tmp_path / "operator", [Role.OPERATOR], now_s=NOW_S)
    token = identity_pb2.NodeToken.FromString(gateway.token(ME, NOW_MS))
    token.credential = (tmp_path / "operator" / "credential.bin").read_bytes()
    assert "another credential" in refused(trust, token.SerializeToString())


def test_token_of_another_network_is_refused(trust, tmp_path):
    network.init(tmp_path / "foreign", "home", now_s=NOW_S)
    network.issue(tmp_path / "foreign", tmp_path / "spy", [Role.OPERATOR], now_s=NOW_S)
    assert "another network" in refused(trust, Identity.load(tmp_path / "spy").token(ME, NOW_MS))


def test_every_flipped_byte_of_a_token_is_refused(trust, gateway):
    raw = gateway.token(ME, NOW_MS)
    for place in range(len(raw)):
        broken = bytearray(raw)
        broken[place] ^= 1
        refused(trust, bytes(broken))


@pytest.mark.parametrize("raw", [b"", b"\xff\xff", b"x" * 2_000])
def test_token_that_is_malformed_is_refused(trust, raw):
    refused(trust, raw)


def test_header_reads_back_and_bad_ones_are_refused(gateway):
    raw = gateway.token(ME, NOW_MS)
    assert from_header(to_header(raw)) == raw
    for bad in ("", "Bearer x", "Tether-Node é", "Tether-Node ~~", "Tether-Node " + "A" * 5_000, "tether-node AAAA"):
        with pytest.raises(TetherError):
            from_header(bad)
