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
DEPOSITS = Counter("tether_orchestrator_deposits_total", "Requests and frames that were handed over.", ["kept"])
FORWARDED = Counter(
    "tether_orchestrator_dead_letters_forwarded_total", "Dead letters for the sink, by result.", ["result"]
)
STORE_DOWN = Gauge("tether_orchestrator_store_down", "1 while the job store cannot be written.")
PENDING = Gauge("tether_orchestrator_pending_ends", "Outcomes in the journal that wait for the store.")
SLICES = Gauge("tether_orchestrator_slices", "Slices of quota that are held for work without the store.")
OFFLINE = Counter("tether_orchestrator_offline_jobs_total", "Jobs that were placed without the store.")
OFFLINE_JOBS = Gauge("tether_orchestrator_offline_unwritten", "Jobs placed without the store that are not in it yet.")
BREAKERS_OPEN = Gauge("tether_orchestrator_breakers_open", "Breakers that are open or half-open.")
EJECTED = Gauge("tether_orchestrator_workers_ejected", "Workers that are ejected as outliers.")
EJECTIONS = Counter("tether_orchestrator_ejections_total", "Times that a worker was ejected as an outlier.")
QUEUED = Gauge("tether_orchestrator_queued", "Requests that wait for a worker, by class.", ["priority"])
QUEUE_WAIT = Histogram(
    "tether_orchestrator_queue_wait_seconds", "Time that requests waited for a worker.", buckets=(*_FAST_S, 10.0, 30.0)
)
SHED = Counter("tether_orchestrator_shed_total", "Requests that found no room, by what became of them.", ["outcome"])
