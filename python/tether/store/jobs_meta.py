"""Facts of a store, and which of two stores may be written: the generation.

A promotion raises the generation and fences what came before: every write transaction compares the number it was opened
with, so an old primary that is reached again, or an orchestrator that still thinks of it, refuses instead of making
a second history.
Source: fencing tokens: Gray and Reuter, "Transaction Processing", 1993; Kleppmann, 2016.
"""

from collections.abc import Mapping

from tether.errors import Reason, TetherError
from tether.store.step import Fetch, Program, Run

_META = "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING"
_SET = "INSERT INTO numbers (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value"


def draw(facts: Mapping[str, bytes]) -> Program[dict[str, bytes]]:
    """The facts of the store; what is not there yet is written."""
    for name, value in sorted(facts.items()):
        yield Run(_META, (name, value))
    return dict((yield Fetch("SELECT name, value FROM meta")))


def numbers() -> Program[dict[str, int]]:
    """`generation`, and `fenced`: 1 where another store was promoted in place of this one."""
    return dict((yield Fetch("SELECT name, value FROM numbers")))


def schema(*, shared: bool) -> Program[str]:
    """The newest migration of the job store's schema; `shared` where other stores may lie in the same database."""
    own = " WHERE store = 'jobs'" if shared else ""
    [(version,)] = yield Fetch(f"SELECT max(version) FROM schema_migrations{own}")  # noqa: S608 - no value
    return version or ""


def enter(at_least: int | Mapping[bytes, int]) -> Program[int]:
    """The generation of a store that may be written.

    Args:
        at_least: generation that it must have, whichever store it is or by its id.

    Raises:
        TetherError: STORE_UNUSABLE, when it is fenced or of an older generation.
    """
    found = yield from numbers()
    generation = found.get("generation", 1)
    if not isinstance(at_least, int):
        facts = yield from draw({})
        at_least = at_least.get(facts.get("store_id", b""), 0)
    if found.get("fenced", 0) or generation < at_least:
        raise TetherError(Reason.STORE_UNUSABLE, fenced_words())
    return generation


def fence() -> Program[int]:
    """Refuse all further writes; returns the new generation."""
    found = yield from numbers()
    generation = found.get("generation", 1) + 1
    yield Run(_SET, ("generation", generation))
    yield Run(_SET, ("fenced", 1))
    return generation


def promote(at_least: int) -> Program[int]:
    """Make this store the one that is written; returns the new generation, larger than `at_least`."""
    found = yield from numbers()
    generation = max(found.get("generation", 1), at_least) + 1
    yield Run(_SET, ("generation", generation))
    yield Run(_SET, ("fenced", 0))
    return generation


def fenced_words() -> str:
    """What an operator is told."""
    return "The store was fenced: another one was promoted in its place, or this one is to be promoted"
