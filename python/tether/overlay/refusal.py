"""Why something from the network was dropped: a closed set, counted, never raised across the socket."""

from collections import Counter
from enum import Enum

from tether.overlay import metrics


class Refusal(Enum):
    """Reasons; the value is the metric's label."""

    MALFORMED = "malformed"  # no such datagram, message or record
    OVERSIZED = "oversized"  # over the limit for its kind
    FOREIGN = "foreign-network"  # another network's tag or id
    FORGED = "forged"  # a signature or seal that does not hold
    REPLAYED = "replayed"  # a counter, nonce or handshake that was seen before
    STALE = "stale"  # an older sequence than the one that holds
    EXPIRED = "expired"  # issued outside the window that clocks may differ by
    LIFETIME = "lifetime"  # holds longer than its topic allows
    TOPIC = "topic"  # a name that breaks the rules, or another topic than asked for
    CONTENT = "content"  # a body that does not belong on the topic, or speaks for another node
    ROLE = "role"  # the writer's roles may not write this
    REGION = "region"  # the writer may not act in the topic's region
    CREDENTIAL = "credential"  # missing, unknown, expired or not of this network's issuers
    RELAYED = "relayed"  # stored by another node than its writer
    BUDGET = "budget"  # a source, or all of them, send more than they may
    FULL = "full"  # no room for more records
    SESSION = "session"  # no session with that address
    FAULT = "fault"  # this node's own fault while it read a datagram; logged
    CLOSED = "closed"  # a call that this network does not offer, such as the package's open get and set


class Refusals:
    """Counts refusals of one node, and of the process for Prometheus."""

    def __init__(self) -> None:
        self._counts: Counter[Refusal] = Counter()

    def add(self, refusal: Refusal) -> None:
        """Count one."""
        self._counts[refusal] += 1
        metrics.REFUSED.labels(refusal.value).inc()

    def __getitem__(self, refusal: Refusal) -> int:
        return self._counts[refusal]

    def by_reason(self) -> dict[str, int]:
        """Counts by the reason's label; reasons that never occurred are left out."""
        return {refusal.value: count for refusal, count in self._counts.items() if count}
