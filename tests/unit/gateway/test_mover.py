"""From one attempt to the next while a reader waits: told as what was asked, sent and read."""

import asyncio
import time
from typing import Any

import pytest

from tether.errors import Reason, TetherError
from tether.link import Kind
from tether.v1 import control_pb2, infer_pb2, link_pb2, placement_pb2
from tether_gateway.admission import Admitted
from tether_gateway.attempt import ATTEMPTS_MAX
from tether_gateway.endings import FAREWELL_S

JOB = bytes(range(16))
A = b"a" * 32


def worker(name: str) -> placement_pb2.WorkerAddress:
    return placement_pb2.WorkerAddress(worker_id=name, incarnation=1, address="127.0.0.1:1")


def placed(epoch: int, name: str, **fields: Any) -> placement_pb2.PlaceResponse:
    made = placement_pb2.Placed(epoch=epoch, worker=worker(name), ticket=b"ticket", attempts=epoch, **fields)
    return placement_pb2.PlaceResponse(job_id=JOB, placed=made)


def joined(epoch: int, name: str) -> placement_pb2.PlaceResponse:
    return placement_pb2.PlaceResponse(job_id=JOB, joined=placement_pb2.Joined(epoch=epoch, worker=worker(name)))


def ended(state: infer_pb2.JobState.ValueType, *, retain: bool = False, **fields: Any) -> placement_pb2.PlaceResponse:
    job = infer_pb2.Job(name=JOB.hex(), state=state, epoch=1, **fields)
    return placement_pb2.PlaceResponse(job_id=JOB, ended=placement_pb2.Ended(job=job, retain=retain))


def without_request() -> Admitted:
    header = placement_pb2.Header(tenant_id="t", correlation_id="c")
    return Admitted(b"", header, "", time.monotonic() + 60, "")


async def moved(world: Any, flight: Any, epoch: int) -> None:
    await world.until(lambda: flight.epoch == epoch and flight.link and flight.moving is None, f"epoch {epoch}")


async def test_lost_worker_is_followed_from_the_accepted_prefix(world: Any) -> None:
    exact = {"fingerprint": A, "continuity": infer_pb2.Infer.CONTINUITY_EXACT}
    flight = await world.enter(placed(1, "w1", **exact))
    ((_, first),) = world.starts(flight.link)
    assert (first.request, first.attempts, first.position.tokens) == (b"request", 1, 0)
    world.say(flight, "hello")
    world.links.down.add("w1")
    world.governor.script = [placed(2, "w2", **exact)]
    world.cut("w1")
    await moved(world, flight, 2)
    asked = world.governor.asked[0]
    assert (asked.after_epoch, asked.cause) == (1, placement_pb2.PLACE_CAUSE_WORKER_LOST)
    assert (asked.tokens, asked.text_bytes, asked.fingerprint) == (5, 5, A)
    assert asked.error.startswith("WORKER_LOST: ")
    ((epoch, start),) = world.starts(flight.link)
    assert (epoch, start.position.tokens, bytes(start.prefix)) == (2, 5, b"hello")
    assert (start.continuity, start.attempts) == (infer_pb2.Infer.CONTINUITY_EXACT, 2)
    (handed,) = start.handed
    assert (handed.epoch, handed.worker_id, handed.driver_id, handed.fingerprint) == (1, "w1", "driver", A)
    world.say(flight, " world")
    world.end(flight)
    assert await world.reading is None
    assert world.text == "hello world"
    assert [chunk.epoch for chunk in world.got] == [1, 2, 2]


async def test_workers_that_cannot_be_dialled_are_no_poison_and_no_refusals(world: Any) -> None:
    names = [f"w{number}" for number in range(1, 6)]
    world.links.down.update(names[:4])
    world.governor.script = [placed(number, names[number - 1]) for number in range(2, 6)]
    flight = await world.enter(placed(1, "w1"))
    await moved(world, flight, 5)
    assert {asked.cause for asked in world.governor.asked} == {placement_pb2.PLACE_CAUSE_REFUSED}
    assert flight.refusals == 0


