"""Each reason for which a record is refused, by one flawed record each, in virtual time."""

import pytest

from tether.identity import Role
from tether.overlay.refusal import Refusal
from tether.testing.overlay import NOW_S, Mesh, make_record, presence
from tether.v1 import identity_pb2

NOW_MS = NOW_S * 1_000
PRESENCE = "tether/presence/local"
MODELS = "tether/models/llama3.1-8b/1.0/local"
CONTROL = "tether/control/local"
JOB = "tether/jobs/" + "ab" * 16


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    return Mesh(tmp_path_factory.mktemp("mesh"), now_s=NOW_S)


@pytest.fixture(scope="module")
def worker(mesh):
    return mesh.identity("worker", Role.WORKER, regions=["local"])


@pytest.fixture(scope="module")
def gateway(mesh):
    return mesh.identity("gateway", Role.GATEWAY)


@pytest.fixture(scope="module")
def orchestrator(mesh):
    return mesh.identity("orchestrator", Role.ORCHESTRATOR)


@pytest.fixture
def admission(mesh, worker, gateway, orchestrator):
    return mesh.admission(worker, gateway, orchestrator)


def verdict(admission, topic, raw):
    """The first refusal of all checks, or None."""
    formed = admission.form(topic, raw, NOW_MS)
    if isinstance(formed, Refusal):
        return formed
    refusal = admission.rights(*formed, NOW_MS)
    return refusal or (None if admission.signed([formed[1]]) == [True] else Refusal.FORGED)


def offer(identity, **changes):
    fields = {"worker_id": identity.node_id, "model_id": "llama3.1-8b", "version": "1.0"}
    return identity_pb2.ModelOffer(**fields | changes)


def standing(identity, role):
    said = identity_pb2.ServicePresence(node_id=identity.node_id, role=role.wire, addresses=["127.0.0.1:1"])
    return identity_pb2.ControlMessage(presence=said)


def drain(worker_id):
    return identity_pb2.ControlMessage(drain_worker_id=worker_id)


def test_right_records_pass_on_each_kind_of_topic(admission, worker, gateway, orchestrator):
    holder = identity_pb2.JobHolder(job_id=bytes.fromhex("ab" * 16), epoch=1, addresses=["127.0.0.1:1"])
    for identity, topic, content in (
        (worker, PRESENCE, presence(worker)),
        (gateway, PRESENCE, presence(gateway, Role.GATEWAY)),
        (worker, MODELS, offer(worker)),
        (orchestrator, CONTROL, standing(orchestrator, Role.ORCHESTRATOR)),
        (orchestrator, CONTROL, drain(worker.node_id)),
        (worker, JOB, holder),
        (worker, PRESENCE, None),
    ):
        assert verdict(admission, topic, make_record(identity, topic, content)) is None


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ({"network_id": bytes(32)}, Refusal.FOREIGN),
        ({"issued_at_ms": NOW_MS + 30_001}, Refusal.EXPIRED),
        ({"issued_at_ms": NOW_MS - 45_001}, Refusal.EXPIRED),
        ({"lifetime_ms": 0}, Refusal.LIFETIME),
        ({"lifetime_ms": 15_001}, Refusal.LIFETIME),
        ({"nonce": b"short"}, Refusal.MALFORMED),
        ({"sequence": 0}, Refusal.MALFORMED),
        ({"incarnation": 0}, Refusal.MALFORMED),
        ({"node_key": bytes(31)}, Refusal.MALFORMED),
        ({"credential_hash": b""}, Refusal.MALFORMED),
        ({"credential_hash": bytes(32)}, Refusal.CREDENTIAL),
    ],
)
def test_flawed_field_is_refused(admission, worker, fields, refusal):
    assert verdict(admission, PRESENCE, make_record(worker, PRESENCE, presence(worker), **fields)) is refusal


def test_record_of_another_topic_than_asked_for_is_refused(admission, worker):
    raw = make_record(worker, "tether/presence/mars", presence(worker))
    assert verdict(admission, PRESENCE, raw) is Refusal.TOPIC


@pytest.mark.parametrize(
    "fields", [{"issued_at_ms": NOW_MS + 30_000}, {"issued_at_ms": NOW_MS - 45_000}, {"lifetime_ms": 15_000}]
)
def test_edge_of_the_window_passes(admission, worker, fields):
    assert verdict(admission, PRESENCE, make_record(worker, PRESENCE, presence(worker), **fields)) is None


