"""What servers count about calls."""

from prometheus_client import Counter

FAILURES = Counter("tether_rpc_failures_total", "Calls that a server ended with an error, by reason.", ["reason"])
FAULTS = Counter("tether_rpc_faults_total", "Calls that failed by a fault of Tether, logged with a correlation id.")
