"""Files of hours: what is due when, and that parts always add up to what was used."""

import io

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tether.billing import file as files
from tether.billing import hour as hours
from tether.billing.file import HourFiles
from tether.billing.place import FolderPlace
from tether.errors import Reason, TetherError
from tether.job.hold import Position
from tether.store.jobs import UsageHour

HOUR = 500_000
NOW_MS = (HOUR + 1) * hours.HOUR_MS


def used(tenant="acme", tokens=10, cost=3, hour=HOUR, price=1):
    return UsageHour(tenant, hour, "m", "1.0", price, Position(tokens, 2 * tokens, 3 * tokens), cost)


class Store:
    def __init__(self, *rows):
        self.rows, self.asked = list(rows), []

    async def usage_hour(self, hour):
        self.asked.append(hour)
        return [row for row in self.rows if row.hour == hour]


class CrashError(Exception):
    pass


COUNT = st.integers(0, 5)
TOTALS = st.lists(st.dictionaries(st.sampled_from("abc"), COUNT), min_size=1, max_size=4)


@given(TOTALS)
def test_parts_add_up_to_what_was_used(totals):
    """Whatever an hour comes to at each look, the sum of all parts is the last total."""
    written = []
    for total in totals:
        rows = [used(tenant, tokens, tokens) for tenant, tokens in total.items()]
        written += hours.from_lines(hours.to_lines(hours.missing(rows, written, "local", HOUR)), "f")
        assert hours.missing(rows, written, "local", HOUR) == []
    sums = {}
    for row in written:
        sums[row["tenant"]] = sums.get(row["tenant"], 0) + row["input_tokens"]
    assert {tenant: count for tenant, count in sums.items() if count} == {t: n for t, n in totals[-1].items() if n}


def test_hours_are_due_when_final_and_again_for_what_is_late():
    looked = dict.fromkeys(range(HOUR - 200, HOUR), 3)
    assert hours.due(NOW_MS + 119_000, looked) == []
    assert hours.due(NOW_MS + 120_000, looked) == [HOUR]
    looked[HOUR] = 1
    assert hours.due(NOW_MS + 899_000, looked) == []
    assert hours.due(NOW_MS + 900_000, looked) == [HOUR]
    looked[HOUR] = 2
    assert HOUR in hours.due(NOW_MS + 10_800_000, looked)


def test_hours_of_the_last_week_are_due_after_a_start():
    assert len(hours.due(NOW_MS + 120_000, {})) == hours.LOOK_BACK_HOURS
    assert hours.due(0, {}) == []


def test_file_names_sort_by_hour_and_part():
    assert [hours.file_name(HOUR, part) for part in (1, 2)] == ["2027-01-15T08", "2027-01-15T08.part-2"]


async def test_files_of_an_hour_hold_its_sums_in_both_formats(tmp_path):
    store = Store(used("acme"), used("b", 1, 0, price=0))
    written = HourFiles(store, FolderPlace(tmp_path), "local", parquet=True)
    assert await written.round(NOW_MS + 120_000) == 1
    lines = hours.from_lines((tmp_path / "usage/2027-01-15T08.jsonl").read_bytes(), "f")
    table = pq.read_table(io.BytesIO((tmp_path / "usage/2027-01-15T08.parquet").read_bytes())).to_pylist()
    assert [(row["tenant"], row["input_tokens"], row["cost_micros"]) for row in lines] == [("acme", 10, 3), ("b", 1, 0)]
    assert [row["hour"].isoformat() for row in table] == ["2027-01-15T08:00:00+00:00"] * 2
    assert [{**row, "hour": "2027-01-15T08:00:00Z"} for row in table] == lines


async def test_files_are_written_once_and_late_rows_in_a_part(tmp_path):
    store = Store(used())
    written = HourFiles(store, FolderPlace(tmp_path), "local", parquet=False)
    assert await written.round(NOW_MS + 120_000) == 1
    assert await written.round(NOW_MS + 130_000) == 0
    store.rows = [used(tokens=15, cost=4), used("late")]
    assert await written.round(NOW_MS + 900_000) == 1
    names = sorted(path.name for path in (tmp_path / "usage").iterdir())
    assert names == ["2027-01-15T08.jsonl", "2027-01-15T08.part-2.jsonl"]
    part = hours.from_lines((tmp_path / "usage" / names[1]).read_bytes(), "f")
    assert [(row["tenant"], row["input_tokens"], row["cost_micros"]) for row in part] == [
        ("acme", 5, 1),
        ("late", 10, 3),
    ]
    again = HourFiles(store, FolderPlace(tmp_path), "local", parquet=False)
    assert await again.round(NOW_MS + 10_900_000) == 0


async def test_files_that_a_crash_cut_short_are_finished(tmp_path, monkeypatch):
    written = HourFiles(Store(used()), FolderPlace(tmp_path), "local", parquet=True)

    async def crash(*_):
        raise CrashError

    monkeypatch.setattr(written, "_make_parquet", crash)
    with pytest.raises(CrashError):
        await written.round(NOW_MS + 120_000)
    again = HourFiles(Store(used()), FolderPlace(tmp_path), "local", parquet=True)
    assert await again.round(NOW_MS + 120_000) == 0
    names = sorted(path.name for path in (tmp_path / "usage").iterdir())
    assert names == ["2027-01-15T08.jsonl", "2027-01-15T08.parquet"]


async def test_file_that_was_damaged_is_named(tmp_path):
    place = FolderPlace(tmp_path)
    await place.create("2027-01-15T08.jsonl", b'{"tenant": "acme"}\n')
    with pytest.raises(TetherError, match="2027-01-15T08.jsonl is damaged") as caught:
        await HourFiles(Store(used()), place, "local", parquet=False).round(NOW_MS + 120_000)
    assert caught.value.reason is Reason.STORE_CORRUPT


async def test_place_makes_a_file_once_and_leaves_no_drafts(tmp_path):
    place = FolderPlace(tmp_path)
    assert await place.read("f") is None
    assert await place.create("f", b"one")
    assert not await place.create("f", b"two")
    assert await place.read("f") == b"one"
    assert [path.name for path in (tmp_path / "usage").iterdir()] == ["f"]


async def test_place_that_cannot_be_written_is_a_typed_error(tmp_path):
    (tmp_path / "usage").write_text("a file where the folder should be")
    with pytest.raises(TetherError):
        await FolderPlace(tmp_path).create("f", b"")


def test_parquet_without_its_library_names_the_extra(monkeypatch):
    monkeypatch.setattr(files.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TetherError, match=r"tether-mesh\[billing\]"):
        files.require_parquet()
