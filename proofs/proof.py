"""What proofs and benchmarks share: arguments, data, intervals, and the one form in which they write what they found.

A proof is a program that trains or measures for real and writes docs/results/NAME.json; `write_results.py` makes
docs/results.md of all of them. No hand edits either.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import random
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Row:
    """A figure. bar: '>= 0.85', as an issue states it. low, high: its interval, by the method the note says."""

    metric: str
    value: float | None
    low: float | None = None
    high: float | None = None
    bar: str | None = None
    baseline: str | None = None
    unit: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the value meets its bar; None without one."""
        if self.bar is None or self.value is None:
            return None
        sign, number = self.bar.split()[:2]
        return {">=": self.value >= float(number), "<=": self.value <= float(number), "=": self.value == float(number)}[
            sign
        ]


def arguments(about: str | None, extra: Mapping[str, tuple[Callable[[str], Any], Any]] | None = None) -> Any:
    """--json PATH, --seeds N, --seed N, --data DIR (GENUS_DATA), and `extra` {flag: (type, default)}."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where to write the result (default: docs/results/NAME.json)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=os.environ.get("GENUS_DATA"), help="folder of data sets")
    for flag, (kind, default) in (extra or {}).items():
        parser.add_argument(flag, type=kind, default=default)
    return parser.parse_args()


def shelf(args: Any, name: str) -> Path:
    """The folder of a data set. Ends the program with a plain word where it is not there."""
    if args.data is None or not (Path(args.data) / name).is_dir():
        print(f"skipped: this proof needs the data set {name!r}; set GENUS_DATA to the folder that holds it")
        raise SystemExit(0)
    return Path(args.data) / name


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """(median, least, most): what a few seeds or rounds allow to say."""
    return statistics.median(values), min(values), max(values)


def bootstrap(
    values: Sequence[float], statistic: Callable[[Sequence[float]], float], times: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """The 2.5 and 97.5 percentiles of a statistic over resampled values."""
    dice = random.Random(seed)
    found = sorted(statistic(dice.choices(values, k=len(values))) for _ in range(times))
    return found[int(0.025 * times)], found[int(0.975 * times)]


def machine() -> str:
    """The processor and its cores, as far as they can be read."""
    model = platform.processor() or platform.machine()
    flags = ""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
            if line.startswith("flags"):
                flags = " ".join(f for f in ("avx512f", "avx512_bf16", "amx_bf16") if f in line.split())
    except OSError:
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model}, {cores} cores {flags}".strip()


def plain(words: Sequence[str]) -> list[str]:
    """The arguments that shaped the result: without paths of one machine and their flags."""
    flags = ("--json", "--data", "--keep", "--folder", "--only", "--run", "--gguf", "--hf", "--llama", "--trl")
    paths = {i for i, word in enumerate(words) if word in flags}
    return [word for i, word in enumerate(words) if i not in paths and i - 1 not in paths]


def write(args: Any, name: str, rows: Sequence[Row], seconds: float, note: str = "", kwh: float | None = None) -> Path:
    """Write the result file and print its rows."""
    path: Path = args.json or ROOT / "docs" / "results" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    script = Path(sys.argv[0]).resolve()
    shown = script.relative_to(ROOT) if script.is_relative_to(ROOT) else script.name
    result = {
        "name": name,
        "command": " ".join(["python", str(shown), *plain(sys.argv[1:])]),
        "machine": machine(),
        "date": datetime.date.today().isoformat(),
        "seconds": round(seconds, 1),
        "kwh": kwh,
        "rows": [{**asdict(row), "met": row.met} for row in rows],
        "note": note,
    }
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(result, indent=1) + "\n")
    temporary.replace(path)
    for row in rows:
        span = "" if row.low is None else f"  [{row.low:.4g}, {row.high:.4g}]"
        verdict = {None: "", True: "  met", False: "  NOT met"}[row.met]
        bar = f"  bar {row.bar}{verdict}" if row.bar else ""
        value = "-" if row.value is None else f"{row.value:.4g}"
        print(f"{row.metric:60}{value:>10} {row.unit}{span}{bar}")
    return path
