"""The fleet picks what a naive scorer picks, by the rules of docs/design/design.md, and keeps its books."""

import math
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tether._native import Candidate, Fleet, Query
from tether.v1 import health_pb2 as pb

GIB = 1 << 30
WEIGHTS = {"model": 1.0, "region": 2.0, "gpu": 1.0, "queue": 3.0, "warm": 4.0, "breaker": 2.0, "policy": 1.0}
NAMES = ["model", "region", "gpu", "queue", "warm", "breaker", "policy", "prefix", "tie"]
WARMTH = {
    0: 0.0,
    pb.Health.CACHE_STATE_ON_DISK: 0.25,
    pb.Health.CACHE_STATE_LOADING: 0.5,
    pb.Health.CACHE_STATE_READY: 1.0,
}


@dataclass(frozen=True)
class Fake:
    """A worker as a test describes it."""

    worker_id: str = "w1"
    region: str = "eu"
    gpu_class: str = "h100"
    accelerators: tuple[str, ...] = ("cuda",)
    vram_gib: int = 80
    slots: int = 8
    busy: int = 0
    queued: int = 0
    queue_max: int = 4
    hops: int = 0
    states: tuple[tuple[str, int], ...] = (("m", pb.Health.CACHE_STATE_READY),)
    version: str = "1.0"
    draining: bool = False
    incarnation: int = 1
    sequence: int = 1
    started_total: int = 0
    digest: bytes = b""
    fingerprint: bytes = b""

    def message(self) -> pb.Health.Report:
        refs = [(pb.Health.ModelRef(model_id=m, version=self.version, digest=self.digest), s) for m, s in self.states]
        return pb.Health.Report(
            worker_id=self.worker_id,
            capacity=pb.Health.Capacity(
                slots=self.slots,
                slots_free=self.slots - self.busy,
                queue_depth=self.queued,
                queue_max=self.queue_max,
                tokens_per_second=1.5,
            ),
            gpu_class=self.gpu_class,
            model_cache=[pb.Health.CachedModel(model=r, state=s, memory_bytes=9) for r, s in refs if s],
            region=self.region,
            accelerators=self.accelerators,
            supported=[r for r, _ in refs],
            engines=[pb.Health.Engine(model=r, kind="onnx", fingerprint=self.fingerprint) for r, _ in refs],
            incarnation=self.incarnation,
            sequence=self.sequence,
            vram_total_bytes=self.vram_gib * GIB,
            latency_hops=self.hops,
            draining=self.draining,
            started_total=self.started_total,
            address=f"{self.worker_id}.test:1",
        )

    def report(self) -> bytes:
        return self.message().SerializeToString()


@dataclass
class Need:
    """A query as a test describes it."""

    model: str = "m"
    regions: dict[str, float] = field(default_factory=dict)
    region_default: float | None = 0.5
    allowed: tuple[str, ...] = ()
    gpu_classes: dict[str, float] = field(default_factory=dict)
    vram_gib: int = 0
    accelerators: tuple[str, ...] = ()
    breakers: dict[str, float] = field(default_factory=dict)
    policy: dict[str, float] = field(default_factory=dict)

    def query(self) -> Query:
        return Query(
            self.model,
            "1.0",
            regions=self.regions,
            region_default=self.region_default,
            regions_allowed=self.allowed,
            gpu_classes=self.gpu_classes,
            vram_bytes_min=self.vram_gib * GIB,
            accelerators=self.accelerators,
            breakers=self.breakers,
            policy=self.policy,
        )


def naive_rule(w: Fake, need: Need) -> str | None:
    """The first rule that removes a worker."""
    rules = {
        "model": need.model not in dict(w.states),
        "version": w.version != "1.0",
        "policy": bool(need.allowed) and w.region not in need.allowed,
        "region": w.region not in need.regions and need.region_default is None,
        "gpu-class": bool(need.gpu_classes) and w.gpu_class not in need.gpu_classes,
        "vram": w.vram_gib < need.vram_gib,
        "accelerator": not set(need.accelerators) <= set(w.accelerators),
        "breaker": need.breakers.get(w.region, 1.0) == 0,
        "draining": w.draining,
        "capacity": w.slots == 0 or w.busy + w.queued >= w.slots + w.queue_max,
    }
    return next((rule for rule, broken in rules.items() if broken), None)


