"""What a tenant may spend and what a model's tokens cost, as the registry's snapshot says now."""

from typing import Protocol

from tether.job.price import FREE, Price
from tether.job.quota import UNLIMITED, Limits
from tether.v1 import policy_pb2, registry_pb2


class Book(Protocol):
    """What is asked: the catalogue."""

    def tenant(self, tenant_id: str) -> registry_pb2.Tenant | None:
        """A tenant, or None."""

    def price(self, model_id: str) -> policy_pb2.Price | None:
        """Newest price of a model, or None where it costs nothing."""


class Quotas:
    """Limits and prices.

    Args:
        book: the catalogue.
    """

    def __init__(self, book: Book) -> None:
        self._book = book

    def limits(self, tenant: str) -> Limits:
        """What a tenant may spend; unlimited where nothing is said of it."""
        found = self._book.tenant(tenant)
        if found is None or not found.HasField("quota"):
            return UNLIMITED
        quota = found.quota
        limits = Limits(
            quota.requests_per_minute,
            quota.tokens_per_minute,
            quota.tokens_per_day,
            quota.concurrent_jobs,
            quota.spend_per_day_micros,
        )
        return limits if limits != UNLIMITED else UNLIMITED

    def price(self, model: str) -> Price:
        """What a model's tokens cost."""
        found = self._book.price(model)
        return FREE if found is None else Price(found.version, found.input_micros, found.output_micros)
