"""Resolving: defaults under what was sent, once, and the most it can use."""

from tether.placement.resolve import parameters, resolve
from tether.policy import Decision
from tether.v1.infer_pb2 import Infer
from tether.v1.placement_pb2 import Header
from tether.v1.registry_pb2 import Model

MODEL = Model(
    model_id="demo",
    version="1.2",
    context_tokens=256,
    defaults=Infer.Parameters(max_tokens=64, temperature=0.7, stop=["END"]),
)


def test_defaults_fill_what_was_left_open() -> None:
    merged = parameters(Infer.Parameters(temperature=0.0), MODEL)
    assert (merged.max_tokens, merged.temperature, list(merged.stop)) == (64, 0.0, ["END"])


def test_lists_replace_those_of_the_defaults() -> None:
    assert list(parameters(Infer.Parameters(stop=["."]), MODEL).stop) == ["."]


def test_job_without_any_limit_gets_one() -> None:
    assert parameters(Infer.Parameters(), Model(context_tokens=128)).max_tokens == 128
    assert parameters(Infer.Parameters(), Model()).max_tokens == 1_024


def test_resolve_keeps_version_and_parameters_in_the_header() -> None:
    header = Header(model_id="demo", input_tokens_max=10, prefix_hashes=[b"12345678"])
    header.parameters.choices = 2
    resolved = resolve(header, MODEL)
    assert (resolved.header.version, resolved.header.parameters.max_tokens) == ("1.2", 64)
    assert resolved.limit_tokens == 10 + 2 * 64
    assert not resolved.header.prefix_hashes


def test_resolve_again_changes_nothing() -> None:
    once = resolve(Header(model_id="demo", input_bytes=40), MODEL)
    twice = resolve(Header.FromString(once.header.SerializeToString()), MODEL)
    assert twice == once
    assert once.limit_tokens == 104


def test_resolve_follows_policy_and_keeps_the_class_that_was_asked_for() -> None:
    decision = Decision(path=Infer.PATH_RELAY, priority_max=Infer.PRIORITY_LOW)
    resolved = resolve(Header(model_id="demo", priority=Infer.PRIORITY_HIGH), MODEL, decision)
    assert (resolved.priority, resolved.header.priority) == (Infer.PRIORITY_LOW, Infer.PRIORITY_HIGH)
    assert resolved.header.path == Infer.PATH_RELAY
