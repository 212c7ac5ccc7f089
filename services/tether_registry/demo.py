"""The demo: a tenant and a model that are there from the first second, so that a newcomer has something to ask."""

import asyncio
import json
import time
from pathlib import Path

import structlog

from tether.artifact.manifest import Limits, Signer, sign
from tether.artifact.store import ArtifactStore
from tether.errors import Reason, TetherError
from tether.registry.push import list_folder, repeats, upload
from tether.store.registry import RegistryStore
from tether.v1 import registry_pb2 as pb
from tether_registry.catalog import Catalog

TENANT = "demo"
_log = structlog.get_logger("tether.registry")


async def prepare(
    folder: Path, *, signer: Signer, store: RegistryStore, blobs: ArtifactStore, catalog: Catalog, limits: Limits
) -> None:
    """Make tenant `demo` and publish the model in `folder` under the name that it has there.

    A version that is published with other content stays as it is: the folder is of another release then.

    Raises:
        TetherError: what is wrong with the folder, or of the store.
    """
    await _make_tenant(store)
    model_id, version = await asyncio.to_thread(_name, folder)
    body = await asyncio.to_thread(list_folder, folder, model_id, version, signer, limits)
    known = await store.model(model_id, version)
    try:
        if known is not None and repeats(known, body):
            await upload(folder, body.files, blobs.write, None)  # a registry that shares the store has blobs of its own
            return
    except TetherError as error:
        _log.warning("demo model stays as published", model=f"{model_id}:{version}", error=error.message)
        return
    await upload(folder, body.files, blobs.write, None)
    await catalog.publish(sign(body, signer), "", time.time())


async def _make_tenant(store: RegistryStore) -> None:
    tenant = pb.Tenant(name=TENANT, display_name="Demo")
    tenant.created_at.FromMilliseconds(time.time_ns() // 1_000_000)
    try:
        await store.create_tenant(tenant)
    except TetherError as error:
        if error.reason is not Reason.NAME_TAKEN:
            raise
        _log.debug("demo tenant stays as it is", error=error.message)


def _name(folder: Path) -> tuple[str, str]:
    """Return name and version that the folder's config gives."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
        return str(config["name"]), str(config["version"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        text = f"The demo model in {folder} has no readable config.json."
        raise TetherError(Reason.ARTIFACT_CORRUPT, text) from error
