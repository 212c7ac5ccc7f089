"""Upkeep of the job store, as programs: what may be forgotten, and whether the books agree.

What is forgotten is added up first (ledger per tenant, usage per hour), so tables stay bounded and every sum still
holds for good.
"""

from collections.abc import Mapping, Sequence

from tether.store import jobs_lease, jobs_letters
from tether.store.jobs_books import open_books
from tether.store.jobs_letter import LetterLimits
from tether.store.jobs_quota import Verified
from tether.store.jobs_table import ATTEMPTS, JOBS, LEASES, LEDGER, LEDGER_PARTS, OUTCOMES
from tether.store.step import Delete, Fetch, Find, Mutex, Now, Program, Run, Table

KEYED_KEPT_MS = 86_400_000  # 24 h: a repeat of a key gets its answer so long
UNKEYED_KEPT_MS = 3_600_000  # nobody can ask for these again; an hour is for people who look
LEASE_OVER_MS = 60_000  # the holder's own journal may still come in
_LEASE_KEPT_MS = 86_400_000  # a closed one is known that long, so that nothing reopens it
_USAGE_KEPT_MS = KEYED_KEPT_MS  # single rows while their job is there, sums per hour afterwards
_UNBILLED_KEPT_MS = 30 * 86_400_000  # a billing endpoint that is away for a month gets hours instead of jobs
_SESSION_KEPT_MS = 3_600_000  # lapsed for 720 leases
_HOUR_MS = 3_600_000
_USAGE_MUTEX = 2

_OLD = (
    "SELECT job, tenant FROM jobs WHERE keyed = $1 AND ended_ms < $2 AND ended_ms IS NOT NULL AND NOT (state = 6 "
    "AND EXISTS (SELECT 1 FROM dead_letters WHERE dead_letters.job = jobs.job)) ORDER BY ended_ms LIMIT $3"
)
_SUM_LEDGER = """
INSERT INTO ledger_sums (tenant, entries, held, settled, held_micros, settled_micros) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (tenant) DO UPDATE SET entries = ledger_sums.entries + excluded.entries,
held = ledger_sums.held + excluded.held, settled = ledger_sums.settled + excluded.settled,
held_micros = ledger_sums.held_micros + excluded.held_micros,
settled_micros = ledger_sums.settled_micros + excluded.settled_micros
"""
_SUM_USAGE = """
INSERT INTO usage_hours
(tenant, hour, model, version, price_version, input_tokens, output_tokens, output_bytes, cost_micros)
SELECT tenant, at_ms / $2, model, version, price_version, sum(input_tokens), sum(output_tokens), sum(output_bytes),
sum(cost_micros) FROM usage WHERE number <= $1 AND (billed = 1 OR at_ms < $4) AND at_ms < $3 GROUP BY 1, 2, 3, 4, 5
ON CONFLICT (hour, tenant, model, version, price_version) DO UPDATE SET
input_tokens = usage_hours.input_tokens + excluded.input_tokens,
output_tokens = usage_hours.output_tokens + excluded.output_tokens,
output_bytes = usage_hours.output_bytes + excluded.output_bytes,
cost_micros = usage_hours.cost_micros + excluded.cost_micros
"""
_LAST_OLD = (
    "SELECT max(number) FROM (SELECT number FROM usage WHERE at_ms < $1 AND (billed = 1 OR at_ms < $3) "
    "ORDER BY at_ms, number LIMIT $2) AS old"
)

_SUMS = """
SELECT tenant FROM (SELECT tenant, {account} AS n FROM accounts
{rest}) AS sums WHERE ($1 = '' OR tenant = $1) GROUP BY tenant HAVING sum(n) <> 0"""


def _differs(account: str, *others: tuple[str, str]) -> str:
    """Tenants whose account differs from the sum of columns of other tables."""
    rest = "\n".join(f"UNION ALL SELECT tenant, -({column}) FROM {table}" for column, table in others)  # noqa: S608
    return _SUMS.format(account=account, rest=rest)


