"""The grammar of names."""

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tether import name
from tether.errors import Reason, TetherError

HOSTILE = [
    "",
    "../x",
    "/etc/passwd",
    "a/b",
    "http://x",
    "a\0b",
    "a\r\nb",
    "a b",
    "Ünï",
    "A",
    "-a",
    "a-",
    ".a",
    "a.",
    "a..b",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_are_refused_everywhere(text: str) -> None:
    checks = (name.model, name.region, name.tenant, name.version, name.job_id, name.parse_topic)
    for check in checks:
        with pytest.raises(TetherError) as caught:
            check(text)
        assert caught.value.reason is Reason.INVALID_FIELD


@pytest.mark.parametrize("text", ["llama3.1-8b", "a", "0", "a--b", "a" * 63])
def test_model_names(text: str) -> None:
    assert name.model(text) == text


@pytest.mark.parametrize("text", ["0.0", "1.0", "12.345", "999999.999999"])
def test_versions(text: str) -> None:
    assert name.version(text) == text


@pytest.mark.parametrize("text", ["1", "1.0.0", "01.0", "1.00", "v1.0", "1.0\n", "1000000.0", "\uff11.0"])
def test_texts_that_are_no_versions(text: str) -> None:
    assert not name.is_version(text)


@pytest.mark.parametrize(
    ("check", "most"), [(name.is_model, 63), (name.is_region, 31), (name.is_tenant, 63), (name.is_token, 128)]
)
def test_names_are_bounded(check: Callable[[str], bool], most: int) -> None:
    assert check("a" * most)
    assert not check("a" * (most + 1))


def test_model_and_version_splits_at_the_colon() -> None:
    assert name.model_and_version("m") == ("m", "")
    assert name.model_and_version("m:1.2") == ("m", "1.2")
    for text in ("m:", ":1.0", "m:1.0:2"):
        with pytest.raises(TetherError):
            name.model_and_version(text)


def test_refusal_names_field_and_rule_and_shows_nothing_unprintable() -> None:
    with pytest.raises(TetherError) as caught:
        name.model("x\n" * 100, "adapters[0].adapter_id")
    assert caught.value.field == "adapters[0].adapter_id"
    assert "such as llama3.1-8b" in caught.value.message
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 300


def test_job_ids_are_32_hex_digits() -> None:
    job = bytes(range(16))
    assert name.job_id(name.job_hex(job)) == job
    for text in ("AB" * 16, "ab" * 15, "ab" * 17, "zz" * 16):
        with pytest.raises(TetherError):
            name.job_id(text)
    with pytest.raises(TetherError):
        name.job_hex(b"short")


def test_node_and_key_ids() -> None:
    assert name.is_node("a2" * 26)
    assert not name.is_node("a1" * 26)
    assert name.is_key("0123456789abcdef")
    assert not name.is_key("0123456789ABCDEF")


def test_topics_are_those_of_the_design() -> None:
    assert name.presence_topic("eu-west") == "tether/presence/eu-west"
    assert name.control_topic("eu-west") == "tether/control/eu-west"
    assert name.models_topic("llama3.1-8b", "1.0", "eu-west") == "tether/models/llama3.1-8b/1.0/eu-west"
    assert name.job_topic(bytes(16)) == "tether/jobs/" + "00" * 16


@given(
    region=st.from_regex(r"[a-z0-9]([a-z0-9-]{0,29}[a-z0-9])?", fullmatch=True),
    model=st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True),
    job=st.binary(min_size=16, max_size=16),
)
def test_topics_parse_back(region: str, model: str, job: bytes) -> None:
    for text in (
        name.presence_topic(region),
        name.control_topic(region),
        name.models_topic(model, "1.0", region),
        name.job_topic(job),
    ):
        assert str(name.parse_topic(text)) == text


@given(st.text(max_size=300))
def test_parse_topic_of_anything_ends_in_a_verdict(text: str) -> None:
    with contextlib.suppress(TetherError):
        assert str(name.parse_topic(text)) == text


@pytest.mark.parametrize(
    "topic",
    [
        "tether/presence",
        "tether/presence/",
        "tether/jobs/xyz",
        "tether/models/a/1/eu",
        "tether/presence/a/b",
        "x/presence/a",
    ],
)
def test_topics_with_a_wrong_part_are_refused(topic: str) -> None:
    with pytest.raises(TetherError):
        name.parse_topic(topic)


def test_nearest_suggests_what_a_typo_meant() -> None:
    names = ["tether-demo", "llama3.1-8b", "mistral-7b"]
    assert name.nearest("tether-dmo", names) == ["tether-demo"]
    assert name.nearest("llama", ["llama3.1-8b"]) == ["llama3.1-8b"]
    assert name.nearest("zzz", names) == []
    assert name.did_you_mean("tether-dmo", names) == " Did you mean tether-demo?"
    assert name.did_you_mean("zzz", names) == ""


def test_nearest_looks_at_a_bounded_number_of_names() -> None:
    seen = 0

    def endless() -> object:
        nonlocal seen
        while True:
            seen += 1
            yield f"model-{seen}"

    name.nearest("model-1", endless())  # type: ignore[arg-type]
    assert seen <= name.NAMES_SEARCHED_MAX + 1
