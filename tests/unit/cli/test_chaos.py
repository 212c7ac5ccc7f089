"""The demonstration's judgement: every way in which something could be lost is told."""

from dataclasses import replace

import pytest
from typer.testing import CliRunner

from tether.cli.chaos import Shown, judge
from tether.cli.main import app
from tether.errors import Reason, TetherError
from tether.v1.infer_pb2 import Infer, Job, JobState

TEXT = "words that were said"


def shown():
    handed = Infer.HandedPrefix(start=Infer.Position(), end=Infer.Position(tokens=3, bytes=9))
    receipt = Infer.ReceiptBody(
        complete=True,
        epoch=2,
        end=Infer.Position(tokens=7, bytes=len(TEXT)),
        usage=Infer.Usage(output_tokens=4),
        handed=[handed],
    )
    job = Job(state=JobState.JOB_STATE_DONE, usage=Infer.Usage(output_tokens=7))
    return Shown(text=TEXT, victim="worker-1", pid=7, at_tokens=3, job=job, receipt=receipt)


def test_whole_answer_is_judged_whole():
    assert judge(shown(), TEXT) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"victim": ""}, "too short"),
        ({"text": TEXT + "!"}, "bytes differ"),
        ({"resumes": 1}, "client saw"),
        ({"receipt": Infer.ReceiptBody()}, "receipt"),
        ({"receipt": Infer.ReceiptBody(epoch=1)}, "no other worker"),
        ({"job": Job(state=JobState.JOB_STATE_RESERVED)}, "not settled"),
        ({"job": Job(state=JobState.JOB_STATE_DONE, usage=Infer.Usage(output_tokens=8))}, "bill"),
    ],
)
def test_whatever_is_lost_is_told(change, words):
    assert any(words in told for told in judge(replace(shown(), **change), TEXT))


def test_chaos_needs_a_second_worker():
    found = CliRunner().invoke(app, ["up", "--chaos", "--workers", "1"])
    assert isinstance(found.exception, TetherError)
    assert found.exception.reason is Reason.INVALID_FIELD
    assert "--workers 2" in found.exception.message
