"""Overload in virtual time: the queue and the retry budget before a pool of slots that is offered far too much.

Service takes the same time in the mean and varies a little: slots that all came free at once would be an artefact.
"""

import heapq
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tether.placement.budget import RetryBudget, backoff_s
from tether.placement.lane import NORMAL, Tried, Waiting
from tether.placement.queue import LateQueue, QueueSettings

SLOTS, SERVICE_S = 200, 1.0
CAPACITY_PER_S = SLOTS / SERVICE_S
WAIT_MAX_S = 0.8
SPREAD = 0.3  # of a service time around its mean
WARM_S = 5.0  # of fair load, before the overload begins
SEED = 20_261_121


@dataclass(order=True)
class Event:
    at_s: float
    number: int
    act: Callable[[], None] = field(compare=False)


@dataclass
class Pool:
    """Slots with a fixed service time, and the queue before them.

    Attributes:
        weights: of tenants.
        rng: draws service times.
    """

    weights: Mapping[str, int]
    rng: random.Random = field(default_factory=lambda: random.Random(SEED + 1))
    queue: LateQueue = field(default_factory=lambda: LateQueue(QueueSettings()))
    free: int = SLOTS
    now_s: float = 0.0
    events: list[Event] = field(default_factory=list)
    latencies: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    offered: Counter[str] = field(default_factory=Counter)
    shed: Counter[str] = field(default_factory=Counter)
    done: Callable[[str, float], None] = lambda _tenant, _at_s: None
    refused: Callable[[str, float], None] = lambda _tenant, _at_s: None

    def at(self, at_s: float, act: Callable[[], None]) -> None:
        heapq.heappush(self.events, Event(at_s, len(self.events) + int(at_s * 1e6), act))

    def run(self, until_s: float) -> None:
        while self.events and self.events[0].at_s <= until_s:
            event = heapq.heappop(self.events)
            self.now_s = event.at_s
            event.act()

    def arrive(self, tenant: str) -> None:
        self.offered[tenant] += 1
        item = Waiting("demo", tenant, NORMAL, self.weights[tenant], self.now_s, WAIT_MAX_S)
        if self.free and not len(self.queue):
            self.start(item)
        elif self.queue.offer(item, self.now_s) is None:
            self.serve()
            self.at(self.now_s + WAIT_MAX_S, lambda: self.late(item))
        else:
            self.lose(tenant)

    def late(self, item: Waiting) -> None:
        if self.queue.remove(item):
            self.lose(item.tenant)

    def lose(self, tenant: str) -> None:
        self.shed[tenant] += 1
        self.refused(tenant, self.now_s)

    def start(self, item: Waiting) -> None:
        self.free -= 1
        took_s = SERVICE_S * self.rng.uniform(1 - SPREAD, 1 + SPREAD)
        self.at(self.now_s + took_s, lambda: self.end(item))

    def end(self, item: Waiting) -> None:
        self.free += 1
        self.latencies[item.tenant].append(self.now_s - item.since_s)
        self.done(item.tenant, self.now_s)
        self.serve()

    def serve(self) -> None:
        while self.free and (item := self.queue.next("demo", self.now_s, Tried())) is not None:
            self.queue.served(item, self.now_s)
            self.start(item)


def poisson(pool: Pool, tenant: str, rates: tuple[float, float], until_s: float, rng: random.Random) -> None:
    """Open-loop arrivals of a tenant, at one rate while the pool gets warm and at another one then."""
    at_s = rng.expovariate(rates[0])
    while at_s < until_s:
        pool.at(at_s, lambda: pool.arrive(tenant))
        at_s += rng.expovariate(rates[at_s > WARM_S])


def p99(values: list[float]) -> float:
    return sorted(values)[int(0.99 * len(values))]


def jain(values: list[float]) -> float:
    return sum(values) ** 2 / (len(values) * sum(value * value for value in values))


def offered_at(rates: Mapping[str, float], weights: Mapping[str, int], seconds: float) -> Pool:
    """A pool after a time of overload; what it counts began with that."""
    rng, pool = random.Random(SEED), Pool(weights)
    fair = 0.8 * CAPACITY_PER_S / len(weights)
    for tenant, per_s in rates.items():
        poisson(pool, tenant, (min(per_s, fair), per_s), WARM_S + seconds, rng)
    pool.run(WARM_S)
    for counter in (pool.offered, pool.shed, pool.latencies):
        counter.clear()
    pool.run(WARM_S + seconds)
    return pool


