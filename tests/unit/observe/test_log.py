"""Log lines: their form, their ids, and what never stands in them."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from tether.observe.log import bind_request, configure_logging


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    handlers, level = logging.getLogger().handlers, logging.getLogger().level
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    logging.getLogger().handlers = handlers
    logging.getLogger().setLevel(level)


@pytest.fixture
def lines() -> "Lines":
    stream = Lines()
    configure_logging("info", stream=stream)
    return stream


class Lines(io.StringIO):
    """A stream that reads back what was logged."""

    def parsed(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]


def log() -> structlog.typing.FilteringBoundLogger:
    return structlog.get_logger("tether.test")


def test_line_is_one_json_object(lines: Lines) -> None:
    log().info("placed\nhere", worker="w", tokens=5)
    (line,) = lines.parsed()
    assert line["event"] == "placed\nhere"
    assert (line["level"], line["worker"], line["tokens"]) == ("info", "w", 5)
    assert str(line["timestamp"]).endswith("Z")


def test_request_ids_stand_in_every_line(lines: Lines) -> None:
    bind_request(correlation_id="c1", trace_id="t1")
    log().info("one")
    logging.getLogger("some.library").warning("two")
    assert [(line["correlation_id"], line["trace_id"]) for line in lines.parsed()] == [("c1", "t1")] * 2


def test_level_is_kept(lines: Lines) -> None:
    log().debug("hidden")
    logging.getLogger("kademlia.network").info("hidden")
    log().warning("seen")
    assert [line["event"] for line in lines.parsed()] == ["seen"]


SECRET = "tk_0123456789abcdef_Zm9vYmFyc2VjcmV0"


@pytest.mark.parametrize(
    "fields",
    [
        {"key": "plain"},
        {"api_key": "plain"},
        {"authorization": "plain"},
        {"retry_token": "plain"},
        {"node_credential": "plain"},
        {"password": "plain"},
        {"nested": {"secret": "plain"}},
        {"note": f"sent {SECRET}"},
        {"note": "Authorization: Bearer plainplain"},
        {"note": "tether-node plainplain=="},
        {"many": [SECRET]},
        {"body": b"plain"},
    ],
)
def test_secrets_never_pass(lines: Lines, fields: dict[str, object]) -> None:
    log().info("call", **fields)
    text = lines.getvalue()
    assert "plain" not in text
    assert "Zm9v" not in text


def test_secrets_in_exceptions_never_pass(lines: Lines) -> None:
    try:
        raise ValueError(SECRET)
    except ValueError:
        log().exception("failed")
    assert "Zm9v" not in lines.getvalue()
    assert "ValueError" in str(lines.parsed()[0]["exception"])


def test_counts_of_tokens_are_no_secrets(lines: Lines) -> None:
    log().info("done", tokens=7, output_tokens=8, key_id="0123456789abcdef")
    (line,) = lines.parsed()
    assert (line["tokens"], line["output_tokens"], line["key_id"]) == (7, 8, "0123456789abcdef")


def test_lines_are_bounded(lines: Lines) -> None:
    log().info("long", text="x" * 1_000_000)
    assert len(lines.getvalue()) < 5_000


def test_values_json_cannot_hold_are_shown(lines: Lines) -> None:
    log().info("odd", value=object())
    assert "object" in str(lines.parsed()[0]["value"])


def test_plain_form_is_for_people() -> None:
    stream = io.StringIO()
    configure_logging(stream=stream, as_json=False)
    log().info("ready", address="127.0.0.1:7400")
    assert "ready" in stream.getvalue()
    assert not stream.getvalue().startswith("{")
