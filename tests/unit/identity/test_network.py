import stat

import pytest

from tether.errors import Reason, TetherError
from tether.identity import Identity, Role, network
from tether.identity.root import read_root

NOW_S = 1_800_000_000


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_init_makes_private_keys_and_a_root_that_holds(tmp_path):
    made = network.init(tmp_path / "n", "home", now_s=NOW_S)
    assert made.created
    assert mode(tmp_path / "n" / "root.key") == mode(tmp_path / "n" / "issuer.key") == 0o600
    root = read_root((tmp_path / "n" / "root.bin").read_bytes())
    assert (root.name, root.network_id) == ("home", made.network_id)


def test_init_twice_says_so_and_overwrites_nothing(tmp_path):
    first = network.init(tmp_path, "home")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    second = network.init(tmp_path, "other")
    assert not second.created
    assert (second.name, second.network_id) == ("home", first.network_id)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_init_after_a_crash_between_keys_and_root_finishes(tmp_path):
    network.init(tmp_path, "home")
    (tmp_path / "root.bin").unlink()
    assert network.init(tmp_path, "home").created


def test_two_networks_of_one_name_have_two_ids(tmp_path):
    assert network.init(tmp_path / "a", "home").network_id != network.init(tmp_path / "b", "home").network_id


def test_issue_again_keeps_the_key_and_renews_the_credential(world):
    first = world.node("gateway", Role.GATEWAY)
    second = world.node("gateway", Role.GATEWAY, Role.BRIDGE)
    assert first.node_id == second.node_id
    assert first.credential != second.credential
    assert mode(world.folder / "gateway" / "node.key") == 0o600


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"roles": ()}, "roles"),
        ({"regions": ("EU",)}, "region"),
        ({"label": "x" * 64}, "label"),
        ({"ttl_s": 0}, "ttl"),
        ({"regions": tuple(f"region-number-{i:02}-of-many-and-long"[:31].rstrip("-") for i in range(20))}, "regions"),
    ],
)
def test_issue_refuses_a_bad_grant(world, arguments, field):
    given = {"roles": (Role.WORKER,), "regions": (), "label": "", "ttl_s": 60.0} | arguments
    with pytest.raises(TetherError) as error:
        network.issue(world.folder / "network", world.folder / "x", **given, now_s=NOW_S)
    assert error.value.reason is Reason.INVALID_FIELD
    assert error.value.field == field


def test_issue_into_a_node_of_another_network_is_refused(world, tmp_path):
    network.init(tmp_path / "foreign", "foreign")
    world.node("gateway", Role.GATEWAY)
    with pytest.raises(TetherError, match="another network"):
        network.issue(tmp_path / "foreign", world.folder / "gateway", [Role.GATEWAY])


def test_identity_counts_its_lives(world):
    assert world.node("worker", Role.WORKER).incarnation == 1
    assert [Identity.load(world.folder / "worker").incarnation for _ in range(3)] == [2, 3, 4]


def test_identity_shows_no_key_and_is_not_pickled(world):
    import pickle

    identity = world.node("worker", Role.WORKER)
    assert repr(identity) == f"Identity({identity.node_id}, incarnation 1)"
    with pytest.raises(TypeError):
        pickle.dumps(identity)


def spoil_mode(folder):
    (folder / "node.key").chmod(0o644)


def spoil_count(folder):
    (folder / "incarnation").write_text("many")


def spoil_key(folder):
    (folder / "node.key").unlink()


def spoil_credential(folder):
    (folder / "credential.bin").write_bytes(b"\xff" * 40)


def spoil_root(folder):
    (folder / "root.bin").write_bytes(b"\x00")


@pytest.mark.parametrize("spoil", [spoil_mode, spoil_count, spoil_key, spoil_credential, spoil_root])
def test_identity_in_a_damaged_folder_is_refused(world, spoil):
    world.node("worker", Role.WORKER)
    spoil(world.folder / "worker")
    with pytest.raises(TetherError) as error:
        Identity.load(world.folder / "worker")
    assert error.value.reason is Reason.STATE_UNUSABLE


def test_identity_with_the_credential_of_another_key_is_refused(world):
    world.node("one", Role.WORKER)
    world.node("two", Role.WORKER)
    (world.folder / "one" / "credential.bin").write_bytes((world.folder / "two" / "credential.bin").read_bytes())
    with pytest.raises(TetherError, match="another key"):
        Identity.load(world.folder / "one")
