"""The board: each revision once to each watcher, signs of life between, keys for those who may see them."""

import asyncio

from tether.v1 import registry_pb2 as pb
from tether.v1.policy_pb2 import Policy, Price
from tether_registry.board import Board, Form


class Store:
    def __init__(self):
        self.revision, self.reads = 1, 0

    async def read(self):
        self.reads += 1
        await asyncio.sleep(0)
        return pb.Snapshot(revision=self.revision, keys=[pb.Key(name="k")], policies=[Policy()], prices=[Price()])


def board_of(store, beat_s=5.0):
    return Board(store.read, lambda context, body: f"{context} {len(body)}".encode(), b"credential", beat_s)


async def test_board_shows_the_newest_at_once():
    store = Store()
    board = board_of(store)
    await board.refresh()
    watch = board.watch(0, Form.WITH_KEYS)
    response = await anext(watch)
    assert (response.revision, response.credential) == (1, b"credential")
    assert response.signature == f"tether/snapshot/v1 {len(response.snapshot)}".encode()
    await watch.aclose()


async def test_board_shows_keys_and_policies_only_to_those_who_need_them():
    board = board_of(Store())
    await board.refresh()
    counts = {}
    for form in Form:
        watch = board.watch(0, form)
        shown = pb.Snapshot.FromString((await anext(watch)).snapshot)
        counts[form] = (len(shown.keys), len(shown.policies), len(shown.prices))
        await watch.aclose()
    assert counts == {Form.WITH_KEYS: (1, 1, 1), Form.WITH_POLICIES: (0, 1, 1), Form.BARE: (0, 0, 1)}


async def test_board_tells_each_change_to_each_watcher():
    store = Store()
    board = board_of(store)
    await board.refresh()
    watches = [board.watch(1, Form.WITH_KEYS) for _ in range(3)]
    waiting = [asyncio.create_task(anext(one)) for one in watches]
    await asyncio.sleep(0)
    store.revision = 2
    await board.refresh()
    assert [one.revision for one in await asyncio.gather(*waiting)] == [2, 2, 2]
    for one in watches:
        await one.aclose()


async def test_board_says_that_it_lives_where_nothing_changes():
    board = board_of(Store(), beat_s=0.01)
    await board.refresh()
    watch = board.watch(1, Form.WITH_KEYS)
    beat = await anext(watch)
    assert (beat.snapshot, beat.revision) == (b"", 1)
    await watch.aclose()


async def test_board_refreshes_that_wait_share_a_reading():
    store = Store()
    board = board_of(store)
    await asyncio.gather(*(board.refresh() for _ in range(50)))
    assert store.reads <= 2


async def test_board_refresh_sees_what_was_written_before_it():
    store = Store()
    board = board_of(store)

    async def write_and_refresh(revision):
        store.revision = revision
        await board.refresh()
        assert board._posted.revision >= revision

    await asyncio.gather(*(write_and_refresh(revision) for revision in range(1, 30)))


async def test_board_closed_ends_its_watches():
    board = board_of(Store())
    await board.refresh()
    watch = board.watch(1, Form.WITH_KEYS)
    waiting = asyncio.create_task(anext(watch, None))
    await asyncio.sleep(0)
    board.close()
    assert await asyncio.wait_for(waiting, 1) is None
