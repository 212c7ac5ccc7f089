"""Write docs/pictures/job-states.dot from the table of allowed changes in `tether.job.state`."""

from pathlib import Path

from tether.job.state import drawing

PATH = Path(__file__).parents[1] / "docs/pictures/job-states.dot"

if __name__ == "__main__":
    PATH.write_text(drawing(), encoding="utf-8")
