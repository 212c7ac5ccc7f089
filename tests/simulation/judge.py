"""What must hold of a seed: asked while it runs, at every commit, and when all is over."""

from collections.abc import Sequence
from typing import Any

from ask import Ask
from books import books_of, rows
from database import SimDatabase
from mix import POISON
from world import World

from tether.errors import Reason
from tether.store.jobs_store import SqlJobStore
from tether.testing import invariants
from tether.v1.infer_pb2 import Infer, JobState

# what a request that never began may be told while things are broken
REFUSALS = frozenset(
    {
        Reason.NO_WORKER,
        Reason.NO_ORCHESTRATOR,
        Reason.STORE_UNAVAILABLE,
        Reason.UNREACHABLE,
        Reason.OVERLOADED,
        Reason.WORKER_LOST,
        Reason.DRAINING,
        Reason.SETTLEMENT_FAILED,
        Reason.DEADLINE,
    }
)
LIMITED = frozenset({Reason.QUOTA_EXCEEDED, Reason.RATE_LIMITED})
DEADLY = frozenset({Reason.POISON, Reason.JOB_FAILED, Reason.WORKER_LOST})
AWAY = frozenset({Reason.JOB_UNKNOWN, Reason.WORKER_LOST, Reason.JOB_CANCELLED, Reason.ANSWER_NOT_KEPT})
KEPT_MAX = 3  # workers that one prompt may end, as streams.md §7 says


