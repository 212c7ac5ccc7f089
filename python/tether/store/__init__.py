"""Stores: what must survive a crash: SQLite for one owner, PostgreSQL for several, behind the same contracts."""

from tether.store.jobs_open import open_jobs
from tether.store.registry_open import open_registry

__all__ = ["open_jobs", "open_registry"]
