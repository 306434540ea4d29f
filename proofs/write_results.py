"""docs/results/*.json, which proofs and benchmarks wrote -> docs/results.md. Nobody edits that page by hand.

    python proofs/write_results.py [--check]

A file holds {"name", "command", "machine", "date", "seconds", "kwh"?, "rows": [{"metric", "value", "low", "high",
"bar", "baseline", "unit"}], "note"}. Every row is shown, whether its bar is met or not; nothing is judged here but
that. With --check nothing is written: exit code 1 if the page is not what the files give.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from proof import ROOT, Row

PAGE = ROOT / "docs" / "results.md"
HEAD = """# Results

Written by `proofs/write_results.py` from the files in `docs/results/`, each of which one proof or benchmark wrote
itself. Not edited by hand. Intervals are what the note below a table says. A ratio was taken between contestants that
took turns in one run; absolute times belong to the machine that is named and mean little elsewhere.
"""
NONE = "\nNo proof has written its figures yet.\n"


def page(results: Sequence[Mapping[str, Any]]) -> str:
    """The whole page: which bars are met, then a table a result."""
    if not results:
        return HEAD + NONE
    said = [(result, row, bar(row)) for result in results for row in result["rows"]]
    judged = [(result, row, met) for result, row, met in said if met is not None]
    missed = [(result, row) for result, row, met in judged if not met]
    out = [HEAD]
    if judged:
        out.append(f"Bars met: {len(judged) - len(missed)} of {len(judged)}.")
    if missed:
        lines = [
            f"- {line(row['metric'])}: {figure(row)}, bar {row['bar']} ({result['name']})" for result, row in missed
        ]
        out.append("Not met:\n\n" + "\n".join(lines))
    return "\n\n".join(part.strip() for part in (*out, *map(section, results))) + "\n"


def section(result: Mapping[str, Any]) -> str:
    """One result."""
    facts = [f"`{result['command']}`", result["date"], result["machine"], f"{number(result['seconds'] / 60)} min"]
    if result.get("kwh") is not None:
        facts.append(f"{number(result['kwh'] * 1000)} Wh")
    rows = [("metric", "value", "interval", "bar", "", "baseline"), ("---",) * 6]
    for row in result["rows"]:
        low, high = row.get("low"), row.get("high")
        span = "" if low is None or high is None else f"{number(low)} .. {number(high)}"
        verdict = {None: "", True: "met", False: "**not met**"}[bar(row)]
        rows.append((line(row["metric"]), figure(row), span, row.get("bar") or "", verdict, row.get("baseline") or ""))
    table = "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |" for cells in rows)
    note = f"\n\n{line(result['note'])}" if result.get("note") else ""
    return f"## {line(result['name'])}\n\n{' · '.join(facts)}\n\n{table}{note}"


def bar(row: Mapping[str, Any]) -> bool | None:
    """Whether the value meets its bar; a value that is missing does not; None without a bar."""
    if row.get("bar") is None:
        return None
    value = row.get("value")
    return value is not None and bool(Row("", value, bar=row["bar"]).met)


def figure(row: Mapping[str, Any]) -> str:
    """The value with its unit."""
    return f"{number(row.get('value'))} {row.get('unit') or ''}".strip()


def number(value: float | None) -> str:
    """Four digits that count, plain where that is readable."""
    if value is None or not math.isfinite(value):
        return "none"
    if float(value).is_integer() and abs(value) < 1e12:
        return f"{int(value):,}"
    return f"{value:,.4g}" if abs(value) < 1e5 else f"{value:,.0f}"


def line(text: str) -> str:
    """One line that cannot become markup."""
    return " ".join(str(text).split()).replace("<", "&lt;")


def read(folder: Path) -> list[dict[str, Any]]:
    """All result files, by name. Ends with the file's name where one is damaged."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
            missing = {"name", "command", "machine", "date", "seconds", "rows"} - set(result)
        except ValueError as error:
            raise SystemExit(f"{path} is no JSON: {error}") from None
        if missing:
            raise SystemExit(f"{path} is no result: it has no {', '.join(sorted(missing))}")
        found.append(result)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the page is out of date")
    args = parser.parse_args()
    said = page(read(PAGE.parent / "results"))
    if not args.check:
        PAGE.write_text(said, encoding="utf-8")
        print(f"wrote {PAGE.relative_to(ROOT)}")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != said:
        sys.exit("docs/results.md is not what docs/results/*.json give; run: python proofs/write_results.py")


if __name__ == "__main__":
    main()
