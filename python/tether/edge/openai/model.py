"""Models as OpenAI's API lists them: each by its name, which is the newest version, and by `name:version`."""

from collections.abc import Iterable
from typing import Any

from tether.v1 import registry_pb2 as pb

OWNER = "tether"


def describe(model: pb.Model, model_id: str = "") -> dict[str, Any]:
    """Return one model, under `model_id` or its full name."""
    created = model.created_at.seconds
    return {"id": model_id or model.name, "object": "model", "created": created, "owned_by": OWNER}


def listing(models: Iterable[pb.Model]) -> dict[str, Any]:
    """Return the list of models; of each name the newest version comes first."""
    data: list[dict[str, Any]] = []
    named: set[str] = set()
    for model in models:
        if not model.deprecated and model.model_id not in named:
            named.add(model.model_id)
            data.append(describe(model, model.model_id))
        data.append(describe(model))
    return {"object": "list", "data": data}