async def test_broken_link_is_taken_up_again_without_another_attempt(world: Any) -> None:
    flight = await world.enter(placed(1, "w1"))
    world.say(flight, "hel")
    world.cut("w1")
    await moved(world, flight, 1)
    ((epoch, start),) = world.starts(flight.link)
    assert (epoch, start.position.tokens) == (1, 3)
    assert world.governor.asked == []
    world.say(flight, "lo", 1 + 2)
    assert world.text == "hello"


async def test_link_that_breaks_twice_in_one_place_is_given_up(world: Any) -> None:
    flight = await world.enter(placed(1, "w1"))
    world.say(flight, "hel")
    world.cut("w1")
    await moved(world, flight, 1)
    world.governor.script = [placed(2, "w2")]
    world.cut("w1")
    await moved(world, flight, 2)
    assert world.links.dialled == ["w1", "w1", "w2"]


def relayed(epoch: int, name: str, relay: str) -> placement_pb2.PlaceResponse:
    return placed(epoch, name, relay=worker(relay))


async def test_attempt_goes_on_through_another_relay_where_its_own_left(world: Any) -> None:
    flight = await world.enter(relayed(1, "w1", "o1"))
    world.say(flight, "hel")
    world.links.relays_down.add("o1")
    world.governor.script = [relayed(1, "w1", "o2")]
    world.cut("w1")
    await moved(world, flight, 1)
    (asked,) = world.governor.asked
    assert (asked.after_epoch, asked.cause) == (0, placement_pb2.PLACE_CAUSE_HANDED_OVER)
    ((epoch, start),) = world.starts(flight.link)
    assert (epoch, start.position.tokens) == (1, 3)
    world.say(flight, "lo")
    assert world.text == "hello"


async def test_relay_that_stands_lets_its_worker_count_as_lost(world: Any) -> None:
    flight = await world.enter(relayed(1, "w1", "o1"))
    world.say(flight, "a")
    world.links.down.add("w1")
    world.governor.script = [relayed(1, "w1", "o1"), relayed(2, "w2", "o1")]
    world.cut("w1")
    await moved(world, flight, 2)
    assert world.governor.asked[1].cause == placement_pb2.PLACE_CAUSE_WORKER_LOST


async def test_worker_behind_a_relay_is_not_blamed_where_nobody_answers(world: Any) -> None:
    flight = await world.enter(relayed(1, "w1", "o1"))
    world.say(flight, "a")
    world.links.down.add("w1")
    away = TetherError(Reason.NO_ORCHESTRATOR, "none")
    world.governor.script = [away, away, relayed(2, "w2", "o2")]
    world.cut("w1")
    await moved(world, flight, 2)
    assert world.governor.asked[-1].cause == placement_pb2.PLACE_CAUSE_HANDED_OVER


async def test_worker_that_is_known_to_be_dead_is_not_dialled(world: Any) -> None:
    flight = await world.enter(placed(1, "w1"))
    world.links.lost("w1", 1)
    world.governor.script = [placed(2, "w2")]
    world.cut("w1")
    await moved(world, flight, 2)
    assert world.links.dialled == ["w1", "w2"]


async def test_silent_worker_is_left_and_told_to_stop(world: Any) -> None:
    flight = await world.enter(placed(1, "w1"))
    link = flight.link
    world.say(flight, "a")
    world.sent(link)
    world.governor.script = [placed(2, "w2")]
    now = time.monotonic_ns() // 1_000_000
    world.splice.act(world.splice.table.tick(now))
    for step in range(1, 60):
        world.splice.act(world.splice.table.tick(now + step * 50))
    await moved(world, flight, 2)
    assert world.links.dialled == ["w1", "w2"]  # its link stands: it is not dialled again
    assert [kind for kind, _, _ in world.sent(link)] == [Kind.CANCEL]


@pytest.mark.parametrize(
    ("reason", "said", "handed_over", "cause"),
    [
        ("OVERLOADED", "", False, placement_pb2.PLACE_CAUSE_REFUSED),
        ("ENGINE_FAILED", "abc", False, placement_pb2.PLACE_CAUSE_FAILED),
        ("DRAINING", "abc", True, placement_pb2.PLACE_CAUSE_HANDED_OVER),
    ],
)
async def test_failed_attempt_is_followed_with_its_cause(
    world: Any, reason: str, said: str, handed_over: bool, cause: int
) -> None:
    flight = await world.enter(placed(1, "w1"))
    if said:
        world.say(flight, said)
    world.governor.script = [placed(2, "w2")]
    world.fail(flight, reason, handed_over=handed_over)
    await moved(world, flight, 2)
    assert (world.governor.asked[0].cause, world.governor.asked[0].tokens) == (cause, len(said))
    world.say(flight, "x")
    assert world.text == f"{said}x"


