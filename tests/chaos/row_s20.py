"""S20: quotas are not evaded by coming to many gateways at once: limits hold over two of them and two orchestrators.

Five tenants with one limit each ask for several times of it, at both gateways, for n seconds; half-way a gateway and an
orchestrator are killed, and come back. What was granted in all is compared with what the limit allows for that time,
which for a rate is a minute's worth at once and the rate from then on. How many ran at a time is told by what clients
saw: a job that was not cut off ran at least from its first chunk to the last but one. N counts requests.
"""

import asyncio
import itertools
import random
import time
from dataclasses import dataclass, field

from load import Record, read
from report import Outcome
from run import Args
from world import MODEL, Plan, World, world

from tether.client.aio import Client
from tether.errors import Reason
from tether.v1.policy_pb2 import Price
from tether.v1.registry_pb2 import Quota, SetPriceRequest, SetQuotaRequest

LIMITS = {
    "per-minute": Quota(requests_per_minute=120),
    "tokens": Quota(tokens_per_minute=4_000),
    "day": Quota(tokens_per_day=5_000),
    "jobs": Quota(concurrent_jobs=4),
    "spend": Quota(spend_per_day_micros=2_000_000),
}
MICROS_PER_TOKEN = 1_000
TOKENS, CALLERS, TIMEOUT_S = 20, 8, 10.0
KNOWN_S = 3.0  # the catalogue's followers hear of a change in a fraction of it; no call tells when
LATE_S = 0.05  # a chunk may be seen so much later than it was sent
MENDED_S = 5.0  # after a restart; until then, what a kill breaks may be asked for again
OVER_MAX, UNDER_MIN = 1.0, 0.9  # a limit that keeps too much away is none that one would buy
LIMITED = frozenset({Reason.RATE_LIMITED, Reason.QUOTA_EXCEEDED})


@dataclass
class Seen:
    """What one tenant got.

    Attributes:
        jobs: that were granted.
        tokens: of prompts and answers that were delivered.
        spans: when each job ran for certain, monotonic seconds.
        limited: requests that were refused for the limit.
        answered: tokens of whole answers by job.
    """

    jobs: int = 0
    tokens: int = 0
    spans: list[tuple[float, float]] = field(default_factory=list)
    limited: int = 0
    answered: dict[str, int] = field(default_factory=dict)


@dataclass
class Load:
    """What all callers share.

    Attributes:
        stop: set at the end.
        faults: when something was killed, and when it was mended, monotonic.
    """

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    faults: list[tuple[float, float]] = field(default_factory=list)

    def excuses(self, record: Record) -> bool:
        """Whether a kill may have broken a request, which ends now, before anything of it came."""
        now_s = time.monotonic()
        return record.refused and any(since <= now_s and record.began_s <= until for since, until in self.faults)


