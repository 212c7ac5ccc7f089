"""The late-binding queue: order, bounds, and what is told to those who are not let in."""

from collections import Counter

import pytest

from tether.placement.lane import HIGH, LOW, NORMAL, Tried, Waiting
from tether.placement.queue import LateQueue, QueueSettings


def one(tenant: str = "a", rank: int = NORMAL, **more: float | bool) -> Waiting:
    fields: dict[str, object] = {"weight": 1, "since_s": 0.0, "wait_max_s": 10.0, **more}
    return Waiting("demo", tenant, rank, **fields)  # type: ignore[arg-type]


def queue(**settings: float) -> LateQueue:
    return LateQueue(QueueSettings(**settings))  # type: ignore[arg-type]


def offered(made: LateQueue, *items: Waiting, now_s: float = 0.0) -> LateQueue:
    for item in items:
        assert made.offer(item, now_s) is None
    return made


def serve(made: LateQueue, now_s: float = 0.0) -> Waiting:
    item = made.next("demo", now_s, Tried())
    assert item is not None
    made.served(item, now_s)
    return item


def flow_at(made: LateQueue, per_s: float, seconds: float) -> float:
    """Serve at a rate, with somebody always waiting; returns the time."""
    stays = one("stays", LOW)
    offered(made, stays)
    for number in range(int(per_s * seconds)):
        now_s = (number + 1) / per_s
        offered(made, one("flow"), now_s=now_s)
        serve(made, now_s)
    made.remove(stays)
    return seconds


def test_higher_class_goes_first_and_running_jobs_before_all() -> None:
    made = offered(queue(), one("l", LOW), one("n"), one("h", HIGH), one("again", LOW, again=True))
    assert [serve(made).tenant for _ in range(4)] == ["again", "h", "n", "l"]
    assert made.next("demo", 0.0, Tried()) is None
    assert len(made) == 0


def test_tenants_share_by_weight_within_a_class() -> None:
    made = queue(model_max=100_000)
    for _ in range(300):
        offered(made, one("a"), one("b", weight=3))
    assert Counter(serve(made).tenant for _ in range(400)) == {"a": 100, "b": 300}


def test_class_that_waits_long_is_let_in_between() -> None:
    made = offered(queue(aging_s=5, aged_every=8), *(one("h", HIGH) for _ in range(40)), one("l", LOW), one("m", LOW))
    assert {serve(made, 5.0).tenant for _ in range(20)} == {"h"}
    served = [serve(made, 5.1).tenant for _ in range(16)]
    assert (served.count("l"), served.count("m")) == (1, 1)
    assert served[:1] == ["l"]


def test_what_was_tried_in_vain_is_passed_over() -> None:
    again, high, other = one("r", again=True), one("h", HIGH), one("o", HIGH)
    made, tried = offered(queue(), again, high, other, one("h", NORMAL)), Tried()
    order = []
    while (item := made.next("demo", 0.0, tried)) is not None:
        order.append(item)
        tried.add(item)
    assert order[:3] == [again, high, other]
    assert len(order) == 4
    assert len(made) == 4


def test_queue_is_bounded_per_model_and_in_all() -> None:
    made = queue(model_max=8, total_max=10)
    for number in range(8):
        offered(made, one(f"t{number}"))
    shed = made.offer(one("late"), 0.0)
    assert shed is not None
    assert "8 requests wait for demo" in shed.why
    for number in range(2):
        assert made.offer(Waiting("other", f"t{number}", NORMAL, 1, 0.0, 10.0), 0.0) is None
    shed = made.offer(Waiting("other", "late", NORMAL, 1, 0.0, 10.0), 0.0)
    assert shed is not None
    assert "10 requests wait already" in shed.why
    assert made.offer(one("runs", again=True), 0.0) is None


def test_greedy_tenant_leaves_room_for_others() -> None:
    made = queue(model_max=90)
    taken = sum(made.offer(one("greedy"), 0.0) is None for _ in range(1_000))
    assert taken == 60
    assert all(made.offer(one(f"t{number}"), 0.0) is None for number in range(20))


def test_batch_work_is_shed_first() -> None:
    made = queue(model_max=100)
    room = {rank: sum(made.offer(one(f"t{rank}", rank), 0.0) is None for _ in range(200)) for rank in (LOW, HIGH)}
    assert room[LOW] == 50
    assert room[HIGH] == 40
    assert made.offer(one("other", LOW), 0.0) is None


def test_request_that_could_not_be_served_in_time_is_shed_at_once() -> None:
    made = queue()
    now_s = flow_at(made, per_s=10.0, seconds=10.0)
    offered(made, *(one("a", wait_max_s=5.0) for _ in range(40)), now_s=now_s)
    assert made.offer(one("a", wait_max_s=5.0), now_s) is None
    shed = made.offer(one("a", wait_max_s=3.0), now_s)
    assert shed is not None
    assert "would be about 4." in shed.why
    assert shed.retry_after_s == pytest.approx(4.2, rel=0.1)


def test_tenant_with_nothing_waiting_is_let_in_beside_a_long_queue() -> None:
    made = queue()
    now_s = flow_at(made, per_s=10.0, seconds=10.0)
    offered(made, *(one("greedy", wait_max_s=30.0) for _ in range(100)), now_s=now_s)
    assert made.offer(one("modest", wait_max_s=0.3), now_s) is None
    assert made.offer(one("heavy", wait_max_s=0.3, weight=5), now_s) is None
    assert made.offer(one("greedy", wait_max_s=0.3), now_s) is not None


def test_retry_hint_is_bounded() -> None:
    made = queue()
    assert made.retry_after_s("demo", 0.0) == pytest.approx(0.1)
    offered(made, one(), one())
    serve(made, 1_000.0)
    assert made.retry_after_s("demo", 2_000.0) == pytest.approx(30.0)


def test_removed_request_frees_its_room() -> None:
    made, item = queue(model_max=2), one("a", HIGH)
    offered(made, item)
    assert (made.waiting("demo"), made.classes()[HIGH], list(made.models())) == (1, 1, ["demo"])
    assert made.remove(item)
    assert not made.remove(item)
    made.served(item, 0.0)
    assert (len(made), made.waiting("demo"), list(made.models())) == (0, 0, [])


def test_models_take_turns() -> None:
    made = offered(queue(), one(), Waiting("other", "a", NORMAL, 1, 0.0, 1.0), one())
    assert list(made.models()) == ["demo", "other"]
    serve(made)
    assert list(made.models()) == ["other", "demo"]


def test_lanes_of_models_that_nobody_waits_for_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tether.placement.queue._LANES_MAX", 3)
    made = offered(queue(), one())
    for number in range(10):
        item = Waiting(f"m{number}", "a", NORMAL, 1, 0.0, 1.0)
        offered(made, item)
        made.remove(item)
    assert len(made._lanes) <= 4
    assert made.waiting("demo") == 1
