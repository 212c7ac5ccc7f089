"""The role matrix: which role may call which method of a node.

Clients' methods are not in it: their callers prove a tenant by an API key. A method in neither is refused.
"""

from collections.abc import Mapping
from types import MappingProxyType

from tether.identity.role import Role

_PREFIX = "/tether.v1."
_SERVICES = frozenset({Role.GATEWAY, Role.ORCHESTRATOR, Role.REGISTRY, Role.WORKER, Role.BRIDGE})
_GATEWAY = frozenset({Role.GATEWAY})
_OPERATOR = frozenset({Role.OPERATOR})
_PUBLISH = frozenset({Role.OPERATOR, Role.PUBLISHER})
_CATALOGUE = _SERVICES | _PUBLISH

CLIENT_METHODS: frozenset[str] = frozenset(
    _PREFIX + "InferenceService/" + name for name in ("Infer", "Resume", "Cancel", "GetJob")
)

LINK_OPEN = _PREFIX + "LinkService/Open"

ROLE_MATRIX: Mapping[str, frozenset[Role]] = MappingProxyType(
    {
        _PREFIX + name: roles
        for name, roles in {
            "PlacementService/Place": _GATEWAY,
            "PlacementService/Complete": _GATEWAY,
            "PlacementService/Session": _GATEWAY,
            "PlacementService/Explain": _GATEWAY | _OPERATOR,
            "PlacementService/Deposit": _GATEWAY,
            "LinkService/Open": frozenset({Role.GATEWAY, Role.ORCHESTRATOR, Role.WORKER}),
            "RegistryService/ListModels": _CATALOGUE,
            "RegistryService/GetModel": _CATALOGUE,
            "RegistryService/PublishModel": _PUBLISH,
            "RegistryService/WatchSnapshot": _SERVICES | _OPERATOR,
            "AccessService/CreateTenant": _OPERATOR,
            "AccessService/ListTenants": _OPERATOR,
            "AccessService/SetQuota": _OPERATOR,
            "AccessService/CreateKey": _OPERATOR,
            "AccessService/ListKeys": _OPERATOR,
            "AccessService/RevokeKey": _OPERATOR,
            "AccessService/SetPolicy": _OPERATOR,
            "AccessService/GetPolicy": _OPERATOR,
            "AccessService/ListPolicies": _OPERATOR,
            "AccessService/SetPrice": _OPERATOR,
            "AccessService/ListPrices": _OPERATOR,
            "ArtifactService/ReadBlob": frozenset({Role.WORKER, Role.REGISTRY}) | _PUBLISH,
            "ArtifactService/WriteBlob": _PUBLISH,
            "ControlService/ListWorkers": _OPERATOR,
            "ControlService/WatchWorkers": _OPERATOR,
            "ControlService/ListJobs": _OPERATOR,
            "ControlService/LookupJob": _OPERATOR | _GATEWAY,
            "ControlService/ListDeadLetters": _OPERATOR,
            "ControlService/GetDeadLetter": _OPERATOR,
            "ControlService/AnalyzeDeadLetters": _OPERATOR,
            "ControlService/RequeueDeadLetter": _OPERATOR,
            "ControlService/DropDeadLetter": _OPERATOR,
            "ControlService/VerifyQuotas": _OPERATOR,
            "ControlService/ListAccounts": _OPERATOR,
            "ControlService/ListBreakers": _OPERATOR,
        }.items()
    }
)

# Who calls `Open` depends on whose it is: dispatchers call workers, workers call orchestrators, and so do gateways
# whose links they relay.
_OPEN_AT: Mapping[Role, frozenset[Role]] = MappingProxyType(
    {
        Role.WORKER: frozenset({Role.GATEWAY, Role.ORCHESTRATOR}),
        Role.ORCHESTRATOR: frozenset({Role.WORKER, Role.GATEWAY}),
    }
)


def allowed_roles(method: str, receiver: Role) -> frozenset[Role]:
    """Roles that may call `method` (such as `/tether.v1.PlacementService/Place`) at a node in role `receiver`."""
    if method == LINK_OPEN:
        return _OPEN_AT.get(receiver, frozenset())
    return ROLE_MATRIX.get(method, frozenset())
