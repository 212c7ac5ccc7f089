"""From a request to what engines take."""

import pytest

from tether.errors import Reason, TetherError
from tether.v1 import infer_pb2
from tether_worker.engine.form import Form, FormKind
from tether_worker.engine.runtime import MAX_TOKENS_DEFAULT, ChatPrompt, TensorPrompt, TextPrompt, Turn
from tether_worker.prompt import to_jobs, to_prompt

NAME = (bytes(16), 1)
Request, Parameters = infer_pb2.Infer.Request, infer_pb2.Infer.Parameters


def test_text_with_defaults_is_one_job() -> None:
    [job] = to_jobs(Request(input={"text": "hi"}), Parameters(seed=5), NAME, ())
    assert job.key == (*NAME, 0)
    assert job.prompt == TextPrompt("hi")
    assert (job.sampling.max_tokens, job.sampling.top_p, job.sampling.seed) == (MAX_TOKENS_DEFAULT, 1.0, 5)
    assert job.sampling.logprobs is None


def test_chat_with_choices_is_a_job_each() -> None:
    request = Request(input={"chat": {"messages": [{"role": "user", "content": "hi"}]}})
    jobs = to_jobs(request, Parameters(choices=3, temperature=0.5, stop=["x"], logprobs=2), NAME, (1, 2))
    assert [job.key for job in jobs] == [(*NAME, 0), (*NAME, 1), (*NAME, 2)]
    assert [job.sampling.choice for job in jobs] == [0, 1, 2]
    assert jobs[0].prompt == ChatPrompt((Turn("user", "hi"),))
    assert jobs[0].prefix == (1, 2)
    assert (jobs[0].sampling.stop, jobs[0].sampling.logprobs) == (("x",), 2)


@pytest.mark.parametrize(
    ("request_", "parameters", "reason"),
    [
        (Request(input={"sealed": {}}), Parameters(), Reason.UNSUPPORTED),
        (Request(), Parameters(), Reason.INVALID_FIELD),
        (Request(input={"text": "x"}, adapters=[{"adapter_id": "a"}]), Parameters(), Reason.UNSUPPORTED),
        (Request(input={"text": "x"}), Parameters(tools=[{"name": "f"}]), Reason.UNSUPPORTED),
        (Request(input={"text": "x"}), Parameters(choices=9), Reason.INVALID_FIELD),
    ],
)
def test_what_engines_cannot_do_is_refused(request_: Request, parameters: Parameters, reason: Reason) -> None:
    with pytest.raises(TetherError) as raised:
        to_jobs(request_, parameters, NAME, ())
    assert raised.value.reason is reason


@pytest.mark.parametrize(
    ("asked", "form"),
    [
        ({"json_schema": "{}"}, Form(FormKind.JSON_SCHEMA, "{}")),
        ({"regex": "a+"}, Form(FormKind.REGEX, "a+")),
        ({"json_object": True}, Form(FormKind.JSON_OBJECT)),
        ({"json_object": False}, None),
        ({}, None),
    ],
)
def test_form_of_a_request_is_the_one_that_is_asked_for(asked: dict[str, object], form: Form | None) -> None:
    parameters = Parameters(response_format=asked)
    assert [job.form for job in to_jobs(Request(input={"text": "x"}), parameters, NAME, ())] == [form]


def test_tensors_become_a_prompt_of_their_bytes() -> None:
    request = Request(input={"tensors": {"tensors": [{"name": "x", "shape": [0]}]}})
    assert to_prompt(request) == TensorPrompt(request.input.tensors.SerializeToString())
