import pytest

from tether.errors import Reason, TetherError
from tether.identity import Identity, Role, Trust, network
from tether.node.region import init_network, issue_node, prepare


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_prepare_makes_folders_once_and_keeps_them(tmp_path):
    services = {"gateway": "gateway", "worker-1": "worker"}
    folders = prepare(tmp_path, "local", services)
    assert names(tmp_path) == ["gateway", "network", "operator", "worker-1"]
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert prepare(tmp_path, "local", services) == folders
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_prepare_gives_each_service_its_role_and_the_operator_two(tmp_path):
    folders = prepare(tmp_path, "eu-west", {"worker-1": "worker"})
    trust = Trust.load(tmp_path / "network")
    worker = trust.credential(Identity.load(folders["worker-1"]).credential, _now())
    operator = trust.credential(Identity.load(folders["operator"]).credential, _now())
    assert (worker.roles, worker.regions) == ({Role.WORKER}, {"eu-west"})
    assert (operator.roles, operator.regions) == ({Role.OPERATOR, Role.PUBLISHER}, frozenset())


def _now():
    import time

    return time.time()


def test_prepare_renews_a_credential_that_soon_ends_or_says_something_else(tmp_path):
    folders = prepare(tmp_path, "local", {"worker-1": "worker"})
    network.issue(tmp_path / "network", folders["worker-1"], [Role.WORKER], ["local"], ttl_s=60)
    short = (folders["worker-1"] / "credential.bin").read_bytes()
    prepare(tmp_path, "local", {"worker-1": "worker"})
    renewed = (folders["worker-1"] / "credential.bin").read_bytes()
    assert renewed != short
    prepare(tmp_path, "eu-west", {"worker-1": "worker"})
    assert (folders["worker-1"] / "credential.bin").read_bytes() != renewed


def test_prepare_makes_an_expired_credential_anew_and_keeps_the_key(tmp_path):
    folders = prepare(tmp_path, "local", {"worker-1": "worker"})
    key = (folders["worker-1"] / "node.key").read_bytes()
    network.issue(tmp_path / "network", folders["worker-1"], [Role.WORKER], ["local"], ttl_s=60, now_s=_now() - 900)
    prepare(tmp_path, "local", {"worker-1": "worker"})
    trust = Trust.load(tmp_path / "network")
    trust.credential((folders["worker-1"] / "credential.bin").read_bytes(), _now())
    assert (folders["worker-1"] / "node.key").read_bytes() == key


def test_init_network_says_whether_it_was_there(tmp_path):
    assert init_network(tmp_path, "home").created
    assert not init_network(tmp_path, "home").created
    assert names(tmp_path) == ["network", "operator"]


def test_issue_node_into_a_folder_of_its_own(tmp_path):
    init_network(tmp_path / "region", "home")
    made = issue_node(tmp_path / "region", tmp_path / "w7", roles=["worker"], region="local", ttl_s=60)
    assert Identity.load(tmp_path / "w7").node_id == made.node_id
    assert made.label == "w7"
    with pytest.raises(TetherError) as error:
        issue_node(tmp_path / "region", tmp_path / "w8", roles=["king"], region="local", ttl_s=60)
    assert error.value.reason is Reason.INVALID_FIELD


def test_issue_node_without_a_network_is_refused(tmp_path):
    with pytest.raises(TetherError) as error:
        issue_node(tmp_path, tmp_path / "w7", roles=["worker"], region="local", ttl_s=60)
    assert error.value.reason is Reason.STATE_UNUSABLE