@pytest.mark.parametrize(
    "topic",
    ["", "tether", "tether/presence", "tether/presence/EU", "tether/presence/../x", "tether/jobs/xy", "t" * 300, "\0"],
)
def test_name_that_breaks_the_rules_is_refused_before_any_work(admission, topic):
    assert admission.form(topic, b"not even a record", NOW_MS) is Refusal.TOPIC


def test_content_for_another_node_or_topic_is_refused(admission, worker, gateway):
    for topic, content in (
        (PRESENCE, presence(gateway)),
        (PRESENCE, identity_pb2.Presence(role=Role.WORKER.wire)),
        (PRESENCE, offer(worker)),
        (MODELS, offer(worker, version="1.1")),
        (MODELS, offer(worker, worker_id=gateway.node_id)),
        (CONTROL, presence(worker)),
        (CONTROL, drain("nobody")),
        (JOB, identity_pb2.JobHolder(job_id=bytes(16))),
        (PRESENCE, identity_pb2.Presence(worker_id=worker.node_id, role=4, addresses=["a:1"] * 5)),
    ):
        assert verdict(admission, topic, make_record(worker, topic, content)) is Refusal.CONTENT


def test_writer_without_the_role_is_refused(admission, worker, gateway, orchestrator):
    for identity, topic, content in (
        (worker, PRESENCE, presence(worker, Role.GATEWAY)),
        (gateway, MODELS, offer(gateway)),
        (worker, CONTROL, standing(worker, Role.WORKER)),
        (gateway, CONTROL, standing(gateway, Role.ORCHESTRATOR)),
        (worker, CONTROL, drain(worker.node_id)),
    ):
        assert verdict(admission, topic, make_record(identity, topic, content)) is Refusal.ROLE


def test_writer_outside_its_region_is_refused(admission, worker):
    topic = "tether/presence/mars"
    assert verdict(admission, topic, make_record(worker, topic, presence(worker))) is Refusal.REGION


def test_record_without_content_or_with_a_false_withdrawal_is_malformed(admission, worker):
    def clear(body):
        body.ClearField("withdrawn")

    def deny(body):
        body.withdrawn = False

    for change in (clear, deny):
        assert verdict(admission, PRESENCE, make_record(worker, PRESENCE, None, change=change)) is Refusal.MALFORMED


def test_record_over_the_limit_is_refused_before_it_is_parsed(admission, worker):
    said = presence(worker)
    said.accelerators.extend(["a" * 60] * 20)
    assert admission.form(PRESENCE, make_record(worker, PRESENCE, said), NOW_MS) is Refusal.OVERSIZED


def test_credential_of_another_writer_is_refused(admission, worker, gateway):
    raw = make_record(worker, PRESENCE, presence(worker), credential_hash=gateway.credential_hash)
    assert verdict(admission, PRESENCE, raw) is Refusal.CREDENTIAL


def test_every_flipped_bit_of_a_record_is_refused(admission, worker):
    raw = make_record(worker, PRESENCE, presence(worker))
    for place in range(len(raw)):
        broken = bytearray(raw)
        broken[place] ^= 1 << (place % 8)
        assert verdict(admission, PRESENCE, bytes(broken)) is not None, place


def test_credential_that_is_refused_is_not_checked_again_for_a_while(mesh, tmp_path):
    foreign = Mesh(tmp_path, now_s=NOW_S).identity("spy", Role.GATEWAY)
    admission = mesh.admission()
    assert admission.learn(foreign.credential, NOW_MS) is Refusal.CREDENTIAL
    assert admission.learn(foreign.credential, NOW_MS + 1) is Refusal.CREDENTIAL
    assert admission.credential(foreign.credential_hash) is None


def test_credential_that_expires_ends_the_rights_of_its_records(mesh):
    short = mesh.identity("short", Role.WORKER, ttl_s=60)
    admission = mesh.admission(short)
    topic, record = admission.form(PRESENCE, make_record(short, PRESENCE, presence(short)), NOW_MS)
    assert admission.rights(topic, record, NOW_MS + 90_000) is None
    assert admission.rights(topic, record, NOW_MS + 91_000) is Refusal.CREDENTIAL