def naive_score(w: Fake, need: Need) -> float:
    """The score without the tie."""
    proximity = need.regions.get(w.region, need.region_default)
    assert proximity is not None
    load = math.floor((w.busy + w.queued) * 16 / w.slots) / 16
    values = {
        "model": 1.0,
        "region": proximity * (1 - w.hops.bit_length() / 16),
        "gpu": need.gpu_classes.get(w.gpu_class, 1.0),
        "queue": 1 / (1 + load),
        "warm": WARMTH[dict(w.states)[need.model]],
        "breaker": need.breakers.get(w.region, 1.0),
        "policy": need.policy.get(w.region, 0.0),
    }
    return sum(WEIGHTS[name] * value for name, value in values.items())


regions = st.sampled_from(["eu", "us", "ap"])
classes = st.sampled_from(["h100", "a100", "cpu"])
accelerators = st.lists(st.sampled_from(["cuda", "tensorrt"]), unique=True).map(tuple)
shares = st.sampled_from([0.0, 0.25, 0.5, 1.0])


@st.composite
def fakes(draw: st.DrawFn) -> Fake:
    slots = draw(st.integers(0, 9))
    states = draw(st.dictionaries(st.sampled_from("mno"), st.sampled_from(list(WARMTH)), min_size=1))
    return Fake(
        region=draw(regions),
        gpu_class=draw(classes),
        accelerators=draw(accelerators),
        vram_gib=draw(st.sampled_from([0, 24, 80])),
        slots=slots,
        busy=draw(st.integers(0, slots)),
        queued=draw(st.integers(0, 3)),
        queue_max=draw(st.integers(0, 3)),
        hops=draw(st.integers(0, 255)),
        states=tuple(states.items()),
        version=draw(st.sampled_from(["1.0", "1.0", "1.0", "2.0"])),
        draining=draw(st.sampled_from([False, False, False, True])),
    )


needs = st.builds(
    Need,
    regions=st.dictionaries(regions, shares),
    region_default=st.one_of(st.none(), shares),
    allowed=st.lists(regions, unique=True).map(tuple),
    gpu_classes=st.dictionaries(classes, shares),
    vram_gib=st.sampled_from([0, 0, 40]),
    accelerators=accelerators,
    breakers=st.dictionaries(regions, shares),
    policy=st.dictionaries(regions, st.sampled_from([-1.0, 0.0, 0.5])),
)


def fleet_of(*workers: Fake, **settings_: int) -> Fleet:
    fleet = Fleet(**settings_)
    for worker in workers:
        fleet.upsert(worker.worker_id, worker.report(), 0)
    return fleet


def about(score: float) -> object:
    return pytest.approx(score, abs=1.1e-6)  # the tie, which the naive scorer leaves out, is worth 1e-6 at most


def sums_up(candidate: Candidate) -> bool:
    names, values = zip(*candidate.terms, strict=True)
    return list(names) == NAMES and math.isclose(sum(values), candidate.score, rel_tol=1e-12)


@settings(max_examples=100, deadline=None)
@given(st.lists(fakes(), max_size=25), needs, st.integers(1, 6))
def test_top_k_and_explain_agree_with_a_naive_scorer(drawn: list[Fake], need: Need, k: int) -> None:
    workers = [replace(w, worker_id=f"w{i}") for i, w in enumerate(drawn)]
    fleet, query = fleet_of(*workers), need.query()
    fitting = {w.worker_id: naive_score(w, need) for w in workers if naive_rule(w, need) is None}
    best = fleet.top_k(query, "job", k, 0)
    assert [c.score for c in best] == [about(s) for s in sorted(fitting.values(), reverse=True)[:k]]
    assert all(sums_up(c) and c.score == about(fitting[c.worker_id]) for c in best)
    candidates, removed = fleet.explain(query, "job", 1_000, 0)
    assert {r.worker_id: r.rule for r in removed} == {
        w.worker_id: rule for w in workers if (rule := naive_rule(w, need))
    }
    assert [(c.worker_id, c.score) for c in candidates[:k]] == [(c.worker_id, c.score) for c in best]
    among = fleet.top_k(query, "job", k, 0, among=[w.worker_id for w in workers])
    assert [c.worker_id for c in among] == [c.worker_id for c in best]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), fakes()), max_size=20), needs)