def unloaded_p99() -> float:
    return p99(
        [one for each in offered_at({"t": 0.1 * CAPACITY_PER_S}, {"t": 1}, 60.0).latencies.values() for one in each]
    )


def test_ten_times_the_capacity_loses_no_goodput_and_keeps_latency_bounded() -> None:
    tenants = {f"t{number}": 1 for number in range(10)}
    pool = offered_at(dict.fromkeys(tenants, CAPACITY_PER_S), tenants, 10.0)
    latencies = [one for each in pool.latencies.values() for one in each]
    assert len(latencies) >= 0.97 * CAPACITY_PER_S * 10.0
    assert p99(latencies) < 2 * unloaded_p99()
    assert jain([float(len(each)) for each in pool.latencies.values()]) >= 0.99
    assert len(pool.queue) <= CAPACITY_PER_S * WAIT_MAX_S * 1.5


def test_tenants_share_an_overloaded_pool_by_weight() -> None:
    weights = {f"t{number}": 1 + number % 4 for number in range(12)}
    pool = offered_at(dict.fromkeys(weights, CAPACITY_PER_S), weights, 10.0)
    assert jain([len(pool.latencies[tenant]) / weight for tenant, weight in weights.items()]) >= 0.99


def test_tenants_that_ask_unequally_share_equally() -> None:
    weights = {f"t{number}": 1 for number in range(10)}
    rates = {tenant: CAPACITY_PER_S * (1 + number) / 5 for number, tenant in enumerate(weights)}
    pool = offered_at(rates, weights, 10.0)
    assert jain([float(len(each)) for each in pool.latencies.values()]) >= 0.99


def test_one_tenant_at_ten_times_the_capacity_harms_no_other() -> None:
    weights = {"noisy": 1} | {f"t{number}": 1 for number in range(9)}
    fair = CAPACITY_PER_S / len(weights)
    pool = offered_at({"noisy": 10 * CAPACITY_PER_S} | {f"t{number}": 0.9 * fair for number in range(9)}, weights, 15.0)
    victims = [tenant for tenant in weights if tenant != "noisy"]
    asked, lost = sum(pool.offered[one] for one in victims), sum(pool.shed[one] for one in victims)
    assert lost <= 0.001 * asked
    assert p99([one for tenant in victims for one in pool.latencies[tenant]]) < 1.2 * unloaded_p99()
    assert sum(map(len, pool.latencies.values())) >= 0.97 * CAPACITY_PER_S * 15.0


def test_thousand_tenants_and_one_hostile_harms_none() -> None:
    weights = {"hostile": 1} | {f"t{number}": 1 for number in range(999)}
    rates = {"hostile": 20 * CAPACITY_PER_S} | {f"t{number}": 0.9 * CAPACITY_PER_S / 1_000 for number in range(999)}
    pool = offered_at(rates, weights, 10.0)
    lost = sum(count for tenant, count in pool.shed.items() if tenant != "hostile")
    assert lost <= 0.001 * sum(count for tenant, count in pool.offered.items() if tenant != "hostile")


def test_retry_storm_stays_within_the_budget_and_ends_with_the_fault() -> None:
    rng, budget, pool = random.Random(SEED), RetryBudget(), Pool({"t": 1})
    fault_s, healed_s, until_s = 10.0, 30.0, 50.0
    sent: Counter[bool] = Counter()
    failed_at: list[float] = []

    def retry(at_s: float, attempt: int) -> None:
        if not budget.retry("t", at_s):
            failed_at.append(at_s)
            return
        pool.at(at_s + backoff_s(attempt, rng.random()), lambda: send(attempt + 1))

    def send(attempt: int) -> None:
        sent[attempt > 0] += 1
        if attempt == 0:
            budget.offer("t", pool.now_s)
        if fault_s <= pool.now_s < healed_s and rng.random() < 0.3:
            retry(pool.now_s, attempt)
        else:
            pool.arrive("t")

    at_s = 0.0
    while at_s < until_s:
        at_s += rng.expovariate(0.95 * CAPACITY_PER_S)
        pool.at(at_s, lambda: send(0))
    pool.refused = lambda _tenant, now_s: retry(now_s, 1)
    pool.run(until_s)
    assert sum(sent.values()) <= 1.20 * sent[False]
    assert sent[True] > 0.1 * sent[False] * (healed_s - fault_s) / until_s
    late = [one for one in failed_at if one > healed_s + 10.0]
    assert len(late) <= 0.001 * sent[False]
