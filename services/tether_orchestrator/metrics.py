"""What an orchestrator counts."""

from prometheus_client import Counter, Gauge, Histogram

_FAST_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)  # a commit is 0.1 to 10 ms

PLACE = Histogram("tether_orchestrator_place_seconds", "Time of Place, by outcome.", ["outcome"], buckets=_FAST_S)
RESERVE = Histogram("tether_orchestrator_reserve_seconds", "Time until a reservation is durable.", buckets=_FAST_S)
COMMIT = Histogram("tether_orchestrator_commit_seconds", "Time until an outcome is durable.", buckets=_FAST_S)
REFUSED = Counter("tether_orchestrator_refused_total", "Placements refused, by reason.", ["reason"])
OUTCOMES = Counter("tether_orchestrator_outcomes_total", "Outcomes that were written, by outcome.", ["outcome"])
FLEET = Gauge("tether_orchestrator_workers", "Workers of the fleet, by standing.", ["standing"])
SESSIONS = Gauge("tether_orchestrator_sessions", "Gateway sessions that are open here.")
TRIPPED = Counter("tether_orchestrator_breaker_changes_total", "Changes of breakers, by new state.", ["state"])
LOST = Counter("tether_orchestrator_workers_lost_total", "Workers that were declared dead.")
EXPIRED = Counter("tether_orchestrator_jobs_expired_total", "Jobs abandoned because nobody ended them.")
ORPHANED = Counter("tether_orchestrator_jobs_orphaned_total", "Jobs abandoned because gateway and worker are gone.")
PURGED = Counter("tether_orchestrator_jobs_purged_total", "Jobs forgotten because their retention is over.")
UNKEPT = Counter(
    "tether_orchestrator_answers_unkept_total", "Answers not kept because they disagree with their receipt."
)
UPKEEP_FAILED = Counter("tether_orchestrator_upkeep_failed_total", "Rounds of upkeep that failed, by task.", ["task"])
RELAYS = Gauge("tether_orchestrator_relays", "Links between gateways and workers that are passed on here.")
_RELAYED = Counter(
    "tether_orchestrator_relayed_bytes_total", "Bytes of links that were passed on, by direction.", ["way"]
)
RELAYED_OUT, RELAYED_IN = _RELAYED.labels("to_worker"), _RELAYED.labels("to_gateway")
