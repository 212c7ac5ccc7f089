"""The last verified snapshot of the registry, in memory and on disk.

Gateways and orchestrators open no database: they serve from this. A snapshot counts once its signature holds and its
revision is newer; the file lets a node that restarts without a registry serve at once what it served before, and is
verified again when read.
Source: static stability, as in "reads go on while the source is away".
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import structlog
from google.protobuf.message import DecodeError

from tether.errors import Reason, TetherError
from tether.identity.role import Role
from tether.identity.signature import SNAPSHOT
from tether.policy import Policies
from tether.registry import index
from tether.v1 import registry_pb2 as pb
from tether.v1.policy_pb2 import Price

FILE = "snapshot.bin"
FILE_BYTES_MAX = 256 << 20  # a million keys of 200 bytes
SERVE_S = 86_400.0  # a day: an operator's night; a revoked key is known within a second while the registry lives

_log = structlog.get_logger("tether.registry")


class Verifier(Protocol):
    """What the catalogue needs of `tether.identity.Trust`."""

    def signed(
        self, context: str, body: bytes, signed: bytes, credential: bytes, role: Role, now_s: float, /
    ) -> object:
        """Return who signed; TetherError where it does not hold."""


class Catalogue:
    """The registry's snapshot as the rest of the network reads it.

    Args:
        trust: verifies the registry's signature.
        network_id: 32 bytes; snapshots of other networks are refused.
        folder: where the snapshot is kept; None keeps it in memory alone.
        serve_s: seconds without a sign of life after which it answers STORE_UNAVAILABLE.
    """

    def __init__(
        self, trust: Verifier, network_id: bytes, folder: Path | None = None, *, serve_s: float = SERVE_S
    ) -> None:
        self._trust = trust
        self._network_id = network_id
        self._file = folder / FILE if folder is not None else None
        self._serve_s = serve_s
        self._index = index.EMPTY
        self._heard_at_s = 0.0
        self._listeners: list[Callable[[], None]] = []

    @property
    def revision(self) -> int:
        """Revision that is served; 0 before the first snapshot."""
        return self._index.revision

    @property
    def tenants(self) -> dict[str, pb.Tenant]:
        """Tenants by id."""
        return dict(self._index.tenants)

    @property
    def models(self) -> Iterator[pb.Model]:
        """Every version, by model name, newest first; without manifests, which `GetModel` returns."""
        return self._index.all_models()

    def age_s(self, now_s: float) -> float:
        """Seconds since the registry was last heard; infinite where it never was."""
        return now_s - self._heard_at_s if self.revision else float("inf")

    def authenticate(self, token: str, now_s: float) -> pb.Tenant:
        """Return the tenant of a key, in constant time.

        Args:
            token: what the client sent, without the scheme.
            now_s: seconds since the Unix epoch.

        Raises:
            TetherError: KEY_MISSING, KEY_INVALID, TENANT_SUSPENDED; STORE_UNAVAILABLE without a usable snapshot.
        """
        return self.identify(token, now_s)[0]

    def identify(self, token: str, now_s: float) -> tuple[pb.Tenant, pb.Key]:
        """Return the tenant of a key and the key itself; errors as `authenticate`."""
        self._require_usable(now_s)
        return self._index.authenticate(token, now_s)

    def tenant(self, tenant_id: str) -> pb.Tenant | None:
        """Return a tenant, or None."""
        return self._index.tenants.get(tenant_id)

    def model(self, model_id: str, version: str = "") -> pb.Model:
        """Return a version of a model; an empty version is the newest that is not deprecated.

        Raises:
            TetherError: MODEL_UNKNOWN with the nearest names, VERSION_UNKNOWN, STORE_UNAVAILABLE before any snapshot.
        """
        if not self.revision:
            raise _no_snapshot()
        return self._index.model(model_id, version)

    def policies(self) -> Policies:
        """Policies that hold, ready to be evaluated; the same object until one of them changes."""
        return self._index.policies

    def price(self, model_id: str) -> Price | None:
        """Newest price of a model, or None where it costs nothing."""
        return self._index.prices.get(model_id)

    def on_change(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` after each new snapshot; returns what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def apply(self, response: pb.WatchSnapshotResponse, now_s: float) -> bool:
        """Take a response of `WatchSnapshot`; tell whether it brought a new snapshot.

        Raises:
            TetherError: ARTIFACT_UNTRUSTED or an error of `Trust` where it does not hold; nothing changes then.
        """
        if not response.snapshot:
            self._heard_at_s = now_s
            return False
        fresh = self._verified(response, now_s)
        self._heard_at_s = now_s
        if fresh.revision <= self.revision:
            return False
        self._index = index.build(fresh, self._index)
        for listener in tuple(self._listeners):
            listener()
        return True

    def load(self, now_s: float) -> bool:
        """Read the snapshot that was kept; tell whether there was a good one. What does not verify is left alone."""
        if self._file is None or not self._file.exists():
            return False
        try:
            response = pb.WatchSnapshotResponse.FromString(self._file.read_bytes())
            kept_at_s = self._file.stat().st_mtime
            taken = self.apply(response, now_s)
        except (OSError, DecodeError, TetherError) as error:
            _log.warning("kept snapshot is of no use", error=str(error))
            return False
        self._heard_at_s = min(kept_at_s, now_s)
        return taken

    def save(self, response: pb.WatchSnapshotResponse) -> None:
        """Keep a response that `apply` took, whole or not at all; blocks on the disk.

        Raises:
            TetherError: STATE_UNUSABLE where the folder cannot be written.
        """
        if self._file is None:
            return
        draft = self._file.with_suffix(".new")
        try:
            _write(draft, response.SerializeToString())
            draft.replace(self._file)
        except OSError as error:
            raise TetherError(Reason.STATE_UNUSABLE, f"The snapshot cannot be kept: {error.strerror}.") from error

    def _verified(self, response: pb.WatchSnapshotResponse, now_s: float) -> pb.Snapshot:
        """Return the snapshot once signature and network hold."""
        self._trust.signed(SNAPSHOT, response.snapshot, response.signature, response.credential, Role.REGISTRY, now_s)
        try:
            fresh = pb.Snapshot.FromString(response.snapshot)
        except DecodeError as error:
            raise TetherError(Reason.MALFORMED, "The snapshot is no valid message.") from error
        if fresh.network_id != self._network_id:
            raise TetherError(Reason.ARTIFACT_UNTRUSTED, "The snapshot is of another network.")
        return fresh

    def _require_usable(self, now_s: float) -> None:
        if not self.revision or self.age_s(now_s) > self._serve_s:
            raise _no_snapshot()


def _write(path: Path, data: bytes) -> None:
    """Write a file that only its owner can read, down to the disk."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _no_snapshot() -> TetherError:
    return TetherError(
        Reason.STORE_UNAVAILABLE, "No registry has been heard; tenants and models are unknown.", retry_after_s=1.0
    )
