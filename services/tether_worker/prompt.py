"""From a request and its ticket to what engines take: one generation job per choice."""

from tether.errors import Reason, TetherError
from tether.v1 import infer_pb2
from tether_worker.engine.form import Form, FormKind
from tether_worker.engine.runtime import (
    MAX_TOKENS_DEFAULT,
    ChatPrompt,
    GenerationJob,
    Prompt,
    Sampling,
    TensorPrompt,
    TextPrompt,
    Turn,
)

CHOICES_MAX = 8  # as infer.proto says


def to_prompt(request: infer_pb2.Infer.Request) -> Prompt:
    """The prompt of a request; TetherError UNSUPPORTED for sealed input, INVALID_FIELD for none."""
    match request.input.WhichOneof("kind"):
        case "text":
            return TextPrompt(request.input.text)
        case "chat":
            return ChatPrompt(tuple(Turn(turn.role, turn.content) for turn in request.input.chat.messages))
        case "tensors":
            return TensorPrompt(request.input.tensors.SerializeToString())
        case None:
            raise TetherError(Reason.INVALID_FIELD, "input is missing", field="input")
        case kind:
            raise TetherError(Reason.UNSUPPORTED, f"This worker takes no {kind} input.", field=f"input.{kind}")


def to_form(parameters: infer_pb2.Infer.Parameters) -> Form | None:
    """The form that an answer must have, or None for any."""
    asked = parameters.response_format
    match asked.WhichOneof("kind"):
        case "json_schema":
            return Form(FormKind.JSON_SCHEMA, asked.json_schema)
        case "regex":
            return Form(FormKind.REGEX, asked.regex)
        case "json_object" if asked.json_object:
            return Form(FormKind.JSON_OBJECT)
    return None


def to_jobs(
    request: infer_pb2.Infer.Request,
    parameters: infer_pb2.Infer.Parameters,
    name: tuple[bytes, int],
    prefix: tuple[int, ...],
) -> list[GenerationJob]:
    """Generation jobs of a request, one per choice, keyed (job, epoch, choice).

    Args:
        request: as the client sent it.
        parameters: as they run: the ticket's, defaults filled in and seed set.
        name: job and epoch.
        prefix: token ids of an answer that an earlier attempt began.

    Raises:
        TetherError: UNSUPPORTED, or INVALID_FIELD.
    """
    _refuse_unsupported(request, parameters)
    prompt, form = to_prompt(request), to_form(parameters)
    choices = max(1, parameters.choices)
    if choices > CHOICES_MAX:
        raise TetherError(Reason.INVALID_FIELD, f"at most {CHOICES_MAX} choices", field="parameters.choices")
    return [
        GenerationJob(
            key=(*name, choice), prompt=prompt, sampling=_sampling(parameters, choice), prefix=prefix, form=form
        )
        for choice in range(choices)
    ]


def _refuse_unsupported(request: infer_pb2.Infer.Request, parameters: infer_pb2.Infer.Parameters) -> None:
    asked = {
        "adapters": bool(request.adapters),
        "parameters.tools": bool(parameters.tools),
    }
    for field, wanted in asked.items():
        if wanted:
            raise TetherError(Reason.UNSUPPORTED, f"This model does not support {field}.", field=field)


def _sampling(parameters: infer_pb2.Infer.Parameters, choice: int) -> Sampling:
    """An unset field is 0 on the wire; the two whose default is another are looked at."""
    return Sampling(
        max_tokens=parameters.max_tokens if parameters.HasField("max_tokens") else MAX_TOKENS_DEFAULT,
        temperature=parameters.temperature,
        top_p=parameters.top_p if parameters.HasField("top_p") else 1.0,
        top_k=parameters.top_k,
        frequency_penalty=parameters.frequency_penalty,
        presence_penalty=parameters.presence_penalty,
        stop=tuple(parameters.stop),
        seed=parameters.seed,
        choice=choice,
        logprobs=parameters.logprobs or None,
    )
