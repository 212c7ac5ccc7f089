"""Who may ask for what, decided without any I/O."""

import itertools
from pathlib import Path

import pytest

from tether.errors import Reason, TetherError
from tether.testing import catalogue as kit
from tether.v1 import infer_pb2, registry_pb2
from tether.v1.policy_pb2 import Policy, PolicyRule
from tether_gateway.admission import Admission, Admitted, Asked
from tether_gateway.config import Config

KEY, OTHER, REVOKED = kit.token(1), kit.token(2), kit.token(3)


@pytest.fixture
def admission(tmp_path: Path) -> Admission:
    tenants = [
        registry_pb2.Tenant(name="demo", quota=registry_pb2.Quota(requests_per_minute=60)),
        registry_pb2.Tenant(name="stopped", suspended=True),
    ]
    keys = [kit.key_of(KEY, "demo"), kit.key_of(OTHER, "stopped"), kit.key_of(REVOKED, "demo")]
    keys[2].revoked = True
    catalogue = kit.catalogue_of(tenants, keys, [kit.model_of("tiny-model")])
    names = (f"{number:032x}" for number in itertools.count())
    config = Config(state=tmp_path, input_bytes_max=64, wrong_keys_max=3)
    return Admission(catalogue, config, lambda: next(names))


def asked(key: str | None = None, **metadata: str) -> Asked:
    named = {"authorization": f"Bearer {KEY.text() if key is None else key}"} if key != "" else {}
    return Asked({**named, **metadata}, "ipv4:127.0.0.1")


def request(**fields: object) -> infer_pb2.Infer.Request:
    made = infer_pb2.Infer.Request(model_id="tiny-model", **fields)  # type: ignore[arg-type]
    if not made.HasField("input"):
        made.input.text = "hello"
    return made


def admit(
    admission: Admission, made: infer_pb2.Infer.Request | bytes, by: Asked | None = None, now_s: float = 0
) -> Admitted:
    raw = made if isinstance(made, bytes) else made.SerializeToString()
    return admission.admit(raw, by or asked(), now_s, 0.0)


def refusal(admission: Admission, made: infer_pb2.Infer.Request | bytes, by: Asked | None = None) -> TetherError:
    with pytest.raises(TetherError) as raised:
        admit(admission, made, by)
    return raised.value


def test_request_is_admitted_with_names_and_deadline(admission: Admission) -> None:
    admitted = admit(admission, request(correlation_id="mine"))
    assert (admitted.tenant, admitted.correlation_id, admitted.retry_token) == ("demo", "mine", "")
    assert admitted.header.keyed
    assert admitted.header.on_disconnect == infer_pb2.Infer.ON_DISCONNECT_DETACH
    assert admitted.deadline_s == 300.0


def test_request_without_names_gets_drawn_ones(admission: Admission) -> None:
    admitted = admit(admission, request())
    assert (admitted.correlation_id, admitted.retry_token) == ("0" * 32, "0" * 31 + "1")
    assert not admitted.header.keyed
    assert admitted.header.on_disconnect == infer_pb2.Infer.ON_DISCONNECT_CANCEL


def test_retry_token_alone_names_the_request(admission: Admission) -> None:
    admitted = admit(admission, request(retry_token="again"))
    assert (admitted.correlation_id, admitted.retry_token) == ("again", "again")


def test_shorter_deadline_holds(admission: Admission) -> None:
    made = request(timeout={"seconds": 20})
    metadata = asked().metadata
    assert admit(admission, made, Asked(metadata, "s", 7.0), now_s=1).deadline_s == 8.0
    assert admit(admission, made, Asked(metadata, "s", 70.0), now_s=1).deadline_s == 21.0


@pytest.mark.parametrize(
    ("by", "reason"),
    [
        (asked(""), Reason.KEY_MISSING),
        (asked("tk_nonsense"), Reason.KEY_INVALID),
        (asked(kit.token(9).text()), Reason.KEY_INVALID),
        (asked(REVOKED.text()), Reason.KEY_INVALID),
        (asked(OTHER.text()), Reason.TENANT_SUSPENDED),
        (Asked({"authorization": "Basic eA=="}, "s"), Reason.KEY_INVALID),
    ],
)
def test_caller_without_a_good_key_is_refused(admission: Admission, by: Asked, reason: Reason) -> None:
    assert refusal(admission, request(), by).reason is reason


@pytest.mark.parametrize(
    ("made", "reason", "field"),
    [
        (request(tenant_id="other"), Reason.TENANT_MISMATCH, "tenant_id"),
        (request(input={"text": "x" * 65}), Reason.TOO_LARGE, "input"),
        (request(input={"text": ""}), Reason.INVALID_FIELD, "input.text"),
        (request(input={}), Reason.INVALID_FIELD, "input"),
        (request(input={"chat": {"messages": [{"role": "wizard", "content": "x"}]}}), Reason.INVALID_FIELD, None),
        (request(input={"tensors": {}}), Reason.UNSUPPORTED, "input"),
        (request(parameters={"max_tokens": 0}), Reason.INVALID_FIELD, "parameters.max_tokens"),
        (request(parameters={"max_tokens": 4_000_000}), Reason.INVALID_FIELD, "parameters.max_tokens"),
        (request(parameters={"temperature": float("nan")}), Reason.INVALID_FIELD, "parameters.temperature"),
        (request(correlation_id="with space"), Reason.INVALID_FIELD, "correlation_id"),
        (request(trace_id="xyz"), Reason.INVALID_FIELD, "trace_id"),
        (request(version="7.7"), Reason.VERSION_UNKNOWN, None),
        (b"\xff\xff\xff", Reason.MALFORMED, ""),
        (request().SerializeToString() + b"\xfa\x3e\x01x", Reason.UNKNOWN_FIELD, ""),
        (b"\x12\x0atiny-model\x22\x04\x0a\x02\xc3\x28", Reason.MALFORMED, ""),
    ],
)
def test_request_that_breaks_a_rule_is_refused(
    admission: Admission, made: infer_pb2.Infer.Request | bytes, reason: Reason, field: str | None
) -> None:
    error = refusal(admission, made)
    assert error.reason is reason, error
    if field is not None:
        assert error.field == field