async def run(args: Args) -> Outcome:
    rng, outcome = random.Random(args.seed), Outcome(args.row, args.seed)
    plan = Plan(workers=2, gateways=2, orchestrators=2, store="postgres", mode=args.mode, tenants=tuple(LIMITS))
    seen = {tenant: Seen() for tenant in LIMITS}
    async with world(plan, args.folder) as place:
        clients = {
            (tenant, name): place.client(tenant, at=place.processes[name].endpoints["gateway"])
            for tenant in LIMITS
            for name in place.names("gateway")
        }
        await limit(place)
        began_s, load = time.monotonic(), Load()
        callers = [
            asyncio.create_task(call(client, random.Random(rng.getrandbits(64)), load, outcome, seen[tenant]))
            for (tenant, _), client in clients.items()
            for _ in range(CALLERS // 2)
        ]
        await asyncio.sleep(args.n / 2)
        for name in ("gateway-1", "orchestrator-2"):
            load.faults.append((time.monotonic(), float("inf")))
            place.processes[name].kill()
            await asyncio.to_thread(place.restart, name)
            load.faults[-1] = (load.faults[-1][0], time.monotonic() + MENDED_S)
        await asyncio.sleep(max(0.0, began_s + args.n - time.monotonic()))
        load.stop.set()
        await asyncio.gather(*callers)
        took_s = time.monotonic() - began_s
        for client in clients.values():
            await client.close()
        outcome.wrong += await place.audit({job: n for one in seen.values() for job, n in one.answered.items()})
    judge(outcome, seen, took_s)
    return outcome


async def limit(place: World) -> None:
    """Set limits and a price, and wait until every orchestrator goes by them."""
    async with place.operator() as operator:
        access = await operator.access()
        await access.SetPrice(SetPriceRequest(price=Price(model_id=MODEL, output_micros=1_000 * MICROS_PER_TOKEN)))
        for tenant, quota in LIMITS.items():
            await access.SetQuota(SetQuotaRequest(tenant_id=tenant, quota=quota))
    await asyncio.sleep(KNOWN_S)


async def call(client: Client, rng: random.Random, load: Load, outcome: Outcome, seen: Seen) -> None:
    """One request after the other, as fast as refusals allow."""
    while not load.stop.is_set():
        outcome.n += 1
        record = await watched(client, rng.getrandbits(63), seen)
        if record.error is None:
            outcome.wrong += [f"seed {record.seed}: {words}" for words in record.wrong()]
            seen.answered[record.job] = TOKENS
        elif record.error.reason in LIMITED:
            seen.limited += 1
            if record.error.retry_after_s is None:
                outcome.wrong.append(f"a refusal says not when to come back: {record.error}")
            await asyncio.sleep(0.05)
        elif not load.excuses(record):
            outcome.wrong.append(f"seed {record.seed}: {record.error}")


async def watched(client: Client, seed: int, seen: Seen) -> Record:
    """Read one stream, and count what it got."""
    record = await read(client, seed, TOKENS, timeout_s=TIMEOUT_S)
    seen.jobs += bool(record.chunks)
    seen.tokens += used(record)
    if len(record.at_s) > 1 and not record.cuts:  # a resumed one is replayed, perhaps after its end
        seen.spans.append((record.at_s[0], record.at_s[-2] - LATE_S))
    return record


def most_open(spans: list[tuple[float, float]]) -> int:
    """Most jobs that ran at a time; one that ends as another begins makes no two."""
    whole = [(since, until) for since, until in spans if until > since]
    steps = sorted([(since, 1) for since, _ in whole] + [(until, -1) for _, until in whole])
    return max(itertools.accumulate(step for _, step in steps), default=0)


def used(record: Record) -> int:
    """Tokens of a stream that was read to its end."""
    if record.error is not None or not record.chunks:
        return 0
    usage = record.chunks[-1].usage
    return usage.input_tokens + usage.output_tokens


def judge(outcome: Outcome, seen: dict[str, Seen], took_s: float) -> None:
    """Compare what was granted with what was allowed."""
    minutes = 1 + took_s / 60
    shares = {
        "per-minute": seen["per-minute"].jobs / (LIMITS["per-minute"].requests_per_minute * minutes),
        "tokens": seen["tokens"].tokens / (LIMITS["tokens"].tokens_per_minute * minutes),
        "day": seen["day"].tokens / LIMITS["day"].tokens_per_day,
        "jobs": most_open(seen["jobs"].spans) / LIMITS["jobs"].concurrent_jobs,
        "spend": TOKENS * len(seen["spend"].answered) * MICROS_PER_TOKEN / LIMITS["spend"].spend_per_day_micros,
    }
    for tenant, share in shares.items():
        if share > OVER_MAX:
            outcome.wrong.append(f"{tenant}: {share:.3f} of the limit was granted")
        if share < UNDER_MIN:
            outcome.wrong.append(f"{tenant}: only {share:.3f} of the limit was granted")
        if not seen[tenant].limited:
            outcome.wrong.append(f"{tenant}: nobody was refused")
    outcome.facts |= {
        "seconds": round(took_s, 1),
        "granted_of_limit": {tenant: round(share, 4) for tenant, share in shares.items()},
        "refused": sum(one.limited for one in seen.values()),
    }
