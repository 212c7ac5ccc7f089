"""Whoever takes usage: the interface that every provider of billing implements."""

from typing import Protocol

from tether.billing.batch import Batch


class UsageSink(Protocol):
    """Takes batches of usage, at least once each.

    A batch that was taken may come again, with the same key and the same bytes, after a crash between its taking and
    our noting so: a sink must count it once.
    """

    @property
    def name(self) -> str:
        """What to call it in logs and metrics, a slug."""

    async def take(self, batch: Batch) -> None:
        """Take a batch, durably; returns once it is taken.

        Raises:
            TetherError: it was not taken and comes again; `retry_after_s` says when at the earliest.
        """

    async def close(self) -> None:
        """Let go; the same again does nothing."""
