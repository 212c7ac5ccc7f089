"""Publishes a folder: lists and hashes it, signs the list, sends what the registry lacks, and names it.

Nothing is sent before everything was checked, and the same push again changes nothing.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from tether import name
from tether.artifact.digest import PIECE_BYTES
from tether.artifact.manifest import Limits, Signer, check_body, make_body, same_content, sign
from tether.artifact.remote import RemoteSource
from tether.artifact.scan import Progress, open_file, scan
from tether.errors import Reason, TetherError
from tether.registry.folder import read_facts
from tether.rpc.status import from_rpc_error
from tether.v1 import registry_pb2 as pb
from tether.v1.registry_pb2_grpc import RegistryServiceStub

if TYPE_CHECKING:
    from tether.v1.registry_pb2_grpc import RegistryServiceAsyncStub

CALL_S = 30.0  # a registry that checks a thousand files on a slow disk

Write = Callable[[bytes, int, AsyncIterator[bytes]], Awaitable[bool]]


async def push(  # noqa: PLR0913  what a push is told, all by name
    folder: Path,
    model_id: str,
    version: str,
    *,
    channel: grpc.aio.Channel,
    metadata: Sequence[tuple[str, str]],
    identity: Signer,
    progress: Progress | None = None,
    tier: str = "",
    limits: Limits | None = None,
) -> pb.Model:
    """Publish a folder at a registry and return the version as published.

    Args:
        folder: of a decoder, as `make demo-model` writes it, or of a model of tensors.
        model_id: name to publish it by.
        version: MAJOR.MINOR; a version that is published never changes.
        channel: to the registry.
        metadata: what proves the caller to it, an operator or publisher.
        identity: signs the manifest.
        progress: told (path, bytes sent, bytes in all) after each piece.
        tier: SLO class; empty is `standard`.
        limits: how large an artifact may be.

    Raises:
        TetherError: what is wrong with the folder (UNSUPPORTED, INVALID_FIELD, TOO_LARGE); NAME_TAKEN where the version
            has other content; whatever the registry answers.
    """
    body = await asyncio.to_thread(list_folder, folder, model_id, version, identity, limits or Limits())
    stub, proof = RegistryServiceStub(channel), tuple(metadata)
    known = await _published(stub, proof, model_id, version)
    if known is not None and repeats(known, body):
        return known
    await upload(folder, body.files, RemoteSource(channel, proof, "the registry").write, progress)
    request = pb.PublishModelRequest(manifest=sign(body, identity), tier=tier)
    try:
        return (await stub.PublishModel(request, metadata=proof, timeout=CALL_S)).model
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error, peer="the registry") from error


def list_folder(folder: Path, model_id: str, version: str, identity: Signer, limits: Limits) -> pb.ManifestBody:
    """Return the manifest's body of a folder, every rule checked; blocks on the disk.

    Raises:
        TetherError: what is wrong with the folder.
    """
    facts = read_facts(folder, name.model(model_id), name.version(version))
    body = make_body(facts, scan(folder, facts.format, limits), identity.network_id, time.time())
    check_body(body, limits)
    return body


def repeats(known: pb.Model, body: pb.ManifestBody) -> bool:
    """Tell whether a published version has this content.

    Raises:
        TetherError: NAME_TAKEN where it has another.
    """
    if same_content(pb.ManifestBody.FromString(pb.Manifest.FromString(known.manifest).body), body):
        return True
    text = f"{known.name} is published with another content; a version never changes."
    raise TetherError(Reason.NAME_TAKEN, text, field="version")


async def upload(folder: Path, files: Sequence[pb.ManifestFile], write: Write, progress: Progress | None) -> None:
    """Send each file that is not there yet.

    Raises:
        TetherError: ARTIFACT_CORRUPT where a file changed since it was listed; whatever `write` raises.
    """
    for one in files:
        if await write(one.sha256, one.size_bytes, _parts(folder, one, progress)) and progress is not None:
            progress(one.path, one.size_bytes, one.size_bytes)


async def _parts(folder: Path, one: pb.ManifestFile, progress: Progress | None) -> AsyncIterator[bytes]:
    """Yield a file's bytes."""
    with await asyncio.to_thread(open_file, folder / one.path) as stream:
        sent_bytes = 0
        while part := await asyncio.to_thread(stream.read, PIECE_BYTES):
            yield part
            sent_bytes += len(part)
            if progress is not None:
                progress(one.path, sent_bytes, one.size_bytes)


async def _published(
    stub: "RegistryServiceAsyncStub", metadata: tuple[tuple[str, str], ...], model_id: str, version: str
) -> pb.Model | None:
    """Return a version as the registry has it, or None."""
    request = pb.GetModelRequest(model_id=model_id, version=version)
    try:
        return (await stub.GetModel(request, metadata=metadata, timeout=CALL_S)).model
    except grpc.aio.AioRpcError as error:
        refusal = from_rpc_error(error, peer="the registry")
        if refusal.reason in {Reason.MODEL_UNKNOWN, Reason.VERSION_UNKNOWN}:
            return None
        raise refusal from error
