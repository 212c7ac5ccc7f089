"""Logs: one JSON object a line on standard error, or plain lines where a person is looking.

Every line of a request carries its `correlation_id` and `trace_id`. Secrets never pass: a field that is named like one
loses its value, and what looks like a key is cut out of every text.
Source: structlog's processors; OWASP Logging Cheat Sheet on what to exclude.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor

VALUE_CHARS_MAX = 2_000  # a value is a name or a number; longer is content
TRACEBACK_CHARS_MAX = 16_000  # some sixty frames
REDACTED = "[redacted]"

_SECRET_NAME = re.compile(r"(?:^|_)(?:key|token|secret|password|authorization|cookie|credential|signature)$")
_SECRET_TEXT = re.compile(r"tk_[0-9a-f]{16}_[A-Za-z0-9_-]+|(?i:bearer|tether-node)\s+[A-Za-z0-9._~+/=-]{8,}")
_QUIET = ("kademlia", "rpcudp", "httpx", "uvicorn.access")  # chatty at info, of no use to an operator


def configure_logging(level: str = "info", *, stream: TextIO | None = None, as_json: bool | None = None) -> None:
    """Send the logs of Tether and of the libraries it uses to one stream.

    Args:
        level: least level: `debug`, `info`, `warning` or `error`.
        stream: where to; standard error where None.
        as_json: JSON lines; where None, unless the stream is a terminal.
    """
    out = sys.stderr if stream is None else stream
    plain = out.isatty() if as_json is None else not as_json
    number = logging.getLevelNamesMapping()[level.upper()]
    ends = _ends(plain=plain)
    structlog.configure(
        processors=[*_begins(), *ends],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=_Loggers(out),
        cache_logger_on_first_use=True,
    )
    _route_libraries(out, number, ends)


def bind_request(correlation_id: str = "", trace_id: str = "") -> None:
    """Put a request's ids into every later log line of this task."""
    given = {"correlation_id": correlation_id, "trace_id": trace_id}
    structlog.contextvars.bind_contextvars(**{key: value for key, value in given.items() if value})


def redact(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Take the value of every field that is named like a secret, and every text that looks like one."""
    for name, value in event.items():
        if isinstance(value, bytes | bytearray | memoryview):
            event[name] = f"{len(value)} bytes"
        elif isinstance(value, str):
            event[name] = REDACTED if value and _SECRET_NAME.search(name) else _SECRET_TEXT.sub(REDACTED, value)
        elif isinstance(value, MutableMapping):
            event[name] = redact(None, "", dict(value))
        elif isinstance(value, list | tuple):
            event[name] = [_SECRET_TEXT.sub(REDACTED, one) if isinstance(one, str) else one for one in value]
    return event


def shorten(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Cut long texts, so that no line grows without a bound."""
    for name, value in event.items():
        most = TRACEBACK_CHARS_MAX if name == "exception" else VALUE_CHARS_MAX
        if isinstance(value, str) and len(value) > most:
            event[name] = value[:most] + "…"
    return event


class _Loggers:
    """Makes the loggers that write; names them after the first argument of `get_logger`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, *_names: object) -> structlog.WriteLogger:
        return structlog.WriteLogger(self._stream)


def _begins() -> list[Processor]:
    """Return what is done to every line first."""
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _ends(*, plain: bool) -> list[Processor]:
    """Return what is done to every line last: exceptions, secrets, lengths, form."""
    render: Processor = (
        structlog.dev.ConsoleRenderer(colors=True) if plain else structlog.processors.JSONRenderer(default=_repr)
    )
    return [structlog.processors.format_exc_info, redact, shorten, render]


def _repr(value: Any) -> str:  # noqa: ANN401  whatever JSON cannot hold
    return _SECRET_TEXT.sub(REDACTED, repr(value))[:VALUE_CHARS_MAX]


def _route_libraries(stream: TextIO, level: int, ends: list[Processor]) -> None:
    """Write what libraries log through the standard library in the same form."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_begins(), structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ends],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(level, logging.INFO))
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
