"""When a worker commits by itself."""

from itertools import pairwise

import pytest

from tether_worker.commit import (
    DECIDED_S,
    KEEP_AFTER_S,
    KEEP_S,
    LEASE_S,
    PENDING_MAX,
    RESEND_S,
    RESEND_S_MAX,
    SAFE_KEEP_S,
    SEND_BYTES_MAX,
    WAIT_S,
    Committer,
    Name,
)

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


def to_keep(committer: Committer, now_s: float) -> list[Name]:
    return [name for name, _ in committer.to_keep(now_s)]


def test_tries_come_ever_more_slowly() -> None:
    committer = Committer()
    committer.ended(JOB, 1, b"body", 0, 0.0)
    tries, now_s = [], 0.0
    while now_s < 120:
        tries += [now_s for _ in due(committer, now_s)]
        now_s += 1.0
    gaps = [after - before for before, after in pairwise(tries)]
    assert gaps == [2.0, 4.0, 8.0, 16.0, RESEND_S_MAX, RESEND_S_MAX]


def test_much_that_waited_goes_out_in_parts() -> None:
    committer = Committer()
    for epoch in range(1, 4):
        committer.ended(JOB, epoch, bytes(SEND_BYTES_MAX), 0, 0.0)
    assert [[epoch for _, epoch, _ in due(committer, 0.0)] for _ in range(4)] == [[1], [2], [3], []]


def test_end_goes_to_the_journal_when_no_outcome_came_soon() -> None:
    committer = Committer()
    committer.ended(JOB, 1, b"body", 7, 0.0)
    committer.ended(JOB, 2, b"body", 0, 0.0)
    assert to_keep(committer, 0.0) == [(JOB, 2)]
    assert to_keep(committer, KEEP_AFTER_S) == [(JOB, 1)]
    assert to_keep(committer, KEEP_AFTER_S) == []
    committer.kept((JOB, 1), KEEP_AFTER_S, safe=True)
    committer.kept((JOB, 2), KEEP_AFTER_S, safe=False)
    assert committer.exposed == 1
    assert to_keep(committer, KEEP_AFTER_S + RESEND_S) == [(JOB, 2)]


def test_journaled_end_is_sent_until_it_is_settled_and_then_forgotten_there() -> None:
    committer = Committer()
    committer.ended(JOB, 1, b"body", 0, 0.0)
    assert to_keep(committer, 0.0) == [(JOB, 1)]
    committer.kept((JOB, 1), 0.0, safe=True)
    assert due(committer, KEEP_S + 1) == [(JOB, 1, b"body")]
    committer.outcome(JOB, 1, written=False)
    assert committer.settled() == []
    committer.outcome(JOB, 1, written=True)
    assert (committer.settled(), committer.settled(), len(committer)) == ([(JOB, 1)], [], 0)


def test_end_of_a_former_life_is_due_at_once() -> None:
    committer = Committer()
    committer.restore(JOB, 1, b"body", 5.0)
    assert (due(committer, 5.0), to_keep(committer, 5.0), committer.exposed) == ([(JOB, 1, b"body")], [], 0)
    assert due(committer, 5.0 + SAFE_KEEP_S) == []
    assert committer.settled() == [(JOB, 1)]


def test_outcome_that_comes_while_the_end_is_written_is_forgotten_in_the_journal_too() -> None:
    committer = Committer()
    committer.ended(JOB, 1, b"body", 0, 0.0)
    assert to_keep(committer, 0.0) == [(JOB, 1)]
    committer.outcome(JOB, 1, written=True)
    committer.kept((JOB, 1), 0.0, safe=True)
    assert committer.settled() == [(JOB, 1)]


@pytest.mark.parametrize("safe", [False, True])
def test_memory_is_bounded_and_the_journal_keeps_what_it_has(safe: bool) -> None:
    committer = Committer(bytes_max=100)
    committer.ended(JOB, 1, bytes(60), 0, 0.0)
    assert to_keep(committer, 0.0) == [(JOB, 1)]
    committer.kept((JOB, 1), 0.0, safe=safe)
    committer.ended(JOB, 2, bytes(60), 0, 0.0)
    assert (len(committer), committer.dropped, committer.settled()) == (1, 1, [])


def test_leaving_process_keeps_all_at_once() -> None:
    committer = Committer()
    committer.ended(JOB, 1, b"body", 7, 0.0)
    committer.hurry(0.1)
    assert to_keep(committer, 0.1) == [(JOB, 1)]


def test_answer_that_was_cut_off_is_left_to_a_driver_that_lives() -> None:
    committer = Committer()
    committer.ended(JOB, 1, b"body", 7, 0.0, partial=True)
    committer.hurry(1.0)
    assert (len(committer), committer.waiting, committer.exposed) == (1, 0, 0)
    assert (due(committer, DECIDED_S - 1), to_keep(committer, DECIDED_S - 1)) == ([], [])
    assert due(committer, DECIDED_S) == []
    assert (len(committer), committer.dropped) == (0, 0)


def test_answer_that_was_cut_off_is_told_when_its_driver_is_gone_for_good() -> None:
    committer = Committer()
    committer.ended(JOB, 1, b"body", 7, 0.0, partial=True)
    committer.ended(JOB, 2, b"grace", 0, 0.0, partial=True)
    assert due(committer, 0.0) == [(JOB, 2, b"grace")]
    committer.outcome(JOB, 2, written=True)
    committer.link_lost(7, 1.0)
    committer.rebind(JOB, 1, 8)
    assert due(committer, 1.0 + LEASE_S) == []
    committer.link_lost(8, 2.0)
    assert due(committer, 2.0 + LEASE_S - 0.1) == []
    assert due(committer, 2.0 + LEASE_S) == [(JOB, 1, b"body")]
    assert to_keep(committer, 2.0 + LEASE_S) == [(JOB, 1)]
