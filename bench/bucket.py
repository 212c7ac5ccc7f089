"""Do token buckets pay in Rust? The native ones beside the best pure-Python form, in one run.

The Python form is an ordered dict of small lists, as fast as the subject allows; both take the same arguments.
"""

from __future__ import annotations

import argparse
from collections import OrderedDict

from _common import best_s, save, table

from tether._native import Buckets

CALLS = 20_000


class PythonBuckets:
    """Token buckets of which the keys used last are kept."""

    def __init__(self, rate_per_s: float, burst: float, keys_max: int) -> None:
        self.rate_per_s, self.burst, self.keys_max = rate_per_s, burst, keys_max
        self.buckets: OrderedDict[str, list[float]] = OrderedDict()

    def take(self, key: str, amount: float, now_s: float) -> float:
        """Take `amount` and return 0.0, or the seconds to wait."""
        bucket = self.buckets.get(key)
        if bucket is None:
            bucket = self.buckets[key] = [self.burst, now_s, self.rate_per_s, self.burst]
            if len(self.buckets) > self.keys_max:
                self.buckets.popitem(last=False)
        else:
            self.buckets.move_to_end(key)
        level, at_s, rate_per_s, burst = bucket
        if now_s > at_s:
            level = min(burst, level + (now_s - at_s) * rate_per_s)
            bucket[1] = now_s
        if amount <= level:
            bucket[0] = level - amount
            return 0.0
        bucket[0] = level
        return (amount - level) / rate_per_s if amount <= burst and rate_per_s else float("inf")


def run(buckets: Buckets | PythonBuckets, keys: list[str]) -> None:
    """One take per key, time moving."""
    take, now_s = buckets.take, 0.0
    for key in keys:
        now_s += 1e-5
        take(key, 1.0, now_s)


def main() -> None:
    """Print and keep nanoseconds per take."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    rows = []
    for tenants, keys_max in ((1, 65_536), (1_000, 65_536), (20_000, 65_536), (20_000, 1_000)):
        keys = [f"tenant-{i * 7919 % tenants}" for i in range(CALLS)]
        native, python = Buckets(100.0, 50.0, keys_max), PythonBuckets(100.0, 50.0, keys_max)
        native_ns = best_s(lambda b=native, k=keys: run(b, k), rounds=rounds) / CALLS * 1e9
        python_ns = best_s(lambda b=python, k=keys: run(b, k), rounds=rounds) / CALLS * 1e9
        row = {"keys": tenants, "keys_max": keys_max, "native_ns": native_ns, "python_ns": python_ns}
        rows.append({**row, "python_over_native": python_ns / native_ns})
    table(f"token buckets, nanoseconds per take, best of {rounds}", rows)
    save("bucket", {"calls": CALLS, "rounds": rounds, "rows": rows})


if __name__ == "__main__":
    main()
