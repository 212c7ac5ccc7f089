"""Which job store an orchestrator works on, and the newest generation of it that was seen here.

Where a primary is lost its replica is promoted, and nobody can fence what cannot be reached. Should the old one come
back, its own numbers say that it may be written; only who has seen the new one knows better, so it is kept on disk.
Source: fencing tokens: Gray and Reuter, "Transaction Processing", 1993.
"""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

from tether.errors import Reason, TetherError
from tether.identity import files
from tether.store import open_jobs
from tether.store.jobs import JobStore, LetterLimits
from tether_orchestrator.billing import wants_outbox
from tether_orchestrator.config import Config

DATABASE = "jobs.db"
GENERATIONS = "generations.json"
_BYTES_MAX = 4_096
_STORES_MAX = 32  # an orchestrator has one; the last few make moves back and forth harmless


async def open_store(config: Config) -> JobStore:
    """Open the store that the settings name: a SQLite file in the state folder where they name none.

    Raises:
        TetherError: as `tether.store.open_jobs`; STORE_UNUSABLE for an older generation than was seen here before;
            STATE_UNUSABLE where what was seen cannot be read or kept.
    """
    letters = LetterLimits(
        config.dead_letters_max,
        config.dead_letters_bytes_max,
        config.dead_letter_bytes_max,
        int(config.dead_letters_kept_s * 1_000),
    )
    path = Path(config.state) / GENERATIONS
    seen = await asyncio.to_thread(read_seen, path)
    store = await open_jobs(
        config.store or Path(config.state) / DATABASE,
        replica=config.store_replica,
        letters=letters,
        outbox=wants_outbox(config),
        generation_min=seen,
    )
    try:
        await asyncio.to_thread(keep_seen, path, seen, store.store_id, store.generation)
    except BaseException:
        await store.close()
        raise
    return store


def read_seen(path: Path) -> dict[bytes, int]:
    """Newest generation that was seen of each store, by its id; empty where there is no file.

    Raises:
        TetherError: STATE_UNUSABLE for a file that is damaged.
    """
    if not path.exists():
        return {}
    try:
        found = json.loads(files.read(path, _BYTES_MAX))
        return {bytes.fromhex(store): int(generation) for store, generation in found.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise TetherError(Reason.STATE_UNUSABLE, f"{path} is damaged: it says which store was promoted last") from error


def keep_seen(path: Path, seen: Mapping[bytes, int], store_id: bytes, generation: int) -> None:
    """Remember the generation of a store that may be written, durably.

    Raises:
        TetherError: STATE_UNUSABLE where it cannot be written.
    """
    if seen.get(store_id) == generation:
        return
    kept = {store: number for store, number in seen.items() if store != store_id}
    newest = [*kept.items(), (store_id, generation)][-_STORES_MAX:]
    files.replace(path, json.dumps({store.hex(): number for store, number in newest}).encode())
