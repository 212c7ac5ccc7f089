"""R6b: PostgreSQL is frozen for twenty seconds where policy allows unkeyed work without it.

Two orchestrators and two gateways under load without pause; half-way through, one orchestrator is killed, the other one
in each second round, for all jobs of a tenant go to one of them while it lives. Unkeyed jobs must go on before and
after, keyed ones be refused within 50 ms, and all that was answered be settled exactly once when the store is back. N
counts unkeyed requests that began while the store was gone, over as many rounds as that takes.
"""

import asyncio
import contextlib
import random
import time
from dataclasses import dataclass, field

from leftover import leftovers
from load import Record, read
from report import Outcome
from run import Args
from world import Plan, World, world

from tether.client.aio import Client
from tether.errors import Reason
from tether.v1.policy_pb2 import Allowance, Policy, PolicyRule
from tether.v1.registry_pb2 import SetPolicyRequest

CALLERS, TOKENS, TIMEOUT_S, PAUSE_S = 8, 30, 15.0, 0.1
WARM_S = 5.0  # policy is known, and slices are held, a second or two after a tenant's first job
KNOWN_S = 3.0  # the first write that fails opens the store's breaker
KILLED_S, GONE_S, AFTER_S = 10.0, 20.0, 3.0
KEYED, REFUSED_MS_MAX = 10, 50.0
VICTIMS = ("orchestrator-1", "orchestrator-2")
MOVED_S = 1.0  # jobs whose worker or orchestrator dies as they are placed may be refused so long; none else
DRAIN = {"drain_grace_s": 2.0}


@dataclass
class Seen:
    """What came of one round's load.

    Attributes:
        records: of unkeyed requests, in the order of their ends.
        refusals: of keyed ones, milliseconds.
    """

    records: list[Record] = field(default_factory=list)
    refusals: list[float] = field(default_factory=list)


async def run(args: Args) -> Outcome:
    rng, outcome, rounds = random.Random(args.seed), Outcome(args.row, args.seed), 0
    outcome.facts |= {"refused_at_the_kill": 0, "slower_than_50_ms": 0, "answered_without_the_store": 0}
    while outcome.n < args.n:
        victim = VICTIMS[rounds % len(VICTIMS)]
        before = len(outcome.wrong)
        await one_round(args, rng, outcome, victim, rounds)
        rounds += 1
        outcome.wrong[before:] = [f"{victim} killed: {words}" for words in outcome.wrong[before:]]
    outcome.facts["rounds"] = rounds
    return outcome


async def one_round(args: Args, rng: random.Random, outcome: Outcome, victim: str, number: int) -> None:
    """One region from its start to its audit."""
    plan = Plan(3, 2, 2, "postgres", args.mode, gateway=DRAIN, orchestrator=DRAIN)
    seen, stop = Seen(), asyncio.Event()
    async with world(plan, args.folder / str(number)) as place:
        await allow(place, args.mode)
        async with contextlib.AsyncExitStack() as stack:
            at = [place.processes[name].endpoints["gateway"] for name in place.names("gateway")]
            clients = [await stack.enter_async_context(place.client(resume=False, at=one)) for one in at]
            callers = [
                asyncio.create_task(call(clients[one % 2], random.Random(rng.getrandbits(64)), stop, seen))
                for one in range(CALLERS)
            ]
            await asyncio.sleep(WARM_S)
            gone, killed_s, back_s = await outage(place, clients, rng, outcome, seen, victim)
            await asyncio.sleep(AFTER_S)
            stop.set()
            await asyncio.gather(*callers)
        judge(outcome, seen, (gone, killed_s, back_s))
        delivered = {record.job: TOKENS for record in seen.records if record.error is None}
        outcome.wrong += await leftovers(place)  # first: until it is at rest, what ran without the store is not in it
        outcome.wrong += await place.audit(delivered)


async def allow(place: World, mode: str) -> None:
    """Let unkeyed jobs of all tenants run without the store."""
    rules = [PolicyRule(name="allow", without_store=Allowance.ALLOWANCE_ALLOWANCE)]
    rules += [PolicyRule(name="relay", path=2)] if mode == "relay" else []
    async with place.operator() as operator:
        access = await operator.access()
        await access.SetPolicy(SetPolicyRequest(policy=Policy(rules=rules)))


async def outage(
    place: World, clients: list[Client], rng: random.Random, outcome: Outcome, seen: Seen, victim: str
) -> tuple[float, float, float]:
    """Freeze the store, ask by names, kill one; returns when the store was known to be gone, the kill and the end."""
    place.postgres.freeze()
    began_s = time.monotonic()
    try:
        await asyncio.sleep(KNOWN_S)
        known_s = time.monotonic()
        for number in range(KEYED):
            await keyed(clients[number % 2], rng.getrandbits(63), outcome, seen)
        await asyncio.sleep(max(0.0, began_s + KILLED_S - time.monotonic()))
        killed_s = time.monotonic()
        place.processes[victim].kill()
        await asyncio.sleep(max(0.0, began_s + GONE_S - time.monotonic()))
    finally:
        place.postgres.thaw()
    back_s = time.monotonic()
    await asyncio.to_thread(place.restart, victim)
    return known_s, killed_s, back_s


async def keyed(client: Client, seed: int, outcome: Outcome, seen: Seen) -> None:
    """A request by a name of its own, which only a store could remember."""
    began_s = time.monotonic()
    record = await read(client, seed, 3, correlation_id=f"key-{seed}", timeout_s=TIMEOUT_S)
    seen.refusals.append((time.monotonic() - began_s) * 1_000)
    if record.error is None or record.error.reason is not Reason.STORE_UNAVAILABLE:
        outcome.wrong.append(f"a keyed request without the store: {record.error or 'was answered'}")


async def call(client: Client, rng: random.Random, stop: asyncio.Event, seen: Seen) -> None:
    """One unkeyed request after the other."""
    while not stop.is_set():
        seen.records.append(await read(client, rng.getrandbits(63), TOKENS, timeout_s=TIMEOUT_S))
        await asyncio.sleep(PAUSE_S)


def judge(outcome: Outcome, seen: Seen, times: tuple[float, float, float]) -> None:
    """What does not hold of a round."""
    gone_s, killed_s, back_s = times
    for record in seen.records:
        without = gone_s <= record.began_s < back_s
        outcome.n += without
        outcome.facts["answered_without_the_store"] += without and record.error is None
        if record.refused and not without and record.began_s < back_s + AFTER_S:
            continue  # as the store goes, and as it comes, a request may have to be made again
        if record.refused and abs(record.began_s - killed_s) < MOVED_S:
            outcome.facts["refused_at_the_kill"] += 1
            continue
        outcome.wrong += [f"seed {record.seed} job {record.job}: {words}" for words in record.wrong()]
    outcome.added_ms += seen.refusals
    outcome.facts["slower_than_50_ms"] += sum(one > REFUSED_MS_MAX for one in seen.refusals)
