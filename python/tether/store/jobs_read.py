"""Reads and small writes of the job store, as programs."""

from collections.abc import Sequence
from typing import Any

from tether.job.hold import Position
from tether.job.state import State
from tether.store import jobs_write
from tether.store.jobs_quota import AccountRow, Usage, UsageHour
from tether.store.jobs_row import to_row, with_outcome
from tether.store.jobs_table import JOBS, OUTCOMES, USAGE
from tether.store.jobs_type import JobRow, Session
from tether.store.step import Fetch, Find, Now, Program, Run

_NUMBER_MAX = 2**63 - 1
_HOUR_MS = 3_600_000
_DAY_MS = 86_400_000
_COLUMNS = ", ".join(JOBS.columns)
_LIST = (
    f"SELECT {_COLUMNS} FROM jobs WHERE number < $1 AND ($2 = 0 OR state = $2) {{}}"  # noqa: S608
    "ORDER BY number DESC LIMIT $3"
)
_OF_TENANT = "AND tenant = $4 "  # apart, or no index would serve it
_UNDRIVEN = (
    f"SELECT {_COLUMNS} FROM jobs WHERE state = 1 AND (deadline_ms, number) > ($1, $2) {{}} "  # noqa: S608
    "ORDER BY deadline_ms, number LIMIT $3"
)
_RENEW = (
    "INSERT INTO sessions (session, node, incarnation, beat, at_ms) VALUES ($1, $2, $3, $4, $5) "
    "ON CONFLICT (session) DO UPDATE SET beat = CASE WHEN sessions.beat + 1 > excluded.beat THEN sessions.beat + 1 "
    "ELSE excluded.beat END, at_ms = excluded.at_ms"
)
_SESSIONS = "SELECT session, node, incarnation, beat FROM sessions ORDER BY session"
_OUTBOX = (
    f"SELECT number, {', '.join(USAGE.columns)} FROM usage WHERE billed = 0 AND number > $1 "  # noqa: S608
    "ORDER BY number LIMIT $2"
)
_HOUR = """
SELECT tenant, model, version, price_version, sum(input_tokens), sum(output_tokens), sum(output_bytes), sum(cost_micros)
FROM (SELECT tenant, model, version, price_version, input_tokens, output_tokens, output_bytes, cost_micros FROM usage
WHERE at_ms >= $1 AND at_ms < $2 UNION ALL
SELECT tenant, model, version, price_version, input_tokens, output_tokens, output_bytes, cost_micros FROM usage_hours
WHERE hour = $3) AS used GROUP BY tenant, model, version, price_version ORDER BY tenant, model, version, price_version
"""
_ACCOUNTS = (
    "SELECT tenant, open_jobs, held_tokens, held_micros, settled_input, settled_output, settled_micros, "
    "CASE WHEN day >= $4 THEN day_tokens ELSE 0 END, CASE WHEN day >= $4 THEN day_micros ELSE 0 END "
    "FROM accounts WHERE ($1 = '' OR tenant = $1) AND tenant > $2 ORDER BY tenant LIMIT $3"
)


def get(job: bytes) -> Program[JobRow | None]:
    """One job with receipt and answer."""
    rows = yield from jobs_write.find([job])
    return rows.get(job)


def page(tenant: str, state: State | None, before: int, limit: int) -> Program[list[JobRow]]:
    """See `JobStore.list`."""
    number = int(state) if state is not None else 0
    values = (before or _NUMBER_MAX, number, limit)
    one = Fetch(_LIST.format(_OF_TENANT), (*values, tenant)) if tenant else Fetch(_LIST.format(""), values)
    found = yield one
    rows = [to_row(row) for row in found]
    outcomes = {one[0]: one for one in (yield Find(OUTCOMES, "job", [row.subject.job for row in rows]))}
    return [with_outcome(row, outcomes.get(row.subject.job)).bare() for row in rows]


def undriven(standing: Sequence[bytes], after: tuple[int, int], limit: int) -> Program[list[JobRow]]:
    """See `JobStore.undriven`."""
    marks = ", ".join(f"${4 + at}" for at in range(len(standing)))
    query = _UNDRIVEN.format(f"AND session NOT IN ({marks})" if standing else "")
    return [to_row(row) for row in (yield Fetch(query, (*after, limit, *standing)))]


def renew(sessions: Sequence[Session]) -> Program[None]:
    """See `JobStore.renew`."""
    now_ms = yield Now()
    for row in sorted(sessions, key=lambda one: one.session):
        yield Run(_RENEW, (row.session, row.node, row.incarnation, row.beat, now_ms))


def leave(session: bytes) -> Program[None]:
    """See `JobStore.leave`."""
    yield Run("DELETE FROM sessions WHERE session = $1", (session,))


def sessions() -> Program[list[Session]]:
    """See `JobStore.sessions`."""
    return [Session(*row) for row in (yield Fetch(_SESSIONS))]


def accounts(tenant: str, after: str, limit: int) -> Program[list[AccountRow]]:
    """See `JobStore.accounts`."""
    today = (yield Now()) // _DAY_MS
    return [AccountRow(*row) for row in (yield Fetch(_ACCOUNTS, (tenant, after, limit, today)))]


def outbox(after: int, limit: int) -> Program[list[Usage]]:
    """See `JobStore.outbox`."""
    return [_usage(row) for row in (yield Fetch(_OUTBOX, (after, limit)))]


def outbox_done(numbers: Sequence[int]) -> Program[None]:
    """See `JobStore.outbox_done`."""
    for number in sorted(numbers):
        yield Run("UPDATE usage SET billed = 1 WHERE number = $1", (number,))


def usage_hour(hour: int) -> Program[list[UsageHour]]:
    """See `JobStore.usage_hour`."""
    rows = yield Fetch(_HOUR, (hour * _HOUR_MS, (hour + 1) * _HOUR_MS, hour))
    return [
        UsageHour(tenant, hour, model, version, price, Position(int(into), int(out), int(size)), int(micros))
        for tenant, model, version, price, into, out, size, micros in rows
    ]


def _usage(row: Sequence[Any]) -> Usage:
    number, tenant, job, epoch, model, version, into, out, size, price_version, micros, at_ms = row
    return Usage(number, tenant, job, epoch, model, version, Position(into, out, size), price_version, micros, at_ms)
