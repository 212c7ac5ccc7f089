"""Prometheus metrics of links: how many stand, how they end, what they carry."""

from prometheus_client import Counter, Gauge

LINKS = Gauge("tether_link_open", "Links that stand, by who dialled", ["side"])
ENDED = Counter("tether_link_ended_total", "Links that ended, by why", ["why"])
REFUSED = Counter("tether_link_refused_total", "Links that were refused at their hello, by why", ["why"])
DIAL_FAILED = Counter("tether_link_dial_failed_total", "Dials that did not come to a link", ["why"])
