"""Prometheus metrics of the gateway."""

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

REQUESTS = Counter("tether_gateway_requests_total", "Infer calls that ended, by outcome", ["outcome"])
SECONDS = Histogram("tether_gateway_request_seconds", "Time of Infer calls", buckets=_SECONDS)
FIRST_SECONDS = Histogram("tether_gateway_first_chunk_seconds", "Time to the first chunk", buckets=_SECONDS)
PLACE_SECONDS = Histogram("tether_gateway_place_seconds", "Time of placements", buckets=_SECONDS)
COMMIT_SECONDS = Histogram("tether_gateway_commit_seconds", "Time of commits", buckets=_SECONDS)
COMMIT_LATE = Counter("tether_gateway_commit_late_total", "Commits that took longer than the commit wait")
PENDING = Counter("tether_gateway_pending_total", "Last chunks that left before their commit, from the journal")
JOURNALED = Gauge("tether_gateway_journaled", "Ends in the journal that no store has yet")
SETTLED = Counter("tether_gateway_settled_total", "Jobs that were settled, by outcome", ["outcome"])
MOVED = Counter("tether_gateway_moved_total", "Attempts that were followed by another, by cause", ["cause"])
MOVE_SECONDS = Histogram(
    "tether_gateway_move_seconds", "Time from an attempt's end to the next one's start", buckets=_SECONDS
)
BROKEN = Counter("tether_gateway_broken_total", "Attempts that were left because their worker's stream broke a rule")
REATTACHED = Counter("tether_gateway_reattached_total", "Attempts taken up again on a new link")
RESUMED = Counter("tether_gateway_resumed_total", "Resume calls, by what they read", ["way"])
HEDGED = Counter("tether_gateway_hedged_total", "First chunks that were raced, by who came first", ["winner"])
DEPOSITED = Counter("tether_gateway_deposited_total", "Dead letters handed over, by what they hold", ["what"])
RECALLED = Counter("tether_gateway_recalled_total", "Jobs given up whose placement was never acknowledged")
STREAMS = Gauge("tether_gateway_streams", "Infer calls that run")
JOBS = Gauge("tether_gateway_jobs", "Jobs in the stream table")
WAITING_BYTES = Gauge("tether_gateway_waiting_bytes", "Bytes that wait for clients")
SESSIONS = Gauge("tether_gateway_sessions", "Sessions with orchestrators that stand")
