"""Attempts: one driver, compare-and-set on the epoch, and nobody else while its session stands."""

from dataclasses import replace

import pytest

from tether.job.attempt import Asks, Running, Way, way

JOB = Running(epoch=2, after_epoch=1, raced_epoch=0, session=b"driver")
READER, DRIVER = b"reader", b"driver"


@pytest.mark.parametrize(
    ("asks", "expected"),
    [
        pytest.param(Asks(DRIVER, 2), Way.NEXT, id="after the newest"),
        pytest.param(Asks(DRIVER, 1), Way.SAME, id="the same question again"),
        pytest.param(Asks(DRIVER, 1, race=True), Way.SAME, id="the same race again"),
        pytest.param(Asks(DRIVER, 2, race=True), Way.RACE, id="beside the newest"),
        pytest.param(Asks(DRIVER, 0), Way.JOIN, id="another client of the driver's gateway"),
        pytest.param(Asks(DRIVER, 3), Way.STALE, id="an attempt that was never made"),
        pytest.param(Asks(READER, 0), Way.JOIN, id="a reader"),
        pytest.param(Asks(READER, 2), Way.JOIN, id="a reader whose worker knows nothing"),
        pytest.param(Asks(READER, 3), Way.STALE, id="a reader from the future"),
    ],
)
@pytest.mark.parametrize("lives", [True, False])
def test_way_while_the_session_stands(asks: Asks, expected: Way, *, lives: bool) -> None:
    assert way(JOB, asks, lapsed=False, lives=lives) is expected


def test_way_of_a_reader_once_the_session_has_lapsed() -> None:
    assert way(JOB, Asks(READER, 0), lapsed=True, lives=True) is Way.JOIN
    assert way(JOB, Asks(READER, 0), lapsed=True, lives=False) is Way.TAKE_OVER
    assert way(JOB, Asks(READER, 2), lapsed=True, lives=True) is Way.TAKE_OVER
    assert way(JOB, Asks(READER, 1), lapsed=True, lives=True) is Way.JOIN


def test_way_of_a_driver_that_is_thought_gone_but_asks() -> None:
    assert way(JOB, Asks(DRIVER, 2), lapsed=True, lives=False) is Way.NEXT


def test_race_of_a_race_is_stale_but_its_loss_is_followed() -> None:
    raced = replace(JOB, raced_epoch=1)
    assert way(raced, Asks(DRIVER, 2, race=True), lapsed=False, lives=True) is Way.STALE
    assert way(raced, Asks(DRIVER, 2), lapsed=False, lives=True) is Way.NEXT


def test_first_attempt_again_is_the_same() -> None:
    assert way(Running(1, 0, 0, DRIVER), Asks(DRIVER, 0), lapsed=False, lives=True) is Way.SAME
