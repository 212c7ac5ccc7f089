"""ModelLoader: brings a published version onto this worker's disk, and proves it before any engine may read it.

The snapshot, signed by the registry, names the manifest's digest; the manifest, signed by a publisher, names every
piece. Files are verified each time they are asked for, so that what was damaged on the disk since is fetched again.
"""

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import grpc
import structlog

from tether.artifact.fault import from_os
from tether.artifact.fetch import PART, fetch
from tether.artifact.manifest import Checked, Limits, Verifier, verify
from tether.artifact.remote import RemoteSource
from tether.artifact.scan import Progress
from tether.errors import Reason, TetherError
from tether.node.find import Peer
from tether.rpc.status import from_rpc_error
from tether.rules.registry import MANIFEST_BYTES_MAX
from tether.v1 import registry_pb2 as pb
from tether.v1.registry_pb2_grpc import RegistryServiceStub
from tether_worker.loader.shelf import Shelf, State

BYTES_MAX = 64 << 30  # a guess: a few models of 7 billion parameters; a setting of every real worker
MANIFEST = "manifest.bin"  # beside the folder's files, so no path of a manifest may be the same
CALL_S = 10.0  # one row of a registry, over a slow network
ATTEMPTS = 2  # a registry that left in between has a successor
T = TypeVar("T")
_log = structlog.get_logger("tether.worker")


class Registries(Protocol):
    """The registries that are there, as `tether.node.find.Peers` tells."""

    async def one(self, key: str) -> Peer:
        """Return the best for `key`; TetherError where none comes in time."""

    def fail(self, peer: Peer) -> None:
        """Pass over one that did not answer."""


class Channels(Protocol):
    """Pooled channels, as `tether.node.channels.Channels` keeps them."""

    def to(self, node_id: str, address: str) -> grpc.aio.Channel:
        """Return the channel to a node."""

    def metadata(self, node_id: str) -> Sequence[tuple[str, str]]:
        """Return what proves this node to it."""


