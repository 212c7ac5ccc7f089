"""The gate: closed while draining, and for the higher of two rivals."""

import pytest

from tether.errors import Reason, TetherError
from tether.placement.rival import Orchestrator
from tether_orchestrator.gate import Gate

ME = Orchestrator("m", b"1" * 16)
LOWER, HIGHER = Orchestrator("a", b"2" * 16), Orchestrator("z", b"3" * 16)


def refused(gate: Gate) -> Reason:
    with pytest.raises(TetherError) as caught:
        gate.check()
    return caught.value.reason


def test_gate_is_open_at_first_and_beside_a_higher_rival() -> None:
    gate = Gate(ME)
    gate.check()
    gate.seen(HIGHER)
    gate.check()


def test_gate_closes_beside_a_lower_rival_until_it_is_gone() -> None:
    gate = Gate(ME)
    gate.seen(LOWER)
    assert refused(gate) is Reason.STORE_UNAVAILABLE
    gate.gone(LOWER.node)
    gate.check()


def test_gate_closes_for_good_when_it_drains() -> None:
    gate = Gate(ME)
    gate.drain()
    gate.gone(LOWER.node)
    assert refused(gate) is Reason.DRAINING
    assert gate.draining


def test_gate_counts_orchestrators_of_the_region() -> None:
    gate = Gate(ME)
    assert gate.peers == 1
    gate.seen(Orchestrator("z", ME.store_id))
    assert gate.peers == 2
    gate.gone("z")
    assert gate.peers == 1
