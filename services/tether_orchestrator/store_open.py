"""Which job store an orchestrator works on."""

from pathlib import Path

from tether.store import open_jobs
from tether.store.jobs import JobStore, LetterLimits
from tether_orchestrator.billing import wants_outbox
from tether_orchestrator.config import Config

DATABASE = "jobs.db"


async def open_store(config: Config) -> JobStore:
    """Open the store that the settings name: a SQLite file in the state folder where they name none.

    Raises:
        TetherError: as `tether.store.open_jobs`.
    """
    letters = LetterLimits(
        config.dead_letters_max,
        config.dead_letters_bytes_max,
        config.dead_letter_bytes_max,
        int(config.dead_letters_kept_s * 1_000),
    )
    return await open_jobs(
        config.store or Path(config.state) / DATABASE,
        replica=config.store_replica,
        letters=letters,
        outbox=wants_outbox(config),
    )
