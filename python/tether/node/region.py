"""The folders of a region on one machine: its network, its operator, and one per service.

Everything is kept where it is there already, so that the same state folder means the same network, nodes and data.
"""

import time
from collections.abc import Collection, Mapping
from pathlib import Path

import structlog

from tether.errors import TetherError
from tether.identity import Role, Verified, network
from tether.identity.root import Root, read_root

NETWORK = "network"
OPERATOR = "operator"
RENEW_BEFORE_S = 30 * 86_400  # a region that is started monthly never meets an expired credential
_log = structlog.get_logger("tether.node")


def prepare(state: Path, region: str, services: Mapping[str, str], name: str = "tether") -> dict[str, Path]:
    """Make what a region in one folder needs.

    Args:
        state: the region's folder.
        region: its slug.
        services: folder's name to role's slug, such as `{"worker-1": "worker"}`.
        name: the network's name, where it is made now.

    Returns:
        The folder of each service, and of `operator`.

    Raises:
        TetherError: STATE_UNUSABLE, or INVALID_FIELD.
    """
    network.init(state / NETWORK, name)
    root = read_root((state / NETWORK / "root.bin").read_bytes())
    folders = {OPERATOR: _operator(state, root)}
    for service, slug in services.items():
        folders[service] = state / service
        _ensure(state, folders[service], root, [Role.parse(slug)], [region])
    return folders


def init_network(state: Path, name: str) -> network.Network:
    """Make network and operator in `state`; `created` is false where there is one already.

    Raises:
        TetherError: STATE_UNUSABLE, or INVALID_FIELD.
    """
    made = network.init(state / NETWORK, name)
    _operator(state, read_root((state / NETWORK / "root.bin").read_bytes()))
    return made


def issue_node(
    state: Path, folder: Path, *, roles: Collection[str], region: str, label: str = "", ttl_s: float
) -> Verified:
    """Issue a credential with the issuer key under `state`.

    Args:
        state: folder of `init_network` or `prepare`.
        folder: the node's own folder.
        roles: slugs.
        region: its region; empty for all.
        label: name for people.
        ttl_s: how long it holds, seconds.

    Raises:
        TetherError: STATE_UNUSABLE, or INVALID_FIELD.
    """
    parsed = [Role.parse(slug) for slug in roles]
    return network.issue(state / NETWORK, folder, parsed, [region] if region else [], label or folder.name, ttl_s)


def _operator(state: Path, root: Root) -> Path:
    """Folder of the region's operator, who may also publish."""
    folder = state / OPERATOR
    _ensure(state, folder, root, [Role.OPERATOR, Role.PUBLISHER], [])
    return folder


def _ensure(state: Path, folder: Path, root: Root, roles: Collection[Role], regions: Collection[str]) -> None:
    """Issue a credential unless the folder's own holds for a while and says the same."""
    now_s = time.time()
    try:
        kept = network.current(folder, root, now_s)
    except TetherError as error:
        _log.info("credential is made anew", folder=folder.name, why=error.message)
        kept = None
    wished = (frozenset(roles), frozenset(regions))
    if kept is None or kept.expires_at_s < now_s + RENEW_BEFORE_S or (kept.roles, kept.regions) != wished:
        network.issue(state / NETWORK, folder, roles, regions, folder.name[:63])
