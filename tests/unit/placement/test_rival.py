"""Rivals: another store in the region; of two, the lower node id goes on."""

from tether.placement.rival import Orchestrator, must_yield, refusal, rivals

A, B, TWIN = Orchestrator("a", b"1" * 16), Orchestrator("b", b"2" * 16), Orchestrator("c", b"1" * 16)


def test_rival_has_another_store() -> None:
    assert rivals(A, [A, B, TWIN]) == [B]


def test_own_record_of_a_former_store_is_no_rival() -> None:
    assert rivals(A, [Orchestrator("a", b"9" * 16)]) == []


def test_higher_node_id_yields() -> None:
    assert must_yield(B, [A])
    assert not must_yield(A, [B, TWIN])


def test_refusal_names_both_and_the_way_out() -> None:
    words = str(refusal(B, A, "local"))
    assert all(part in words for part in ("Orchestrator a", "(b)", "PostgreSQL", A.store_id.hex(), B.store_id.hex()))
