"""Trains, exports and evaluates the demo model: `python -m tools.demo_model`.

About 40 minutes on one core. The environment is set for a child process because malloc and XLA read it when they start.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from tools.demo_model.curve import draw
from tools.demo_model.evaluate import evaluate
from tools.demo_model.export import export

# glibc's trimming takes a third of the time of XLA's CPU backend.
ENVIRONMENT = {
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_ARENA_MAX": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
HERE = Path(__file__).parent


def main() -> None:
    """Runs all steps; training goes on where it was stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("build/demo-model"), help="folder of the training's state")
    parser.add_argument("--folder", type=Path, default=Path("services/tether_worker/demo"), help="the model's folder")
    parser.add_argument("--steps", type=int, default=4600)
    options = parser.parse_args()
    train = [
        sys.executable,
        "-m",
        "tools.demo_model.train",
        "--folder",
        str(options.run),
        "--steps",
        str(options.steps),
    ]
    subprocess.run(train, env=os.environ | ENVIRONMENT, check=True)  # noqa: S603
    export(options.run, options.folder)
    draw(options.run / "loss.csv", HERE)
    evaluate(options.folder, HERE / "evaluation.json")


if __name__ == "__main__":
    main()
