"""A policy as operators write it: YAML or JSON in the shape of policy.proto, with short words for its enums.

`path: relay` stands for PATH_RELAY, `retain: request` for RETAIN_REQUEST, and so on; both spellings are read, and the
short one is written, so that what `tether policy show` prints can be edited and set again.
Source: proto/tether/v1/policy.proto; protobuf's JSON mapping; YAML 1.1 without aliases.
"""

from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from tether.errors import Reason, TetherError
from tether.v1.policy_pb2 import Policy

FILE_BYTES_MAX = 1 << 18  # a policy has at most 32 KiB as serialized; comments and spaces come on top
FILLED_IN = ("name", "author", "created_at", "createdAt")  # the registry's to say; `policy show` prints them


def parse(text: str, where: str) -> Policy:
    """Read a policy.

    Args:
        text: YAML or JSON.
        where: what to call it in errors.

    Raises:
        TetherError: INVALID_FIELD, naming the line or the field that is wrong.
    """
    found = _load(text, where)
    known = {key: value for key, value in found.items() if key not in FILLED_IN}
    try:
        return json_format.ParseDict(_long(known, Policy.DESCRIPTOR), Policy())
    except (json_format.ParseError, TypeError, AttributeError) as error:
        raise _wrong(where, str(error)) from error


def plain(policy: Policy) -> dict[str, object]:
    """Return a policy as an object that `parse` reads."""
    made = json_format.MessageToDict(policy, preserving_proto_field_name=True)
    short: dict[str, object] = _short(made, Policy.DESCRIPTOR)
    return {"name": policy.tenant_id or "*", **short}


def text_of(policy: Policy) -> str:
    """Return a policy as YAML that `parse` reads."""
    import yaml

    written: str = yaml.safe_dump(plain(policy), sort_keys=False, allow_unicode=True)
    return written


def _load(text: str, where: str) -> Mapping[str, Any]:
    """Return the object that a file holds."""
    import yaml

    class Loader(yaml.SafeLoader):
        """YAML without aliases: a few lines of them stand for more than fits into memory."""

        def compose_node(self, parent: Any, index: Any) -> Any:  # noqa: ANN401  yaml's own types
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("aliases are not allowed")
            return super().compose_node(parent, index)

    if len(text) > FILE_BYTES_MAX:
        raise _wrong(where, f"it is over {FILE_BYTES_MAX} bytes")
    try:
        found = yaml.load(text, Loader)  # noqa: S506  a SafeLoader that takes even less
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _wrong(where, " ".join(str(error).split())) from error
    if not isinstance(found, dict):
        raise _wrong(where, "it holds no object; it begins with `rules:`")
    return {str(key): value for key, value in found.items()}


def _long(value: Any, message: Descriptor) -> Any:  # noqa: ANN401  whatever the file holds
    """Write short words as the enum's names, all through an object."""
    return _walk(value, message, _long_word)


def _short(value: Any, message: Descriptor) -> Any:  # noqa: ANN401
    """Write an enum's names as short words, all through an object."""
    return _walk(value, message, _short_word)


def _walk(value: Any, message: Descriptor, change: Any) -> Any:  # noqa: ANN401
    if not isinstance(value, dict):
        return value
    return {key: _field(inner, _named(message, str(key)), change) for key, inner in value.items()}


def _named(message: Descriptor, key: str) -> FieldDescriptor | None:
    return message.fields_by_name.get(key) or message.fields_by_camelcase_name.get(key)


def _field(value: Any, field: FieldDescriptor | None, change: Any) -> Any:  # noqa: ANN401
    if field is None:
        return value
    if isinstance(value, list):
        return [_field(one, field, change) for one in value]
    if field.enum_type is not None:
        return change(value, field.enum_type)
    if field.message_type is not None and field.message_type.file.package.startswith("tether"):
        return _walk(value, field.message_type, change)
    return value


def _prefix(enum: EnumDescriptor) -> str:
    return enum.values_by_number[0].name.removesuffix("UNSPECIFIED")


def _long_word(value: Any, enum: EnumDescriptor) -> Any:  # noqa: ANN401
    if not isinstance(value, str) or value in enum.values_by_name:
        return value
    name = _prefix(enum) + value.upper()
    if name not in enum.values_by_name:
        words = ", ".join(_short_word(one, enum) for one in list(enum.values_by_name)[1:])
        raise json_format.ParseError(f"{value[:64]!r} is none of {words}")
    return name


def _short_word(value: Any, enum: EnumDescriptor) -> Any:  # noqa: ANN401
    return value.removeprefix(_prefix(enum)).lower() if isinstance(value, str) else value


def _wrong(where: str, why: str) -> TetherError:
    return TetherError(Reason.INVALID_FIELD, f"{where} is no policy: {why[:400]}.", field="file")
