"""Verbs that run in the tests' own process set logging up for a process of their own; it is put back after each."""

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def _logging_is_put_back() -> Iterator[None]:
    yield
    structlog.reset_defaults()
