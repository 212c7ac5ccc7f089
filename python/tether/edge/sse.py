"""Server-sent events: one JSON text per event, comments that keep a connection alive.

Source: WHATWG HTML, "Server-sent events".
"""

MEDIA_TYPE = "text/event-stream"
KEEP_ALIVE = b": keep-alive\n\n"


def event(data: bytes) -> bytes:
    """Return an event; JSON holds no bare line breaks, so one `data:` line is enough."""
    return b"data: " + data + b"\n\n"
