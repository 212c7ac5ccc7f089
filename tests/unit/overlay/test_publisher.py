"""What a publisher makes of a storer's refusal."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from tether.overlay.publisher import Announcement, Publisher


class Refusing:
    def __init__(self, label: str) -> None:
        self.label = label

    async def ask(self, *_call: object) -> tuple[bool, str]:
        return True, self.label


def publisher_among(label: str) -> Publisher:
    parts = SimpleNamespace(admission=None, protocol=Refusing(label), reach=None, clock=None)
    publisher = Publisher(cast("Any", None), cast("Any", parts), lambda *_: None)
    newest = Announcement(publisher, "topic", cast("Any", None), 5.0, 15.0)
    newest.raw = b"newest"
    publisher._announcements[newest] = cast("Any", None)
    return publisher


@pytest.mark.parametrize(
    ("label", "overtaken", "warnings"), [("stale", True, 0), ("stale", False, 1), ("forged", True, 1)]
)
async def test_refusal_of_an_overtaken_record_is_no_warning(label: str, overtaken: bool, warnings: int) -> None:
    publisher = publisher_among(label)
    raw = b"older" if overtaken else next(iter(publisher._announcements)).raw
    with capture_logs() as logs:
        for _ in range(2):
            await publisher._store(cast("Any", SimpleNamespace(node_id="n")), "topic", raw)
    assert len(logs) == warnings
