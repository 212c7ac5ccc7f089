"""The scheduler at once: policy, refusals, jobs that run alone, what takes the place of what was asked."""

import pytest

from tether._native import Fleet
from tether.errors import Reason, TetherError
from tether.placement.breaker import Breakers, BreakerSettings
from tether.placement.query import Queries
from tether.policy import Policies
from tether.store.jobs import Worker
from tether.testing.catalogue import catalogue_of, model_of
from tether.v1.health_pb2 import Health
from tether.v1.infer_pb2 import Infer
from tether.v1.placement_pb2 import ExplainResponse, Header
from tether.v1.policy_pb2 import DegradeTarget, Policy, PolicyRule
from tether_orchestrator.fleet import FleetView
from tether_orchestrator.scheduler import Scheduler

A, B, C = "a" * 52, "b" * 52, "c" * 52


class World:
    """A scheduler over workers that a test states."""

    def __init__(self, *rules: PolicyRule, waiting: int = 0) -> None:
        models = [model_of("demo"), model_of("small"), model_of("tiny", capabilities=["text"])]
        self.fleet = FleetView(Fleet())
        self.catalogue = catalogue_of(models=models, policies=[Policy(rules=rules)] if rules else [])
        self.scheduler = Scheduler(
            self.fleet,
            self.catalogue,
            Queries({"local": 1.0}),
            Breakers(BreakerSettings()),
            waiting=lambda _lane: waiting,
        )
        self._sequence = 0

    def worker(
        self, worker: str, free: int = 1, *, slots: int = 1, region: str = "local", models: tuple[str, ...] = ("demo",)
    ) -> None:
        """A worker reports."""
        self._sequence += 1
        report = Health.Report(
            worker_id=worker,
            incarnation=1,
            sequence=self._sequence,
            region=region,
            address="127.0.0.1:9",
            gpu_class="cpu",
            capacity=Health.Capacity(slots=slots, slots_free=free),
            started_total=self._sequence * 100,
        )
        for model in models:
            ref = Health.ModelRef(model_id=model, version="1.0", digest=bytes(32))
            report.supported.append(ref)
            report.model_cache.add(model=ref, state=Health.CACHE_STATE_READY)
        self.fleet.report(worker, report.SerializeToString())

    def choose(self, number: int = 0, *, alone: bool = False, **fields: object) -> Worker:
        """Place a request."""
        return self.scheduler.choose(self.scheduler.resolve(header(number, **fields)), alone=alone)

    def explain(self, **fields: object) -> ExplainResponse:
        """Explain a request."""
        return self.scheduler.explain(header(**fields), 10)


def header(number: int = 0, **fields: object) -> Header:
    filled: dict[str, object] = {"model_id": "demo", "tenant_id": "acme", **fields}
    return Header(correlation_id=f"job-{number}", input_bytes=10, **filled)  # type: ignore[arg-type]


def refusal(world: World, *, alone: bool = False, **fields: object) -> TetherError:
    with pytest.raises(TetherError) as caught:
        world.choose(alone=alone, **fields)
    return caught.value


def test_policy_that_forbids_is_named() -> None:
    world = World(PolicyRule(name="no-demo", models=["demo"], forbid=True))
    world.worker(A, models=("demo", "small"))
    error = refusal(world)
    assert error.reason is Reason.POLICY_FORBIDS
    assert "no-demo" in error.message
    assert world.choose(model_id="small").node == A


def test_running_job_goes_on_whatever_policy_says_by_now() -> None:
    world = World(PolicyRule(name="no-demo", forbid=True))
    assert world.scheduler.resolve(header(), again=True).decision.forbidden_by == "no-demo"


def test_sealed_alone_may_run_where_policy_says_so() -> None:
    world = World(PolicyRule(name="locked", encryption_required=True))
    world.worker(A)
    assert "locked" in refusal(world).message
    assert world.choose(sealed=True).node == A


