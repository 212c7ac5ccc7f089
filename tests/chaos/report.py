"""What a row came to: N, seed, failures, upper bound, added latency, in one JSON file beside its command."""

import json
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
SHOWN = 20  # failures that are printed; the rest is a number


@dataclass
class Outcome:
    """What a row came to.

    Attributes:
        row: its name.
        seed: that all chance came from.
        n: streams, jobs or operations that were tried.
        wrong: what did not hold, in words.
        added_ms: what the fault added to single streams, milliseconds.
        facts: whatever else the row counts.
    """

    row: str
    seed: int
    n: int = 0
    wrong: list[str] = field(default_factory=list)
    added_ms: list[float] = field(default_factory=list)
    facts: dict[str, object] = field(default_factory=dict)

    @property
    def upper_bound_95(self) -> float:
        """Largest rate that the figures do not rule out: 3 / n without failures (Hanley, Lippman-Hand, 1983)."""
        failures = len(self.wrong)
        if not self.n:
            return 1.0
        return min(1.0, 3 / self.n) if not failures else min(1.0, (failures + 2 * failures**0.5 + 3) / self.n)

    def to_json(self) -> dict[str, object]:
        """As it is kept."""
        return {
            "row": self.row,
            "n": self.n,
            "seed": self.seed,
            "failures": len(self.wrong),
            "upper_bound_95": round(self.upper_bound_95, 6),
            "added_ms_p50": _quantile(self.added_ms, 50),
            "added_ms_p99": _quantile(self.added_ms, 99),
            "commit": _commit(),
            "command": " ".join(["python", *sys.argv]),
            **self.facts,
        }

    def save(self, name: str = "") -> None:
        """Keep it."""
        RESULTS.mkdir(exist_ok=True)
        text = json.dumps(self.to_json(), indent=2) + "\n"
        (RESULTS / f"{name or self.row}.json").write_text(text, encoding="utf-8")

    def tell(self) -> None:
        """Print it."""
        for words in self.wrong[:SHOWN]:
            print(f"  WRONG {words}")
        found = self.to_json()
        print("  ".join(f"{key}={value}" for key, value in found.items() if key != "command"))


def _quantile(values: list[float], percent: int) -> float | None:
    if not values:
        return None
    if len(values) < 2:
        return round(values[0], 1)
    return round(statistics.quantiles(values, n=100, method="inclusive")[percent - 1], 1)


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
