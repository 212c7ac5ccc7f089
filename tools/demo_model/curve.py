"""Draws the loss curve of a training run as SVG, and keeps its figures as CSV."""

import csv
import math
import shutil
from pathlib import Path

WIDTH, HEIGHT, MARGIN = 720, 320, 48
TICKS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


def place(step: float, loss: float, steps: float) -> tuple[float, float]:
    """Where a point stands in the picture; losses on a logarithmic scale."""
    low, high = math.log(0.05), math.log(6.0)
    x = MARGIN + (WIDTH - 2 * MARGIN) * step / steps
    y = HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * (math.log(max(loss, 0.05)) - low) / (high - low)
    return round(x, 1), round(y, 1)


def picture(rows: list[tuple[int, float]]) -> str:
    """The SVG of (step, loss) pairs."""
    steps = rows[-1][0]
    line = " ".join(f"{x},{y}" for x, y in (place(step, loss, steps) for step, loss in rows))
    box = f"0 0 {WIDTH} {HEIGHT}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for tick in TICKS:
        x, y = place(0, tick, steps)
        parts.append(f'<path d="M{x} {y}H{WIDTH - MARGIN}" stroke="#ddd"/><text x="{x - 30}" y="{y + 4}">{tick}</text>')
    for step in range(0, steps + 1, 1000):
        x, y = place(step, 0.05, steps)
        parts.append(f'<text x="{x}" y="{y + 18}" text-anchor="middle">{step}</text>')
    parts.append(f'<polyline points="{line}" fill="none" stroke="#2563a8" stroke-width="1.5"/>')
    parts.append(
        f'<text x="{WIDTH / 2}" y="24" text-anchor="middle">training loss, nats per token, by step</text></svg>'
    )
    return "\n".join(parts) + "\n"


def draw(log: Path, folder: Path) -> None:
    """Copies the log to `loss.csv` of a folder, with a header, and draws `loss.svg` beside it."""
    with log.open() as file:
        rows = [(int(step), float(loss)) for step, loss, *_ in csv.reader(file)]
    with (folder / "loss.csv").open("w") as target, log.open() as source:
        target.write("step,loss_nats_per_token,learning_rate_share\n")
        shutil.copyfileobj(source, target)
    (folder / "loss.svg").write_text(picture(rows))
