"""Forecast: finished time against the budget, and whether the size that a budget chooses was the right one.

Six budgets over both cells. For each: `genus train` with the budget; then half and double the chosen size (as nearly
as the dial goes) with the same budget and settings. Right: the chosen size has the least held-out loss of the three.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from proof import Row, arguments, shelf, write

RUNS = [
    ("tinyshakespeare", "chargpt", "2m"),
    ("mnist10k", "flow", "2m"),
    ("tinyshakespeare", "chargpt", "4m"),
    ("mnist10k", "flow", "4m"),
    ("tinyshakespeare", "gpt", "8m"),
    ("tinyshakespeare", "chargpt", "20m"),
]


def main() -> None:
    args = arguments(__doc__, extra={"--runs": (int, len(RUNS)), "--tolerance": (float, 0.003)})
    start = time.monotonic()
    rows, right, errors, notes = [], 0, [], []
    with tempfile.TemporaryDirectory(prefix="genus-proof-") as folder:
        home = Path(folder) / "home"

        def genus(*call: str) -> None:
            parts = [sys.executable, "-m", "genus", *call, "--home", str(home), "--json"]
            subprocess.run(parts, check=True, stdout=subprocess.DEVNULL)

        def train(source: str, recipe: str, budget: str, name: str, *settings: str) -> dict[str, float]:
            sets = [part for s in settings for part in ("--set", s)]
            genus("train", source, "--recipe", recipe, "--budget", budget, "--name", name, "--yes", *sets)
            found: dict[str, float] = json.loads((home / "runs" / name / "summary.json").read_text())
            return found

        for source in {source for source, _, _ in RUNS[: args.runs]}:
            files = sorted(p for p in shelf(args, source).iterdir() if p.suffix in (".txt", ".parquet"))
            genus("collect", *map(str, files), "--name", source)
        for i, (source, recipe, budget) in enumerate(RUNS[: args.runs]):
            chosen = train(source, recipe, budget, f"run{i}")
            forecast = json.loads((home / "runs" / f"run{i}" / "forecast.json").read_text())
            tried = {t["dial"]: t["parameters"] for t in forecast["tried"]}
            size = chosen["parameters"]
            errors.append(chosen["seconds"] / chosen["asked_s"] - 1)
            losses = {"chosen": chosen["phases"][-1]["val_loss"]}
            for label, factor in (("half", 0.5), ("double", 2.0)):
                dial = next_dial(tried, size * factor, recipe)
                one = f"sizing.dials=[{dial}]"
                losses[label] = train(source, recipe, budget, f"run{i}{label}", one)["phases"][-1]["val_loss"]
            good = losses["chosen"] <= min(losses.values()) * (1 + args.tolerance)
            right += good
            said = ", ".join(f"{k} {v:.4f}" for k, v in losses.items())
            notes.append(f"{source} {recipe} {budget}: {size / 1e6:.2f} M; {said}")
            rows.append(Row(f"{recipe} on {source}, {budget}: time used / asked - 1", errors[-1]))
            print(notes[-1], f"time {errors[-1]:+.1%}", file=sys.stderr, flush=True)
    worst = max(errors, key=abs)
    rows.append(Row("largest miss of the time", abs(worst), bar="<= 0.15"))
    rows.append(Row(f"chosen size beats half and double (of {args.runs})", right, bar=">= 4"))
    note = f"best: within {args.tolerance:.1%} of the least loss; " + "; ".join(notes)
    write(args, "forecast", rows, time.monotonic() - start, note)


def next_dial(tried: dict[int, int], wanted: float, recipe: str) -> int:
    """The dial whose size is nearest to `wanted`, among those of the recipe's ladder."""
    import math

    from genus.core import Roads, Space
    from genus.recipes import find

    phase = find(recipe).phases[-1]
    space = Space((28, 28), 1) if recipe == "flow" else Space((256,), 1, 82)
    roads = Roads(vector=128) if recipe == "flow" else Roads()
    sizes = dict(tried)
    for dial in phase.sizing.dials if phase.sizing is not None else ():
        if dial not in sizes:
            built = [net.sized(dial).build(space, roads) for net in phase.nets.values()]
            sizes[dial] = sum(p.numel() for net in built for p in net.parameters())
    return min(sizes, key=lambda dial: abs(math.log(sizes[dial] / wanted)))


if __name__ == "__main__":
    main()
