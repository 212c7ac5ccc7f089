"""The catalogue: what it takes, what it refuses, and what it serves after a restart."""

import os
import stat

import pytest

from tether.errors import Reason, TetherError
from tether.policy import Subject, evaluate
from tether.registry.catalogue import FILE, Catalogue
from tether.testing.catalogue import NETWORK_ID, TrustAll, catalogue_of, key_of, model_of, snapshot_of, token
from tether.v1 import registry_pb2 as pb
from tether.v1.policy_pb2 import Policy, PolicyRule, Price

MINE = token(1)


class TrustNone:
    def signed(self, *_):
        raise TetherError(Reason.ARTIFACT_UNTRUSTED, "The signature does not hold.")


def response(revision=1, **changes):
    parts = {"tenants": [pb.Tenant(name="acme")], "keys": [key_of(MINE, "acme")], "models": [model_of("m")]}
    return snapshot_of(revision, **(parts | changes))


def reason_of(call):
    with pytest.raises(TetherError) as caught:
        call()
    return caught.value.reason


def test_catalogue_without_snapshot_serves_nothing():
    catalogue = Catalogue(TrustAll(), NETWORK_ID)
    assert catalogue.age_s(5.0) == float("inf")
    assert reason_of(lambda: catalogue.authenticate(MINE.text(), 5.0)) is Reason.STORE_UNAVAILABLE
    assert reason_of(lambda: catalogue.model("m")) is Reason.STORE_UNAVAILABLE


def test_catalogue_serves_the_snapshot_it_took():
    catalogue = Catalogue(TrustAll(), NETWORK_ID)
    assert catalogue.apply(response(7), 10.0)
    assert (catalogue.revision, catalogue.age_s(12.5)) == (7, 2.5)
    assert catalogue.authenticate(MINE.text(), 11.0).name == "acme"
    assert [one.name for one in catalogue.models] == ["m:1.0"]


@pytest.mark.parametrize("revision", [6, 7])
def test_catalogue_older_snapshot_changes_nothing(revision):
    catalogue = Catalogue(TrustAll(), NETWORK_ID)
    catalogue.apply(response(7), 10.0)
    assert not catalogue.apply(response(revision, keys=[]), 11.0)
    assert catalogue.authenticate(MINE.text(), 11.0).name == "acme"


def test_catalogue_newer_snapshot_ends_a_key():
    catalogue = Catalogue(TrustAll(), NETWORK_ID)
    heard = []
    catalogue.on_change(lambda: heard.append(catalogue.revision))
    catalogue.apply(response(7), 10.0)
    kept = key_of(MINE, "acme")
    kept.revoked = True
    catalogue.apply(response(8, keys=[kept]), 11.0)
    assert heard == [7, 8]
    assert reason_of(lambda: catalogue.authenticate(MINE.text(), 11.0)) is Reason.KEY_INVALID


def test_catalogue_forged_snapshot_changes_nothing():
    catalogue = Catalogue(TrustNone(), NETWORK_ID)
    assert reason_of(lambda: catalogue.apply(response(), 1.0)) is Reason.ARTIFACT_UNTRUSTED
    assert catalogue.revision == 0


def test_catalogue_snapshot_of_other_network_is_refused():
    catalogue = Catalogue(TrustAll(), NETWORK_ID)
    foreign = response(network_id=b"x" * 32)
    assert reason_of(lambda: catalogue.apply(foreign, 1.0)) is Reason.ARTIFACT_UNTRUSTED


def test_catalogue_malformed_snapshot_is_refused():
    catalogue = Catalogue(TrustAll(), NETWORK_ID)
    assert reason_of(lambda: catalogue.apply(pb.WatchSnapshotResponse(snapshot=b"\xff"), 1.0)) is Reason.MALFORMED


def test_catalogue_stops_serving_when_registry_is_silent_too_long():
    catalogue = Catalogue(TrustAll(), NETWORK_ID, serve_s=60.0)
    catalogue.apply(response(), 0.0)
    assert catalogue.authenticate(MINE.text(), 60.0).name == "acme"
    assert reason_of(lambda: catalogue.authenticate(MINE.text(), 60.1)) is Reason.STORE_UNAVAILABLE
    catalogue.apply(pb.WatchSnapshotResponse(revision=1), 61.0)
    assert catalogue.authenticate(MINE.text(), 61.1).name == "acme"


def test_catalogue_restart_serves_what_was_kept(tmp_path):
    Catalogue(TrustAll(), NETWORK_ID, tmp_path).save(response(7))
    os.utime(tmp_path / FILE, (100.0, 100.0))
    again = Catalogue(TrustAll(), NETWORK_ID, tmp_path)
    assert again.load(130.0)
    assert (again.revision, again.age_s(130.0)) == (7, 30.0)
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"", b"\xff\xff", b"junk" * 100])
def test_catalogue_restart_leaves_a_spoilt_file(tmp_path, content):
    (tmp_path / FILE).write_bytes(content)
    assert not Catalogue(TrustAll(), NETWORK_ID, tmp_path).load(1.0)


def test_catalogue_restart_verifies_what_was_kept(tmp_path):
    Catalogue(TrustAll(), NETWORK_ID, tmp_path).save(response(7))
    assert not Catalogue(TrustNone(), NETWORK_ID, tmp_path).load(1.0)


def test_catalogue_save_into_missing_folder_says_so(tmp_path):
    catalogue = Catalogue(TrustAll(), NETWORK_ID, tmp_path / "gone")
    assert reason_of(lambda: catalogue.save(response())) is Reason.STATE_UNUSABLE


def test_catalogue_tells_policies_and_prices():
    forbids = Policy(tenant_id="acme", rules=[PolicyRule(name="no", forbid=True)])
    catalogue = catalogue_of(policies=[forbids], prices=[Price(model_id="m", version=3, input_micros=7)])
    assert evaluate(catalogue.policies(), Subject("acme", "m")).forbidden_by == "no"
    assert not evaluate(catalogue.policies(), Subject("other", "m")).forbidden_by
    assert catalogue.policies() is catalogue.policies()
    price = catalogue.price("m")
    assert price is not None
    assert (price.version, price.input_micros) == (3, 7)
    assert catalogue.price("n") is None


def test_catalogue_keeps_its_policies_until_one_changes():
    one, other = (Policy(rules=[PolicyRule(name="r", weight=weight)]) for weight in (1, 2))
    catalogue = catalogue_of(policies=[one])
    before = catalogue.policies()
    catalogue.apply(snapshot_of(2, prices=[Price(model_id="m", version=1)], policies=[one]), 0.0)
    assert catalogue.policies() is before
    catalogue.apply(snapshot_of(3, policies=[other]), 0.0)
    assert evaluate(catalogue.policies(), Subject("t", "m")).weight == 2
    catalogue.apply(snapshot_of(4), 0.0)
    assert evaluate(catalogue.policies(), Subject("t", "m")).weight == 1
    assert catalogue.price("m") is None
