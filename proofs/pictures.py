"""Pictures by flow matching: how much of the gap between a Gaussian and real data `--recipe flow` closes in a time
budget.

Gap closed = (FD of a per-pixel Gaussian fit - FD of the model) / (that - FD of real train against real test), 1,000
samples each, in the features of EfficientNet-Lite0 (an ImageNet network; not Inception, so not "FID"). Trains
`genus make` on the training split as it comes, judges on the test split. `--set-name mnist10k` (bar 0.85 in 10
minutes) or `emoji_noto64` (0.5 in 20).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from proof import Row, arguments, interval, shelf, write

BARS = {"mnist10k": ">= 0.85", "emoji_noto64": ">= 0.5"}
BUDGETS = {"mnist10k": "10m", "emoji_noto64": "20m"}


def main() -> None:
    args = arguments(__doc__, extra={"--set-name": (str, "mnist10k"), "--budget": (str, ""), "--keep": (Path, None)})
    source = shelf(args, args.set_name)
    start = time.monotonic()
    found: dict[str, list[float]] = {}
    spans: dict[str, tuple[float, float, float]] = {}  # of the last seed: what the report says of one
    kwh, note = 0.0, ""
    with tempfile.TemporaryDirectory(prefix="genus-proof-") as folder:
        home = Path(folder) / "home"
        tables = [str(source / f"{split}.parquet") for split in ("train", "test")]
        for seed in range(args.seeds):
            name = f"{args.set_name}-{seed}"
            budget = args.budget or BUDGETS[args.set_name]
            call = [
                sys.executable,
                "-m",
                "genus",
                "make",
                *tables,
                "--recipe",
                "flow",
                "--budget",
                budget,
                "--name",
                name,
            ]
            sets = [f"training.seed={seed}", "measures.fidelity.samples=1000"]
            call += [part for s in sets for part in ("--set", s)]
            subprocess.run([*call, "--home", str(home), "--yes", "--json"], check=False, stdout=subprocess.DEVNULL)
            run = home / "runs" / name
            report = json.loads((run / "report.json").read_text())
            for entry in (*report["metrics"], *report["baselines"]):
                found.setdefault(entry["name"], []).append(entry["value"])
                spans[entry["name"]] = (entry["value"], entry["low"], entry["high"])
            summary = json.loads((run / "summary.json").read_text())
            found.setdefault("training seconds", []).append(summary["seconds"])
            found.setdefault("training time used / asked - 1", []).append(summary["seconds"] / summary["asked_s"] - 1)
            found.setdefault("parameters", []).append(summary["parameters"])
            kwh += summary["kwh"]
            print(f"seed {seed}:", {k: v[-1] for k, v in found.items()}, file=sys.stderr, flush=True)
            if args.keep:
                shutil.copytree(run, args.keep / name, dirs_exist_ok=True)
    rows = []
    for name, values in found.items():
        bar = BARS[args.set_name] if name == "gap_closed" and not args.budget else None
        alone = spans.get(name) if args.seeds == 1 else None
        rows.append(Row(name, *(alone or interval(values)), bar=bar))
    spread = (
        "the report's 95 % intervals, one seed" if args.seeds == 1 else f"median, least and most of {args.seeds} seeds"
    )
    note = f"{spread}; 1,000 samples, or as many as are held out; EfficientNet-Lite0 features"
    write(args, f"pictures_{args.set_name}", rows, time.monotonic() - start, note, kwh)


if __name__ == "__main__":
    main()
