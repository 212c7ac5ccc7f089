"""Metrics of artifacts."""

from prometheus_client import Counter

FETCHED_BYTES = Counter("tether_artifact_fetched_bytes", "Bytes that were fetched and verified.")
FETCH_FAILURES = Counter("tether_artifact_fetch_failures", "Sources that failed, by reason.", ["reason"])
