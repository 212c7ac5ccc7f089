"""Chat messages and tools of OpenAI's API, as the contract has them."""

import json

from tether.edge.openai import field
from tether.v1.infer_pb2 import Infer

MESSAGES_MAX = 256  # as the contract says
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
_MESSAGE = frozenset({"role", "content", "name", "tool_calls", "tool_call_id", "refusal", "annotations", "audio"})
_TEXT_PARTS = {"text": "text", "refusal": "refusal"}


def read_messages(value: object, chat: Infer.Chat) -> None:
    """Fill in the conversation.

    Raises:
        TetherError: INVALID_FIELD, UNKNOWN_FIELD or UNSUPPORTED, naming the field.
    """
    messages = field.items(value, "messages")
    if not 1 <= len(messages) <= MESSAGES_MAX:
        raise field.wrong("messages", value, f"1 to {MESSAGES_MAX} messages")
    for index, one in enumerate(messages):
        chat.messages.append(_message(one, f"messages[{index}]"))


def read_tools(value: object, parameters: Infer.Parameters) -> None:
    """Fill in the functions that the model may ask to call."""
    for index, one in enumerate(field.items(value, "tools")):
        param = f"tools[{index}]"
        tool = field.object_(one, param)
        if tool.get("type") != "function":
            raise field.unsupported(f"{param}.type", "tools other than functions are")
        made = field.object_(field.required(tool, "function", param), f"{param}.function")
        parameters.tools.add(
            name=field.text(field.required(made, "name", f"{param}.function"), f"{param}.function.name"),
            description=field.text(made.get("description", ""), f"{param}.function.description"),
            parameters_json=json.dumps(made.get("parameters", {}), separators=(",", ":")),
        )


def read_tool_choice(value: object) -> str:
    """Return the choice among tools: `auto`, `none`, `required`, or a tool's name."""
    if isinstance(value, str):
        return field.text(value, "tool_choice")
    choice = field.object_(value, "tool_choice")
    if choice.get("type") != "function":
        raise field.unsupported("tool_choice.type", "a choice other than a function is")
    named = field.object_(field.required(choice, "function", "tool_choice"), "tool_choice.function")
    return field.text(field.required(named, "name", "tool_choice.function"), "tool_choice.function.name")


def _message(value: object, param: str) -> Infer.Message:
    given = field.object_(value, param, _MESSAGE)
    role = field.text(field.required(given, "role", param), f"{param}.role")
    if role not in _ROLES:
        raise field.wrong(f"{param}.role", value, f"one of {', '.join(_ROLES)}")
    if "audio" in given:
        raise field.unsupported(f"{param}.audio", "audio is")
    made = Infer.Message(
        role=_ROLES[role],
        content=_content(given.get("content", ""), f"{param}.content"),
        name=field.text(given.get("name", ""), f"{param}.name"),
        tool_call_id=field.text(given.get("tool_call_id", ""), f"{param}.tool_call_id"),
    )
    for index, call in enumerate(field.items(given.get("tool_calls", []), f"{param}.tool_calls")):
        made.tool_calls.append(_tool_call(call, index, f"{param}.tool_calls[{index}]"))
    return made


def _content(value: object, param: str) -> str:
    """Return what was said: a text, or the texts of its parts."""
    if isinstance(value, str):
        return field.text(value, param)
    return "".join(_part(one, f"{param}[{index}]") for index, one in enumerate(field.items(value, param)))


def _part(value: object, param: str) -> str:
    part = field.object_(value, param)
    kind = field.text(field.required(part, "type", param), f"{param}.type")
    if kind not in _TEXT_PARTS:
        raise field.unsupported(f"{param}.type", "content other than text is")
    return field.text(field.required(part, _TEXT_PARTS[kind], param), f"{param}.{_TEXT_PARTS[kind]}")


def _tool_call(value: object, index: int, param: str) -> Infer.ToolCall:
    call = field.object_(value, param)
    if call.get("type", "function") != "function":
        raise field.unsupported(f"{param}.type", "calls of anything but functions are")
    function = field.object_(field.required(call, "function", param), f"{param}.function")
    return Infer.ToolCall(
        id=field.text(field.required(call, "id", param), f"{param}.id"),
        name=field.text(field.required(function, "name", f"{param}.function"), f"{param}.function.name"),
        arguments_json=field.text(function.get("arguments", ""), f"{param}.function.arguments"),
        index=index,
    )