_OPEN_JOBS = "jobs WHERE state = 1"
_OF_JOBS = "SELECT job FROM jobs WHERE ($1 = '' OR tenant = $1) AND {}"
_CHECKS: Mapping[str, str] = {
    "held of the account differs from the holds of open jobs and leases": _differs(
        "held_tokens", ("held_tokens", _OPEN_JOBS), ("tokens", "leases")
    ),
    "held spend of the account differs from the holds of open jobs and leases": _differs(
        "held_micros", ("held_micros", _OPEN_JOBS), ("micros", "leases")
    ),
    "open jobs of the account differ from the jobs that are open": _differs("open_jobs", ("1", _OPEN_JOBS)),
    "held of the account differs from the ledger": _differs("held_tokens", ("held", "ledger"), ("held", "ledger_sums")),
    "held spend of the account differs from the ledger": _differs(
        "held_micros", ("held_micros", "ledger"), ("held_micros", "ledger_sums")
    ),
    "settled of the account differs from the ledger": _differs(
        "settled_input+settled_output", ("settled", "ledger"), ("settled", "ledger_sums")
    ),
    "settled spend of the account differs from the ledger": _differs(
        "settled_micros", ("settled_micros", "ledger"), ("settled_micros", "ledger_sums")
    ),
    "settled input of the account differs from the usage": _differs(
        "settled_input", ("input_tokens", "usage"), ("input_tokens", "usage_hours")
    ),
    "settled output of the account differs from the usage": _differs(
        "settled_output", ("output_tokens", "usage"), ("output_tokens", "usage_hours")
    ),
    "settled spend of the account differs from the usage": _differs(
        "settled_micros", ("cost_micros", "usage"), ("cost_micros", "usage_hours")
    ),
    "a job that has ended holds quota": _OF_JOBS.format("state <> 1 AND (held_tokens <> 0 OR held_micros <> 0)"),
    "a job's end and its state differ": _OF_JOBS.format("(state = 1) <> (ended_ms IS NULL)"),
    "what a job settled differs from its ledger": _OF_JOBS.format(
        "settled_input + settled_output <> (SELECT coalesce(sum(settled), 0) FROM ledger WHERE ledger.job = jobs.job)"
    ),
    "what a job cost differs from its ledger": _OF_JOBS.format(
        "cost_micros <> (SELECT coalesce(sum(settled_micros), 0) FROM ledger WHERE ledger.job = jobs.job)"
    ),
    "what a job cost differs from its price": _OF_JOBS.format(
        "state <> 1 AND cost_micros <> CASE WHEN price_version = 0 THEN 0 "
        "ELSE (settled_input * price_input + settled_output * price_output + 999) / 1000 END"
    ),
    "a job is of another tenant than its ledger": _OF_JOBS.format(
        "EXISTS (SELECT 1 FROM ledger WHERE ledger.job = jobs.job AND ledger.tenant <> jobs.tenant)"
    ),
    "a job settled more output than it may use": _OF_JOBS.format("settled_output > limit_tokens"),
    "usage is of another tenant than its job": "SELECT usage.job FROM usage JOIN jobs ON jobs.job = usage.job "
    "WHERE ($1 = '' OR usage.tenant = $1) AND usage.tenant <> jobs.tenant",
    "what a job holds differs from its ledger": _OF_JOBS.format(
        "held_tokens <> (SELECT coalesce(sum(held), 0) FROM ledger WHERE ledger.job = jobs.job)"
    ),
    "a job's ledger has a gap": _OF_JOBS.format("entries <> (SELECT count(*) FROM ledger WHERE ledger.job = jobs.job)"),
    "a job's outcome is missing or too early": _OF_JOBS.format(
        "(state = 1) = EXISTS (SELECT 1 FROM outcomes WHERE outcomes.job = jobs.job)"
    ),
    "a lease's hold differs from its ledger": "SELECT lease FROM leases WHERE ($1 = '' OR tenant = $1) AND "
    "tokens <> (SELECT coalesce(sum(held), 0) FROM ledger WHERE ledger.job = leases.lease)",
    "a lease that was given back holds quota": "SELECT lease FROM leases WHERE ($1 = '' OR tenant = $1) AND "
    "open = 0 AND (tokens <> 0 OR micros <> 0)",
    "a counter is negative": "SELECT tenant FROM accounts WHERE ($1 = '' OR tenant = $1) AND (open_jobs < 0 "
    "OR held_tokens < 0 OR held_micros < 0 OR settled_input < 0 OR settled_output < 0 OR settled_micros < 0 "
    "OR day_tokens < 0 OR day_micros < 0)",
}