async def test_failure_of_an_engine_is_retried_only_within_the_budget(world: Any) -> None:
    flight = await world.enter(placed(1, "w1"))
    world.governor.retries = 1
    world.governor.script = [placed(2, "w2"), placed(3, "w3")]
    world.fail(flight, "ENGINE_FAILED")
    await moved(world, flight, 2)
    world.fail(flight, "ENGINE_FAILED")
    await world.reading
    assert (world.failure.reason, world.failure.retry_after.seconds) == ("ENGINE_FAILED", 5)
    assert len(world.governor.asked) == 1
    await world.until(lambda: world.governor.completed, "settled")
    assert world.governor.completed[0].error.startswith("ENGINE_FAILED: ")  # so that breakers hear of it


@pytest.mark.parametrize("reason", ["WORKER_LOST", "OVERLOADED", "ENGINE_FAILED"])
async def test_what_is_no_retry_needs_no_budget(world: Any, reason: str) -> None:
    flight = await world.enter(placed(1, "w1"))
    world.governor.retries = 0
    world.governor.script = [placed(2, "w2")]
    if reason == "WORKER_LOST":
        world.links.down.add("w1")
        world.cut("w1")
    else:
        if reason == "ENGINE_FAILED":
            world.say(flight, "a")
        world.fail(flight, reason)
    await moved(world, flight, 2)
    assert world.governor.retries == 0


async def test_refusals_end_with_the_last_error(world: Any) -> None:
    flight = await world.enter(placed(1, "w1"))
    world.governor.script = [placed(2, "w2"), placed(3, "w3")]
    for epoch in (1, 2):
        world.fail(flight, "OVERLOADED")
        await moved(world, flight, epoch + 1)
    world.fail(flight, "OVERLOADED")
    await world.reading
    assert world.failure.reason == "OVERLOADED"
    assert len(world.governor.asked) == 2


async def test_region_without_a_worker_is_asked_until_there_is_one(world: Any) -> None:
    flight = await world.enter(placed(1, "w1"))
    world.say(flight, "a")
    away = [Reason.NO_WORKER, Reason.STORE_UNAVAILABLE, Reason.UNREACHABLE, Reason.OVERLOADED, Reason.NO_ORCHESTRATOR]
    world.governor.script = [*(TetherError(reason, "later") for reason in away), placed(2, "w2")]
    world.links.down.add("w1")
    world.cut("w1")
    await moved(world, flight, 2)
    assert len(world.governor.asked) == len(away) + 1


async def test_answer_that_is_no_ends_the_job_and_settles_it(world: Any) -> None:
    flight = await world.enter(placed(1, "w1"))
    world.say(flight, "abc")
    world.governor.script = [TetherError(Reason.QUOTA_EXCEEDED, "used up")]
    world.links.down.add("w1")
    world.cut("w1")
    await world.reading
    assert world.failure.reason == "QUOTA_EXCEEDED"
    await world.until(lambda: world.governor.completed, "settled")
    assert world.governor.completed[0].delivered.tokens == 3


async def test_attempts_of_a_job_are_bounded(world: Any) -> None:
    flight = await world.enter(placed(1, "w1"))
    world.say(flight, "a")
    flight.attempts = ATTEMPTS_MAX
    world.fail(flight, "ENGINE_FAILED")
    await world.reading
    assert world.failure.reason == "ENGINE_FAILED"
    assert world.governor.asked == []


async def test_worker_that_cannot_be_reached_is_followed_by_another(world: Any) -> None:
    flight = await world.enter(placed(1, "w1"))
    world.say(flight, "a")
    world.links.down |= {"w1", "w2"}
    world.governor.script = [placed(2, "w2"), placed(3, "w3")]
    world.cut("w1")
    await moved(world, flight, 3)
    assert [again.after_epoch for again in world.governor.asked] == [1, 2]


