"""Metrics of the bridge."""

from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter("tether_bridge_requests", "Requests, by route and HTTP status.", ["route", "status"])
RUNNING = Gauge("tether_bridge_running", "Requests that are being answered.")
DISCONNECTS = Counter("tether_bridge_disconnects", "Clients that left before the end of their answer.")
HEADS_REFUSED = Counter("tether_bridge_heads_refused", "Connections closed for their head, by reason.", ["reason"])
FIRST_CHUNK_SECONDS = Histogram(
    "tether_bridge_first_chunk_seconds",
    "Time from a request's last byte to the first chunk of its answer.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
