"""What the registry does about models: check a publication against the blobs that are there, and keep it.

A version is published once its manifest holds and every file of it is stored, whole and with the pieces it promises.
"""

from collections.abc import Awaitable, Callable

from tether.artifact.manifest import Checked, Limits, Verifier, same_content, verify
from tether.artifact.store import ArtifactStore
from tether.errors import Reason, TetherError
from tether.registry.describe import describe
from tether.registry.index import build
from tether.store.registry import PAGE_MAX, RegistryStore
from tether.v1 import registry_pb2 as pb

BACKDATED_S_MAX = 86_400.0  # a push of a large model takes hours; more would let an old signature pass as new
AHEAD_S_MAX = 30.0  # wall clocks of honest nodes may differ by this much: overlay.md §2


class Catalog:
    """Publishes and finds versions.

    Args:
        store: keeps them.
        blobs: holds their files.
        trust: what the network trusts.
        limits: how large an artifact may be.
        changed: called after each change.
    """

    def __init__(
        self,
        store: RegistryStore,
        blobs: ArtifactStore,
        trust: Verifier,
        limits: Limits,
        changed: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._trust = trust
        self._limits = limits
        self._changed = changed

    async def publish(self, manifest: bytes, tier: str, now_s: float) -> pb.Model:
        """Add a version; the same content again is no change.

        Args:
            manifest: serialized Manifest with its signature.
            tier: SLO class, or empty.
            now_s: seconds since the Unix epoch.

        Raises:
            TetherError: as `manifest.verify`; BLOB_UNKNOWN where a file is not stored; ARTIFACT_CORRUPT where one is
                another than the manifest says; NAME_TAKEN where the version has other content.
        """
        checked = verify(manifest, self._trust, self._limits, now_s)
        _check_date(checked.body.created_at_s, now_s)
        known = await self._store.model(checked.body.model_id, checked.body.version)
        if known is not None and _repeats(known, checked):
            return known
        for one in checked.body.files:
            await self._check_blob(one)
        published = await self._store.publish(describe(checked, tier, now_s))
        await self._changed()
        return published

    async def find(self, model_id: str, version: str) -> pb.Model:
        """Return a version with its manifest; an empty version is the newest that is not deprecated.

        Raises:
            TetherError: MODEL_UNKNOWN with the nearest names, VERSION_UNKNOWN.
        """
        candidates = await self._store.versions(model_id) or await self._store.list_models("", PAGE_MAX)
        wanted = build(pb.Snapshot(models=candidates)).model(model_id, version)
        found = await self._store.model(wanted.model_id, wanted.version)
        if found is None:
            raise TetherError(Reason.INTERNAL, f"{wanted.name} is listed and not there.")
        return found

    async def _check_blob(self, one: pb.ManifestFile) -> None:
        """Pass where a file is stored with the size and the pieces that the manifest says."""
        size_bytes = await self._blobs.size(one.sha256)
        if size_bytes is None:
            text = f"{one.path} is not stored: push blob {one.sha256.hex()} first."
            raise TetherError(Reason.BLOB_UNKNOWN, text, field="manifest.files")
        pieces = await self._blobs.pieces(one.sha256)
        if (size_bytes, pieces) != (one.size_bytes, one.piece_sha256):
            text = f"The manifest tells another size or other pieces of {one.path} than its blob has."
            raise TetherError(Reason.ARTIFACT_CORRUPT, text, field="manifest.files")


def _repeats(known: pb.Model, checked: Checked) -> bool:
    """Tell whether a version is published with the same content already."""
    body = pb.ManifestBody.FromString(pb.Manifest.FromString(known.manifest).body)
    return same_content(body, checked.body)


def _check_date(created_at_s: int, now_s: float) -> None:
    """Pass where a manifest was made about now, so that nobody signs for a time when a lost key still held."""
    if not now_s - BACKDATED_S_MAX <= created_at_s <= now_s + AHEAD_S_MAX:
        raise TetherError(Reason.ARTIFACT_UNTRUSTED, "The manifest was not made within the last day: sign it anew.")
