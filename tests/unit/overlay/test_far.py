"""Where a node looks besides its own neighbourhood, so that no part of the network stays unknown."""

import pytest

from tether.overlay.contact import Contact
from tether.overlay.joiner import DEPTH_MAX, far_targets

OWN = bytes(20)


class At(Contact):
    """A contact at an id of the test's choosing."""

    def __init__(self, number: int) -> None:
        self.id = number.to_bytes(20, "big")
        self.long_id = number


def test_far_few_neighbours_are_the_whole_network():
    assert far_targets(OWN, [At(1 << 159)] * 7, k=8) == []


@pytest.mark.parametrize("shared", [0, 1, 5])
def test_far_has_one_target_in_each_subtree_beyond_the_nearest_neighbour(shared):
    targets = far_targets(OWN, [At(1 << (159 - shared))] * 8, k=8)
    assert [int.from_bytes(target, "big") for target in targets] == [1 << (159 - depth) for depth in range(shared + 1)]


def test_far_is_bounded_for_neighbours_that_are_very_near():
    assert len(far_targets(OWN, [At(1)] * 8, k=8)) == DEPTH_MAX


def test_far_targets_are_20_bytes_for_any_own_id():
    own = bytes(range(20))
    near = At(int.from_bytes(own, "big") ^ 1 << 100)
    assert {len(target) for target in far_targets(own, [near] * 8, k=8)} == {20}
