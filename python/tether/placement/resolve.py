"""What a request becomes once its model is known: version, parameters as they run, and the most it can use.

Resolved once, at the reservation, and kept in the row, so that a rerun runs the same.
Source: docs/design/streams.md §1.
"""

from dataclasses import dataclass

from tether import policy
from tether.job import hold
from tether.policy import NO_RULES, Decision
from tether.v1.infer_pb2 import Infer
from tether.v1.placement_pb2 import Header
from tether.v1.registry_pb2 import Model

_MAX_TOKENS = 1_024  # for a model that states neither default nor context: no job is without an end


@dataclass(frozen=True, slots=True)
class Resolved:
    """A request with its model.

    Attributes:
        header: as it runs: version and defaults filled in.
        model: the version that runs.
        limit_tokens: the most it can use.
        decision: what policy says of it.
        sent: the header as it was sent, where policy names what may run in its place; else None.
    """

    header: Header
    model: Model
    limit_tokens: int
    decision: Decision = NO_RULES
    sent: Header | None = None

    @property
    def priority(self) -> int:
        """The class it waits in, `Infer.Priority`; the header keeps the one asked for, which rules look at."""
        return policy.priority(self.header.priority, self.decision)


def resolve(header: Header, model: Model, decision: Decision = NO_RULES) -> Resolved:
    """Fill in what the request left open.

    Args:
        header: as sent; it is changed.
        model: the version that runs.
        decision: what policy says of it.

    Returns:
        The request as it runs; its seed stays open.
    """
    sent = None
    if decision.degrade:
        sent = Header()
        sent.CopyFrom(header)
    merged = parameters(header.parameters, model)
    header.version = model.version
    header.parameters.CopyFrom(merged)
    header.path = Infer.Path.ValueType(policy.path(header.path, decision))
    header.ClearField("prefix_hashes")
    return Resolved(header, model, limit(header, merged), decision, sent)


def parameters(sent: Infer.Parameters, model: Model) -> Infer.Parameters:
    """Parameters as they run: what was sent over the model's defaults; lists replace and don't add."""
    merged = Infer.Parameters()
    merged.CopyFrom(model.defaults)
    for field in ("stop", "tools"):
        if getattr(sent, field):
            merged.ClearField(field)
    merged.MergeFrom(sent)
    if not merged.HasField("max_tokens"):
        merged.max_tokens = model.context_tokens or _MAX_TOKENS
    return merged


def limit(header: Header, merged: Infer.Parameters) -> int:
    """The most tokens the request can use; without a token count of the input its bytes bound it."""
    return hold.limit(header.input_tokens_max or header.input_bytes, merged.max_tokens, merged.choices)
