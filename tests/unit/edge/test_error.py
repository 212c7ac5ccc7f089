"""Errors as OpenAI's clients expect them, and whether they may send again by themselves."""

import json

import pytest

from tether.edge.openai import error as errors
from tether.errors import TABLE, Reason, TetherError


def of(reason, **fields):
    return TetherError(reason, "What happened.", **fields)


@pytest.mark.parametrize("reason", Reason)
def test_error_every_reason_has_status_body_and_headers(reason):
    made = of(reason, field="parameters.max_tokens")
    body = json.loads(errors.body(made))["error"]
    assert set(body) == {"message", "type", "param", "code"}
    assert body["param"] == "max_tokens"
    assert TABLE[reason].advice in body["message"]
    assert 400 <= errors.status(made) < 600
    headers = dict(errors.headers(made))
    assert headers["x-tether-reason"] == reason.name
    assert ("retry-after-ms" in headers) == TABLE[reason].again


PARAMS = [
    ("", None), ("model_id", "model"), ("version", "model"), ("parameters.temperature", "temperature"),
    ("parameters.stop[2]", "stop[2]"), ("parameters.choices", "n"),
    ("input.chat.messages[3].content", "messages[3].content"),
    ("input.text", "prompt"), ("correlation_id", "Idempotency-Key"),
    ("parameters.response_format.json_schema", "response_format.json_schema"),
    ("parameters.tools[1].parameters_json", "tools[1].function.parameters"), ("messages[0].role", "messages[0].role"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "param"), PARAMS)
def test_error_field_has_openais_name(path, param):
    assert errors.param(path) == param


CODES = [
    (Reason.MODEL_UNKNOWN, 404, "invalid_request_error", "model_not_found"),
    (Reason.KEY_INVALID, 401, "authentication_error", "invalid_api_key"),
    (Reason.TENANT_SUSPENDED, 403, "permission_error", "tenant_suspended"),
    (Reason.CONTEXT_EXCEEDED, 400, "invalid_request_error", "context_length_exceeded"),
    (Reason.OVERLOADED, 429, "rate_limit_error", "overloaded"),
    (Reason.QUOTA_EXCEEDED, 429, "insufficient_quota", "insufficient_quota"),
    (Reason.WORKER_LOST, 503, "server_error", "worker_lost"),
    (Reason.UNSUPPORTED, 501, "invalid_request_error", "unsupported"),
]


@pytest.mark.parametrize(("reason", "status", "kind", "code"), CODES)
def test_error_has_the_names_that_clients_look_for(reason, status, kind, code):
    made = of(reason)
    assert errors.status(made) == status
    assert (errors.describe(made)["type"], errors.describe(made)["code"]) == (kind, code)


RETRIES = [
    (Reason.OVERLOADED, 0.25, False, True),
    (Reason.NO_WORKER, None, False, True),
    (Reason.WORKER_LOST, None, False, False),
    (Reason.WORKER_LOST, None, True, True),
    (Reason.SETTLEMENT_FAILED, None, False, False),
    (Reason.QUOTA_EXCEEDED, 3_600.0, True, False),
    (Reason.JOB_CONFLICT, None, True, False),
    (Reason.UNSUPPORTED, None, True, False),
    (Reason.INTERNAL, None, True, False),
]


@pytest.mark.parametrize(("reason", "wait_s", "keyed", "again"), RETRIES)
def test_error_says_whether_to_send_again(reason, wait_s, keyed, again):
    headers = dict(errors.headers(of(reason, retry_after_s=wait_s), keyed=keyed))
    assert headers["x-should-retry"] == ("true" if again else "false")


def test_error_shed_says_when():
    headers = dict(errors.headers(of(Reason.OVERLOADED, retry_after_s=0.25)))
    assert (headers["retry-after-ms"], headers["retry-after"]) == ("250", "1")


def test_error_message_speaks_of_the_field_by_openais_name():
    made = TetherError(Reason.INVALID_FIELD, "parameters.temperature is 9.", field="parameters.temperature")
    assert errors.describe(made)["message"].startswith("temperature is 9.")
