"""Dead letters as programs: buried in the transaction that ends their job, kept within limits, taken back by name."""

from collections.abc import Sequence
from typing import Any

from tether.store.jobs_letter import (
    FRAME_BYTES_MAX,
    KINDS,
    DeadLetter,
    Deposit,
    LetterGroup,
    LetterLimits,
    LetterQuery,
)
from tether.store.jobs_row import newest, plain, to_past, to_row, with_outcome
from tether.store.jobs_table import (
    ATTEMPTS,
    JOBS,
    LETTER_AGAIN,
    LETTER_BARE,
    LETTER_KEPT,
    LETTER_NAMES,
    LETTER_REQUEUED,
    LETTERS,
    OUTCOMES,
)
from tether.store.jobs_type import Completion, JobRow, PastAttempt
from tether.store.step import Delete, Fetch, Find, Insert, Mutex, Now, Program, Run, Together, Update

LETTERS_MUTEX = 1  # limits are counted by one at a time
_NUMBER_MAX = 2**63 - 1
_GROUPS_MAX = 100  # of each kind
_COLUMNS = ", ".join(LETTER_BARE.columns)
_LIST = (
    f"SELECT {_COLUMNS} FROM dead_letters WHERE number < $1 AND ($2 = '' OR tenant = $2) "  # noqa: S608 - no value
    "AND ($3 = '' OR reason = $3) AND ($4 = '' OR model = $4) ORDER BY number DESC LIMIT $5"
)
_SIZE = "SELECT count(*), coalesce(sum(kept_bytes), 0) FROM dead_letters"
_OLDEST = "SELECT name, kept_bytes, created_ms FROM dead_letters ORDER BY number LIMIT $1"


def bury(graves: Sequence[tuple[JobRow, Completion]], now_ms: int) -> Program[None]:
    """Write dead letters of jobs that died now; one that was taken back and died again keeps its request."""
    names = [row.subject.job.hex() for row, _asked in graves]
    there = {row[1] for row in (yield Find(LETTER_BARE, "name", names))}
    new, again = [], []
    for row, asked in graves:
        name, reason, message = row.subject.job.hex(), _reason(asked), plain(asked.error)
        facts = (reason, message, row.worker.node, row.fingerprint, plain(asked.trace_id))
        if name in there:
            again.append((*facts, now_ms, row.requeues, name))
        else:
            subject = row.subject
            whose = (name, subject.job, subject.tenant, subject.model)
            new.append((*whose, *facts, "", 0, now_ms, row.requeues, None, b"", b""))
    yield Together([Insert(LETTERS, new), Update(LETTER_AGAIN, again)])


def requeued(jobs: Sequence[bytes], now_ms: int) -> Program[None]:
    """Note that dead jobs were taken back."""
    names = [job.hex() for job in jobs]
    rows = yield Find(LETTER_BARE, "name", names)
    at = LETTER_BARE.columns.index("requeues")
    yield Together([Update(LETTER_REQUEUED, [(row[at] + 1, now_ms, row[1]) for row in rows])])


def deposit(asked: Deposit, name: str, limits: LetterLimits) -> Program[bool]:
    """Keep a request or a frame; see `JobStore.deposit`.

    Args:
        asked: what to keep.
        name: of a new dead letter, for a frame.
        limits: how much is kept.
    """
    now_ms = yield Now()
    yield Mutex(LETTERS_MUTEX)
    [(_count, kept)] = yield Fetch(_SIZE)
    if not asked.job:
        frame = asked.frame[:FRAME_BYTES_MAX] if int(kept) + FRAME_BYTES_MAX <= limits.bytes_max else b""
        row = (
            name, b"", "", "", plain(asked.reason), plain(asked.message), "", b"", plain(asked.trace_id),
            plain(asked.peer), len(frame), now_ms, 0, None, b"", frame,
        )  # fmt: skip
        yield Insert(LETTERS, [row])
        yield from trim(limits, now_ms, 1)
        return bool(frame) or not asked.frame
    size = len(asked.request)
    there = yield Fetch("SELECT kept_bytes FROM dead_letters WHERE name = $1", (asked.job.hex(),))
    if not there or size > limits.one_bytes_max or int(kept) - there[0][0] + size > limits.bytes_max:
        return False
    yield Update(LETTER_KEPT, [(size, asked.request, asked.job.hex())])
    return True