async def test_dead_job_is_poison_and_its_request_is_deposited(world: Any) -> None:
    flight = await world.enter(placed(1, "w1"))
    world.governor.script = [ended(infer_pb2.JOB_STATE_DEAD, retain=True, error="it kills workers")]
    world.fail(flight, "ENGINE_FAILED")
    await world.reading
    assert world.failure.reason == "POISON"
    await world.until(lambda: world.governor.deposits, "deposited")
    assert (world.governor.deposits[0].job_id, world.governor.deposits[0].request) == (JOB, b"request")
    assert world.governor.completed == []  # its outcome is written


async def test_dead_job_that_is_not_retained_is_not_deposited(world: Any) -> None:
    flight = await world.enter(placed(1, "w1"))
    world.governor.script = [ended(infer_pb2.JOB_STATE_DEAD)]
    world.fail(flight, "ENGINE_FAILED")
    await world.reading
    await world.tasks.idle()
    assert world.governor.deposits == []


async def test_abandoned_job_runs_again_for_whoever_has_the_request(world: Any) -> None:
    flight = await world.enter(placed(1, "w1"))
    world.say(flight, "abc")
    world.governor.script = [ended(infer_pb2.JOB_STATE_ABANDONED), placed(2, "w2")]
    world.links.down.add("w1")
    world.cut("w1")
    await moved(world, flight, 2)
    assert [again.after_epoch for again in world.governor.asked] == [1, 0]
    world.say(flight, "d")
    assert world.text == "abcd"


async def test_driver_that_lost_its_job_reads_along(world: Any) -> None:
    flight = await world.enter(placed(1, "w1"))
    world.say(flight, "ab")
    world.links.down.add("w1")
    world.governor.script = [joined(2, "w2")]
    world.cut("w1")
    await moved(world, flight, 2)
    assert not flight.driver
    ((kind, epoch, body),) = world.sent(flight.link)
    assert (kind, epoch, link_pb2.Link.Attach.FromString(body).position.tokens) == (Kind.ATTACH, 2, 2)
    world.say(flight, "c")
    assert world.text == "abc"


async def test_reader_follows_the_driver_to_its_next_attempt(world: Any) -> None:
    flight = await world.enter(joined(1, "w1"))
    world.say(flight, "ab")
    world.links.down.add("w1")
    world.governor.script = [joined(1, "w1"), joined(1, "w1"), joined(2, "w2")]
    world.cut("w1")
    await moved(world, flight, 2)
    assert {again.cause for again in world.governor.asked} == {placement_pb2.PLACE_CAUSE_TAKE_OVER}
    world.say(flight, "c")
    assert world.text == "abc"


async def test_reader_of_a_start_that_is_on_its_way_tries_again(world: Any) -> None:
    flight = await world.enter(joined(1, "w1"))
    world.governor.script = [joined(1, "w1")]
    world.sent(flight.link)
    world.fail(flight, "JOB_UNKNOWN")
    await world.until(lambda: world.sent(flight.link), "attached again")
    world.say(flight, "a")
    assert world.text == "a"


async def test_reader_takes_over_from_a_driver_that_is_gone(world: Any) -> None:
    flight = await world.enter(joined(1, "w1"))
    world.say(flight, "ab")
    world.links.down.add("w1")
    world.governor.script = [joined(1, "w1"), placed(2, "w2")]
    world.cut("w1")
    await moved(world, flight, 2)
    assert flight.driver
    ((_, start),) = world.starts(flight.link)
    assert (bytes(start.prefix), start.continuity) == (b"ab", infer_pb2.Infer.CONTINUITY_COHERENT)
    world.say(flight, "c")
    world.end(flight)
    assert await world.reading is None
    assert world.text == "abc"


async def test_newer_attempt_is_heard_of_at_once(world: Any) -> None:
    flight = await world.enter(joined(1, "w1"))
    world.say(flight, "ab")
    world.governor.script = [joined(2, "w2")]
    world.conductor.newer(placement_pb2.NewEpoch(job_id=JOB, epoch=2, worker=worker("w2")))
    await moved(world, flight, 2)
    world.conductor.newer(placement_pb2.NewEpoch(job_id=JOB, epoch=2, worker=worker("w2")))
    assert len(world.governor.asked) == 1


