"""The index over a snapshot: who a key acts for, and which version a name means."""

import pytest

from tether.errors import Reason, TetherError
from tether.registry import index
from tether.testing.catalogue import key_of, model_of, token
from tether.v1 import registry_pb2 as pb


def index_of(*, tenants=(), keys=(), models=()):
    return index.build(pb.Snapshot(revision=1, tenants=tenants, keys=keys, models=models))


def refusal(call):
    with pytest.raises(TetherError) as caught:
        call()
    return caught.value


def test_index_key_of_tenant_is_known():
    mine = token(1)
    built = index_of(tenants=[pb.Tenant(name="acme")], keys=[key_of(mine, "acme")])
    tenant, found = built.authenticate(mine.text(), 0.0)
    assert (tenant.name, found.name) == ("acme", mine.key_id)


def wrong_secret(one, kept):
    return one.text()[:-3] + ("AAA" if not one.text().endswith("AAA") else "BBB")


def revoked(one, kept):
    kept.revoked = True
    return one.text()


def expired(one, kept):
    kept.expires_at.FromSeconds(100)
    return one.text()


def of_no_tenant(one, kept):
    kept.tenant_id = "gone"
    return one.text()


def unknown(one, kept):
    return token(9).text()


@pytest.mark.parametrize("spoil", [wrong_secret, revoked, expired, of_no_tenant, unknown])
def test_index_key_that_does_not_hold_gets_one_answer(spoil):
    mine = token(1)
    kept = key_of(mine, "acme")
    sent = spoil(mine, kept)
    error = refusal(lambda: index_of(tenants=[pb.Tenant(name="acme")], keys=[kept]).authenticate(sent, 100.0))
    assert error.reason is Reason.KEY_INVALID
    assert error.message == "The API key is wrong, revoked or expired."


def test_index_key_holds_until_its_end():
    mine = token(1)
    kept = key_of(mine, "acme")
    kept.expires_at.FromSeconds(100)
    built = index_of(tenants=[pb.Tenant(name="acme")], keys=[kept])
    assert built.authenticate(mine.text(), 99.9)[0].name == "acme"


def test_index_suspended_tenant_may_not_act():
    mine = token(1)
    built = index_of(tenants=[pb.Tenant(name="acme", suspended=True)], keys=[key_of(mine, "acme")])
    assert refusal(lambda: built.authenticate(mine.text(), 0.0)).reason is Reason.TENANT_SUSPENDED


def test_index_empty_version_is_newest_that_is_not_deprecated():
    built = index_of(models=[model_of("m", "1.9"), model_of("m", "1.10"), model_of("m", "2.0", deprecated=True)])
    assert built.model("m").version == "1.10"
    assert built.model("m", "2.0").version == "2.0"


def test_index_unknown_model_names_the_nearest():
    built = index_of(models=[model_of("tether-demo"), model_of("llama3.1-8b")])
    error = refusal(lambda: built.model("tehter-demo"))
    assert error.reason is Reason.MODEL_UNKNOWN
    assert "tether-demo" in error.message
    assert error.metadata == {"nearest": "tether-demo"}


def test_index_unknown_version_names_those_there_are():
    built = index_of(models=[model_of("m", "1.0"), model_of("m", "1.1")])
    error = refusal(lambda: built.model("m", "3.0"))
    assert (error.reason, error.metadata) == (Reason.VERSION_UNKNOWN, {"versions": "1.1, 1.0"})


def test_index_model_with_deprecated_versions_alone_has_no_newest():
    built = index_of(models=[model_of("m", "1.0", deprecated=True)])
    assert refusal(lambda: built.model("m")).reason is Reason.VERSION_UNKNOWN
