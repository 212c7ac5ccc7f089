"""Keys: what the client named, what is drawn, and what is refused."""

import pytest

from tether.errors import Reason, TetherError
from tether.job.key import JobKey, job_id, normalise


def drawn() -> str:
    return "drawn"


@pytest.mark.parametrize(
    ("correlation_id", "retry_token", "key"),
    [
        ("", "", JobKey("drawn", "drawn", keyed=False)),
        ("a", "", JobKey("a", "", keyed=True)),
        ("", "b", JobKey("b", "b", keyed=True)),
        ("a", "b", JobKey("a", "b", keyed=True)),
    ],
)
def test_normalise_fills_in_what_is_missing(correlation_id: str, retry_token: str, key: JobKey) -> None:
    assert normalise(correlation_id, retry_token, drawn) == key


@pytest.mark.parametrize("name", ["a b", "\n", "é", "x" * 129, "\x7f", "\0"])
@pytest.mark.parametrize("field", ["correlation_id", "retry_token"])
def test_normalise_refuses_what_is_not_visible_ascii(name: str, field: str) -> None:
    with pytest.raises(TetherError) as caught:
        normalise(**{"correlation_id": "a", "retry_token": "a", field: name}, draw=drawn)
    assert (caught.value.reason, caught.value.field) == (Reason.INVALID_FIELD, field)


def test_normalise_takes_the_longest_name() -> None:
    assert normalise("!" * 128, "~" * 128, drawn).keyed


def test_job_id_depends_on_the_secret() -> None:
    assert job_id(b"a" * 32, "t", "c", "r") != job_id(b"b" * 32, "t", "c", "r")
    assert len(job_id(b"a" * 32, "t", "c", "r")) == 16
