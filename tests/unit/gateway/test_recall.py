"""Jobs that were placed unheard are found and given up, and no others."""

import asyncio
import time
from typing import cast

import pytest

from tether.errors import Reason, TetherError
from tether.v1 import infer_pb2, placement_pb2
from tether_gateway import recall as module
from tether_gateway.admission import Admitted
from tether_gateway.governor import Again, Governor
from tether_gateway.recall import Recall, key_of
from tether_gateway.settler import Settled, Settler

JOB = bytes(range(16))
LOST = TetherError(Reason.STORE_UNAVAILABLE, "The store went away before it answered.")


class Store:
    """What a governor finds, and what a settler writes."""

    def __init__(self, epoch: int = 1, after_epoch: int = 0, *, mine: bool = True) -> None:
        self.epoch, self.after_epoch, self.mine = epoch, after_epoch, mine
        self.looks, self.gone = 0, 0
        self.given_up: list[int] = []
        self.done = asyncio.Event()

    async def lookup(self, _tenant: str, _name: infer_pb2.GetJobRequest) -> infer_pb2.Job:
        self.looks += 1
        if self.looks <= self.gone:
            raise TetherError(Reason.NO_ORCHESTRATOR, "gone")
        if not self.epoch:
            self.done.set()
            raise TetherError(Reason.JOB_UNKNOWN, "no such job")
        return infer_pb2.Job(name=JOB.hex(), state=infer_pb2.JOB_STATE_RESERVED, epoch=self.epoch)

    async def place(self, _admitted: Admitted, again: Again) -> placement_pb2.PlaceResponse:
        if self.mine and again.after_epoch == self.after_epoch:
            return placement_pb2.PlaceResponse(job_id=JOB, placed=placement_pb2.Placed(epoch=self.epoch))
        if again.after_epoch == 0:
            self.done.set()
        return placement_pb2.PlaceResponse(job_id=JOB, joined=placement_pb2.Joined(epoch=self.epoch))

    async def give_up(self, request: placement_pb2.CompleteRequest) -> Settled:
        self.given_up.append(request.epoch)
        self.done.set()
        return Settled(request.outcome, infer_pb2.Infer.SETTLEMENT_COMMITTED)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UNSEEN_S", 0.2)


def asked() -> Admitted:
    header = placement_pb2.Header(tenant_id="acme", correlation_id="name", keyed=True)
    return Admitted(b"request", header, "", time.monotonic() + 60.0, "")


def recall_of(store: Store) -> Recall:
    return Recall(cast("Governor", store), cast("Settler", store), chance=lambda: 0.01)


async def settled(recall: Recall, store: Store) -> None:
    async with asyncio.timeout(5.0):
        await store.done.wait()
        while len(recall):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_an_unheard_reservation_is_given_up() -> None:
    store = Store()
    recall = recall_of(store)
    recall.unheard(asked(), LOST)
    await settled(recall, store)
    assert store.given_up == [1]


async def test_a_store_that_comes_back_is_asked_again() -> None:
    store = Store()
    store.gone = 3
    recall = recall_of(store)
    recall.unheard(asked(), LOST)
    await settled(recall, store)
    assert (store.looks, store.given_up) == (4, [1])


async def test_an_unheard_later_attempt_is_given_up() -> None:
    store = Store(epoch=3, after_epoch=2)
    recall = recall_of(store)
    recall.unheard(asked(), None, 2)
    await settled(recall, store)
    assert store.given_up == [3]


async def test_an_unheard_new_beginning_of_an_abandoned_job_is_given_up() -> None:
    store = Store(epoch=3, after_epoch=0)
    recall = recall_of(store)
    recall.unheard(asked(), None, 2)
    await settled(recall, store)
    assert store.given_up == [3]


async def test_a_job_that_another_gateway_drives_is_left() -> None:
    store = Store(mine=False)
    recall = recall_of(store)
    recall.unheard(asked(), LOST)
    await settled(recall, store)
    assert store.given_up == []


async def test_a_job_that_was_never_written_is_forgotten() -> None:
    store = Store(epoch=0)
    recall = recall_of(store)
    recall.unheard(asked(), LOST)
    await settled(recall, store)
    assert store.given_up == []


async def test_a_job_that_is_being_placed_is_left_to_its_caller() -> None:
    store = Store()
    recall, admitted = recall_of(store), asked()
    with recall.placing(key_of(admitted)):
        recall.unheard(admitted, LOST)
        await asyncio.sleep(0.4)
        assert store.looks == 0
    await settled(recall, store)
    assert store.given_up == [1]


async def test_an_answer_is_not_looked_for() -> None:
    recall = recall_of(Store())
    recall.unheard(asked(), TetherError(Reason.QUOTA_EXCEEDED, "no"))
    assert len(recall) == 0


async def test_a_job_that_has_got_a_flight_is_left_to_it() -> None:
    store = Store()
    recall, admitted = recall_of(store), asked()
    recall.unheard(admitted, LOST)
    recall.met(admitted)
    await asyncio.sleep(0.4)
    assert (len(recall), store.looks) == (0, 0)


async def test_an_attempt_that_ran_here_is_not_given_up_while_the_store_has_not_heard_of_its_end() -> None:
    store = Store(epoch=2, after_epoch=0)
    recall = recall_of(store)
    recall.driven(JOB, 2)
    recall.unheard(asked(), LOST)
    async with asyncio.timeout(5.0):
        while len(recall):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert store.given_up == []
