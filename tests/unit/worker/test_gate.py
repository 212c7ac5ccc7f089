"""Who may run, and in which order."""

from tether_worker.gate import Gate


def test_jobs_run_beside_each_other() -> None:
    gate = Gate()
    assert gate.enter("a", alone=False)
    assert gate.enter("b", alone=False)
    assert gate.leave("a") == []


def test_job_that_must_be_alone_waits_and_others_wait_behind_it() -> None:
    gate = Gate()
    assert gate.enter("a", alone=False)
    assert not gate.enter("x", alone=True)
    assert not gate.enter("b", alone=False)
    assert not gate.enter("c", alone=False)
    assert gate.leave("a") == ["x"]
    assert gate.leave("x") == ["b", "c"]


def test_two_that_must_be_alone_run_one_after_the_other() -> None:
    gate = Gate()
    assert gate.enter("x", alone=True)
    assert not gate.enter("y", alone=True)
    assert not gate.enter("a", alone=False)
    assert gate.leave("x") == ["y"]
    assert gate.leave("y") == ["a"]


def test_one_that_waits_no_longer_lets_those_behind_it_run() -> None:
    gate = Gate()
    assert gate.enter("a", alone=False)
    assert not gate.enter("x", alone=True)
    assert not gate.enter("b", alone=False)
    assert gate.leave("x") == ["b"]
    assert gate.waiting == ()
    assert gate.leave("unknown") == []


def test_one_that_leaves_from_the_queue_ends_nobodys_being_alone() -> None:
    gate = Gate()
    assert gate.enter("x", alone=True)
    assert not gate.enter("a", alone=False)
    assert gate.leave("a") == []
    assert not gate.enter("b", alone=False)