def trim(limits: LetterLimits, now_ms: int, limit: int) -> Program[int]:
    """Forget at most `limit` dead letters that are too old or too many; returns how many."""
    [(count, kept)] = yield Fetch(_SIZE)
    over_rows, over_bytes = int(count) - limits.rows_max, int(kept) - limits.bytes_max
    gone = []
    for name, size, created_ms in (yield Fetch(_OLDEST, (limit,))):
        if created_ms >= now_ms - limits.kept_ms and over_rows <= 0 and over_bytes <= 0:
            break
        gone.append(name)
        over_rows, over_bytes = over_rows - 1, over_bytes - size
    if gone:
        yield Delete(LETTERS, "name", gone)
    return len(gone)


def drop(name: str) -> Program[bool]:
    """Forget one; see `JobStore.drop`."""
    changed = yield Run("DELETE FROM dead_letters WHERE name = $1", (name,))
    return bool(changed)


def page(query: LetterQuery, limit: int) -> Program[list[DeadLetter]]:
    """A page with the jobs as they stand; see `JobStore.dead_letters`."""
    before = query.before or _NUMBER_MAX
    found = yield Fetch(_LIST, (before, query.tenant, query.reason, query.model, limit))
    letters = [to_letter(row) for row in found]
    rows = {row[1]: to_row(row) for row in (yield Find(JOBS, "job", [one.job for one in letters if one.job]))}
    return [_joined(letter, rows.get(letter.job)) for letter in letters]


def letter(name: str) -> Program[DeadLetter | None]:
    """One with all that is kept; see `JobStore.dead_letter`."""
    found = yield Fetch(f"SELECT {_COLUMNS}, request, frame FROM dead_letters WHERE name = $1", (name,))  # noqa: S608
    if not found:
        return None
    *bare, request, frame = found[0]
    one = to_letter(bare)
    rows = yield Find(JOBS, "job", [one.job] if one.job else [])
    row = to_row(rows[0]) if rows else None
    if row is not None:
        outcome = yield Find(OUTCOMES, "job", [one.job])
        row = with_outcome(row, outcome[0] if outcome else None)
    attempts = yield from attempts_of(one.job)
    return _joined(one, row, request, frame, tuple(attempts))


def attempts_of(job: bytes) -> Program[list[PastAttempt]]:
    """All attempts of a job, oldest first; see `JobStore.attempts_of`."""
    past = [to_past(row) for row in (yield Find(ATTEMPTS, "job", [job] if job else []))]
    rows = yield Find(JOBS, "job", [job] if job else [])
    return sorted([*past, *(newest(to_row(row)) for row in rows)], key=lambda one: one.epoch)


def analyze(by: str, since_ms: int) -> Program[list[LetterGroup]]:
    """Groups; see `JobStore.analyze`."""
    groups: list[LetterGroup] = []
    for kind in KINDS if not by else (by,) if by in KINDS else ():
        query = (
            f"SELECT {kind}, count(*), min(created_ms), max(created_ms), max(number) FROM dead_letters "  # noqa: S608
            f"WHERE created_ms >= $1 GROUP BY {kind} ORDER BY count(*) DESC, {kind} LIMIT $2"
        )
        found = yield Fetch(query, (since_ms, _GROUPS_MAX))
        names = dict((yield Find(LETTER_NAMES, "number", [row[4] for row in found])))
        for value, count, first_ms, last_ms, number in found:
            text = value.hex() if isinstance(value, bytes) else value
            groups.append(LetterGroup(kind, text, int(count), first_ms, last_ms, names.get(number, "")))
    return groups


def to_letter(row: Sequence[Any]) -> DeadLetter:
    """A row of `LETTER_BARE`."""
    number, name, *facts = row
    return DeadLetter(name, number, *facts)


def _joined(
    one: DeadLetter,
    row: JobRow | None,
    request: bytes = b"",
    frame: bytes = b"",
    attempts: tuple[PastAttempt, ...] = (),
) -> DeadLetter:
    facts = {field: getattr(one, field) for field in DeadLetter.__slots__}
    return DeadLetter(**{**facts, "row": row, "request": request, "frame": frame, "attempts": attempts})


def _reason(asked: Completion) -> str:
    """What the dead letter is filed under."""
    return plain(asked.reason or asked.error.partition(":")[0])