def test_policy_restricts_regions_and_gpu_classes() -> None:
    world = World(PolicyRule(name="eu", regions=["eu"]))
    world.worker(A, region="us")
    assert refusal(world).reason is Reason.NO_WORKER
    world.worker(B, region="eu")
    assert world.choose().node == B
    gpu = World(PolicyRule(name="gpu", gpu_classes=["h100"]))
    gpu.worker(A)
    assert refusal(gpu).reason is Reason.NO_WORKER


def test_points_of_policy_prefer_a_region() -> None:
    world = World(PolicyRule(name="points", points={"eu": 1.0}))
    for number, region in enumerate(("us", "eu", "asia")):
        world.worker("abc"[number] * 52, region=region, free=9, slots=9)
    assert {world.choose(number).node for number in range(5)} == {B}


def test_full_workers_of_the_allowed_region_are_full_and_not_missing() -> None:
    world = World(PolicyRule(name="eu", regions=["eu"]))
    world.worker(A, region="us")
    world.worker(B, region="eu", free=0)
    error = refusal(world)
    assert error.reason is Reason.OVERLOADED
    assert error.retry_after_s


def test_path_and_priority_follow_policy() -> None:
    world = World(PolicyRule(name="r", path=Infer.PATH_RELAY, priority_max=Infer.PRIORITY_LOW))
    request = world.scheduler.resolve(header(priority=Infer.PRIORITY_HIGH))
    assert (request.header.path, request.priority) == (Infer.PATH_RELAY, Infer.PRIORITY_LOW)


def test_degraded_is_not_for_gateways_to_say() -> None:
    sent = header(degraded=Infer.Degraded(rule="forged"))
    assert not World().scheduler.resolve(sent).header.HasField("degraded")
    assert World().scheduler.resolve(header(degraded=Infer.Degraded(rule="kept")), again=True).header.degraded.rule


def test_job_that_runs_alone_takes_an_idle_worker_and_keeps_it() -> None:
    world = World()
    world.worker(A, free=7, slots=8)
    world.worker(B, free=8, slots=8)
    assert world.choose(alone=True).node == B
    assert {world.choose(number).node for number in range(1, 8)} == {A}
    error = refusal(world)
    assert error.reason is Reason.OVERLOADED
    world.worker(B, free=8, slots=8)
    assert world.choose(9).node == B


def test_job_that_runs_alone_takes_a_busy_worker_where_none_is_idle() -> None:
    world = World()
    world.worker(A, free=1, slots=2)
    assert world.choose(alone=True).node == A


def test_fingerprint_is_preferred_and_not_required() -> None:
    world = World()
    world.worker(A)
    request = world.scheduler.resolve(header())
    assert world.scheduler.choose(request, (), b"f" * 32).node == A


def test_lower_passes_over_what_is_forbidden_gone_or_cannot_do_it() -> None:
    targets = [
        DegradeTarget(model_id="gone"),
        DegradeTarget(model_id="small", version="9.9"),
        DegradeTarget(model_id="tiny"),
        DegradeTarget(model_id="small", max_tokens=16),
        DegradeTarget(max_tokens=8),
    ]
    world = World(PolicyRule(name="cheap", degrade=targets), PolicyRule(name="no", models=["gone"], forbid=True))
    request = world.scheduler.resolve(header())
    lesser = [world.scheduler.lower(request, target) for target in request.decision.degrade]
    assert lesser[:3] == [None, None, None]
    assert [one and (one.model.model_id, one.header.parameters.max_tokens) for one in lesser[3:]] == [
        ("small", 16),
        ("demo", 8),
    ]
    assert request.header.model_id == "demo"
    forbidden = World(
        PolicyRule(name="cheap", degrade=targets[3:4]), PolicyRule(name="no", models=["small"], forbid=True)
    )
    request = forbidden.scheduler.resolve(header())
    assert forbidden.scheduler.lower(request, targets[3]) is None