async def test_reader_without_the_request_looks_where_the_job_runs(world: Any) -> None:
    flight = await world.enter(joined(1, "w1"), without_request())
    world.say(flight, "ab")
    world.links.down.add("w1")
    row = infer_pb2.Job(name=JOB.hex(), state=infer_pb2.JOB_STATE_RESERVED, epoch=1)
    world.governor.found = [
        control_pb2.LookupJobResponse(job=row, running=joined(1, "w1").joined),
        control_pb2.LookupJobResponse(job=row, running=joined(2, "w2").joined),
    ]
    world.cut("w1")
    await moved(world, flight, 2)
    assert world.governor.asked == []


async def test_reader_without_the_request_ends_where_nobody_runs_the_job(world: Any) -> None:
    await world.enter(joined(1, "w1"), without_request())
    world.links.down.add("w1")
    row = infer_pb2.Job(name=JOB.hex(), state=infer_pb2.JOB_STATE_ABANDONED, epoch=1)
    world.governor.found = [control_pb2.LookupJobResponse(job=row)]
    world.cut("w1")
    await world.reading
    assert world.failure.reason == "WORKER_LOST"


async def test_late_first_chunk_is_raced_and_the_first_to_come_goes_on(world: Any) -> None:
    flight = await world.enter(placed(1, "w1", hedge_after={"nanos": 1_000_000}))
    first = flight.link
    world.governor.script = [placed(2, "w2")]
    await world.until(lambda: flight.raced is not None, "raced")
    asked = world.governor.asked[0]
    assert (asked.race, asked.cause, asked.after_epoch) == (True, placement_pb2.PLACE_CAUSE_HEDGE, 1)
    second = flight.raced_link
    world.say(flight, "won", 0, epoch=2, link=second)
    assert (flight.epoch, flight.link, flight.raced) == (2, second, None)
    assert (Kind.CANCEL, 1) in [(kind, epoch) for kind, epoch, _ in world.sent(first)]
    world.end(flight)
    assert await world.reading is None
    assert world.text == "won"
    assert [one.epoch for one in world.governor.completed] == [2]


async def test_race_is_not_run_once_something_came(world: Any) -> None:
    flight = await world.enter(placed(1, "w1", hedge_after={"nanos": 1_000_000}))
    world.say(flight, "a")
    await flight.hedging
    assert world.governor.asked == []


async def test_attempt_that_is_placed_for_nobody_is_given_up(world: Any) -> None:
    flight = await world.enter(placed(1, "w1"))
    world.say(flight, "a")
    world.links.down.add("w1")
    world.governor.gate = asyncio.Event()
    world.governor.script = [placed(2, "w2")]
    world.cut("w1")
    await world.until(lambda: world.governor.asked, "asked")
    world.endings.fail(flight, TetherError(Reason.DEADLINE, "over"))
    world.governor.gate.set()
    await world.until(lambda: [one.epoch for one in world.governor.completed] == [1, 2], "both attempts are settled")


async def test_worker_whose_stream_breaks_a_rule_is_left_and_its_frame_deposited(world: Any) -> None:
    flight = await world.enter(placed(1, "w1"))
    first = flight.link
    world.say(flight, "ab")
    world.governor.script = [placed(2, "w2")]
    world.say(flight, "zz", 5)  # a hole
    await moved(world, flight, 2)
    asked = world.governor.asked[0]
    assert (asked.cause, asked.tokens) == (placement_pb2.PLACE_CAUSE_FAILED, 2)
    assert asked.error.startswith("ENGINE_FAILED: ")
    assert (Kind.CANCEL, 1) in [(kind, epoch) for kind, epoch, _ in world.sent(first)]
    world.say(flight, "c")
    world.end(flight)
    assert await world.reading is None
    assert world.text == "abc"
    (deposit,) = world.governor.deposits
    assert (deposit.peer_id, deposit.job_id, deposit.epoch) == ("w1", JOB, 1)
    assert b"zz" in deposit.frame


