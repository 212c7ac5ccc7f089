"""Holds and bills: several attempts make one bill, whatever order they end in."""

from hypothesis import given
from hypothesis import strategies as st

from tether.job.hold import Entry, Kind, Position, add, beyond, closing, hold, limit, opening

counts = st.integers(0, 10_000)
positions = st.builds(Position, counts, counts, counts)


def test_limit_counts_the_prompt_once_and_every_choice() -> None:
    assert limit(100, 32, 0) == 132
    assert limit(100, 32, 3) == 196


def test_hold_after_a_settlement_is_smaller() -> None:
    assert hold(100, Position(10, 5)) == 85
    assert hold(10, Position(10, 5)) == 0


@given(st.lists(positions, max_size=6))
def test_settlements_add_up_to_the_furthest_position(ends: list[Position]) -> None:
    settled = Position()
    for used in ends:
        settled = add(settled, beyond(settled, used))
    assert settled.input_tokens == max((used.input_tokens for used in ends), default=0)
    assert settled.output_tokens == max((used.output_tokens for used in ends), default=0)


@given(counts, positions)
def test_ledger_of_a_whole_job_holds_nothing(held: int, due: Position) -> None:
    rows = opening(held) + closing(held, due)
    assert sum(row.held for row in rows) == 0
    assert sum(row.settled for row in rows) == due.tokens


def test_closing_without_anything_due_settles_nothing() -> None:
    assert closing(7, Position()) == [Entry(Kind.RELEASE, -7, 0)]