def test_worker_that_fails_beside_others_is_ejected_and_shown() -> None:
    world = World()
    world.worker(A, 9, slots=9)
    world.worker(B, 9, slots=9)
    for _ in range(5):
        world.scheduler.ended("demo", B, failed=False, s_per_token=0.01)
        world.scheduler.ended("demo", A, failed=True, s_per_token=0.0)
    assert {world.choose(number).node for number in range(9)} == {B}
    [breaker, ejected] = world.scheduler.breakers()
    assert (breaker.model_id, breaker.region, breaker.state, breaker.error_rate) == ("demo", "local", "closed", 0.5)
    assert (ejected.worker_id, ejected.state, ejected.why) == (A, "ejected", "5 failures in a row")
    world.fleet.dead(A)
    assert len(world.scheduler.breakers()) == 1


def test_breaker_opens_and_is_told_and_shown() -> None:
    world = World()
    world.worker(A, 9, slots=9)
    hints = [world.scheduler.ended("demo", A, failed=True, s_per_token=0.0) for _ in range(10)]
    assert [hint.state for hint in hints if hint is not None] == ["open"]
    [breaker] = world.scheduler.breakers()
    assert (breaker.state, breaker.trips, breaker.why) == ("open", 1, "10 failures in a row")
    assert refusal(world).reason is Reason.NO_WORKER
    assert world.scheduler.ended("demo", C, failed=True, s_per_token=0.0) is None


def test_probe_that_is_given_back_is_not_the_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    now_ms = 1_000
    monkeypatch.setattr("tether_orchestrator.scheduler.monotonic_ms", lambda: now_ms)
    monkeypatch.setattr("tether_orchestrator.breakers.monotonic_ms", lambda: now_ms)
    world = World()
    world.worker(A, 9, slots=9)
    for _ in range(10):
        world.scheduler.ended("demo", A, failed=True, s_per_token=0.0)
    now_ms += 1_100
    world.scheduler.give_back(world.choose())
    assert world.choose().node == A
    assert refusal(world).reason is Reason.NO_WORKER


def test_worker_that_is_lost_with_all_its_jobs_opens_no_breaker() -> None:
    world = World()
    world.worker(A, 9, slots=9)
    world.worker(B, 9, slots=9)
    world.scheduler.ended("demo", B, failed=False, s_per_token=0.01)
    hints = [world.scheduler.ended("demo", A, failed=True, s_per_token=0.0, lost=True) for _ in range(32)]
    assert set(hints) == {None}
    assert [one.state for one in world.scheduler.breakers()] == ["closed", "ejected"]
    assert world.choose().node == B


def test_explain_tells_policy_targets_path_and_queue() -> None:
    rule = PolicyRule(name="cheap", degrade=[DegradeTarget(model_id="small", max_tokens=4)], path=Infer.PATH_RELAY)
    world = World(rule, waiting=7)
    world.worker(A)
    told = world.explain()
    assert [one.worker_id for one in told.candidates] == [A]
    assert list(told.policy) == ["cheap: path relay; degrade to small with max_tokens 4"]
    assert [(one.asked_model_id, one.rule, list(one.parameters)) for one in told.degraded] == [
        ("demo", "cheap", ["max_tokens"])
    ]
    assert (told.path, told.queued) == (Infer.PATH_RELAY, 7)


def test_explain_of_what_policy_forbids_has_no_candidates() -> None:
    world = World(PolicyRule(name="never", forbid=True))
    world.worker(A)
    told = world.explain()
    assert not told.candidates
    assert [(one.worker_id, one.rule) for one in told.removed] == [(A, "policy")]
    assert "never" in told.removed[0].detail
    assert list(told.policy) == ["never: forbids it"]


def test_policies_are_those_of_the_newest_snapshot() -> None:
    world = World()
    assert isinstance(world.catalogue.policies(), Policies)
    assert world.scheduler.decide(header()).why == ()
