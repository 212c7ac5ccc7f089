"""The clock stands still while the process does."""

from tether_orchestrator.clock import SETTLE_MS, STALL_MS, STEP_MS_MAX, AttentiveClock


class Raw:
    now_ms = 10_000

    def __call__(self) -> int:
        return self.now_ms


def test_clock_runs_with_the_raw_one_while_it_is_ticked() -> None:
    raw = Raw()
    clock = AttentiveClock(raw)
    for _ in range(50):
        raw.now_ms += 200
        clock.tick()
    raw.now_ms += 100
    assert (clock.now_ms(), clock.now_s()) == (raw.now_ms, raw.now_ms / 1_000)


def test_clock_leaves_out_what_the_process_slept() -> None:
    raw = Raw()
    clock = AttentiveClock(raw)
    raw.now_ms += 60_000
    assert clock.now_ms() == 10_000 + STEP_MS_MAX
    clock.tick()
    raw.now_ms += 100
    assert clock.now_ms() == 10_100 + STEP_MS_MAX


def test_clock_is_not_settled_from_a_stall_until_a_little_after_it() -> None:
    raw = Raw()
    clock = AttentiveClock(raw)
    raw.now_ms += STALL_MS
    assert clock.settled
    raw.now_ms += 1
    assert not clock.settled  # a call may be answered before the clock is ticked
    clock.tick()
    for _ in range(SETTLE_MS // 100):
        assert not clock.settled
        raw.now_ms += 100
        clock.tick()
    assert clock.settled
