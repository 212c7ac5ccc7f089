"""Rules of `Infer.Parameters` and of adapters: how a request may ask to be answered."""

import re
from collections.abc import Sequence

from tether import name
from tether.rules import check
from tether.rules.schema import check_schema
from tether.v1 import infer_pb2

TEMPERATURE_MAX = 2.0
TOP_K_MAX = 1_000
STOP_MAX, STOP_BYTES_MAX = 8, 128
PENALTY_MAX = 2.0
CHOICES_MAX = 8
LOGPROBS_MAX = 20
TOOLS_MAX, TOOL_DESCRIPTION_BYTES_MAX, TOOL_SCHEMA_BYTES_MAX = 64, 4_096, 65_536
SCHEMA_BYTES_MAX, REGEX_BYTES_MAX = 65_536, 4_096
ADAPTERS_MAX, ADAPTER_SCALE_MAX = 4, 4.0

_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TOOL_CHOICES = ("", "auto", "none", "required")


def check_parameters(parameters: infer_pb2.Infer.Parameters, context_tokens: int = 0) -> None:
    """Check how a request asks to be answered.

    Args:
        parameters: as sent.
        context_tokens: the model's context; 0 where it is not known yet.

    Raises:
        TetherError: INVALID_FIELD below `parameters`, SCHEMA_INVALID at `parameters.response_format`.
    """
    if parameters.HasField("max_tokens"):
        check.number("parameters.max_tokens", parameters.max_tokens, 1, context_tokens or (1 << 31) - 1)
    _check_sampling(parameters)
    check.count("parameters.stop", parameters.stop, STOP_MAX)
    for index, stop in enumerate(parameters.stop):
        check.text(f"parameters.stop[{index}]", stop, STOP_BYTES_MAX, 1)
    check.number("parameters.choices", parameters.choices, 0, CHOICES_MAX)
    check.number("parameters.logprobs", parameters.logprobs, 0, LOGPROBS_MAX)
    if parameters.HasField("response_format"):
        _check_format(parameters.response_format)
    if parameters.tools or parameters.tool_choice:
        _check_tools(parameters)


def check_adapters(adapters: Sequence[infer_pb2.Infer.AdapterRef]) -> None:
    """Check the adapters that a request asks for.

    Raises:
        TetherError: INVALID_FIELD below `adapters`.
    """
    check.count("adapters", adapters, ADAPTERS_MAX)
    for index, adapter in enumerate(adapters):
        name.model(adapter.adapter_id, f"adapters[{index}].adapter_id")
        if adapter.version:
            name.version(adapter.version, f"adapters[{index}].version")
        check.number(f"adapters[{index}].scale", adapter.scale, 0, ADAPTER_SCALE_MAX)


def _check_sampling(parameters: infer_pb2.Infer.Parameters) -> None:
    """Check the numbers that shape the draw of a token."""
    if parameters.HasField("temperature"):
        check.number("parameters.temperature", parameters.temperature, 0, TEMPERATURE_MAX)
    if parameters.HasField("top_p"):
        check.number("parameters.top_p", parameters.top_p, 0, 1, over=True)
    if parameters.HasField("top_k"):
        check.number("parameters.top_k", parameters.top_k, 0, TOP_K_MAX)
    if parameters.HasField("frequency_penalty"):
        check.number("parameters.frequency_penalty", parameters.frequency_penalty, -PENALTY_MAX, PENALTY_MAX)
    if parameters.HasField("presence_penalty"):
        check.number("parameters.presence_penalty", parameters.presence_penalty, -PENALTY_MAX, PENALTY_MAX)


def _check_format(form: infer_pb2.Infer.ResponseFormat) -> None:
    """Check the form that an answer must have."""
    match form.WhichOneof("kind"):
        case "json_schema":
            check.text("parameters.response_format.json_schema", form.json_schema, SCHEMA_BYTES_MAX, 1)
            check_schema(form.json_schema)
        case "regex":
            check.text("parameters.response_format.regex", form.regex, REGEX_BYTES_MAX, 1)


def _check_tools(parameters: infer_pb2.Infer.Parameters) -> None:
    """Check the functions that a model may ask to call, and the choice among them."""
    check.count("parameters.tools", parameters.tools, TOOLS_MAX)
    names = set()
    for index, tool in enumerate(parameters.tools):
        path = f"parameters.tools[{index}]"
        named = _TOOL_NAME.fullmatch(tool.name) is not None
        rule = "1 to 64 letters, digits, underscores and hyphens"
        check.holds(f"{path}.name", ok=named, found=f"{len(tool.name)} characters", rule=rule)
        check.holds(f"{path}.name", ok=tool.name not in names, found=tool.name, rule="named once")
        check.text(f"{path}.description", tool.description, TOOL_DESCRIPTION_BYTES_MAX)
        check.text(f"{path}.parameters_json", tool.parameters_json, TOOL_SCHEMA_BYTES_MAX)
        names.add(tool.name)
    chosen = parameters.tool_choice
    known = chosen in _TOOL_CHOICES or chosen in names
    check.holds("parameters.tool_choice", ok=known, found="another", rule="auto, none, required or a tool's name")
    asks = chosen == "required" and not names
    check.holds("parameters.tool_choice", ok=not asks, found="required", rule="auto or none where there are no tools")
