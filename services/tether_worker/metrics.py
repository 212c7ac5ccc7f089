"""Prometheus metrics of the worker."""

from prometheus_client import Counter, Gauge, Histogram

STARTED = Counter("tether_worker_started_total", "Attempts that were started")
REFUSED = Counter("tether_worker_refused_total", "Starts that were refused, by reason", ["reason"])
ENDED = Counter("tether_worker_ended_total", "Attempts that ended, by how", ["how"])
CANCELLED = Counter("tether_worker_cancelled_total", "Attempts that were told to stop")
TOKENS = Counter("tether_worker_tokens_total", "Tokens generated")
SECONDS = Histogram(
    "tether_worker_attempt_seconds",
    "Time from start to end of an attempt",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800),
)
RUNNING = Gauge("tether_worker_running", "Attempts that run or wait")
SLOTS_FREE = Gauge("tether_worker_slots_free", "Slots that are free")
PENDING = Gauge("tether_worker_commits_pending", "Ends that no outcome is known of")
COMMITS_DROPPED = Gauge("tether_worker_commits_dropped", "Ends that were given up without an outcome")
JOURNALED = Counter("tether_worker_journaled_total", "Ends that were written to the journal")
JOURNAL_FAILED = Counter(
    "tether_worker_journal_failed_total", "Ends that no journal could take, and journals not opened"
)
