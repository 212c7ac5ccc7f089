"""Whether a text is a JSON schema that some answer could satisfy: the part that needs no library and no model.

The engine that keeps answers to a schema refuses the rest when it compiles it. Here stands what is cheap (JSON, depth)
and what engines do not see: a schema that needs itself for ever, such as a node whose required child is a node. A
schema is satisfiable when all that it needs is, and recursion ends; that is Horn satisfiability, found from the leaves
up in linear time.
Source: https://json-schema.org/draft/2020-12; Dowling and Gallier 1984, "Linear-time algorithms for testing the
satisfiability of propositional Horn formulae".
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tether.errors import Reason, TetherError

FIELD = "parameters.response_format"
DEPTH_MAX = 48  # of objects and lists in each other; engines give up near twice as deep

Schema = Mapping[str, Any]


def check_schema(text: str) -> None:
    """Check a JSON schema, as far as that goes without an engine.

    Raises:
        TetherError: SCHEMA_INVALID at `parameters.response_format`.
    """
    try:
        schema = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise _invalid("is no JSON, or nested too deeply") from error
    if schema is False:
        raise _invalid("allows nothing, so no answer can satisfy it")
    if not isinstance(schema, dict | bool):
        raise _invalid("must be a JSON object or `true`")
    if _depth(schema) > DEPTH_MAX:
        raise _invalid(f"is nested over {DEPTH_MAX} levels deep")
    if isinstance(schema, dict) and '"$ref"' in text and not _satisfiable(schema):
        raise _invalid("needs itself for ever, so no answer can satisfy it")


def _invalid(why: str) -> TetherError:
    return TetherError(Reason.SCHEMA_INVALID, f"The JSON schema {why}.", field=FIELD)


def _no_number(name: str) -> None:
    raise ValueError(name)


def _children(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _depth(value: object) -> int:
    """Levels of objects and lists, found level by level, so that no depth is too much for it."""
    level, depth = [value], 0
    while level := [child for one in level for child in _children(one) if isinstance(child, dict | list)]:
        depth += 1
    return depth + 1


@dataclass(eq=False, slots=True)
class _Node:
    """A schema: how many of its needs are not met yet, and the needs of others that it would meet."""

    wants: int = 0
    feeds: list["_Need"] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class _Need:
    """What a schema needs: one of some schemas to be satisfiable."""

    owner: _Node
    met: bool = False


def _satisfiable(root: Schema) -> bool:
    """Whether the recursion of a schema can end."""
    nodes, todo, ready = {id(root): _Node()}, [root], list[_Node]()
    while todo:
        schema = todo.pop()
        node = nodes[id(schema)]
        for options in _needs(schema, root):
            need = _Need(node)
            node.wants += 1
            for option in options:
                if id(option) not in nodes:
                    nodes[id(option)] = _Node()
                    todo.append(option)
                nodes[id(option)].feeds.append(need)
        if not node.wants:
            ready.append(node)
    return _reached(nodes[id(root)], ready)


def _reached(root: _Node, ready: list[_Node]) -> bool:
    """Whether the root's needs are met, going from what has none to what it feeds."""
    while ready:
        for need in ready.pop().feeds:
            if not need.met:
                need.met = True
                need.owner.wants -= 1
                if not need.owner.wants:
                    ready.append(need.owner)
    return not root.wants


def _needs(schema: Schema, root: Schema) -> Iterator[Sequence[Schema]]:
    """What a schema needs; of each list one is enough. What cannot be told is not needed."""
    if "$ref" in schema and (target := _resolve(schema["$ref"], root)) is not None:
        yield [target]
    for keyword in ("anyOf", "oneOf"):
        options = schema.get(keyword)
        if isinstance(options, list) and options and all(isinstance(one, dict) for one in options):
            yield options
    parts = [*_list(schema.get("allOf")), *_required(schema), *_items(schema)]
    yield from ([part] for part in parts if isinstance(part, dict))


def _required(schema: Schema) -> list[object]:
    """Schemas of the members that an object must have."""
    properties = schema.get("properties")
    if schema.get("type") not in ("object", ["object"]) or not isinstance(properties, dict):
        return []
    return [properties[name] for name in _list(schema.get("required")) if isinstance(name, str) and name in properties]


def _items(schema: Schema) -> list[object]:
    """Schemas of the elements that a list must have."""
    least = schema.get("minItems", 0)
    if schema.get("type") not in ("array", ["array"]) or not isinstance(least, int) or least < 1:
        return []
    first = _list(schema.get("prefixItems"))
    return first[:least] if least <= len(first) else [*first, schema.get("items")]


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _resolve(reference: object, root: Schema) -> Schema | None:
    """The schema that a local JSON pointer names, or None."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        return None
    found: Any = root
    for part in reference[1:].split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, dict) or name not in found:
            return None
        found = found[name]
    return found if isinstance(found, dict) else None
