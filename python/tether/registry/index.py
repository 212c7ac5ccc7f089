"""An index over one snapshot: keys by id, tenants by name, versions and prices by model, policies to evaluate.

It is built once per snapshot and then only read, so that a request costs two dictionary look-ups.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from tether import name
from tether.access import key
from tether.errors import Reason, TetherError
from tether.policy import Policies
from tether.v1 import registry_pb2 as pb
from tether.v1.policy_pb2 import Policy, Price


@dataclass(frozen=True, slots=True)
class Index:
    """A snapshot, ready to be asked.

    Attributes:
        revision: the snapshot's revision; 0 is "none yet".
        tenants: by id.
        keys: by key id; empty for readers that get no keys.
        models: versions of each model, newest first.
        policies: what holds, ready to be evaluated; of none for readers that get none.
        prices: newest of each model that has one.
        stated: policies as the snapshot has them.
    """

    revision: int
    tenants: Mapping[str, pb.Tenant]
    keys: Mapping[str, pb.Key]
    models: Mapping[str, tuple[pb.Model, ...]]
    policies: Policies = field(default_factory=Policies)
    prices: Mapping[str, Price] = field(default_factory=lambda: MappingProxyType({}))
    stated: tuple[Policy, ...] = ()

    def authenticate(self, token: str, now_s: float) -> tuple[pb.Tenant, pb.Key]:
        """Return who a key acts for.

        Args:
            token: what the client sent, without the scheme.
            now_s: seconds since the Unix epoch.

        Raises:
            TetherError: KEY_MISSING, KEY_INVALID, TENANT_SUSPENDED.
        """
        sent = key.parse(token)
        known = self.keys.get(sent.key_id)
        holds = key.matches(sent.secret, known.secret_sha256 if known else None)
        tenant = self.tenants.get(known.tenant_id) if known else None
        if not holds or known is None or tenant is None or not is_live(known, now_s):
            raise key.invalid()
        if tenant.suspended:
            raise TetherError(Reason.TENANT_SUSPENDED, f"Tenant {tenant.name} is suspended.")
        return tenant, known

    def model(self, model_id: str, version: str = "") -> pb.Model:
        """Return a version of a model; an empty version is the newest that is not deprecated.

        Raises:
            TetherError: MODEL_UNKNOWN with the nearest names, VERSION_UNKNOWN with those that exist.
        """
        versions = self.models.get(model_id)
        if versions is None:
            raise _model_unknown(model_id, self.models)
        found = next((one for one in versions if _is_wanted(one, version)), None)
        if found is None:
            raise _version_unknown(model_id, version, versions)
        return found

    def all_models(self) -> Iterator[pb.Model]:
        """Yield every version, by model name, newest first."""
        for model_id in sorted(self.models):
            yield from self.models[model_id]


EMPTY = Index(0, {}, {}, {})


def build(snapshot: pb.Snapshot, before: Index = EMPTY) -> Index:
    """Index a snapshot.

    Args:
        snapshot: all that is newest.
        before: index of the one before; its policies are kept where they are the same, since reading thousands of them
            takes longer than all the rest.
    """
    models: dict[str, list[pb.Model]] = {}
    for one in snapshot.models:
        models.setdefault(one.model_id, []).append(one)
    newest_first = {
        model_id: tuple(sorted(versions, key=lambda one: version_order(one.version), reverse=True))
        for model_id, versions in models.items()
    }
    tenants = {tenant.name: tenant for tenant in snapshot.tenants}
    stated = tuple(snapshot.policies)
    return Index(
        snapshot.revision,
        tenants,
        {one.name: one for one in snapshot.keys},
        newest_first,
        before.policies if stated == before.stated else Policies(stated),
        {one.model_id: one for one in snapshot.prices},
        stated,
    )


def is_live(one: pb.Key, now_s: float) -> bool:
    """Tell whether a key is neither revoked nor over."""
    return not one.revoked and not (one.HasField("expires_at") and one.expires_at.seconds <= now_s)


def version_order(version: str) -> tuple[int, int]:
    """Return what orders versions: 1.10 comes after 1.9."""
    major, _, minor = version.partition(".")
    return int(major), int(minor)


def _is_wanted(one: pb.Model, version: str) -> bool:
    return one.version == version if version else not one.deprecated


def _model_unknown(model_id: str, models: Mapping[str, object]) -> TetherError:
    near = name.nearest(model_id, models)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    shown = model_id[: name.MODEL_BYTES_MAX]
    return TetherError(
        Reason.MODEL_UNKNOWN,
        f"There is no model {shown!a}.{hint}",
        field="model_id",
        metadata={"nearest": ",".join(near)} if near else {},
    )


def _version_unknown(model_id: str, version: str, versions: tuple[pb.Model, ...]) -> TetherError:
    shown = ", ".join(one.version for one in versions[:8])
    asked = f"no version {version[:16]!a}" if version else "no version that is not deprecated"
    return TetherError(
        Reason.VERSION_UNKNOWN,
        f"Model {model_id} has {asked}; it has {shown}.",
        field="version",
        metadata={"versions": shown},
    )
