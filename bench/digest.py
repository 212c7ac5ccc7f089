"""What does hashing cost while a blob is fetched, and over many blobs? The native digests beside hashlib, in one run.

Targets: many blobs at 0.95 of what hashlib reaches on all cores; verifying while fetching adds at most a tenth to a
fetch. The fetch is a real one, over a loopback socket into a file; "verified" also hashes the whole and every 1 MiB
piece, in a thread, while the next chunk is read. Loopback itself takes two cores; where there are no more, hashing has
to wait for them, which a network does not ask for. Wall time on a busy machine says little of many cores, so CPU time
of all threads is compared as well.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import socket
import struct
import tempfile
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from _common import best_cpu_s, best_s, save, table

from tether._native import BlobDigest, Chain, sha256_many

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1 << 20
SLICE_BYTES = 256 * 1024
NETWORK_MIB_S = 250  # two gigabits per second
CORES = os.cpu_count() or 1


def by_hashlib(blobs: list[bytes]) -> list[bytes]:
    """Digests on one core."""
    return [hashlib.sha256(b).digest() for b in blobs]


def many(rounds: int) -> list[dict[str, object]]:
    """Mebibytes per second over many blobs, by size."""
    rows = []
    for size, count in ((256, 40_000), (4_096, 8_000), (65_536, 512), (4 * MIB, 16)):
        blobs = [os.urandom(size) for _ in range(count)]
        total = size * count / MIB
        python, native = partial(by_hashlib, blobs), partial(sha256_many, blobs)
        one, all_cores = total / best_s(python, rounds=rounds), total / best_s(native, rounds=rounds)
        row = {"bytes": size, "hashlib_mib_s": one, "native_mib_s": all_cores}
        row |= {"of_cores_times_hashlib": all_cores / (CORES * one)}
        rows.append(
            {**row, "hashlib_over_native_cpu": best_cpu_s(python, rounds=rounds) / best_cpu_s(native, rounds=rounds)}
        )
    return rows


def serve(server: socket.socket, blob: bytes, mib_s: float) -> None:
    """Send the blob to each caller, not faster than `mib_s`, until the socket closes."""
    while True:
        try:
            peer, _ = server.accept()
        except OSError:
            return
        begin = time.perf_counter()
        with peer:
            for at in range(0, len(blob), SLICE_BYTES):
                time.sleep(max(0.0, begin + at / MIB / mib_s - time.perf_counter()))
                peer.sendall(memoryview(blob)[at : at + SLICE_BYTES])


def fetch(address: tuple[str, int], target: Path, chunk_bytes: int, take: Callable[[bytes], object] | None) -> float:
    """Seconds to fetch the blob into a file, each chunk taken in a thread while the next one is read."""
    begin = time.perf_counter()
    with (
        socket.create_connection(address) as peer,
        target.open("wb") as file,
        peer.makefile("rb") as stream,
        ThreadPoolExecutor(1) as thread,
    ):
        taken: Future[object] | None = None
        while chunk := stream.read(chunk_bytes):
            if taken is not None:
                taken.result()
            taken = None if take is None else thread.submit(take, chunk)
            file.write(chunk)
    return time.perf_counter() - begin


def hashlib_pieces(chunk_bytes: int) -> Callable[[bytes], object]:
    """Whole and pieces by hashlib, chunks being parts of pieces or pieces."""
    whole, piece, filled = hashlib.sha256(), hashlib.sha256(), 0

    def take(chunk: bytes) -> None:
        nonlocal piece, filled
        whole.update(chunk)
        piece.update(chunk)
        filled += chunk_bytes
        if filled % MIB == 0:
            piece.digest()
            piece = hashlib.sha256()

    return take


def fetching(rounds: int) -> list[dict[str, object]]:
    """Milliseconds of a fetch, as fast as loopback goes and as fast as a good network: plain, and verified."""
    blob, rows = os.urandom(64 * MIB), []
    for mib_s in (math.inf, NETWORK_MIB_S):
        with socket.create_server(("127.0.0.1", 0)) as server, tempfile.TemporaryDirectory() as folder:
            threading.Thread(target=serve, args=(server, blob, mib_s), daemon=True).start()
            run = partial(fetch, server.getsockname(), Path(folder) / "blob", 256 * 1024)
            plain = min(run(None) for _ in range(rounds))
            native = min(run(BlobDigest().feed) for _ in range(rounds))
            python = min(run(hashlib_pieces(256 * 1024)) for _ in range(rounds))
            speed = "loopback" if math.isinf(mib_s) else f"{mib_s} MiB/s"
            row = {"source": speed, "plain_ms": plain * 1e3, "native_ms": native * 1e3}
            rows.append({**row, "hashlib_ms": python * 1e3, "native_over_plain": native / plain})
    return rows


def streams(rounds: int) -> list[dict[str, object]]:
    """Mebibytes per second of one stream: whole alone, whole and pieces."""
    data = os.urandom(32 * MIB)
    chunks = [data[a:b] for a, b in pairwise(range(0, len(data) + MIB, MIB))]

    def native() -> None:
        blob = BlobDigest()
        for chunk in chunks:
            blob.feed(chunk)
        blob.finish()

    def python() -> None:
        take = hashlib_pieces(MIB)
        for chunk in chunks:
            take(chunk)

    runs = {
        "hashlib whole only": lambda: hashlib.sha256(data).digest(),
        "hashlib whole and pieces": python,
        "native whole and pieces": native,
    }
    return [{"how": name, "mib_s": 32 / best_s(run, rounds=rounds)} for name, run in runs.items()]


def chains(rounds: int) -> list[dict[str, object]]:
    """Nanoseconds to add a step's tokens to the chain and read its digest."""
    rows = []
    for tokens in (1, 16, 256):
        ids, pack = list(range(tokens)), struct.Struct(f"<{tokens}I").pack
        chain, running = Chain(), hashlib.sha256()

        def native(chain: Chain = chain, ids: list[int] = ids) -> None:
            for _ in range(1_000):
                chain.feed_tokens(ids)
                chain.digest()

        def python(running: hashlib._Hash = running, ids: list[int] = ids, pack: Callable[..., bytes] = pack) -> None:
            for _ in range(1_000):
                running.update(pack(*ids))
                running.copy().digest()

        ours, theirs = best_s(native, rounds=rounds) * 1e6, best_s(python, rounds=rounds) * 1e6
        rows.append({"tokens": tokens, "native_ns": ours, "hashlib_ns_not_resumable": theirs})
    return rows


def main() -> None:
    """Print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    figures = {
        "many": many(rounds),
        "stream": streams(rounds),
        "fetch_64_mib": fetching(rounds),
        "chain": chains(rounds),
    }
    for title, rows in figures.items():
        table(f"SHA-256, {title.replace('_', ' ')}, best of {rounds}", rows)
    save("digest", {"cores": CORES, "rounds": rounds, **figures})


if __name__ == "__main__":
    main()
