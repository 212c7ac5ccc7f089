"""Stores: what must survive a crash: SQLite for one owner, PostgreSQL for several, behind the same contracts."""

from tether.store.jobs_open import open_jobs

__all__ = ["open_jobs"]
