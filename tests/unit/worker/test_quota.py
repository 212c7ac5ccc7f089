"""The guard's bounds."""

import pytest

from tether.errors import Reason, TetherError
from tether_worker.quota import QuotaGuard


def test_guard_refuses_beyond_its_room_and_takes_again() -> None:
    guard = QuotaGuard(2)
    guard.take("a")
    guard.take("b")
    with pytest.raises(TetherError) as raised:
        guard.take("c")
    assert raised.value.reason is Reason.OVERLOADED
    guard.give("a")
    guard.take("c")
    assert repr(guard) == "QuotaGuard(2 of 2 in hand)"


def test_guard_keeps_one_tenant_from_taking_all() -> None:
    guard = QuotaGuard(4, 1)
    guard.take("a")
    with pytest.raises(TetherError):
        guard.take("a")
    guard.take("b")
    guard.give("a")
    guard.take("a")
