"""What a write to the registry comes to, given what is there: the same on every database.

Each function gets the newest row as it stands inside the transaction and returns what to write, None for nothing, or
raises what the caller is told.
"""

from tether import name
from tether.errors import Reason, TetherError
from tether.store.registry import StoreLimits
from tether.v1 import policy_pb2 as policy_pb
from tether.v1 import registry_pb2 as pb


def add_tenant(known: pb.Tenant | None, tenant: pb.Tenant) -> pb.Tenant | None:
    """Return the tenant to add; None where it is there.

    Raises:
        TetherError: NAME_TAKEN.
    """
    if known is None:
        return tenant
    if (known.display_name, known.quota) != (tenant.display_name, tenant.quota):
        raise TetherError(Reason.NAME_TAKEN, f"Tenant {tenant.name} exists with another name or quota.")
    return None


def add_model(known: pb.Model | None, model: pb.Model) -> pb.Model | None:
    """Return the version to add; None where it is there.

    Raises:
        TetherError: NAME_TAKEN.
    """
    if known is None:
        return model
    if known.digest != model.digest:
        raise TetherError(
            Reason.NAME_TAKEN, f"{model.name} is published with another content; a version never changes."
        )
    return None


def check_key(known: pb.Key | None, owner: pb.Tenant | None, key: pb.Key) -> None:
    """Pass where a key may be added.

    Raises:
        TetherError: ACCESS_UNKNOWN, NAME_TAKEN.
    """
    if owner is None:
        raise no_tenant(key.tenant_id)
    if known is not None:
        raise TetherError(Reason.NAME_TAKEN, f"Key {key.name} exists.")


def next_policy(newest: policy_pb.Policy | None, policy: policy_pb.Policy, expected_version: int) -> policy_pb.Policy:
    """Return the policy with its number.

    Raises:
        TetherError: INVALID_FIELD at `expected_version` where another version is the newest.
    """
    version = newest.version if newest is not None else 0
    if expected_version and expected_version != version:
        text = f"expected_version is {expected_version}, and the policy is at version {version}: somebody changed it."
        raise TetherError(Reason.INVALID_FIELD, text, field="expected_version")
    made = policy_pb.Policy()
    made.CopyFrom(policy)
    made.version = version + 1
    return made


def check_policy_room(others_bytes: int, policy: policy_pb.Policy, limits: StoreLimits) -> None:
    """Pass where a policy fits beside the newest of all others.

    Raises:
        TetherError: QUOTA_EXCEEDED.
    """
    if others_bytes + policy.ByteSize() > limits.policy_bytes_max:
        text = f"The registry keeps at most {limits.policy_bytes_max} bytes of policies; {others_bytes} are others'."
        raise TetherError(Reason.QUOTA_EXCEEDED, text, field="policy")


def next_price(newest: policy_pb.Price | None, price: policy_pb.Price, limits: StoreLimits) -> policy_pb.Price | None:
    """Return the price with its number; None where the newest is the same.

    Raises:
        TetherError: QUOTA_EXCEEDED where the model had too many.
    """
    version = newest.version if newest is not None else 0
    if newest is not None and (newest.input_micros, newest.output_micros) == (price.input_micros, price.output_micros):
        return None
    check_room(version, limits.price_versions_max, f"prices of {price.model_id}")
    made = policy_pb.Price()
    made.CopyFrom(price)
    made.version = version + 1
    return made


def check_room(count: int, most: int, what: str) -> None:
    """Pass where there is room for one more.

    Raises:
        TetherError: QUOTA_EXCEEDED.
    """
    if count >= most:
        raise TetherError(Reason.QUOTA_EXCEEDED, f"The registry keeps at most {most} {what}.")


def no_tenant(tenant_id: str) -> TetherError:
    """Make the error of a tenant that is not there."""
    return TetherError(Reason.ACCESS_UNKNOWN, f"There is no tenant {tenant_id[:63]!a}.", field="tenant_id")


def no_key(key_id: str) -> TetherError:
    """Make the error of a key that is not there."""
    return TetherError(Reason.ACCESS_UNKNOWN, f"There is no key {key_id[:16]!a}.", field="key_id")


def no_model(model_id: str) -> TetherError:
    """Make the error of a price for a model that no version is published of."""
    shown = model_id[: name.MODEL_BYTES_MAX]
    return TetherError(Reason.MODEL_UNKNOWN, f"There is no model {shown!a}; publish it first.", field="price.model_id")