class Judge:
    """Judges one world.

    Args:
        world: which.
        asks: its requests.
    """

    def __init__(self, world: World, asks: Sequence[Ask]) -> None:
        self._world, self._asks = world, asks
        self.wrong: list[str] = []
        quota = world.setting.quota
        if quota is not None:
            world.disk.committed = self._limits

    def jobs_open(self) -> int:
        """Jobs that have not ended."""
        return int(self._rows("SELECT count(*) FROM jobs WHERE state = 1")[0][0])

    def forlorn(self) -> bool:
        """Whether open jobs are all that is left, and nobody who lives drives any of them."""
        lives = {core.session_id for name, core in self._world.lives.items() if name.startswith("gateway") and core}
        sessions = {row[0] for row in self._rows("SELECT session FROM jobs WHERE state = 1")}
        left = [what for what, count in self.left().items() if count]
        return left == ["open jobs"] and not sessions & lives

    def _rows(self, query: str) -> list[Any]:
        return rows(self._world.disk.connection, query)

    # at every commit

    def _limits(self) -> None:
        quota, passed_s = self._world.setting.quota, self._world.loop.time()
        if quota is None or len(self.wrong) > 3:
            return
        if quota.concurrent_jobs:
            jobs = dict(self._rows("SELECT tenant, count(*) FROM jobs WHERE state = 1 GROUP BY tenant"))
            self.wrong += invariants.check_limits(jobs, quota.concurrent_jobs, "jobs at a time")
        if quota.tokens_per_day:
            query = "SELECT tenant, sum(held_tokens + settled_input + settled_output) FROM jobs GROUP BY tenant"
            self.wrong += invariants.check_limits(dict(self._rows(query)), quota.tokens_per_day, "tokens in a day")
        if quota.requests_per_minute:
            most = quota.requests_per_minute + 1 + int(passed_s * quota.requests_per_minute / 60)
            jobs = dict(self._rows("SELECT tenant, count(*) FROM jobs GROUP BY tenant"))
            self.wrong += invariants.check_limits(jobs, most, "requests in a minute")

    # at every end

    def finished(self, last: Infer.Chunk) -> None:
        """A client has an end: where that says that it is committed, it stands in the store."""
        body = Infer.ReceiptBody.FromString(last.receipt.body)
        [(state,)] = self._rows(f"SELECT state FROM jobs WHERE job = x'{body.job_id.hex()}'") or [(0,)]
        if last.settlement == Infer.SETTLEMENT_COMMITTED:
            self.wrong += invariants.check_committed(body.job_id.hex(), JobState.ValueType(state))

    # when all is over

    def streams(self) -> None:
        """What clients got."""
        for ask in self._asks:
            where = f"request {ask.number}, job {ask.job}"
            if not ask.ended:
                self.wrong.append(f"{where} hung after {len(ask.chunks)} chunks")
            elif ask.error is not None:
                if not self._may(ask):
                    self.wrong.append(f"{where}: ended with {ask.error} after {len(ask.chunks)} chunks")
                self.wrong += [f"{where}: {words}" for words in invariants.check_failure(ask.chunks, failed=True)]
            elif ask.whole:
                self.wrong += [f"{where}: {words}" for words in invariants.check_stream(ask.chunks, ask.expected)]

    def _may(self, ask: Ask) -> bool:
        """Whether a request may end as it did."""
        reason = ask.error.reason if ask.error is not None else Reason.INTERNAL
        same = [other for other in self._asks if other.name == ask.name and other.name] or [ask]
        if reason is Reason.JOB_CANCELLED:
            return any(other.called_off or other.on_disconnect == "cancel" for other in same)
        if reason is Reason.JOB_CONFLICT:
            return any(other.seed != ask.seed for other in same)
        if ask.prompt == POISON and reason in DEADLY:
            return True
        if reason is Reason.SETTLEMENT_FAILED and self._world.setting.journal_max < 10:
            return True
        if ask.back_s and reason in AWAY:
            return True
        began = any(chunk.continuation for chunk in ask.chunks)
        limited = self._world.setting.quota is not None and reason in LIMITED
        return not began and (limited or reason in REFUSALS)

    async def store(self) -> None:
        """What the store says."""
        store = await SqlJobStore.over(SimDatabase(self._world.disk))  # type: ignore[arg-type]
        self.wrong += list(await store.check())
        off = {ask.name or ask.number for ask in self._asks if ask.called_off}
        asks = [ask for ask in self._asks if ask.whole and not _overtaken(ask, off)]
        whole = {ask.job: ask for ask in asks}
        bills, written = {}, {}
        for job in whole:
            row = await store.get(bytes.fromhex(job))
            if row is not None:
                bills[job] = invariants.Bill(JobState.ValueType(row.state), row.settled.output_tokens)
                written[job] = Infer.Receipt.FromString(row.receipt).body
        self.wrong += invariants.check_bills(bills, {job: ask.tokens for job, ask in whole.items()})
        got = [(ask.job, ask.chunks[-1].receipt.body) for ask in asks]
        self.wrong += invariants.check_one_result(got, written)
        self.wrong += invariants.check_books(books_of(self._world.disk.connection))

    def left(self) -> dict[str, int]:
        """What nodes still have in their hands."""
        left = {"open jobs": self.jobs_open()}
        for name, core in self._world.lives.items():
            left[f"{name}, journal"] = self._world.kept(name)
            if core is None:
                left[f"{name}, beginning"] = 1
            elif name.startswith("gateway"):
                left[f"{name}, flights"] = len(core.conductor)
                left[f"{name}, readers"] = core.splice.table.stats()["readers"]
                left[f"{name}, tasks"] = len(core.tasks)
            elif name.startswith("worker"):
                left[f"{name}, attempts"] = len(core.jobs)
                left[f"{name}, logs"] = core.machine.logs.stats()["running"]
            else:
                left[f"{name}, queue"] = len(core.queue)
        return left

    def rest(self) -> None:
        """Nothing is left."""
        left = self.left()
        if self._world.setting.journal_max < 10:  # what found the disk full waits for the deadline
            left = {what: count for what, count in left.items() if "journal" not in what}
        self.wrong += invariants.check_rest(left)
        if self._world.deaths > KEPT_MAX and not self._broken():
            self.wrong.append(f"one prompt ended {self._world.deaths} workers")

    def _broken(self) -> bool:
        """Whether anything but the prompt broke."""
        words = ("stops", "is killed", "reach", "gone", "forgets", "slow", "off", "asked", "twice")
        return any(word in line for line in self._world.story for word in words)


def _overtaken(ask: Ask, off: set[Any]) -> bool:
    """Whether a cancel may have been written before the end of an answer that was delivered as pending."""
    return (ask.name or ask.number) in off and ask.chunks[-1].settlement == Infer.SETTLEMENT_PENDING
