"""Answers in the forms of OpenAI's API: whole, or as a stream of events.

Both are fed the same `Infer.Chunk`s. Only a chunk with `done` ends an answer well: a stream that stops without one is
an error, so that what is cut off never looks complete.
"""

import json
from collections.abc import Mapping
from typing import Any

from tether.edge import sse
from tether.edge.openai import logprob
from tether.edge.openai.request import Call, Kind
from tether.errors import Reason, TetherError
from tether.v1.infer_pb2 import Infer

ANSWER_BYTES_MAX = 16 << 20  # the longest answer that is held whole; a model's context is far below
DONE = sse.event(b"[DONE]")

_HOLE = "\0"  # no name, id or number holds one
_HOLE_JSON = b'"\\u0000"'

_FINISH: Mapping[int, str] = {
    Infer.FINISH_REASON_STOP: "stop",
    Infer.FINISH_REASON_LENGTH: "length",
    Infer.FINISH_REASON_TOOL_CALLS: "tool_calls",
}
_STREAM_OBJECT = {Kind.CHAT: "chat.completion.chunk", Kind.COMPLETION: "text_completion"}
_WHOLE_OBJECT = {Kind.CHAT: "chat.completion", Kind.COMPLETION: "text_completion"}
_ID = {Kind.CHAT: "chatcmpl-", Kind.COMPLETION: "cmpl-"}