def test_unknown_model_is_refused_with_the_nearest_name(admission: Admission) -> None:
    made = request()
    made.model_id = "tiny-modle"
    error = refusal(admission, made)
    assert error.reason is Reason.MODEL_UNKNOWN
    assert "tiny-model" in error.message


def test_requests_per_minute_are_enforced_and_come_back(admission: Admission) -> None:
    for _ in range(60):
        admit(admission, request())
    error = refusal(admission, request())
    assert error.reason is Reason.RATE_LIMITED
    assert error.retry_after_s == pytest.approx(1.0)
    admit(admission, request(), now_s=1.01)


def test_wrong_keys_throttle_their_source_but_not_its_good_keys(admission: Admission) -> None:
    admit(admission, request())
    for number in range(3):
        assert refusal(admission, request(), asked(kit.token(100 + number).text())).reason is Reason.KEY_INVALID
    assert refusal(admission, request(), asked(kit.token(200).text())).reason is Reason.TOO_MANY_ATTEMPTS
    admit(admission, request())
    elsewhere = Asked(asked().metadata, "ipv4:10.0.0.1")
    admit(admission, request(), elsewhere)


def test_deadline_that_is_over_is_refused(admission: Admission) -> None:
    assert refusal(admission, request(), Asked(asked().metadata, "s", 0.0)).reason is Reason.DEADLINE


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (PolicyRule(name="sealed-only", encryption_required=True), "sealed-only let only sealed"),
        (PolicyRule(name="europe", residency=["europe"]), "must not come to region local"),
    ],
)
def test_request_that_policy_forbids_is_refused_here(tmp_path: Path, rule: PolicyRule, words: str) -> None:
    policies = [Policy(version=1, rules=[rule])]
    tenants, keys = [registry_pb2.Tenant(name="demo")], [kit.key_of(KEY, "demo")]
    catalogue = kit.catalogue_of(tenants, keys, [kit.model_of("tiny-model")], policies=policies)
    admission = Admission(catalogue, Config(state=tmp_path), lambda: "0" * 32)
    error = refusal(admission, request())
    assert error.reason is Reason.POLICY_FORBIDS
    assert words in error.message
    admission.admit(request().SerializeToString(), asked(), 0.0, 0.0, lambda _: True)  # it runs: it is only read


def test_resumes_are_bounded_and_a_lost_gateway_is_not_too_many(admission: Admission) -> None:
    for _ in range(1_000):
        admission.resume("demo", 0.0)
    with pytest.raises(TetherError) as raised:
        admission.resume("demo", 0.0)
    assert raised.value.reason is Reason.RATE_LIMITED
    assert raised.value.retry_after_s
    admission.resume("other", 0.0)
    admission.resume("demo", 1.0)


def test_repeats_over_a_fifth_of_the_requests_are_refused_with_a_wait(admission: Admission) -> None:
    for _ in range(50):
        admit(admission, request())
    repeat = asked(**{"grpc-previous-rpc-attempts": "1"})
    let = 0
    while (error := refused(admission, repeat)) is None:
        let += 1
    assert error.reason is Reason.RATE_LIMITED
    assert error.retry_after_s
    assert 9 <= let <= 11  # a little under a fifth of fifty, and the one that everybody has


def test_attempts_that_repeat_what_an_engine_failed_draw_on_the_same_budget(admission: Admission) -> None:
    for _ in range(50):
        admit(admission, request())
    let = sum(admission.retry("demo", 0.0) is None for _ in range(50))
    assert 9 <= let <= 11
    assert admission.retry("demo", 0.0)
    assert refused(admission, asked(**{"grpc-previous-rpc-attempts": "1"})) is not None


def refused(admission: Admission, by: Asked) -> TetherError | None:
    try:
        assert admit(admission, request(), by).header.previous_attempts == 1
    except TetherError as error:
        return error
    return None


def test_repeat_that_reads_what_runs_here_is_not_charged(admission: Admission) -> None:
    raw = request().SerializeToString()
    repeat = asked(**{"x-stainless-retry-count": "2"})
    for _ in range(100):
        assert admission.admit(raw, repeat, 0.0, 0.0, lambda _: True).header.previous_attempts == 2


@pytest.mark.parametrize("told", ["", "-1", "many", "1.5"])
def test_count_of_attempts_that_is_none_is_ignored(admission: Admission, told: str) -> None:
    assert admit(admission, request(), asked(**{"grpc-previous-rpc-attempts": told})).header.previous_attempts == 0


def test_sealed_input_is_told(admission: Admission) -> None:
    assert not admit(admission, request()).header.sealed
