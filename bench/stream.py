"""Does the token path pay in Rust? Both machines beside a straightforward Python form of the same work, in one run.

64 jobs of one link make one token each per engine step. Worker: append the step, pull its frame. Gateway: feed the
frame, check positions, hash, keep the log, take one chunk per reader. The Python form packs the layout with struct,
keeps its state in dicts, hashes with hashlib and serializes chunks with protobuf; it has no credit, overlap or timers.
"""

from __future__ import annotations

import argparse
import hashlib
import struct
import time
from dataclasses import dataclass, field

from _common import save, spread, table

from tether._native import ChunkLogs, StreamTable, decode_frame
from tether.v1 import infer_pb2, link_pb2

LINK = 1
HEADER = struct.Struct("<16sIBBHQQII")
CHUNK = 34
WORDS = [" the", " stream", ",", " é", " of", " tokens", " 日本", "\n"]
STAMP = infer_pb2.Infer.Chunk(correlation_id="0123456789abcdef").SerializeToString()


def step_of(jobs: list[bytes], at: int) -> list[tuple[bytes, int, int, list[int], list[int], bytes, bytes]]:
    """One engine step: a token for every job."""
    words = [WORDS[(at + index) % len(WORDS)].encode() for index in range(len(jobs))]
    return [(job, 1, 0, [at % 32_000], [len(word)], word, b"") for job, word in zip(jobs, words, strict=True)]


@dataclass
class PythonLog:
    """One job at either end."""

    ids: list[int] = field(default_factory=list)
    text: list[bytes] = field(default_factory=list)
    tokens: int = 0
    size: int = 0
    sent: int = 0
    sent_bytes: int = 0
    seq: int = 0
    chain: hashlib._Hash = field(default_factory=hashlib.sha256)


class PythonWorker:
    """Logs in a dict, frames by struct."""

    def __init__(self, jobs: list[bytes]) -> None:
        self.logs = {job: PythonLog() for job in jobs}

    def append(self, step: list[tuple[bytes, int, int, list[int], list[int], bytes, bytes]]) -> None:
        """Keep and hash a step."""
        for job, _, _, ids, _, text, _ in step:
            log = self.logs[job]
            log.ids += ids
            log.text.append(text)
            log.tokens += len(ids)
            log.size += len(text)
            log.chain.update(struct.pack(f"<{len(ids)}I", *ids))

    def pull(self) -> bytes:
        """All that waits, in one frame."""
        parts = []
        for job, log in self.logs.items():
            ids, texts = log.ids[log.sent :], log.text[log.sent :]
            body = [struct.pack("<H", len(ids))]
            body += [struct.pack("<IH", one, len(text)) for one, text in zip(ids, texts, strict=True)]
            body += texts
            whole = b"".join(body)
            parts.append(HEADER.pack(job, 1, CHUNK, 0, 0, log.sent, log.sent_bytes, len(whole), 0))
            parts.append(whole)
            log.sent, log.sent_bytes = log.tokens, log.size
        return link_pb2.Link.Frame(entries=b"".join(parts)).SerializeToString()


class PythonGateway:
    """Jobs in a dict, chunks as protobuf objects."""

    def __init__(self, jobs: list[bytes]) -> None:
        self.logs = {job: PythonLog() for job in jobs}

    def frame(self, frame: bytes) -> list[bytes]:
        """Accept a frame; one chunk for every job that it moves."""
        entries = link_pb2.Link.Frame.FromString(frame).entries
        at, moved = 0, []
        while at < len(entries):
            job, _, kind, _, _, tokens, size, length, _ = HEADER.unpack_from(entries, at)
            at += HEADER.size
            log = self.logs[job]
            if kind == CHUNK and (tokens, size) == (log.tokens, log.size):
                self.accept(log, entries[at : at + length])
                moved.append(job)
            at += length
        return moved

    def accept(self, log: PythonLog, body: bytes) -> None:
        """Keep and hash the tokens of a body."""
        (count,) = struct.unpack_from("<H", body)
        table_end = 2 + 6 * count
        pairs = list(struct.iter_unpack("<IH", body[2:table_end]))
        text = body[table_end : table_end + sum(length for _, length in pairs)]
        text.decode()
        ids = [one for one, _ in pairs]
        log.chain.update(struct.pack(f"<{count}I", *ids))
        log.ids += ids
        log.text.append(text)
        log.tokens += count
        log.size += len(text)

    def take(self, job: bytes) -> bytes:
        """What waits for the reader, as a serialized chunk."""
        log = self.logs[job]
        chunk = infer_pb2.Infer.Chunk(
            correlation_id="0123456789abcdef",
            seq=log.seq,
            epoch=1,
            payload={"text": b"".join(log.text[log.seq :]).decode()},
            start={"tokens": log.sent, "bytes": log.sent_bytes},
        )
        log.seq, log.sent, log.sent_bytes = log.seq + 1, log.tokens, log.size
        return chunk.SerializeToString()


