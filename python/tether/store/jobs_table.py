"""The tables of the job store as programs see them."""

from dataclasses import replace

from tether.store.step import Table

_BIG, _INT, _TEXT, _BYTES = "bigint", "integer", "text", "bytea"

JOBS = Table(
    "jobs",
    {
        "number": _BIG, "job": _BYTES, "tenant": _TEXT, "correlation_id": _TEXT, "retry_token": _TEXT,
        "keyed": _INT, "request_hash": _BYTES, "model": _TEXT, "version": _TEXT, "digest": _BYTES, "header": _BYTES,
        "limit_tokens": _BIG, "state": _INT, "epoch": _INT, "after_epoch": _INT, "attempts": _INT, "entries": _INT,
        "session": _BYTES, "driver": _TEXT, "worker": _TEXT, "worker_incarnation": _BIG, "worker_address": _TEXT,
        "seed": _BIG, "held_tokens": _BIG, "settled_input": _BIG, "settled_output": _BIG, "settled_bytes": _BIG,
        "created_ms": _BIG, "deadline_ms": _BIG, "ended_ms": _BIG, "error": _TEXT,
        "began_tokens": _BIG, "began_bytes": _BIG, "fingerprint": _BYTES, "placed_ms": _BIG, "cause": _INT,
        "raced_epoch": _INT, "poison": _INT, "alone": _INT, "requeues": _INT,
        "price_version": _BIG, "price_input": _BIG, "price_output": _BIG, "held_micros": _BIG, "held_day": _BIG,
        "cost_micros": _BIG,
    },
    ("job",),
    "number",
)  # fmt: skip
JOB_OWNER = JOBS.of(("job", "tenant"))
NEW_JOB = JOBS.of(
    (
        "job", "tenant", "correlation_id", "retry_token", "keyed", "request_hash", "model", "version", "digest",
        "header", "limit_tokens", "session", "driver", "worker", "worker_incarnation", "worker_address", "seed",
        "held_tokens", "created_ms", "deadline_ms", "fingerprint", "placed_ms", "price_version", "price_input",
        "price_output", "held_micros", "held_day",
    )
)  # fmt: skip
_AT_FIRST = {
    "state": 1, "epoch": 1, "after_epoch": 0, "attempts": 1, "entries": 1, "settled_input": 0, "settled_output": 0,
    "settled_bytes": 0,
}  # fmt: skip
IMPORTED_JOB = JOBS.of((*NEW_JOB.columns, *_AT_FIRST, "error", "ended_ms", "cost_micros"))
NEW_JOB = replace(NEW_JOB, fixed=(*((name, str(value)) for name, value in _AT_FIRST.items()), ("error", "''")))
NEXT_ATTEMPT = JOBS.of(
    (
        "state", "epoch", "after_epoch", "attempts", "entries", "session", "driver", "worker", "worker_incarnation",
        "worker_address", "held_tokens", "held_micros", "held_day", "deadline_ms", "ended_ms", "error",
        "began_tokens", "began_bytes", "fingerprint", "placed_ms", "cause", "raced_epoch", "poison", "alone",
        "requeues", "job",
    )
)  # fmt: skip
END = JOBS.of(
    (
        "state", "held_tokens", "held_micros", "settled_input", "settled_output", "settled_bytes", "cost_micros",
        "entries", "ended_ms", "error", "job",
    )
)  # fmt: skip
OUTCOMES = Table("outcomes", {"job": _BYTES, "receipt": _BYTES, "answer": _BYTES}, ("job",))
OUTCOME_SET = OUTCOMES.of(("receipt", "answer", "job"))
ATTEMPTS = Table(
    "attempts",
    {
        "job": _BYTES, "epoch": _INT, "worker": _TEXT, "worker_incarnation": _BIG, "worker_address": _TEXT,
        "fingerprint": _BYTES, "began_tokens": _BIG, "began_bytes": _BIG, "gained_tokens": _BIG,
        "gained_bytes": _BIG, "cause": _INT, "error": _TEXT, "raced": _INT, "placed_ms": _BIG, "ended_ms": _BIG,
    },
    ("job", "epoch"),
)  # fmt: skip
LEDGER = Table(
    "ledger",
    {
        "job": _BYTES, "entry": _INT, "tenant": _TEXT, "epoch": _INT, "kind": _INT, "held": _BIG, "settled": _BIG,
        "held_micros": _BIG, "settled_micros": _BIG, "at_ms": _BIG,
    },
    ("job", "entry"),
)  # fmt: skip
LEDGER_SUMS = Table(
    "ledger_sums",
    {"tenant": _TEXT, "entries": _BIG, "held": _BIG, "settled": _BIG, "held_micros": _BIG, "settled_micros": _BIG},
    ("tenant",),
)
ACCOUNTS = Table(
    "accounts",
    {
        "tenant": _TEXT, "open_jobs": _BIG, "held_tokens": _BIG, "held_micros": _BIG, "settled_input": _BIG,
        "settled_output": _BIG, "settled_micros": _BIG, "requests_full_us": _BIG, "tokens_full_us": _BIG,
        "tokens_per_minute": _BIG, "seen_ms": _BIG, "day": _BIG, "day_tokens": _BIG, "day_micros": _BIG,
    },
    ("tenant",),
)  # fmt: skip
ACCOUNT_SET = ACCOUNTS.of((*ACCOUNTS.columns[1:], "tenant"))
USAGE = Table(
    "usage",
    {
        "tenant": _TEXT, "job": _BYTES, "epoch": _INT, "model": _TEXT, "version": _TEXT, "input_tokens": _BIG,
        "output_tokens": _BIG, "output_bytes": _BIG, "price_version": _BIG, "cost_micros": _BIG, "at_ms": _BIG,
    },
    (),
    "number",
)  # fmt: skip
USAGE_HOURS = Table(
    "usage_hours",
    {
        "tenant": _TEXT, "hour": _BIG, "model": _TEXT, "version": _TEXT, "price_version": _BIG, "input_tokens": _BIG,
        "output_tokens": _BIG, "output_bytes": _BIG, "cost_micros": _BIG,
    },
    ("hour", "tenant", "model", "version", "price_version"),
)  # fmt: skip
SESSIONS = Table(
    "sessions", {"session": _BYTES, "node": _TEXT, "incarnation": _BIG, "beat": _BIG, "at_ms": _BIG}, ("session",)
)
LETTERS = Table(
    "dead_letters",
    {
        "name": _TEXT, "job": _BYTES, "tenant": _TEXT, "model": _TEXT, "reason": _TEXT, "message": _TEXT,
        "worker": _TEXT, "fingerprint": _BYTES, "trace_id": _TEXT, "peer": _TEXT, "kept_bytes": _BIG,
        "created_ms": _BIG, "requeues": _INT, "requeued_ms": _BIG, "request": _BYTES, "frame": _BYTES,
    },
    ("name",),
    "number",
)  # fmt: skip
LEASES = Table(
    "leases",
    {
        "lease": _BYTES, "tenant": _TEXT, "node": _TEXT, "tokens": _BIG, "micros": _BIG, "held_day": _BIG,
        "until_ms": _BIG, "open": _INT, "entries": _INT,
    },
    ("lease",),
)  # fmt: skip
LEASE_SET = LEASES.of(("tokens", "micros", "open", "entries", "lease"))
LETTER_AGAIN = LETTERS.of(("reason", "message", "worker", "fingerprint", "trace_id", "created_ms", "requeues", "name"))
LETTER_REQUEUED = LETTERS.of(("requeues", "requeued_ms", "name"))
LETTER_KEPT = LETTERS.of(("kept_bytes", "request", "name"))
LEDGER_PARTS = LEDGER.of(("tenant", "held", "settled", "held_micros", "settled_micros"))
LETTER_BARE = Table(
    LETTERS.name,
    {"number": _BIG, **{name: kind for name, kind in LETTERS.types.items() if name not in {"request", "frame"}}},
    LETTERS.key,
)
LETTER_NAMES = LETTER_BARE.of(("number", "name"))
META = Table("meta", {"name": _TEXT, "value": _BYTES}, ("name",))
NUMBERS = Table("numbers", {"name": _TEXT, "value": _BIG}, ("name",))
USAGE_WHOLE = Table("usage", {"number": _BIG, **USAGE.types, "billed": _INT}, ("number",))
LETTERS_WHOLE = Table("dead_letters", {"number": _BIG, **LETTERS.types}, ("number",))
