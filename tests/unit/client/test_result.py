import pytest

from tether.client.result import Gathered
from tether.errors import Reason, TetherError
from tether.v1.infer_pb2 import Infer


def chunk(seq, start, text="", **fields):
    payload = Infer.Payload(text=text) if text else None
    return Infer.Chunk(
        correlation_id="c", seq=seq, start=Infer.Position(tokens=seq, bytes=start), payload=payload, **fields
    )


def gather(*chunks):
    gathered = Gathered()
    for one in chunks:
        gathered.add(one)
    return gathered


def test_gathered_pieces_become_an_answer():
    started = Infer.Started(job_id="j", model_id="m", version="1.0", retry_token="r")
    last = chunk(2, 8, done=True, finish_reason=Infer.FINISH_REASON_STOP, usage=Infer.Usage(output_tokens=2))
    answer = gather(chunk(0, 0, "grüß ", started=started), chunk(1, 7, "x"), last).answer()
    assert (answer.text, answer.model, answer.finish_reason, answer.output_tokens) == ("grüß x", "m:1.0", "stop", 2)


@pytest.mark.parametrize("second", [chunk(2, 2, "b"), chunk(0, 2, "b"), chunk(1, 3, "b"), chunk(1, 1, "b")])
def test_gathered_hole_or_repeat_diverges(second):
    with pytest.raises(TetherError) as caught:
        gather(chunk(0, 0, "ab"), second)
    assert caught.value.reason is Reason.STREAM_DIVERGED


def test_gathered_chunk_after_the_end_diverges():
    with pytest.raises(TetherError) as caught:
        gather(chunk(0, 0, "a", done=True), chunk(1, 1, "b"))
    assert caught.value.reason is Reason.STREAM_DIVERGED


def test_gathered_without_end_is_no_answer():
    with pytest.raises(TetherError) as caught:
        gather(chunk(0, 0, "a")).answer()
    assert caught.value.reason is Reason.WORKER_LOST
