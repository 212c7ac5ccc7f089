"""When a worker commits by itself."""

from tether_worker.commit import KEEP_S, PENDING_MAX, RESEND_S, WAIT_S, Committer

JOB = bytes(16)


def due(committer: Committer, now_s: float) -> list[tuple[bytes, int, bytes]]:
    return list(committer.due(now_s))


def test_driver_has_its_time_then_the_worker_commits_again_and_again() -> None:
    committer = Committer()
    committer.ended(JOB, 1, b"body", 7, 0.0)
    assert due(committer, WAIT_S - 0.01) == []
    assert due(committer, WAIT_S) == [(JOB, 1, b"body")]
    assert due(committer, WAIT_S + RESEND_S - 0.01) == []
    assert due(committer, WAIT_S + RESEND_S) == [(JOB, 1, b"body")]


def test_outcome_that_is_written_ends_it() -> None:
    committer = Committer()
    committer.ended(JOB, 1, b"body", 7, 0.0)
    committer.outcome(JOB, 1, written=False)
    assert len(committer) == 1
    committer.outcome(JOB, 2, written=True)
    assert len(committer) == 1
    committer.outcome(JOB, 1, written=True)
    assert len(committer) == 0


def test_driver_that_is_gone_is_not_waited_for() -> None:
    committer = Committer()
    committer.ended(JOB, 1, b"one", 7, 0.0)
    committer.ended(JOB, 2, b"two", 0, 0.0)
    assert due(committer, 0.0) == [(JOB, 2, b"two")]
    committer.link_lost(7, 0.1)
    assert due(committer, 0.1) == [(JOB, 1, b"one")]
    assert committer.driver(JOB, 1) == 0


def test_end_that_nobody_writes_is_given_up_and_counted() -> None:
    committer = Committer()
    committer.ended(JOB, 1, b"body", 0, 0.0)
    assert due(committer, KEEP_S) == []
    assert (len(committer), committer.dropped) == (0, 1)


def test_too_many_ends_drop_the_oldest() -> None:
    committer = Committer()
    for epoch in range(PENDING_MAX + 1):
        committer.ended(JOB, epoch, b"", 7, 0.0)
    assert (len(committer), committer.dropped) == (PENDING_MAX, 1)
    assert committer.driver(JOB, 0) == 0
