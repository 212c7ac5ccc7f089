"""Outliers: who fails beside others is out for a while, and never more than half of them."""

import pytest

from tether.placement.outlier import Outliers, OutlierSettings

SETTINGS = OutlierSettings()
POOL = [f"w{number}" for number in range(6)]


def run(found: Outliers, worker: str, count: int, now_s: float, *, failed: bool = False, s: float = 0.02) -> str:
    why = ""
    for _ in range(count):
        why = why or found.ended(worker, "demo", failed=failed, s_per_token=s, now_s=now_s)
    return why


def healthy(now_s: float = 0.0) -> Outliers:
    found = Outliers(SETTINGS)
    assert not any(run(found, worker, 20, now_s) for worker in POOL)
    return found


def out(found: Outliers) -> list[str]:
    return [worker for worker, _record in found.ejected()]


def test_failures_in_a_row_eject() -> None:
    found = healthy()
    assert run(found, "w0", 4, 1.0, failed=True) == ""
    assert run(found, "w0", 1, 1.0, failed=True) == "5 failures in a row"
    assert out(found) == ["w0"]
    assert run(found, "w0", 5, 1.5, failed=True) == ""


def test_share_of_failures_beyond_the_pools_ejects() -> None:
    found = healthy()
    why = ""
    for _ in range(40):
        why = why or run(found, "w0", 1, 1.0, failed=True) or run(found, "w0", 1, 1.0)
    assert "failures, its pool 0%" in why


def test_worker_that_crawls_is_ejected_beside_others_that_do_not() -> None:
    found = healthy()
    assert "s per token, its pool 0.02 s" in run(found, "w0", 40, 1.0, s=0.5)
    assert out(found) == ["w0"]


def test_pool_that_is_slow_or_failing_as_a_whole_ejects_nobody_for_it() -> None:
    found = Outliers(SETTINGS)
    for number in range(30):
        for worker in POOL:
            assert run(found, worker, 1, number / 10, failed=number % 2 == 0, s=2.0) == ""


def test_never_more_than_half_of_a_pool_is_out() -> None:
    found = healthy()
    for worker in POOL:
        run(found, worker, 50, 1.0, failed=True)
    assert len(out(found)) == 3
    alone = Outliers(SETTINGS)
    assert not any(alone.ended("w", "demo", failed=True, s_per_token=0, now_s=0.0) for _ in range(50))


def test_burst_of_which_failures_come_first_ejects_nobody() -> None:
    found = Outliers(SETTINGS)
    for _ in range(20):
        for worker in POOL:
            assert run(found, worker, 1, 0.05, failed=True) == ""
    for _ in range(50):
        for worker in POOL:
            assert run(found, worker, 1, 1.0) == ""


def test_ejection_ends_and_lasts_longer_each_time() -> None:
    found, now_s, spans = healthy(), 1.0, []
    for _ in range(7):
        assert run(found, "w0", 5, now_s, failed=True)
        [(_worker, record)] = found.ejected()
        until_s = record.until_s
        assert until_s is not None
        spans.append(until_s - now_s)
        assert found.due(until_s - 0.01) == []
        assert found.due(until_s) == ["w0"]
        assert found.due(until_s) == []
        now_s = until_s
    assert spans == pytest.approx([5, 10, 20, 40, 80, 120, 120])


def test_ejections_are_forgiven_with_time() -> None:
    found = healthy()
    run(found, "w0", 5, 1.0, failed=True)
    found.due(10.0)
    run(found, "w0", 5, 10.0, failed=True)
    found.due(100.0)
    run(found, "w0", 5, 500.0, failed=True)
    [(_worker, record)] = found.ejected()
    assert record.until_s == pytest.approx(505.0)
    assert record.trips == 3


def test_worker_that_is_gone_is_forgotten() -> None:
    found = healthy()
    run(found, "w0", 5, 1.0, failed=True)
    found.forget("w0")
    found.forget("unknown")
    assert out(found) == []
    assert found.due(100.0) == []
    assert run(found, "w0", 4, 2.0, failed=True) == ""


def test_workers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tether.placement.outlier._WORKERS_MAX", 10)
    found = Outliers(SETTINGS)
    for number in range(100):
        found.ended(f"w{number}", "demo", failed=False, s_per_token=0.01, now_s=float(number))
    assert "10 workers" in repr(found)
