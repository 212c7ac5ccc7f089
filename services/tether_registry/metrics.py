"""Metrics of the registry."""

from prometheus_client import Counter, Gauge

REVISION = Gauge("tether_registry_revision", "Revision of the catalogue that is served.")
SNAPSHOT_BYTES = Gauge("tether_registry_snapshot_bytes", "Size of the signed snapshot that gateways get.")
WATCHERS = Gauge("tether_registry_watchers", "Watches of the snapshot that are open.")
BLOB_BYTES = Counter("tether_registry_blob_bytes", "Bytes of blobs, by direction.", ["direction"])
STORE_UP = Gauge("tether_registry_store_up", "1 while the store answers, 0 while what is known is served.")
