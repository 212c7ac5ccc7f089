"""Which starts a ticket allows."""

from dataclasses import replace

import pytest

from tether.errors import Reason, TetherError
from tether.v1 import infer_pb2, placement_pb2
from tether_worker.ticket import Start, UsedTickets, check_ticket, read_ticket

NOW_MS = 1_000_000_000
JOB = bytes(range(16))


def body(**fields: object) -> placement_pb2.TicketBody:
    good = {
        "network_id": b"n" * 32,
        "job_id": JOB,
        "epoch": 1,
        "request_hash": b"h" * 32,
        "worker_id": "me",
        "worker_incarnation": 3,
        "driver_id": "gateway",
        "tenant_id": "demo",
        "issued_at_ms": NOW_MS,
        "valid_s": 120,
    }
    return placement_pb2.TicketBody(**{**good, **fields})  # type: ignore[arg-type]


START = Start(JOB, 1, lambda tenant: (b"h" if tenant == "demo" else b"x") * 32, "gateway", "me", 3, b"n" * 32)


def test_ticket_that_matches_holds() -> None:
    check_ticket(body(), START, NOW_MS)
    check_ticket(body(), START, NOW_MS + 149_000)
    check_ticket(body(), START, NOW_MS - 29_000)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"network_id": b"m" * 32}, "network"),
        ({"job_id": bytes(16)}, "job"),
        ({"epoch": 2}, "epoch"),
        ({"worker_id": "other"}, "worker"),
        ({"driver_id": "thief"}, "driver"),
        ({"request_hash": b"z" * 32}, "request"),
        ({"tenant_id": "other"}, "request"),
        ({"issued_at_ms": NOW_MS + 31_000}, "time"),
    ],
)
def test_ticket_for_something_else_is_refused(changed: dict[str, object], named: str) -> None:
    with pytest.raises(TetherError) as raised:
        check_ticket(body(**changed), START, NOW_MS)
    assert raised.value.reason is Reason.TICKET_INVALID
    assert f"another {named}." in raised.value.message


def test_ticket_for_another_life_of_the_worker_is_passed_on() -> None:
    for incarnation in (2, 4):
        with pytest.raises(TetherError) as raised:
            check_ticket(body(worker_incarnation=incarnation), START, NOW_MS)
        assert raised.value.reason is Reason.NO_WORKER


def test_relayed_start_needs_a_ticket_for_that_path() -> None:
    relayed = replace(START, relayed=True)
    check_ticket(body(path=infer_pb2.Infer.PATH_RELAY), relayed, NOW_MS)
    for path in (infer_pb2.Infer.PATH_DIRECT, infer_pb2.Infer.PATH_UNSPECIFIED):
        with pytest.raises(TetherError, match="another path"):
            check_ticket(body(path=path), relayed, NOW_MS)


def test_ticket_that_is_too_old_is_left_to_another_place() -> None:
    with pytest.raises(TetherError) as raised:
        check_ticket(body(issued_at_ms=NOW_MS - 151_000), START, NOW_MS)
    assert raised.value.reason is Reason.NO_WORKER


def test_malformed_ticket_is_refused() -> None:
    with pytest.raises(TetherError) as raised:
        read_ticket(b"\xff\xff")
    assert raised.value.reason is Reason.TICKET_INVALID


def test_ticket_starts_once_until_it_expires() -> None:
    used = UsedTickets()
    used.use(body(), NOW_MS)
    with pytest.raises(TetherError) as raised:
        used.use(body(), NOW_MS + 1_000)
    assert raised.value.reason is Reason.NO_WORKER  # it ran here and is forgotten: its driver asks for another place
    used.use(body(epoch=2), NOW_MS + 1_000)
    used.use(body(job_id=bytes(16)), NOW_MS + 151_000)
    assert len(used) == 1


def test_ticket_that_was_given_back_may_start() -> None:
    used = UsedTickets()
    used.use(body(), NOW_MS)
    used.release(body())
    used.use(body(), NOW_MS)
