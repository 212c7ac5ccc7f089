"""What every bench needs: run, time, print a table and keep the figures with the machine and the commit that made them.

Machines are noisy, so a bench compares within one run and prints medians and ratios beside absolutes.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

RESULTS = Path(__file__).parent / "results"


def _said(*command: str) -> str:
    """First line that a program prints, or empty when it is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True, cwd=RESULTS.parent)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.partition("\n")[0]


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def machine() -> dict[str, object]:
    """CPU model, cores and load, versions, and the commit (with `+` when files differ from it)."""
    dirty = "+" if _said("git", "status", "--porcelain", "--untracked-files=no") else ""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "load_1m": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "rust": _said("rustc", "--version"),
        "commit": _said("git", "rev-parse", "--short", "HEAD") + dirty,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def percentile(values: Sequence[float], fraction: float) -> float:
    """Value at `fraction` (0 to 1) of the sorted values, nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))]


def spread(values: Sequence[float]) -> dict[str, float]:
    """p50, p95, p99 and n of the values, in their own unit."""
    return {
        "p50": percentile(values, 0.5),
        "p95": percentile(values, 0.95),
        "p99": percentile(values, 0.99),
        "n": len(values),
    }


def best_s(run: Callable[[], object], *, rounds: int = 5) -> float:
    """Seconds of the fastest of `rounds` runs: the one the machine disturbed least."""
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return min(times)


def best_cpu_s(run: Callable[[], object], *, rounds: int = 5) -> float:
    """CPU seconds, all threads together, of the best of `rounds` runs: says more than wall time on a busy machine."""
    times = []
    for _ in range(rounds):
        begin = time.process_time()
        run()
        times.append(time.process_time() - begin)
    return min(times)


def _cell(value: object) -> str:
    return (
        f"{value:,.3g}"
        if isinstance(value, float) and abs(value) < 1_000
        else (f"{value:,.0f}" if isinstance(value, float) else str(value))
    )


def table(title: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Print rows of equal keys as aligned columns under a title."""
    columns = list(rows[0])
    cells = [columns, *([_cell(row[column]) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    print(f"\n{title}")
    for line in cells:
        print("  " + "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))


def save(name: str, figures: Mapping[str, object]) -> Path:
    """Write `results/<name>.json` with the machine; returns its path. `TETHER_BENCH_DRY=1` only prints."""
    path = RESULTS / f"{name}.json"
    if os.environ.get("TETHER_BENCH_DRY") == "1":
        return path
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps({"bench": name, "machine": machine(), **figures}, indent=2) + "\n")
    print(f"\nkept in {path.relative_to(RESULTS.parent.parent)}", file=sys.stderr)
    return path
