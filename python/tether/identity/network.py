"""Making a network and its nodes, from the folder that holds the network's keys.

The root key signs once and then may be kept offline; the issuer key is what `issue` needs.
"""

import secrets
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from nacl.signing import SigningKey

from tether.errors import Reason, TetherError
from tether.identity import files, signature
from tether.identity.credential import CREDENTIAL_BYTES_MAX, SERIAL_BYTES, Grant, check_credential, make_credential
from tether.identity.name import KEY_BYTES, require_slug
from tether.identity.role import Role
from tether.identity.root import ROOT_BYTES_MAX, Root, read_root
from tether.identity.verified import Verified
from tether.v1 import identity_pb2

ISSUER_LIFE_S = 10 * 365 * 86_400  # a root document is made anew by hand; ten years until rotation comes
CREDENTIAL_LIFE_S = 90 * 86_400  # a guess: long enough for a forgotten machine, short enough to matter
NONCE_BYTES = 16  # as the proto says


@dataclass(frozen=True, slots=True)
class Network:
    """A network's folder after `init`.

    Attributes:
        name: the network's name.
        network_id: SHA-256 of the root document's body, 32 bytes.
        created: whether this call made it.
        folder: where its keys are.
    """

    name: str
    network_id: bytes
    created: bool
    folder: Path


def init(folder: Path, name: str, *, now_s: float | None = None) -> Network:
    """Make a network in `folder`; a network that is there already stays as it is, and `created` is false.

    Args:
        folder: gets `root.key`, `issuer.key` (private) and `root.bin`.
        name: a slug.
        now_s: seconds since the Unix epoch; None for this machine's clock.

    Raises:
        TetherError: INVALID_FIELD for the name; STATE_UNUSABLE where the folder can't be used.
    """
    require_slug(name, "name")
    files.make_folder(folder)
    created = False
    if not (folder / files.ROOT).exists():
        root_key, issuer_key = _own_key(folder / files.ROOT_KEY), _own_key(folder / files.ISSUER_KEY)
        document = _root_document(name, root_key, issuer_key, int(time.time() if now_s is None else now_s))
        created = files.create(folder / files.ROOT, document)
    root = read_root(files.read(folder / files.ROOT, ROOT_BYTES_MAX))
    return Network(root.name, root.network_id, created, folder)


def issue(  # noqa: PLR0913  # a credential has this many parts, all named by its caller
    network_folder: Path,
    node_folder: Path,
    roles: Collection[Role],
    regions: Collection[str] = (),
    label: str = "",
    ttl_s: float = CREDENTIAL_LIFE_S,
    *,
    now_s: float | None = None,
) -> Verified:
    """Give the node in `node_folder` a credential; its key is made where there is none, and kept where there is.

    Args:
        network_folder: folder of `init`, with its issuer key.
        node_folder: gets `node.key` (private), `credential.bin` and `root.bin`.
        roles: at least one.
        regions: empty for all.
        label: name for people, at most 63 bytes.
        ttl_s: how long it holds, seconds.
        now_s: seconds since the Unix epoch; None for this machine's clock.

    Raises:
        TetherError: INVALID_FIELD for a bad argument; STATE_UNUSABLE where a folder can't be used.
    """
    now = time.time() if now_s is None else now_s
    root_raw = files.read(network_folder / files.ROOT, ROOT_BYTES_MAX)
    root = read_root(root_raw)
    issuer_key = SigningKey(files.read_secret(network_folder / files.ISSUER_KEY, KEY_BYTES))
    files.make_folder(node_folder)
    _check_network(node_folder, root)
    key = _own_key(node_folder / files.NODE_KEY)
    serial = secrets.token_bytes(SERIAL_BYTES)
    grant = Grant(bytes(key.verify_key), roles, regions, label, int(now), int(now + ttl_s), serial)
    raw = make_credential(root.network_id, issuer_key, grant)
    verified = check_credential(root, raw, now)
    files.replace(node_folder / files.ROOT, root_raw)
    files.replace(node_folder / files.CREDENTIAL, raw)
    return verified


def current(node_folder: Path, root: Root, now_s: float) -> Verified | None:
    """The credential that a node's folder holds; None where the folder is not complete yet.

    Raises:
        TetherError: NODE_TOKEN_INVALID where the credential holds no longer.
    """
    path = node_folder / files.CREDENTIAL
    if not (path.exists() and (node_folder / files.NODE_KEY).exists() and (node_folder / files.ROOT).exists()):
        return None
    return check_credential(root, files.read(path, CREDENTIAL_BYTES_MAX), now_s)


def _own_key(path: Path) -> SigningKey:
    """The key in `path`, made there first where there is none."""
    files.create(path, bytes(SigningKey.generate()), files.PRIVATE)
    return SigningKey(files.read_secret(path, KEY_BYTES))


def _root_document(name: str, root_key: SigningKey, issuer_key: SigningKey, now_s: int) -> bytes:
    issuer = identity_pb2.Issuer(
        public_key=bytes(issuer_key.verify_key),
        roles=[role.wire for role in Role],
        expires_at_s=now_s + ISSUER_LIFE_S,
    )
    body = identity_pb2.RootBody(
        name=name,
        version=1,
        root_keys=[bytes(root_key.verify_key)],
        issuers=[issuer],
        created_at_s=now_s,
        nonce=secrets.token_bytes(NONCE_BYTES),
    ).SerializeToString(deterministic=True)
    signed = identity_pb2.RootSignature(
        public_key=bytes(root_key.verify_key), signature=signature.sign(root_key, signature.ROOT, body)
    )
    return identity_pb2.RootDocument(body=body, signatures=[signed]).SerializeToString()


def _check_network(node_folder: Path, root: Root) -> None:
    """A node's folder belongs to one network; its records of another would mislead."""
    path = node_folder / files.ROOT
    if path.exists() and read_root(files.read(path, ROOT_BYTES_MAX)).network_id != root.network_id:
        raise TetherError(Reason.STATE_UNUSABLE, f"{node_folder} belongs to another network.")