class NativePair:
    """The machines of a worker and a gateway, all jobs running."""

    def __init__(self, jobs: list[bytes]) -> None:
        self.logs, self.table = ChunkLogs(), StreamTable()
        for index, job in enumerate(jobs):
            self.logs.start(
                job, 1, LINK, tenant="t", credit_bytes=1 << 30, grace_ms=1, tokens=0, bytes=0, chain_state=b"", now_ms=0
            )
            self.table.open(job, driver=True, keep_answer_bytes=0, on_disconnect=1, deadline_ms=1 << 40, now_ms=0)
            self.table.placed(job, 1, LINK, b"", 0)
            self.table.join(job, index, STAMP, b"", 0)
        while self.table.pull(LINK):
            pass

    def worker(self, step: list[tuple[bytes, int, int, list[int], list[int], bytes, bytes]]) -> list[bytes]:
        """Append a step, pull what it made."""
        frames = []
        for _ in self.logs.append(step, 0):
            while frame := self.logs.pull(LINK):
                frames.append(frame)
        return frames

    def gateway(self, frames: list[bytes]) -> int:
        """Feed frames, take every chunk."""
        table, taken = self.table, 0
        for frame in frames:
            for action in table.frame(LINK, frame, 0):
                if action[0] == "reader":
                    while table.take(action[1]) is not None:
                        taken += 1
            if table.actions():
                while table.pull(LINK):
                    pass
        return taken


def measure(jobs: list[bytes], steps: int) -> dict[str, list[float]]:
    """Nanoseconds per token of each part, one value per step; both forms take turns."""
    pair, worker, gateway = NativePair(jobs), PythonWorker(jobs), PythonGateway(jobs)
    times: dict[str, list[float]] = {
        name: [] for name in ("native_worker", "native_gateway", "py_worker", "py_gateway")
    }
    clock, tokens = time.perf_counter_ns, len(jobs)
    for at in range(steps):
        step = step_of(jobs, at)
        marks = [clock()]
        frames = pair.worker(step)
        marks.append(clock())
        taken = pair.gateway(frames)
        marks.append(clock())
        worker.append(step)
        frame = worker.pull()
        marks.append(clock())
        moved = gateway.frame(frame)
        chunks = [gateway.take(job) for job in moved]
        marks.append(clock())
        if taken != tokens or len(chunks) != tokens or (at == 0 and decode_frame(frame) != decode_frame(frames[0])):
            raise RuntimeError("the two forms do not do the same work")
        for name, begin, end in zip(times, marks, marks[1:], strict=False):
            times[name].append((end - begin) / tokens)
    return times


def main() -> None:
    """Print and keep nanoseconds per token."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3_000)
    steps = parser.parse_args().steps
    rows = []
    for count in (1, 8, 64):
        jobs = [hashlib.sha256(str(index).encode()).digest()[:16] for index in range(count)]
        measure(jobs, 100)
        times = measure(jobs, steps)
        for part in ("worker", "gateway"):
            native, python = spread(times[f"native_{part}"]), spread(times[f"py_{part}"])
            row = {"jobs": count, "part": part, "native_ns_p50": native["p50"], "native_ns_p99": native["p99"]}
            ratio = python["p50"] / native["p50"]
            rows.append({**row, "python_ns_p50": python["p50"], "python_over_native": ratio})
    table(f"token path, nanoseconds per token, {steps} steps of one token per job", rows)
    save("stream", {"steps": steps, "rows": rows})


if __name__ == "__main__":
    main()
