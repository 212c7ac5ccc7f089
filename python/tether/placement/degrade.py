"""What runs in place of what was asked, where policy allows a lesser answer rather than none.

The answer says so in its first chunk and in its receipt: what was asked, what was lowered, and by which rule.
Source: docs/design/design.md §4.
"""

from tether.errors import Reason, TetherError
from tether.placement.resolve import Resolved, resolve
from tether.policy import Decision
from tether.rules.request import check_supported
from tether.v1.infer_pb2 import Infer
from tether.v1.placement_pb2 import Header
from tether.v1.policy_pb2 import DegradeTarget
from tether.v1.registry_pb2 import Model

_KINDS = frozenset({"text", "chat", "tensors", "sealed"})  # the header does not say which of them the input is
_LOWERED = ("max_tokens", "choices")


def fits(request: Resolved, model: Model) -> bool:
    """Whether another model can do what a request asks.

    Args:
        request: as it would run.
        model: what would run instead.
    """
    header = request.header
    if (model.model_id, model.version) == (request.model.model_id, request.model.version):
        return True
    if header.sealed or header.adapters:
        return False  # the input is readable to one model's workers alone, and adapters belong to their model
    if not set(model.capabilities) >= _KINDS.intersection(request.model.capabilities):
        return False
    try:
        check_supported(header, model.capabilities)
    except TetherError as error:
        if error.reason is Reason.UNSUPPORTED:
            return False
        raise
    return not model.context_tokens or header.input_tokens_max < model.context_tokens


def lower(request: Resolved, sent: Header, target: DegradeTarget, model: Model, decision: Decision) -> Resolved:
    """A request as it runs in place of what was asked.

    Args:
        request: as it would have run.
        sent: its header as it was sent; it is changed.
        target: what policy names.
        model: the version of it that runs.
        decision: what policy says of that.

    Returns:
        The lesser request; its header tells what it was.
    """
    lowered = resolve(_other(sent, model), model, decision)
    parameters, before = lowered.header.parameters, request.header.parameters
    for what in _LOWERED:
        most = getattr(target, what)
        if most and getattr(parameters, what) > most:
            setattr(parameters, what, most)
    lowered = resolve(lowered.header, model, decision)  # the most it can use is less now
    lowered.header.degraded.CopyFrom(
        Infer.Degraded(
            asked_model_id=request.model.model_id,
            asked_version=request.model.version,
            parameters=[what for what in _LOWERED if getattr(parameters, what) < getattr(before, what)],
            rule=request.decision.degrade_rule,
        )
    )
    return lowered


def _other(sent: Header, model: Model) -> Header:
    sent.model_id, sent.version = model.model_id, model.version
    return sent
