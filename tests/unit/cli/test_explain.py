"""`tether explain`: what it prints of the request and of the workers."""

import json

import pytest

from tether.cli.explain import _print, lines, request, workers
from tether.cli.option import Output
from tether.v1.infer_pb2 import Infer
from tether.v1.placement_pb2 import Candidate, ExplainResponse, Removed, Term

FOUND = ExplainResponse(
    model_id="demo",
    version="1.0",
    candidates=[Candidate(worker_id="w1", score=3.5, terms=[Term(name="queue", value=3.0)], in_flight=2)],
    removed=[Removed(worker_id="w2", rule="capacity", detail="full")],
    policy=["eu: regions eu", "cheap: degrade to small"],
    degraded=[Infer.Degraded(asked_model_id="demo", asked_version="1.0", parameters=["max_tokens"], rule="cheap")],
    path=Infer.PATH_RELAY,
    queued=3,
)


def test_explain_tells_policy_and_what_would_run_instead() -> None:
    assert lines(FOUND) == [
        "demo:1.0, relay path, 3 waiting",
        "policy: eu: regions eu",
        "policy: cheap: degrade to small",
        "if nothing has room: as cheap says, lower max_tokens",
    ]
    assert [row["name"] for row in workers(FOUND)] == ["w1", "w2"]
    assert request(FOUND)["degraded"] == [{"asked": "demo:1.0", "lowered": ["max_tokens"], "rule": "cheap"}]


def test_explain_as_json_is_a_list_of_named_objects(capsys: pytest.CaptureFixture[str]) -> None:
    _print(FOUND, Output.JSON)
    printed = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in printed] == ["demo:1.0", "w1", "w2"]
    assert printed[0]["queued"] == 3


def test_explain_as_a_table_keeps_rows_and_words_apart(capsys: pytest.CaptureFixture[str]) -> None:
    _print(FOUND, Output.TABLE)
    printed = capsys.readouterr()
    assert "capacity" in printed.out
    assert "policy: eu" in printed.err
