"""R11 and R12: ten times the load that fits, nearly all of it one tenant's: goodput, shedding, fairness.

Open loop, Poisson arrivals, workers with a fixed service time; n is the number of seconds. Nine tenants offer half of
their fair share each, the tenth ten times the whole capacity. Goodput counts answers within their deadline against the
region's own peak, measured first; a refusal must say when to come back.
"""

import asyncio
import random
import statistics
import time
from collections import defaultdict
from dataclasses import dataclass, field

from load import Record, read
from report import Outcome
from run import Args
from world import Plan, world

from tether.client.aio import Client
from tether.errors import Reason

SLOTS, WORKERS, TOKENS, TOKEN_MS = 2, 2, 20, 25
CAPACITY_PER_S = SLOTS * WORKERS * 1_000 / (TOKENS * TOKEN_MS)
TENANTS = ("greedy", *(f"fair-{number}" for number in range(9)))
DEADLINE_S, WAITED_S = 4.0, 0.25
GOODPUT_MIN, SHED_MS_MAX = 0.9, 10.0


@dataclass
class Seen:
    """What came of the offered load."""

    answers: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    offered: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    shed_ms: list[float] = field(default_factory=list)
    given_up: int = 0
    unhinted: int = 0
    failed: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    hung: int = 0


async def run(args: Args) -> Outcome:
    rng, outcome = random.Random(args.seed), Outcome(args.row, args.seed)
    worker = {"engine": "simulated", "slots": SLOTS, "queue_max": 1, "simulated_token_ms": TOKEN_MS}
    plan = Plan(workers=WORKERS, store=args.store, mode=args.mode, worker=worker, tenants=TENANTS)
    async with world(plan, args.folder) as place:
        clients = {tenant: place.client(tenant, resume=False) for tenant in TENANTS}
        calm_s, peak_s = min(10.0, args.n), min(15.0, args.n)
        calm = await offer(clients, rng, dict.fromkeys(TENANTS, CAPACITY_PER_S * 0.5 / len(TENANTS)), calm_s)
        peak = await offer(clients, rng, dict.fromkeys(TENANTS, CAPACITY_PER_S * 1.3 / len(TENANTS)), peak_s)
        rates = dict.fromkeys(TENANTS[1:], CAPACITY_PER_S / 20) | {"greedy": CAPACITY_PER_S * 10}
        seen = await offer(clients, rng, rates, float(args.n))
        for client in clients.values():
            await client.close()
        outcome.wrong += await place.audit({})
    outcome.n = sum(seen.offered.values())
    judge(outcome, calm, peak, seen, float(args.n))
    return outcome


async def offer(clients: dict[str, Client], rng: random.Random, rates: dict[str, float], seconds: float) -> Seen:
    """Send requests when they are due, whatever became of the others."""
    seen, tasks = Seen(), set()
    due = sorted((at, tenant) for tenant, rate in rates.items() for at in arrivals(rng, rate, seconds))
    began_s = time.monotonic()
    for at, tenant in due:
        await asyncio.sleep(max(0.0, began_s + at - time.monotonic()))
        seen.offered[tenant] += 1
        task = asyncio.create_task(one(clients[tenant], tenant, rng.getrandbits(63), seen))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=DEADLINE_S + 5)
        seen.hung += len(late)
    return seen


def arrivals(rng: random.Random, rate: float, seconds: float) -> list[float]:
    """Times of a Poisson process."""
    at, found = rng.expovariate(rate), []
    while at < seconds:
        found.append(at)
        at += rng.expovariate(rate)
    return found


async def one(client: Client, tenant: str, seed: int, seen: Seen) -> None:
    """One request."""
    record: Record = await read(client, seed, TOKENS, timeout_s=DEADLINE_S)
    took_s = time.monotonic() - record.began_s
    if record.error is None:
        seen.answers[tenant].append(took_s)
    elif record.error.reason in (Reason.OVERLOADED, Reason.RATE_LIMITED, Reason.QUOTA_EXCEEDED):
        if took_s < WAITED_S:
            seen.shed_ms.append(took_s * 1_000)
        else:
            seen.given_up += 1  # it had a place in the queue, and lost it
        seen.unhinted += record.error.retry_after_s is None
    else:
        seen.failed[record.error.reason.name] += 1


def judge(outcome: Outcome, calm: Seen, peak: Seen, seen: Seen, seconds: float) -> None:
    """Compare with the targets."""
    best = sum(len(found) for found in peak.answers.values()) / min(15.0, seconds)
    goodput = sum(len(found) for found in seen.answers.values()) / seconds
    fair = [len(seen.answers[tenant]) / max(1, seen.offered[tenant]) for tenant in TENANTS[1:] if seen.offered[tenant]]
    jain = sum(fair) ** 2 / (len(fair) * sum(one * one for one in fair)) if any(fair) else 0.0
    shed = sorted(seen.shed_ms)
    outcome.facts |= {
        "seconds": seconds,
        "capacity_per_s": CAPACITY_PER_S,
        "peak_per_s": round(best, 2),
        "goodput_per_s": round(goodput, 2),
        "goodput_of_peak": round(goodput / max(best, 1e-9), 3),
        "victims_success": round(statistics.mean(fair), 4),
        "jain_victims": round(jain, 4),
        "shed": len(shed),
        "shed_ms_p50": round(statistics.median(shed), 2) if shed else None,
        "shed_ms_p99": round(statistics.quantiles(shed, n=100)[98], 2) if len(shed) > 2 else None,
        "shed_without_hint": seen.unhinted,
        "given_up_in_the_queue": seen.given_up,
        "answer_s_p99_calm": _p99([took for found in calm.answers.values() for took in found]),
        "answer_s_p99_victims": _p99([took for tenant in TENANTS[1:] for took in seen.answers[tenant]]),
        "failed": dict(seen.failed),
        "hung": seen.hung,
    }
    if goodput < GOODPUT_MIN * best:
        outcome.wrong.append(f"goodput is {goodput / best:.2f} of the peak")
    if statistics.mean(fair) < 0.99:
        outcome.wrong.append(f"victims had {statistics.mean(fair):.3f} of their requests answered")
    if jain < 0.99:
        outcome.wrong.append(f"Jain's index of the victims is {jain:.3f}")
    if seen.unhinted:
        outcome.wrong.append(f"{seen.unhinted} refusals say not when to come back")
    if seen.hung:
        outcome.wrong.append(f"{seen.hung} requests hung")


def _p99(values: list[float]) -> float | None:
    return round(statistics.quantiles(values, n=100)[98], 3) if len(values) > 2 else None