def test_top_k_after_any_reports_is_that_of_the_last_ones(reports: list[tuple[int, Fake]], need: Need) -> None:
    grown, query, last = Fleet(), need.query(), {}
    for sequence, (number, drawn) in enumerate(reports, start=1):
        worker = replace(drawn, worker_id=f"w{number}", sequence=sequence)
        grown.upsert(worker.worker_id, worker.report(), 0)
        last[worker.worker_id] = worker
        fresh = fleet_of(*last.values())
        for key in ("a", "b"):
            found, expected = grown.top_k(query, key, 3, 0), fresh.top_k(query, key, 3, 0)
            assert [(c.worker_id, c.score) for c in found] == [(c.worker_id, c.score) for c in expected]
    census = grown.census("m", "1.0")
    serving = [w for w in last.values() if "m" in dict(w.states) and w.version == "1.0"]
    assert census.ready + census.full + census.out == len(serving)
    assert census.out == sum(w.draining for w in serving)


def test_ties_spread_over_equals_and_every_fleet_agrees() -> None:
    workers = [Fake(worker_id=f"w{i}") for i in range(20)]
    one, other, query = fleet_of(*workers), fleet_of(*reversed(workers)), Need().query()
    picks = [one.top_k(query, f"job-{i}", 1, 0)[0].worker_id for i in range(400)]
    assert picks == [other.top_k(query, f"job-{i}", 1, 0)[0].worker_id for i in range(400)]
    assert len(set(picks)) == 20
    assert max(picks.count(w) for w in set(picks)) < 100


def test_placements_count_until_a_report_tells_of_them() -> None:
    fleet, query = fleet_of(Fake("a"), Fake("b")), Need().query()
    first = fleet.top_k(query, "j", 1, 0)[0].worker_id
    assert fleet.placed(first, 0)
    assert fleet.placed(first, 0)
    second = fleet.top_k(query, "j", 1, 0)[0]
    assert second.worker_id != first
    assert [w.in_flight for w in fleet.workers() if w.worker_id == first] == [2]
    assert fleet.upsert(first, Fake(first, busy=1, started_total=1, sequence=2).report(), 10) == 12 - 2
    assert fleet.get(first).in_flight == 2
    assert fleet.upsert(first, Fake(first, busy=2, started_total=2, sequence=3).report(), 20) == 10
    assert fleet.get(first).in_flight == 2


def test_placement_that_did_not_start_is_taken_back() -> None:
    fleet = fleet_of(Fake("a"))
    assert not fleet.unplaced("a")
    fleet.placed("a", 0)
    assert fleet.unplaced("a")
    assert fleet.get("a").in_flight == 0


def test_placement_of_which_no_report_tells_is_forgotten() -> None:
    fleet = fleet_of(Fake("a"), placed_ms_max=5_000)
    fleet.placed("a", 0)
    assert fleet.upsert("a", Fake("a", sequence=2).report(), 4_999) == 11
    assert fleet.upsert("a", Fake("a", sequence=3).report(), 5_001) == 12


def test_worker_full_by_placements_gets_no_more_and_room_comes_back() -> None:
    fleet, query = fleet_of(Fake("a", slots=1, queue_max=1)), Need().query()
    fleet.placed("a", 0)
    assert [c.worker_id for c in fleet.top_k(query, "j", 2, 0)] == ["a"]
    fleet.placed("a", 0)
    assert fleet.top_k(query, "j", 2, 0) == []
    assert (fleet.census("m", "1.0").ready, fleet.census("m", "1.0").full) == (0, 1)
    _, removed = fleet.explain(query, "j", 10, 0)
    assert [(r.rule, r.detail) for r in removed] == [("capacity", "2 jobs in flight on 1 slots")]
    fleet.unplaced("a")
    assert len(fleet.top_k(query, "j", 2, 0)) == 1


def test_report_that_is_not_newer_changes_nothing() -> None:
    fleet = fleet_of(Fake("a", sequence=5))
    assert fleet.upsert("a", Fake("a", sequence=5, busy=3).report(), 1) is None
    assert fleet.upsert("a", Fake("a", sequence=4, busy=3).report(), 1) is None
    assert fleet.upsert("a", Fake("a", sequence=9, incarnation=0, busy=3).report(), 1) is None
    assert fleet.get("a").in_flight == 0
    assert fleet.upsert("a", Fake("a", sequence=1, incarnation=2, busy=3).report(), 1) == 9


