"""Late binding: who waits is woken in turn, called off without a trace, degraded or shed at once."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tether._native import Fleet
from tether.errors import Reason, TetherError
from tether.placement.breaker import Breakers, BreakerSettings
from tether.placement.query import Queries
from tether.placement.queue import LateQueue, QueueSettings
from tether.testing.catalogue import catalogue_of, model_of
from tether.v1.health_pb2 import Health
from tether.v1.infer_pb2 import Infer
from tether.v1.placement_pb2 import Header
from tether.v1.policy_pb2 import DegradeTarget, Policy, PolicyRule
from tether_orchestrator.choice import NEW, Choice, Want
from tether_orchestrator.clock import AttentiveClock
from tether_orchestrator.fleet import FleetView
from tether_orchestrator.queue import LateBinding
from tether_orchestrator.scheduler import Scheduler

A = "a" * 52
AGAIN = Want(again=True)


class World:
    """One worker, and calls that want it."""

    def __init__(self, *rules: PolicyRule, model_max: int = 100, wait_max_s: float = 5.0) -> None:
        self.fleet = FleetView(Fleet())
        self.queue = LateQueue(QueueSettings(model_max=model_max))
        models = [model_of("demo"), model_of("small")]
        policies = [Policy(rules=rules)] if rules else []
        scheduler = Scheduler(
            self.fleet,
            catalogue_of(models=models, policies=policies),
            Queries({"local": 1.0}),
            Breakers(BreakerSettings()),
            waiting=self.queue.waiting,
        )
        self.scheduler = scheduler
        self.late = LateBinding(scheduler, self.queue, AttentiveClock(), wait_max_s=wait_max_s, now_s=time.monotonic)
        self.fleet.listen(self.late)
        self.order: list[str] = []
        self.tasks: list[asyncio.Task[Choice]] = []
        self._sequence = 0

    def report(
        self, free: int, slots: int = 8, *, models: tuple[str, ...] = ("demo",), loading: tuple[str, ...] = ()
    ) -> None:
        """The worker has so many slots free, and has begun all that it was given."""
        self._sequence += 1
        report = Health.Report(
            worker_id=A,
            incarnation=1,
            sequence=self._sequence,
            region="local",
            address="127.0.0.1:9",
            gpu_class="cpu",
            capacity=Health.Capacity(slots=slots, slots_free=free),
            started_total=self._sequence * 1_000,
        )
        for model in models:
            ref = Health.ModelRef(model_id=model, version="1.0", digest=bytes(32))
            report.supported.append(ref)
            report.model_cache.add(model=ref, state=Health.CACHE_STATE_READY)
        for model in loading:
            ref = Health.ModelRef(model_id=model, version="1.0", digest=bytes(32))
            report.model_cache.add(model=ref, state=Health.CACHE_STATE_LOADING)
        self.fleet.report(A, report.SerializeToString())

    async def choose(self, name: str, want: Want = NEW, **fields: object) -> Choice:
        """Place a request, and note when its turn came."""
        filled: dict[str, object] = {"model_id": "demo", "tenant_id": name, **fields}
        header = Header(correlation_id=name, input_bytes=10, **filled)  # type: ignore[arg-type]
        choice = await self.late.choose(self.late.resolve(header), want)
        self.order.append(name)
        return choice

    async def wait_in(self, *calls: Awaitable[Choice]) -> list[asyncio.Task[Choice]]:
        """Start calls, in order, and let them get to where they wait."""
        made = [asyncio.ensure_future(call) for call in calls]
        self.tasks += made
        await asyncio.sleep(0)
        return made


@pytest.fixture
async def make() -> AsyncIterator[Callable[..., World]]:
    worlds: list[World] = []

    def made(*rules: PolicyRule, **settings: float) -> World:
        worlds.append(World(*rules, **settings))  # type: ignore[arg-type]
        return worlds[-1]

    yield made
    tasks = [task for world in worlds for task in world.tasks]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def refusal(call: Awaitable[Choice]) -> TetherError:
    with pytest.raises(TetherError) as caught:
        await asyncio.wait_for(call, 2)
    return caught.value


async def all_of(tasks: list[asyncio.Task[Choice]]) -> list[Choice]:
    return await asyncio.wait_for(asyncio.gather(*tasks), 2)


async def test_request_with_room_does_not_wait(make: Callable[..., World]) -> None:
    world = make()
    world.report(free=1)
    assert (await world.choose("a")).worker.node == A
    assert len(world.queue) == 0


async def test_request_without_any_worker_is_refused_at_once(make: Callable[..., World]) -> None:
    assert (await refusal(make().choose("a"))).reason is Reason.NO_WORKER


async def test_waiting_requests_are_woken_in_turn_as_room_comes(make: Callable[..., World]) -> None:
    world = make()
    world.report(free=0)
    tasks = await world.wait_in(
        world.choose("low", priority=Infer.PRIORITY_LOW),
        world.choose("greedy"),
        world.choose("greedy", input_tokens_max=1),
        world.choose("modest"),
        world.choose("high", priority=Infer.PRIORITY_HIGH),
        world.choose("runs", AGAIN),
    )
    assert len(world.queue) == 6
    world.report(free=2)
    await all_of([tasks[4], tasks[5]])
    world.report(free=3)
    await all_of(tasks[1:4])
    world.report(free=3)
    await all_of(tasks)
    assert world.order == ["runs", "high", "greedy", "modest", "greedy", "low"]
    assert len(world.queue) == 0


async def test_newcomer_does_not_overtake_who_waits(make: Callable[..., World]) -> None:
    world = make()
    world.report(free=0)
    first = await world.wait_in(*(world.choose("a") for _ in range(3)))
    second = await world.wait_in(world.choose("b"))
    world.report(free=1)
    await all_of(first[:1])
    assert not second[0].done()


async def test_call_that_is_cancelled_leaves_the_queue(make: Callable[..., World]) -> None:
    world = make()
    world.report(free=0)
    [gone, stays] = await world.wait_in(world.choose("gone"), world.choose("stays"))
    gone.cancel()
    await asyncio.wait({gone})
    assert len(world.queue) == 1
    world.report(free=1)
    await all_of([stays])


async def test_call_that_is_cancelled_in_its_turn_gives_the_worker_back(make: Callable[..., World]) -> None:
    world = make()
    world.report(free=0)
    [gone] = await world.wait_in(world.choose("gone"))
    world.report(free=1)
    gone.cancel()
    await asyncio.wait({gone})
    assert gone.cancelled()
    assert (await world.choose("next")).worker.node == A


async def test_job_given_back_wakes_who_waits(make: Callable[..., World]) -> None:
    world = make()
    world.report(free=1)
    placed = await world.choose("a")
    [waits] = await world.wait_in(world.choose("b"))
    world.late.give_back(placed.worker)
    await all_of([waits])


async def test_wait_ends_with_a_hint(make: Callable[..., World]) -> None:
    world = make(wait_max_s=0.02)
    world.report(free=0)
    error = await refusal(world.choose("a"))
    assert error.reason is Reason.OVERLOADED
    assert error.retry_after_s
    assert len(world.queue) == 0


async def test_wait_ends_with_what_policy_or_the_deadline_allows(make: Callable[..., World]) -> None:
    rule = PolicyRule(name="short")
    rule.queue_wait_max.FromMilliseconds(20)
    world = make(rule)
    world.report(free=0)
    assert "0.0 s" in (await refusal(world.choose("a"))).message
    world = make()
    world.report(free=0)
    header: dict[str, object] = {"timeout": {"nanos": 30_000_000}}
    assert (await refusal(world.choose("a", **header))).reason is Reason.OVERLOADED


async def test_past_the_bound_a_request_is_shed_fast(make: Callable[..., World]) -> None:
    world = make(model_max=9)
    world.report(free=0)
    tenants = (f"t{number}" for number in range(9))
    await world.wait_in(*(world.choose(tenant) for tenant in tenants))
    began_s = time.perf_counter()
    errors = [await refusal(world.choose("late")) for _ in range(20)]
    assert (time.perf_counter() - began_s) / 20 < 0.01
    assert {error.reason for error in errors} == {Reason.OVERLOADED}
    assert len(world.queue) == 9


async def test_past_the_bound_policy_may_name_something_lesser(make: Callable[..., World]) -> None:
    world = make(PolicyRule(name="cheap", degrade=[DegradeTarget(model_id="small", max_tokens=4)]), model_max=1)
    world.report(free=0)
    await world.wait_in(world.choose("a"))
    world.fleet.report("b" * 52, _other("small"))
    choice = await asyncio.wait_for(world.choose("b"), 2)
    assert choice.worker.node == "b" * 52
    degraded = choice.request.header.degraded
    assert (degraded.asked_model_id, degraded.asked_version, degraded.rule) == ("demo", "1.0", "cheap")
    assert choice.request.header.parameters.max_tokens == 4


async def test_same_model_with_less_may_wait_where_more_may_not(make: Callable[..., World]) -> None:
    world = make(PolicyRule(name="less", degrade=[DegradeTarget(max_tokens=4)]), model_max=1)
    world.report(free=0)
    [_first, lesser] = await world.wait_in(world.choose("a"), world.choose("b"))
    assert len(world.queue) == 2
    world.report(free=2)
    [choice] = await all_of([lesser])
    assert list(choice.request.header.degraded.parameters) == ["max_tokens"]


async def test_job_that_runs_is_never_degraded(make: Callable[..., World]) -> None:
    world = make(PolicyRule(name="less", degrade=[DegradeTarget(max_tokens=4)]), model_max=1)
    world.report(free=0)
    [again] = await world.wait_in(world.choose("a", AGAIN))
    world.report(free=1)
    [choice] = await all_of([again])
    assert not choice.request.header.HasField("degraded")


async def test_waiting_requests_fail_once_nobody_serves_their_model(make: Callable[..., World]) -> None:
    world = make()
    world.report(free=0)
    [waits] = await world.wait_in(world.choose("a"))
    world.fleet.dead(A)
    world.fleet.tick()
    assert (await refusal(waits)).reason is Reason.NO_WORKER


async def test_request_waits_while_its_model_is_on_its_way_to_a_worker(make: Callable[..., World]) -> None:
    world = make()
    world.report(free=8, models=(), loading=("demo",))
    [waits] = await world.wait_in(world.choose("a"))
    world.fleet.tick()
    assert not waits.done()
    removed = world.scheduler.explain(Header(model_id="demo"), 10).removed
    assert [(one.rule, one.detail) for one in removed] == [("model", "is loading demo:1.0")]
    world.report(free=8)
    assert (await all_of([waits]))[0].worker.node == A


async def test_wait_for_a_model_that_still_loads_says_so(make: Callable[..., World]) -> None:
    world = make(wait_max_s=0.01)
    world.report(free=8, models=(), loading=("demo",))
    told = await refusal(world.choose("a"))
    assert (told.reason, told.message) == (Reason.NO_WORKER, "1 worker is loading demo:1.0; none has it ready")
    assert told.retry_after_s


async def test_close_sends_who_waits_elsewhere(make: Callable[..., World]) -> None:
    world = make()
    world.report(free=0)
    [waits] = await world.wait_in(world.choose("a"))
    world.late.close()
    assert (await refusal(waits)).reason is Reason.DRAINING
    assert len(world.queue) == 0


def _other(model: str) -> bytes:
    report = Health.Report(
        worker_id="b" * 52,
        incarnation=1,
        sequence=1,
        region="local",
        address="127.0.0.1:9",
        gpu_class="cpu",
        capacity=Health.Capacity(slots=1, slots_free=1),
    )
    ref = Health.ModelRef(model_id=model, version="1.0", digest=bytes(32))
    report.supported.append(ref)
    report.model_cache.add(model=ref, state=Health.CACHE_STATE_READY)
    return report.SerializeToString()
