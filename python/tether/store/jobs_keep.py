"""Upkeep of the SQLite job store: what is overdue, what may be forgotten, and whether the books agree."""

import sqlite3
from collections.abc import Sequence

from tether.job.hold import Position
from tether.job.state import State
from tether.store.jobs import Completion, JobRow
from tether.store.jobs_row import COLUMNS, to_row

OVERDUE_MS = 60_000  # a worker or a driver may still commit a job this long after its deadline
KEYED_KEPT_MS = 86_400_000  # 24 h: a repeat of a key gets its answer so long
UNKEYED_KEPT_MS = 3_600_000  # nobody can ask for these again; an hour is for people who look
_USAGE_KEPT_MS = KEYED_KEPT_MS  # single rows while their job is there, sums per hour afterwards
_HOUR_MS = 3_600_000

_OVERDUE = "SELECT job FROM jobs WHERE state = 1 AND deadline_ms < ? ORDER BY deadline_ms LIMIT ?"
_UNDRIVEN = (
    f"SELECT {COLUMNS} FROM jobs WHERE state = 1 AND (deadline_ms, number) > (?, ?) "  # noqa: S608 - no value
    "AND session NOT IN ({}) ORDER BY deadline_ms, number LIMIT ?"
)
_OLD = "SELECT job FROM jobs WHERE keyed = ? AND ended_ms < ? AND ended_ms IS NOT NULL ORDER BY ended_ms LIMIT ?"
_SUM_USAGE = """
INSERT INTO usage_hours (tenant, hour, model, version, input_tokens, output_tokens, output_bytes)
SELECT tenant, at_ms / ?2, model, version, sum(input_tokens), sum(output_tokens), sum(output_bytes)
FROM usage WHERE number <= ?1 GROUP BY 1, 2, 3, 4
ON CONFLICT (tenant, hour, model, version) DO UPDATE SET input_tokens = input_tokens + excluded.input_tokens,
output_tokens = output_tokens + excluded.output_tokens, output_bytes = output_bytes + excluded.output_bytes
"""
_LAST_OLD = "SELECT max(number) FROM (SELECT number FROM usage WHERE at_ms < ? ORDER BY number LIMIT ?)"

_CHECKS = {
    "held of the account differs from the holds of open jobs": """
        SELECT tenant FROM (SELECT tenant, held_tokens AS n FROM accounts
        UNION ALL SELECT tenant, -held_tokens FROM jobs WHERE state = 1) GROUP BY tenant HAVING sum(n) != 0""",
    "held of the account differs from the ledger": """
        SELECT tenant FROM (SELECT tenant, held_tokens AS n FROM accounts
        UNION ALL SELECT tenant, -held FROM ledger) GROUP BY tenant HAVING sum(n) != 0""",
    "settled input of the account differs from the usage": """
        SELECT tenant FROM (SELECT tenant, settled_input AS n FROM accounts
        UNION ALL SELECT tenant, -input_tokens FROM usage
        UNION ALL SELECT tenant, -input_tokens FROM usage_hours) GROUP BY tenant HAVING sum(n) != 0""",
    "settled output of the account differs from the usage": """
        SELECT tenant FROM (SELECT tenant, settled_output AS n FROM accounts
        UNION ALL SELECT tenant, -output_tokens FROM usage
        UNION ALL SELECT tenant, -output_tokens FROM usage_hours) GROUP BY tenant HAVING sum(n) != 0""",
    "a job that has ended holds tokens": "SELECT hex(job) FROM jobs WHERE state != 1 AND held_tokens != 0",
    "a job's end and its state differ": "SELECT hex(job) FROM jobs WHERE (state = 1) != (ended_ms IS NULL)",
    "what a job settled differs from its ledger": """
        SELECT hex(job) FROM jobs WHERE settled_input + settled_output !=
        (SELECT coalesce(sum(settled), 0) FROM ledger WHERE ledger.job = jobs.job)""",
    "a job's outcome is missing or too early": """
        SELECT hex(job) FROM jobs WHERE (state = 1) = EXISTS (SELECT 1 FROM outcomes WHERE outcomes.job = jobs.job)""",
    "a counter is negative": """
        SELECT tenant FROM accounts WHERE held_tokens < 0 OR settled_input < 0 OR settled_output < 0""",
}


def overdue(connection: sqlite3.Connection, now_ms: int, limit: int) -> list[Completion]:
    """Abandonments for jobs whose driver and worker are both silent past the deadline."""
    rows = connection.execute(_OVERDUE, (now_ms - OVERDUE_MS, limit)).fetchall()
    return [Completion(job, 0, State.ABANDONED, Position(), error="DEADLINE: nobody ended the job") for (job,) in rows]


def undriven(
    connection: sqlite3.Connection, standing: Sequence[bytes], after: tuple[int, int], limit: int
) -> list[JobRow]:
    """Open jobs that none of these sessions drives; see `JobStore.undriven`."""
    query = _UNDRIVEN.format(", ".join("?" * len(standing)))
    return [to_row(row) for row in connection.execute(query, (*after, *standing, limit))]


def purge(connection: sqlite3.Connection, now_ms: int, limit: int) -> int:
    """Forget old jobs and add up old usage; returns how many jobs went."""
    unkeyed = connection.execute(_OLD, (0, now_ms - UNKEYED_KEPT_MS, limit)).fetchall()
    keyed = connection.execute(_OLD, (1, now_ms - KEYED_KEPT_MS, limit - len(unkeyed))).fetchall()
    gone = unkeyed + keyed
    for table in ("outcomes", "ledger", "jobs"):
        connection.executemany(f"DELETE FROM {table} WHERE job = ?", gone)  # noqa: S608 - names from the line above
    _add_up(connection, now_ms, limit)
    return len(gone)


def _add_up(connection: sqlite3.Connection, now_ms: int, limit: int) -> None:
    (last,) = connection.execute(_LAST_OLD, (now_ms - _USAGE_KEPT_MS, limit)).fetchone()
    if last is not None:
        connection.execute(_SUM_USAGE, (last, _HOUR_MS))
        connection.execute("DELETE FROM usage WHERE number <= ?", (last,))


def check(connection: sqlite3.Connection) -> list[str]:
    """Violations of the invariants, each with the first tenants or jobs it touches."""
    found = []
    for words, query in _CHECKS.items():
        rows = connection.execute(query + " LIMIT 3").fetchall()
        if rows:
            found.append(f"{words}: {', '.join(str(row[0]) for row in rows)}")
    return found