def purge(limit: int, letters: LetterLimits, *, alone: bool, outbox: bool) -> Program[int]:
    """Forget old jobs with what belongs to them, old dead letters and closed leases, and add up old usage.

    Args:
        limit: at most so many of each.
        letters: how many dead letters are kept.
        alone: whether nobody else writes.
        outbox: whether somebody takes usage by `outbox`; until then it is kept row by row.

    Returns:
        How many jobs went.
    """
    now_ms = yield Now()
    yield Mutex(jobs_letters.LETTERS_MUTEX)
    yield from jobs_letters.trim(letters, now_ms, limit)
    yield from jobs_lease.over(now_ms - LEASE_OVER_MS, limit, alone=alone)
    gone = yield from _old(now_ms, limit)
    if gone:
        yield from open_books(tenant for _job, tenant in gone)
        if not alone:
            again = {job for job, _tenant in (yield from _old(now_ms, limit))}
            gone = [(job, tenant) for job, tenant in gone if job in again]
        yield from _forget([job for job, _tenant in gone], (OUTCOMES, ATTEMPTS, JOBS))
    yield from _forget_leases(now_ms, limit)
    yield from _add_up(now_ms, limit, outbox=outbox)
    yield Run("DELETE FROM sessions WHERE at_ms < $1", (now_ms - _SESSION_KEPT_MS,))
    return len(gone)


def _old(now_ms: int, limit: int) -> Program[list[tuple[bytes, str]]]:
    unkeyed = yield Fetch(_OLD, (0, now_ms - UNKEYED_KEPT_MS, limit))
    keyed = yield Fetch(_OLD, (1, now_ms - KEYED_KEPT_MS, limit - len(unkeyed)))
    return [(row[0], row[1]) for row in (*unkeyed, *keyed)]


def _forget(jobs: Sequence[bytes], tables: Sequence[Table]) -> Program[None]:
    """Add up the ledger of jobs or leases per tenant, then remove it and their rows."""
    sums: dict[str, list[int]] = {}
    for row in (yield Find(LEDGER_PARTS, "job", jobs)):
        total = sums.setdefault(row[0], [0, 0, 0, 0, 0])
        for at, value in enumerate((1, *row[1:])):
            total[at] += value
    for tenant, total in sorted(sums.items()):
        yield Run(_SUM_LEDGER, (tenant, *total))
    yield Delete(LEDGER, "job", jobs)
    for table in tables:
        yield Delete(table, table.key[0], jobs)


def _forget_leases(now_ms: int, limit: int) -> Program[None]:
    query = "SELECT lease, tenant FROM leases WHERE open = 0 AND until_ms < $1 ORDER BY until_ms LIMIT $2"
    rows = yield Fetch(query, (now_ms - _LEASE_KEPT_MS, limit))
    if rows:
        yield from open_books(row[1] for row in rows)
        yield from _forget([row[0] for row in rows], (LEASES,))


def _add_up(now_ms: int, limit: int, *, outbox: bool) -> Program[None]:
    yield Mutex(_USAGE_MUTEX)
    before_ms = now_ms - _USAGE_KEPT_MS
    unbilled_ms = now_ms - (_UNBILLED_KEPT_MS if outbox else _USAGE_KEPT_MS)
    [(last,)] = yield Fetch(_LAST_OLD, (before_ms, limit, unbilled_ms))
    if last is not None:
        yield Run(_SUM_USAGE, (last, _HOUR_MS, before_ms, unbilled_ms))
        query = "DELETE FROM usage WHERE number <= $1 AND (billed = 1 OR at_ms < $3) AND at_ms < $2"
        yield Run(query, (last, before_ms, unbilled_ms))


def verify(tenant: str) -> Program[Verified]:
    """Violations of the invariants, each with the first tenants or jobs it touches."""
    found = []
    for words, query in _CHECKS.items():
        rows = yield Fetch(query + " LIMIT 3", (tenant,))
        if rows:
            found.append(f"{words}: {', '.join(_name(row[0]) for row in rows)}")
    [(jobs,)] = yield Fetch("SELECT count(*) FROM jobs WHERE ($1 = '' OR tenant = $1)", (tenant,))
    [(entries,)] = yield Fetch("SELECT count(*) FROM ledger WHERE ($1 = '' OR tenant = $1)", (tenant,))
    return Verified(tuple(found), int(jobs), int(entries))


def _name(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