class _Head:
    """What every piece of an answer repeats: id, object, time, model."""

    def __init__(self, call: Call, kind: str, now_s: float) -> None:
        self._call = call
        self._kind = kind
        self._created = int(now_s)
        self._fields: dict[str, Any] = {}

    def learn(self, chunk: Infer.Chunk) -> None:
        """Take id and model from the first chunk."""
        if self._fields and not chunk.HasField("started"):
            return
        started, asked = chunk.started, self._call.request
        model_id, version = started.model_id or asked.model_id, started.version or asked.version
        self._fields = {
            "id": _ID[self._call.kind] + (started.job_id or chunk.correlation_id),
            "object": self._kind,
            "created": self._created,
            "model": f"{model_id}:{version}" if version else model_id,
        }

    def of(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        """Return a piece with these choices."""
        return {**self._fields, "choices": choices}


class Events:
    """Turns chunks into the bytes of server-sent events.

    Args:
        call: what was asked.
        now_s: seconds since the Unix epoch.
    """

    def __init__(self, call: Call, now_s: float) -> None:
        self._call = call
        self._head = _Head(call, _STREAM_OBJECT[call.kind], now_s)
        self._begun: set[int] = set()
        self._ended: set[int] = set()
        self._offsets: dict[int, int] = {}
        self._frames: dict[int, tuple[bytes, bytes]] = {}
        self.done = False

    def feed(self, chunk: Infer.Chunk) -> bytes:
        """Return the events of a chunk; none where it adds nothing.

        Raises:
            TetherError: JOB_CANCELLED where the job ended so; UNSUPPORTED for an answer that is no text.
        """
        if self._is_plain(chunk):
            return self._plain(chunk)
        check(chunk)
        self._head.learn(chunk)
        pieces = [self._head.of([one]) for one in self._choices(chunk)]
        if self._call.include_usage:
            for piece in pieces:
                piece["usage"] = None
        if chunk.done:
            self.done = True
            if self._call.include_usage:
                pieces.append({**self._head.of([]), "usage": usage(chunk.usage)})
        made = b"".join(sse.event(dump(piece)) for piece in pieces)
        return made + DONE if chunk.done else made

    def _is_plain(self, chunk: Infer.Chunk) -> bool:
        """Tell whether a chunk adds text and nothing else, as nearly all do."""
        quiet = not (chunk.done or chunk.finish_reason or chunk.tool_calls or chunk.logprobs or self._call.logprobs)
        begun = chunk.output_index in self._begun and self._call.kind is Kind.CHAT
        return quiet and begun and bool(chunk.payload.text)

    def _plain(self, chunk: Infer.Chunk) -> bytes:
        """Return the event of plain text: the same bytes around it each time, made once."""
        frame = self._frames.get(chunk.output_index)
        if frame is None:
            piece = self._head.of([_choice(chunk.output_index, delta={"content": _HOLE})])
            if self._call.include_usage:
                piece["usage"] = None
            before, _, after = sse.event(dump(piece)).partition(_HOLE_JSON)
            frame = self._frames[chunk.output_index] = (before, after)
        return frame[0] + dump(chunk.payload.text) + frame[1]

    def _choices(self, chunk: Infer.Chunk) -> list[dict[str, Any]]:
        index = chunk.output_index
        made = []
        if self._call.kind is Kind.CHAT and index not in self._begun:
            self._begun.add(index)
            made.append(_choice(index, delta={"role": "assistant", "content": ""}))
        if chunk.payload.text or chunk.tool_calls or chunk.logprobs:
            made.append(self._content(chunk, index))
        reason = finish(chunk, ended=index in self._ended)
        if reason is not None:
            self._ended.add(index)
            end: dict[str, Any] = {"delta": {}} if self._call.kind is Kind.CHAT else {"text": ""}
            made.append({**_choice(index, **end), "finish_reason": reason})
        return made

    def _content(self, chunk: Infer.Chunk, index: int) -> dict[str, Any]:
        """Return the choice that carries a chunk's text, calls and log probabilities."""
        text = chunk.payload.text
        if self._call.kind is Kind.CHAT:
            delta: dict[str, Any] = {"content": text} if text or not chunk.tool_calls else {}
            if chunk.tool_calls:
                delta["tool_calls"] = [_call_delta(one) for one in chunk.tool_calls]
            made = _choice(index, delta=delta)
            if self._call.logprobs:
                made["logprobs"] = logprob.chat(chunk.logprobs, self._call.alternatives)
            return made
        offset = self._offsets.get(index, 0)
        self._offsets[index] = offset + len(text)
        made = _choice(index, text=text)
        if self._call.logprobs:
            made["logprobs"] = logprob.completion(chunk.logprobs, self._call.alternatives, offset)
        return made


class Whole:
    """Gathers chunks into one answer.

    Args:
        call: what was asked.
        now_s: seconds since the Unix epoch.
        bytes_max: longest answer that is held.
    """

    def __init__(self, call: Call, now_s: float, bytes_max: int = ANSWER_BYTES_MAX) -> None:
        self._call = call
        self._head = _Head(call, _WHOLE_OBJECT[call.kind], now_s)
        self._bytes_left = bytes_max
        self._outputs: dict[int, _Output] = {}
        self._usage = Infer.Usage()
        self.done = False

    def feed(self, chunk: Infer.Chunk) -> None:
        """Take a chunk.

        Raises:
            TetherError: TOO_LARGE past the limit; as `Events.feed`.
        """
        check(chunk)
        self._head.learn(chunk)
        self._bytes_left -= chunk.ByteSize()
        if self._bytes_left < 0:
            raise TetherError(Reason.TOO_LARGE, "The answer is too long to be sent whole; ask for a stream.")
        self._outputs.setdefault(chunk.output_index, _Output()).feed(chunk)
        if chunk.done:
            self.done = True
            self._usage.CopyFrom(chunk.usage)

    def body(self) -> bytes:
        """Return the JSON body.

        Raises:
            TetherError: WORKER_LOST where the answer has no end.
        """
        if not self.done:
            raise unfinished()
        choices = [one.choice(index, self._call) for index, one in sorted(self._outputs.items())]
        return dump({**self._head.of(choices), "usage": usage(self._usage)})


class _Output:
    """One of the answers that were asked for."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._calls: dict[int, dict[str, str]] = {}
        self._logprobs: list[Infer.TokenLogprob] = []
        self._finish: str | None = None

    def feed(self, chunk: Infer.Chunk) -> None:
        self._texts.append(chunk.payload.text)
        self._logprobs.extend(chunk.logprobs)
        self._finish = finish(chunk, ended=self._finish is not None) or self._finish
        for one in chunk.tool_calls:
            call = self._calls.setdefault(one.index, {"id": "", "name": "", "arguments": ""})
            call["id"] = call["id"] or one.id
            call["name"] = call["name"] or one.name
            call["arguments"] += one.arguments_json

    def choice(self, index: int, call: Call) -> dict[str, Any]:
        text = "".join(self._texts)
        made: dict[str, Any] = {"index": index, "logprobs": None, "finish_reason": self._finish or "stop"}
        if call.kind is Kind.COMPLETION:
            made["text"] = text
            if call.logprobs:
                made["logprobs"] = logprob.completion(self._logprobs, call.alternatives, 0)
            return made
        if call.logprobs:
            made["logprobs"] = logprob.chat(self._logprobs, call.alternatives)
        made["message"] = {"role": "assistant", "content": text, "refusal": None}
        if self._calls:
            made["message"]["content"] = text or None
            made["message"]["tool_calls"] = [_whole_call(one) for _, one in sorted(self._calls.items())]
        return made


def check(chunk: Infer.Chunk) -> None:
    """Pass where a chunk can be told in OpenAI's forms.

    Raises:
        TetherError: JOB_CANCELLED, or UNSUPPORTED.
    """
    if chunk.finish_reason == Infer.FINISH_REASON_CANCELLED:
        raise TetherError(Reason.JOB_CANCELLED, "The job was cancelled.")
    if chunk.payload.WhichOneof("kind") not in (None, "text"):
        raise TetherError(Reason.UNSUPPORTED, "The model answers with something else than text.", field="model")


def finish(chunk: Infer.Chunk, *, ended: bool) -> str | None:
    """Return why an output ended, or None where it goes on or has ended before."""
    return None if ended else _FINISH.get(chunk.finish_reason, "stop" if chunk.done else None)


def unfinished() -> TetherError:
    """Return the error of a stream that stopped without its end."""
    return TetherError(Reason.WORKER_LOST, "The answer broke off before its end.")


def usage(used: Infer.Usage) -> dict[str, Any]:
    """Return what an answer used."""
    return {
        "prompt_tokens": used.input_tokens,
        "completion_tokens": used.output_tokens,
        "total_tokens": used.input_tokens + used.output_tokens,
        "prompt_tokens_details": {"cached_tokens": used.cached_input_tokens},
    }


def dump(value: object) -> bytes:
    """Return compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _choice(index: int, **content: object) -> dict[str, Any]:
    return {"index": index, **content, "logprobs": None, "finish_reason": None}


def _call_delta(one: Infer.ToolCall) -> dict[str, Any]:
    """Return a piece of a call; id and name only where the piece begins it."""
    function = {"name": one.name, "arguments": one.arguments_json} if one.name else {"arguments": one.arguments_json}
    made: dict[str, Any] = {"index": one.index, "function": function}
    return {**made, "id": one.id, "type": "function"} if one.id else made


def _whole_call(one: Mapping[str, str]) -> dict[str, Any]:
    return {"id": one["id"], "type": "function", "function": {"name": one["name"], "arguments": one["arguments"]}}
