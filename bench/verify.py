"""What does it cost to verify a record? Single and batches of the native module beside PyNaCl, in one run.

Records are as long as those of the overlay. Wall time on a busy machine says little of many cores: where CPU time per
record is the same on all cores as on one, the work is linear in cores. Target: 15 µs each per core in batches of 64,
linear in cores.
"""

from __future__ import annotations

import argparse
import os
from functools import partial

from _common import best_cpu_s, best_s, save, table
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from tether._native import bad_indices, verify_one, verify_strict

RECORD_BYTES = 700  # a presence record with addresses and accelerators

Record = tuple[bytes, bytes, bytes]


def records(count: int) -> list[Record]:
    """Records of `count` different signers."""
    keys = [SigningKey(i.to_bytes(32, "little")) for i in range(count)]
    messages = [i.to_bytes(RECORD_BYTES, "little") for i in range(count)]
    return [(bytes(k.verify_key), m, k.sign(m).signature) for k, m in zip(keys, messages, strict=True)]


def by_pynacl(batch: list[Record]) -> list[int]:
    """Indices of the bad ones, by libsodium, one at a time."""
    bad = []
    for i, (key, message, signature) in enumerate(batch):
        try:
            VerifyKey(key).verify(message, signature)
        except BadSignatureError:
            bad.append(i)
    return bad


def spoiled(batch: list[Record], every: int) -> list[Record]:
    """The batch with every so manieth message changed."""
    return [(k, m[:-1] + b"!" if i % every == 0 else m, s) for i, (k, m, s) in enumerate(batch)]


def main() -> None:
    """Print and keep microseconds per record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    cores = os.cpu_count() or 1
    some, many = records(64), records(64 * 16 * cores)
    runs = {
        "PyNaCl, one by one": (partial(by_pynacl, some), 64),
        "native verify_one": (lambda: [verify_one(*r) for r in some], 64),
        "native verify_strict": (lambda: [verify_strict(*r) for r in some], 64),
        "native batch of 8": (partial(bad_indices, some[:8]), 8),
        "native batch of 64": (partial(bad_indices, some), 64),
        "native batch of 64, one bad": (partial(bad_indices, spoiled(some, 64)), 64),
        "native batch of 64, all bad": (partial(bad_indices, spoiled(some, 1)), 64),
        f"native {len(many)} on {cores} cores": (partial(bad_indices, many), len(many)),
    }
    rows = []
    for name, (run, count) in runs.items():
        wall, cpu = best_s(run, rounds=rounds) / count * 1e6, best_cpu_s(run, rounds=rounds) / count * 1e6
        rows.append({"how": name, "us_each": wall, "cpu_us_each": cpu})
    base = rows[0]["cpu_us_each"]
    rows = [{**row, "times_pynacl_per_core": base / row["cpu_us_each"]} for row in rows]
    table(f"Ed25519 verification, {RECORD_BYTES}-byte records, best of {rounds}", rows)
    speedup = rows[4]["us_each"] / rows[-1]["us_each"]
    print(f"\n  all cores over one: {speedup:.2f} of {cores}")
    save("verify", {"record_bytes": RECORD_BYTES, "rounds": rounds, "rows": rows, "all_cores_over_one": speedup})


if __name__ == "__main__":
    main()
