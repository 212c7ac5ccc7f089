"""Prometheus metrics of the overlay; all nodes of a process together."""

from prometheus_client import Counter

REFUSED = Counter("tether_overlay_refused_total", "What was dropped, by reason.", ["reason"])
RECEIVED = Counter("tether_overlay_received_datagrams_total", "Datagrams that were received.")
SENT = Counter("tether_overlay_sent_datagrams_total", "Datagrams that were sent.")
SEND_ERRORS = Counter("tether_overlay_send_errors_total", "Datagrams that the system refused to send.")
HANDSHAKES = Counter("tether_overlay_handshakes_total", "Sessions that were begun.", ["side"])
TIMEOUTS = Counter("tether_overlay_call_timeouts_total", "Calls that were not answered in time.")
CHANGES = Counter("tether_overlay_record_changes_total", "Records that were verified and kept, by change.", ["change"])
DUPLICATES = Counter("tether_overlay_duplicate_records_total", "Records that were known already, dropped unverified.")
