"""Does cutting requests pay in Rust? `cut_request` beside parsing with protobuf and hashing with hashlib, in one run.

The Python form gets off lightly: it parses, hashes the serialized parts as they are (no canonical form), builds the
header, and looks for unknown fields nowhere.
"""

from __future__ import annotations

import argparse
import hashlib

from _common import best_s, save, table

from tether._native import cut_request
from tether.v1 import infer_pb2, placement_pb2

PARAMETERS = {"max_tokens": 256, "temperature": 0.7, "top_p": 0.9, "stop": ["\n\n"], "seed": 7}


def requests() -> dict[str, bytes]:
    """Serialized requests by name."""
    named = {"model_id": "llama3.1-8b", "version": "1.2", "correlation_id": "c" * 32, "parameters": PARAMETERS}
    turns = [{"role": "user" if at % 2 else "assistant", "content": "word " * 60} for at in range(32)]
    tools = [{"name": f"tool{at}", "description": "d" * 80, "parameters_json": "{}" * 200} for at in range(16)]
    inputs = {
        "text 200 B": {"input": {"text": "x" * 200}},
        "chat of 32 turns": {"input": {"chat": {"messages": turns}}},
        "16 tools": {"input": {"text": "x" * 200}, "parameters": {**PARAMETERS, "tools": tools}},
        "text 64 KiB": {"input": {"text": "word " * 13_107}},
        "text 1 MiB": {"input": {"text": "word " * 209_715}},
    }
    return {name: infer_pb2.Infer.Request(**{**named, **one}).SerializeToString() for name, one in inputs.items()}


def python_cut(raw: bytes) -> bytes:
    """Header and hash, by the protobuf library."""
    request = infer_pb2.Infer.Request.FromString(raw)
    digest = hashlib.sha256()
    parts = [b"acme", request.model_id.encode(), request.version.encode(), request.input.SerializeToString()]
    parts += [request.parameters.SerializeToString(), *(one.SerializeToString() for one in request.adapters)]
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    header = placement_pb2.Header(
        tenant_id="acme",
        model_id=request.model_id,
        version=request.version,
        correlation_id=request.correlation_id,
        keyed=True,
        request_hash=digest.digest(),
        input_bytes=request.input.ByteSize(),
        parameters=request.parameters,
        adapters=request.adapters,
        priority=request.priority,
    )
    return header.SerializeToString()


def main() -> None:
    """Print and keep microseconds per request."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    rows = []
    for name, raw in requests().items():
        calls = max(10, 2_000_000 // (len(raw) + 2_000))
        native = best_s(lambda raw=raw, n=calls: [cut_request(raw, "acme") for _ in range(n)], rounds=rounds) / calls
        python = best_s(lambda raw=raw, n=calls: [python_cut(raw) for _ in range(n)], rounds=rounds) / calls
        row = {"request": name, "bytes": len(raw), "native_us": native * 1e6, "python_us": python * 1e6}
        rows.append({**row, "python_over_native": python / native})
    table(f"cutting a request, microseconds, best of {rounds}", rows)
    save("request", {"rounds": rounds, "rows": rows})


if __name__ == "__main__":
    main()
