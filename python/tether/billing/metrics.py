"""Metrics of usage on its way."""

from prometheus_client import Counter, Gauge, Histogram

SENT = Counter("tether_billing_rows", "Rows of usage that were taken.")
BATCHES = Counter("tether_billing_batches", "Batches by what became of them.", ["outcome"])
FAILING = Gauge("tether_billing_failures", "Attempts that failed since the last batch that was taken.")
OLDEST_SECONDS = Gauge("tether_billing_oldest_seconds", "Age of the oldest row of usage that nobody took.")
PUSH_SECONDS = Histogram("tether_billing_push_seconds", "Time of one attempt to push a batch.")
FILES = Counter("tether_billing_files", "Files of usage that were written, by format.", ["format"])
