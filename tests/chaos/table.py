"""Puts the results of the chaos harness into docs/reliability.md, between its two markers.

Run: `python tests/chaos/table.py`.
"""

import json
import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parent.parent / "docs" / "reliability.md"
BEGIN, END = "<!-- results: tests/chaos/table.py -->", "<!-- end of results -->"
PLAIN = ("row", "n", "seed", "failures", "upper_bound_95", "added_ms_p50", "added_ms_p99", "commit", "command")


def rows() -> list[dict[str, object]]:
    """All results, by row."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((HERE / "results").glob("*.json"))]
    return sorted(
        found, key=lambda one: (int(re.sub(r"\D", "", one["row"])), one.get("path", ""), one.get("store", ""))
    )


def table() -> str:
    """The table in Markdown."""
    lines = [
        "| row | N | failures | rate is under | added p50 / p99 | also | commit |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in rows():
        added = "" if one["added_ms_p50"] is None else f"{one['added_ms_p50']:g} / {one['added_ms_p99']:g} ms"
        also = ", ".join(f"{key} {value}" for key, value in one.items() if key not in PLAIN and value not in (None, {}))
        bound = f"{100 * one['upper_bound_95']:.3g} %"
        lines.append(
            f"| {one['row']} | {one['n']:,} | {one['failures']} | {bound} | {added} | {also} | {one['commit']} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Write the page anew."""
    text = PAGE.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    PAGE.write_text(f"{head}{BEGIN}\n\n{table()}\n\n{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