class ModelLoader:
    """Fetches, verifies and keeps versions of models.

    Args:
        folder: gets one folder per version, named by its digest.
        trust: what the network trusts.
        registries: where manifests and files come from.
        channels: channels to them.
        bytes_max: room for all versions, bytes.
        limits: how large one may be.
    """

    def __init__(
        self,
        folder: Path,
        trust: Verifier,
        registries: Registries,
        channels: Channels,
        *,
        bytes_max: int = BYTES_MAX,
        limits: Limits | None = None,
    ) -> None:
        self._folder = folder
        self._trust = trust
        self._registries = registries
        self._channels = channels
        self._limits = limits or Limits()
        self._shelf = Shelf(bytes_max)
        self._running: dict[bytes, asyncio.Task[Path]] = {}

    async def open(self) -> None:
        """Note what is on the disk from the life before.

        Raises:
            TetherError: STATE_UNUSABLE or STORE_UNAVAILABLE where the folder cannot be used.
        """
        for digest, size_bytes, used_at_s in await _disk("open the models folder", _kept, self._folder):
            self._shelf.found(digest, size_bytes, used_at_s)

    def state(self, digest: bytes) -> State:
        """Return how near a version is to being loaded."""
        return self._shelf.state(digest)

    async def load(self, model: pb.Model, progress: Progress | None = None) -> Path:
        """Return the folder of a version, every byte verified, and pin it until `release`.

        Calls for the same version share one fetch.

        Args:
            model: of a verified snapshot; its manifest may be missing.
            progress: told (path, bytes done, bytes in all) while it is fetched.

        Raises:
            TetherError: ARTIFACT_UNTRUSTED, ARTIFACT_CORRUPT (naming the source), BLOB_UNKNOWN, UNREACHABLE,
                STORE_UNAVAILABLE where the disk is full or the budget too small, STATE_UNUSABLE.
        """
        while True:
            folder = await asyncio.shield(self._shared(model, progress))
            if self._shelf.state(model.digest) is State.ON_DISK:  # else it left for another before this call woke up
                self._shelf.pin(model.digest, time.time())
                return folder

    def _shared(self, model: pb.Model, progress: Progress | None) -> asyncio.Task[Path]:
        """Return the fetch of a version that runs, or begin it."""
        task = self._running.get(model.digest)
        if task is None:
            task = asyncio.create_task(self._load(model, progress), name=f"load {model.name}")
            self._running[model.digest] = task
            task.add_done_callback(lambda _: self._running.pop(model.digest, None))
        return task

    def release(self, digest: bytes) -> None:
        """Let a version go that `load` returned; it stays on the disk until its room is needed."""
        self._shelf.unpin(digest, time.time())

    async def close(self) -> None:
        """End what is being fetched; the same again does nothing."""
        tasks = tuple(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _load(self, model: pb.Model, progress: Progress | None) -> Path:
        """Make room, bring every file, sweep what does not belong there."""
        checked = await self._manifest(model)
        folder = self._place(model.digest)
        for digest in self._shelf.take(model.digest, checked.total_bytes + len(checked.raw), time.time()):
            _log.info("model leaves the disk", digest=digest.hex())
            await _disk("remove a model", _remove, self._place(digest))
        try:
            await _disk("keep a manifest", _keep_manifest, folder, checked)
            await self._bring(checked, folder, progress)
            await _disk("sweep a model's folder", _sweep, folder, checked)
        except BaseException:
            self._shelf.failed(model.digest)
            raise
        self._shelf.stored(model.digest)
        self._shelf.unpin(model.digest, time.time())
        return folder

    async def _manifest(self, model: pb.Model) -> Checked:
        """Return the verified manifest whose digest the snapshot names."""
        kept = await _disk("read a manifest", _read_manifest, self._place(model.digest))
        for raw in (kept, model.manifest):
            if raw and (checked := self._check(raw, model.digest)) is not None:
                return checked
        checked = self._check(await self._ask(lambda peer: self._get(peer, model)), model.digest)
        if checked is None:
            text = f"The manifest of {model.name} is another than the snapshot names."
            raise TetherError(Reason.ARTIFACT_UNTRUSTED, text, metadata={"source": "the registry"})
        return checked

    def _check(self, raw: bytes, digest: bytes) -> Checked | None:
        """Verify a manifest; None where it is not the one that is meant, whatever else it is."""
        try:
            checked = verify(raw, self._trust, self._limits)
        except TetherError as error:
            _log.warning("manifest does not hold", reason=error.reason.name, error=error.message)
            return None
        return checked if checked.digest == digest else None

    async def _get(self, peer: Peer, model: pb.Model) -> bytes:
        stub = RegistryServiceStub(self._channels.to(peer.node_id, peer.address))
        request = pb.GetModelRequest(model_id=model.model_id, version=model.version)
        metadata = tuple(self._channels.metadata(peer.node_id))
        try:
            return (await stub.GetModel(request, metadata=metadata, timeout=CALL_S)).model.manifest
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, peer="the registry") from error

    async def _bring(self, checked: Checked, folder: Path, progress: Progress | None) -> None:
        """Verify what is there and fetch the rest."""

        async def from_(peer: Peer) -> None:
            channel, metadata = self._channels.to(peer.node_id, peer.address), self._channels.metadata(peer.node_id)
            source = RemoteSource(channel, metadata, f"registry {peer.node_id[:8]}")
            await fetch(checked.body.files, folder, [source], progress=progress)

        if not await _whole(checked, folder):
            await self._ask(from_)

    async def _ask(self, question: Callable[[Peer], Awaitable[T]]) -> T:
        """Ask a registry; where it does not answer, the next one."""
        for attempt in range(ATTEMPTS):
            peer = await self._registries.one(str(self._folder))
            try:
                return await question(peer)
            except TetherError as error:
                self._registries.fail(peer)
                if error.reason is not Reason.UNREACHABLE or attempt + 1 == ATTEMPTS:
                    raise
                _log.info("registry does not answer", registry=peer.node_id, error=error.message)
        raise TetherError(Reason.UNREACHABLE, "No registry answers.")

    def _place(self, digest: bytes) -> Path:
        return self._folder / digest.hex()


async def _whole(checked: Checked, folder: Path) -> bool:
    """Tell whether every file is on the disk and whole."""
    try:
        await fetch(checked.body.files, folder, [])
    except TetherError as error:
        _log.debug("model is not whole on the disk", error=error.message)
        return False
    return True


def _kept(folder: Path) -> list[tuple[bytes, int, float]]:
    """Return (digest, bytes, time of last change) of the versions on the disk."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for one in folder.iterdir():
        if len(one.name) == 64 and (one / MANIFEST).is_file():
            size_bytes = sum(file.stat().st_size for file in one.rglob("*") if file.is_file())
            found.append((bytes.fromhex(one.name), size_bytes, one.stat().st_mtime))
    return found


def _read_manifest(folder: Path) -> bytes:
    """Return the manifest that was kept; nothing where there is none."""
    path = folder / MANIFEST
    if not path.is_file() or path.stat().st_size > MANIFEST_BYTES_MAX:
        return b""
    return path.read_bytes()


def _keep_manifest(folder: Path, checked: Checked) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if _read_manifest(folder) != checked.raw:
        draft = folder / (MANIFEST + PART)
        draft.write_bytes(checked.raw)
        draft.replace(folder / MANIFEST)


def _sweep(folder: Path, checked: Checked) -> None:
    """Remove whatever the manifest does not list, so that an engine can read nothing else."""
    listed = {MANIFEST, *(one.path for one in checked.body.files)}
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_symlink() or (path.is_file() and str(path.relative_to(folder)) not in listed):
            path.unlink()


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=False)


async def _disk(what: str, work: Callable[..., T], *args: object) -> T:
    try:
        return await asyncio.to_thread(work, *args)
    except FileNotFoundError as error:
        raise TetherError(Reason.STORE_UNAVAILABLE, f"Cannot {what}: a file went away.") from error
    except OSError as error:
        raise from_os(error, what) from error