async def test_rerun_that_differs_ends_the_stream(world: Any) -> None:
    flight = await world.enter(placed(1, "w1"))
    world.say(flight, "ab")
    world.links.down.add("w1")
    world.governor.script = [placed(2, "w2", continuity=infer_pb2.Infer.CONTINUITY_RERUN)]
    world.cut("w1")
    await moved(world, flight, 2)
    world.say(flight, "ax", 0)
    await world.reading
    assert world.failure.reason == "STREAM_DIVERGED"
    assert world.governor.deposits == []


async def test_prompt_that_a_worker_told_is_settled_without_a_receipt(world: Any) -> None:
    flight = await world.enter(placed(1, "w1"))
    told = link_pb2.Link.Progress(phase=link_pb2.Link.PHASE_PREFILL, n=10, of=77)
    world.send(flight, Kind.PROGRESS, told.SerializeToString())
    world.endings.fail(flight, TetherError(Reason.DEADLINE, "over"))
    await world.until(lambda: world.governor.completed, "settled")
    assert world.governor.completed[0].input_tokens == 77


async def test_prompt_is_known_from_the_end_of_what_was_stopped(world: Any) -> None:
    flight = await world.enter(placed(1, "w1"))
    link = flight.link
    world.endings.fail(flight, TetherError(Reason.DEADLINE, "over"))
    body = infer_pb2.Infer.ReceiptBody(usage=infer_pb2.Infer.Usage(input_tokens=5)).SerializeToString()
    last = infer_pb2.Infer.Chunk(done=True, receipt=infer_pb2.Infer.Receipt(body=body))
    await asyncio.sleep(0)
    world.send(flight, Kind.END, last.SerializeToString(), 0, link=link)
    await world.until(lambda: world.governor.completed, "settled")
    assert world.governor.completed[0].input_tokens == 5


async def test_end_of_an_attempt_that_its_worker_failed_waits_for_no_farewell(world: Any) -> None:
    flight = await world.enter(placed(1, "w1"))
    world.governor.retries = 0
    world.fail(flight, "ENGINE_FAILED")
    await world.reading
    assert flight.over
    began_s = time.monotonic()
    await world.until(lambda: world.governor.completed, "settled")
    assert time.monotonic() - began_s < FAREWELL_S


async def test_link_that_falls_while_an_attempt_is_put_on_it_is_noticed(world: Any) -> None:
    flight = await world.enter(placed(1, "w1"))
    world.say(flight, "a")
    world.links.down.add("w1")
    world.governor.script = [placed(2, "w2"), placed(3, "w3")]
    dial = world.links.to

    async def falls(where: Any) -> Any:
        end = await dial(where)
        if where.worker.worker_id == "w2":
            world.links.down.add("w2")
            world.cut("w2")
        return end

    world.links.to = falls
    world.cut("w1")
    await moved(world, flight, 3)
    world.say(flight, "b")
    assert world.text == "ab"


async def test_receipt_that_does_not_hold_moves_the_job(world: Any) -> None:
    flight = await world.enter(placed(1, "w1"))
    world.say(flight, "abc")
    world.governor.receipt_error = TetherError(Reason.SETTLEMENT_FAILED, "of another job")
    world.governor.script = [placed(2, "w2")]
    world.end(flight)
    await moved(world, flight, 2)
    world.end(flight)
    assert await world.reading is None
    assert world.text == "abc"


async def test_outcome_that_was_written_elsewhere_ends_the_stream(world: Any) -> None:
    await world.enter(placed(1, "w1"))
    cancelled = placement_pb2.JobOutcome(job_id=JOB, epoch=1, outcome=infer_pb2.JOB_STATE_CANCELLED)
    world.conductor.decided(cancelled)
    await world.reading
    assert world.failure.reason == "JOB_CANCELLED"
    assert world.governor.completed == []


async def test_broken_frames_are_deposited_once_a_second(world: Any) -> None:
    for at in (0.0, 0.5, 1.1):
        world.endings.broken("w1", b"x" * 9_000, "no frame", 100.0 + at)
    await world.until(lambda: len(world.governor.deposits) == 2, "deposited")
    assert {len(one.frame) for one in world.governor.deposits} == {4_096}
    assert {one.error for one in world.governor.deposits} == {"LINK_PROTOCOL: no frame"}