def test_new_incarnation_starts_afresh() -> None:
    fleet = fleet_of(Fake("a"))
    fleet.placed("a", 0)
    fleet.set_health("a", 0.0)
    assert fleet.get("a").standing == "ejected"
    assert fleet.upsert("a", Fake("a", incarnation=2).report(), 1) == 12
    assert fleet.get("a").standing == "live"


def test_silence_makes_suspect_then_gone_and_a_beat_undoes_suspicion() -> None:
    fleet, query = fleet_of(Fake("a"), Fake("b"), suspect_ms=1_000, remove_ms=15_000), Need().query()
    assert fleet.beat("b", 900)
    assert fleet.expire(999) == ([], [])
    assert fleet.expire(1_000) == (["a"], [])
    assert [c.worker_id for c in fleet.top_k(query, "j", 5, 1_000)] == ["b"]
    assert fleet.get("a").standing == "suspect"
    assert fleet.beat("a", 1_200)
    assert len(fleet.top_k(query, "j", 5, 1_200)) == 2
    assert fleet.expire(2_199) == (["b"], [])
    assert fleet.expire(2_200) == (["a"], [])
    assert fleet.expire(16_200) == ([], ["b", "a"])
    assert len(fleet) == 0
    assert fleet.census("m", "1.0").out == 0


def test_silence_is_seen_by_a_query_before_anyone_expires() -> None:
    fleet = fleet_of(Fake("a"), suspect_ms=1_000)
    assert fleet.top_k(Need().query(), "j", 1, 1_000) == []
    assert fleet.expire(1_000) == (["a"], [])


def test_broken_link_makes_suspect_until_heard() -> None:
    fleet, query = fleet_of(Fake("a")), Need().query()
    assert fleet.suspect("a")
    assert fleet.top_k(query, "j", 1, 0) == []
    assert fleet.upsert("a", Fake("a", sequence=2).report(), 5) == 12
    assert len(fleet.top_k(query, "j", 1, 5)) == 1


def test_worker_drained_by_an_operator_gets_no_more_until_undrained() -> None:
    fleet, query = fleet_of(Fake("a")), Need().query()
    assert fleet.drain("a", True)
    assert fleet.upsert("a", Fake("a", sequence=2).report(), 1) == 0
    assert fleet.top_k(query, "j", 1, 1) == []
    assert fleet.drain("a", False)
    assert len(fleet.top_k(query, "j", 1, 1)) == 1


def test_health_lowers_the_score_and_zero_ejects() -> None:
    fleet, query = fleet_of(Fake("a"), Fake("b")), Need().query()
    assert fleet.set_health("a", 0.5)
    found = fleet.top_k(query, "j", 2, 0)
    assert [(c.worker_id, dict(c.terms)["breaker"]) for c in found] == [("b", 2.0), ("a", 1.0)]
    fleet.set_health("a", 0.0)
    assert [c.worker_id for c in fleet.top_k(query, "j", 2, 0)] == ["b"]
    assert [r.rule for r in fleet.explain(query, "j", 9, 0)[1]] == ["breaker"]


def test_excluded_workers_are_passed_over() -> None:
    fleet, query = fleet_of(*(Fake(f"w{i}") for i in range(10))), Need().query()
    for i in range(50):
        first = fleet.top_k(query, f"j{i}", 10, 0)
        rest = fleet.top_k(query, f"j{i}", 10, 0, exclude=[c.worker_id for c in first[:4]] + ["unknown"])
        assert [c.worker_id for c in rest] == [c.worker_id for c in first[4:]]


def test_engine_and_manifest_that_must_be_meant_are_filters() -> None:
    fleet = fleet_of(Fake("a", digest=b"d" * 32, fingerprint=b"f" * 32), Fake("b", digest=b"e" * 32))
    assert [c.worker_id for c in fleet.top_k(Query("m", "1.0", digest=b"e" * 32), "j", 9, 0)] == ["b"]
    query = Query("m", "1.0", fingerprint=b"f" * 32)
    assert [c.worker_id for c in fleet.top_k(query, "j", 9, 0)] == ["a"]
    assert [(r.worker_id, r.rule) for r in fleet.explain(query, "j", 9, 0)[1]] == [("b", "version")]


