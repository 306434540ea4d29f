"""Forecast: finished time against the budget, and whether the size that a budget chooses was the right one.

Six budgets of 2 to 20 minutes over both cells. For each: `genus train` with the budget; then half and double the chosen
size (as nearly as the dial goes) with the same budget and settings. Right: the chosen size has the least held-out loss
of the three.
A run whose chosen size is the recipe's smallest or largest lacks one of them, so it is counted apart and not as right.
A kept file may hold a `remark`, which is printed: where it is from, if not from this very command.
`--keep DIR` keeps what each run found, so that the proof may be run in parts: `--only "0 2"`.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from proof import Row, arguments, shelf, write

RUNS = [
    ("tinyshakespeare", "chargpt", "2m"),
    ("mnist10k", "flow", "2m"),
    ("tinyshakespeare", "gpt", "2m"),
    ("emoji_noto64", "flow", "4m"),
    ("tinyshakespeare", "chargpt", "10m"),
    ("mnist10k", "flow", "20m"),
]


def main() -> None:
    every = " ".join(map(str, range(len(RUNS))))
    extra = {"--only": (str, every), "--keep": (Path, None), "--tolerance": (float, 0.003)}
    args = arguments(__doc__, extra=extra)
    with tempfile.TemporaryDirectory(prefix="genus-proof-") as folder:
        kept = args.keep or Path(folder) / "found"
        kept.mkdir(parents=True, exist_ok=True)
        for i in map(int, args.only.split()):
            if not (kept / f"{i}.json").exists():
                found = one(args, Path(folder) / f"home{i}", *RUNS[i])
                (kept / f"{i}.json").write_text(json.dumps(found))
                print(found, file=sys.stderr, flush=True)
        runs = [compared(json.loads(path.read_text())) for path in sorted(kept.glob("*.json"))]
    rows, right, near, whole = [], 0, 0, 0
    for run in runs:
        rows.append(Row(f"{run['what']}: time used / asked - 1", run["error"]))
        whole += len(run["losses"]) == 3
        right += len(run["losses"]) == 3 and run["losses"]["chosen"] <= min(run["losses"].values())
        near += run["losses"]["chosen"] <= min(run["losses"].values()) * (1 + args.tolerance)
        sizes = ", ".join(f"{k} {n / 1e6:.2f} M" for k, n in run["sizes"].items())
        others = [loss for label, loss in run["losses"].items() if label != "chosen"]
        better = min(others) / run["losses"]["chosen"] - 1
        rows.append(Row(f"{run['what']}: better of half and double over chosen, loss - 1 ({sizes})", better))
    rows.append(Row("largest miss of the time", max(abs(run["error"]) for run in runs), bar="<= 0.15"))
    rows.append(Row(f"runs of {len(runs)} whose chosen size beats half and double", right, bar=">= 4"))
    rows.append(Row(f"runs of {len(runs)} that had both half and double to compare", whole))
    rows.append(Row(f"runs of {len(runs)} whose chosen size is within {args.tolerance:.1%} of the best", near))
    losses = "; ".join(f"{r['what']}: {', '.join(f'{k} {v:.4f}' for k, v in r['losses'].items())}" for r in runs)
    note = f"one seed a run; held-out losses: {losses}"
    note += "".join(f"; {run['what']}: {run['remark']}" for run in runs if "remark" in run)
    kwh = sum(run["kwh"] for run in runs)
    write(args, "forecast", rows, sum(run["seconds"] for run in runs), note, kwh)


def one(args: Any, home: Path, source: str, recipe: str, budget: str) -> dict[str, Any]:
    """A budget's run, then half and double its size."""
    from genus.run import Run
    from genus.train.held import held_out

    start = time.monotonic()
    files = sorted(p for p in shelf(args, source).iterdir() if p.suffix in (".txt", ".parquet"))

    def genus(*call: str) -> None:
        words = [sys.executable, "-m", "genus", *call, "--home", str(home), "--json"]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)

    def train(name: str, *settings: str) -> dict[str, Any]:
        sets = [part for s in (f"training.seed={args.seed}", *settings) for part in ("--set", s)]
        genus("train", source, "--recipe", recipe, "--budget", budget, "--name", name, "--yes", *sets)
        said: dict[str, Any] = json.loads((home / "runs" / name / "summary.json").read_text())
        return said

    genus("collect", *map(str, files), "--name", source)
    done = {"chosen": train("chosen")}
    sizes = ladder(home / "runs" / "chosen")
    for label, factor in (("half", 0.5), ("double", 2.0)):
        wanted = done["chosen"]["parameters"] * factor
        dial = min(sizes, key=lambda d: abs(math.log(sizes[d] / wanted)))
        done[label] = train(label, f"sizing.dials=[{dial}]")
    return {
        "what": f"{recipe} on {source}, {budget}",
        "error": done["chosen"]["seconds"] / done["chosen"]["asked_s"] - 1,
        "losses": {label: held_out(Run(home / "runs" / label)) for label in done},
        "sizes": {label: said["parameters"] for label, said in done.items()},
        "samples": {label: said["phases"][-1]["samples"] for label, said in done.items()},  # for a law's next fit
        "seconds": time.monotonic() - start,
        "kwh": sum(said["kwh"] for said in done.values()),
    }


def compared(run: dict[str, Any]) -> dict[str, Any]:
    """Without what is no other size: a second run of the chosen one, where the recipe has no smaller or larger."""
    kept = {k for k, n in run["sizes"].items() if k == "chosen" or n != run["sizes"]["chosen"]}
    return {**run, **{name: {k: v for k, v in run[name].items() if k in kept} for name in ("losses", "sizes")}}


def ladder(run: Path) -> dict[int, int]:
    """Weights of each dial of the recipe that a run was made by."""
    from genus.run import Run
    from genus.train.plan import sizes

    made = Run(run)
    phase = made.recipe.phases[-1]
    assert phase.sizing is not None
    return dict(zip(phase.sizing.dials, sizes(phase, made.model()), strict=True))


if __name__ == "__main__":
    main()
