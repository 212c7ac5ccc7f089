"""The store's follower: what others wrote is posted, and an outage is lived through."""

import asyncio

from tether.errors import Reason, TetherError
from tether.v1 import registry_pb2 as pb
from tether_registry import metrics
from tether_registry.board import Board, Form
from tether_registry.follow import StoreFollower


class Store:
    def __init__(self):
        self.number, self.down, self.asked = 1, False, asyncio.Event()

    async def revision(self):
        self.asked.set()
        if self.down:
            raise TetherError(Reason.STORE_UNAVAILABLE, "gone")
        return self.number

    async def read(self):
        return pb.Snapshot(revision=self.number)


async def following(store):
    board = Board(store.read, lambda context, body: b"", b"", 5.0)
    await board.refresh()
    follower = StoreFollower(store.revision, board, 0.001)
    follower.start()
    return board, follower


async def test_follower_posts_what_others_wrote():
    store = Store()
    board, follower = await following(store)
    watch = board.watch(1, Form.BARE)
    store.number = 5
    assert (await asyncio.wait_for(anext(watch), 5)).revision == 5
    await watch.aclose()
    await follower.close()


async def test_follower_lives_through_an_outage_of_the_store():
    store = Store()
    board, follower = await following(store)
    metrics.STORE_UP.set(1)
    store.down = True
    store.asked.clear()
    await asyncio.wait_for(store.asked.wait(), 5)
    assert board.revision == 1
    async with asyncio.timeout(5):
        while metrics.STORE_UP._value.get():  # noqa: ASYNC110  a deadline is around it
            await asyncio.sleep(0.001)
    watch = board.watch(1, Form.BARE)
    store.number, store.down = 2, False
    assert (await asyncio.wait_for(anext(watch), 5)).revision == 2
    assert metrics.STORE_UP._value.get() == 1
    await watch.aclose()
    await follower.close()
    await follower.close()