def test_removed_worker_is_nowhere() -> None:
    fleet = fleet_of(Fake("a"))
    assert fleet.remove("a")
    assert not fleet.remove("a")
    assert fleet.get("a") is None
    assert fleet.top_k(Need().query(), "j", 1, 0) == []
    unknown = (fleet.beat("a", 0), fleet.suspect("a"), fleet.placed("a", 0), fleet.set_health("a", 1))
    assert not any(unknown)


def test_view_tells_what_the_worker_said() -> None:
    worker = Fake("a", region="us", busy=2, incarnation=7)
    view = fleet_of(worker).get("a")
    assert (view.worker_id, view.incarnation, view.address, view.region) == ("a", 7, "a.test:1", "us")
    assert (view.standing, view.in_flight, view.room, view.heard_ms) == ("live", 2, 10, 0)
    assert view.report == worker.report()


def bad_reports() -> list[tuple[bytes, str]]:
    return [
        (b"\xff\xff", "not a Health.Report"),
        (Fake("b").report(), "another worker"),
        (Fake("a", region="").report(), "no region"),
        (Fake("a", accelerators=tuple(f"a{i}" for i in range(17))).report(), "over 16 accelerators"),
        (Fake("a", states=tuple((f"m{i}", 3) for i in range(600))).report(), "over 1,024 models"),
        (Fake("a", region="e\0u").report(), "not a Health.Report"),
        (Fake("a").report() + b"\x1a\xff\xff\xff\x0f", "not a Health.Report"),
        (bytes(70_000), "longer than 65,536 bytes"),
    ]


@pytest.mark.parametrize(("report", "why"), bad_reports())
def test_bad_report_is_an_error_and_leaves_the_worker_as_it_was(report: bytes, why: str) -> None:
    fleet = fleet_of(Fake("a"))
    with pytest.raises(ValueError, match=why):
        fleet.upsert("a", report, 1)
    assert fleet.get("a").report == Fake("a").report()


def test_fleet_that_is_full_refuses_a_new_worker_and_keeps_the_old() -> None:
    fleet = fleet_of(Fake("a"), workers_max=1)
    with pytest.raises(ValueError, match="as many workers as it may"):
        fleet.upsert("b", Fake("b").report(), 0)
    assert fleet.upsert("a", Fake("a", sequence=2).report(), 0) == 12


@given(st.binary(max_size=200))
def test_any_bytes_are_a_report_or_an_error(raw: bytes) -> None:
    fleet = Fleet()
    with pytest.raises(ValueError, match="report"):
        fleet.upsert("some-worker", raw, 0)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"version": ""}, "version"),
        ({"model_id": ""}, "model_id"),
        ({"digest": b"short"}, "digest"),
        ({"fingerprint": b"short"}, "fingerprint"),
        ({"regions": {"eu": 1.1}}, "regions"),
        ({"regions": {"eu": math.nan}}, "regions"),
        ({"region_default": -0.1}, "region_default"),
        ({"gpu_classes": {"h100": 2.0}}, "gpu_classes"),
        ({"breakers": {"eu": -1.0}}, "breakers"),
        ({"policy": {"eu": -2.0}}, "policy"),
        ({"accelerators": ["a"] * 17}, "accelerators"),
        ({"adapters": [("a", "1.0")] * 9}, "adapters"),
    ],
)
def test_query_out_of_range_is_an_error(arguments: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Query(**{"model_id": "m", "version": "1.0", **arguments})


@pytest.mark.parametrize("settings_", [{"queue": -1.0}, {"warm": math.inf}, {"suspect_ms": 0}, {"remove_ms": 999}])
def test_fleet_settings_out_of_range_are_an_error(settings_: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Fleet(**settings_)


def test_call_out_of_range_is_an_error() -> None:
    fleet, query = fleet_of(Fake("a")), Need().query()
    with pytest.raises(ValueError, match="k must be 1 to 64"):
        fleet.top_k(query, "j", 0, 0)
    with pytest.raises(ValueError, match="exclude must be 0 to 64"):
        fleet.top_k(query, "j", 1, 0, exclude=["x"] * 65)
    with pytest.raises(ValueError, match="limit must be 1 to 1000"):
        fleet.explain(query, "j", 0, 0)
    with pytest.raises(ValueError, match="health must be 0 to 1"):
        fleet.set_health("a", math.nan)
