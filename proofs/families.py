"""The families on the same digits: how much of the gap between a Gaussian and real data each closes in 20 minutes.

Runs `genus compare` and reads what it says, so both are proven together. Gap closed = (FD of a per-pixel Gaussian fit -
FD of the model) / (that - FD of real train against real test), 1,000 samples each, in the features of
EfficientNet-Lite0 (an ImageNet network; not Inception, so not "FID"). With the same --keep the proof goes on where it
was; recipes may be added one call after another, and the last call, with all of them, writes the whole table.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lab import Lab, tables, words
from proof import Row, arguments, shelf, write

from genus.train.budget import budget

BARS = {
    "flow": ">= 0.92",
    "edm": ">= 0.92",
    "stylegan": ">= 0.85",
    "stable-diffusion": ">= 0.85",
    "vae": ">= 0.5",
    "pixelgpt": ">= 0.8",
}
BUDGET, WITHIN, SAMPLES = "20m", 1200, 1000  # the bar holds for all that is trained within this time
#: What a script may count on in every row, each with low and high.
PROMISED = ("recall", "precision", "coverage", "memorised", "samples_per_second", "kwh")
SHOWN = (
    ("frechet_efficientnet_lite0", ""),
    ("kernel_efficientnet_lite0", ""),
    ("precision", ""),
    ("recall", ""),
    ("coverage", ""),
    ("memorised", ""),
    ("samples_per_second", "1/s"),
    ("parameters", ""),
    ("seconds", "s"),
)


def main() -> None:
    args = arguments(
        __doc__,
        extra={
            "--set-name": (str, "mnist10k"),
            "--recipes": (words, list(BARS)),
            "--budget": (str, BUDGET),
            "--samples": (int, SAMPLES),
            "--set": (words, []),
            "--keep": (Path, None),
        },
    )
    source = shelf(args, args.set_name)
    lab = Lab(args.keep)
    lab.say(f"comparing {', '.join(args.recipes)}: {args.seeds} seeds, {args.budget} each")
    call = ["compare", *map(str, tables(source)), "--recipes", ",".join(args.recipes), "--budget", args.budget]
    call += ["--seeds", str(args.seeds), "--samples", str(args.samples), "--name", args.set_name]
    call += [word for s in args.set for word in ("--set", s)]
    said = lab.genus(*call)
    within = budget(args.budget).seconds or float("inf")
    barred = args.set_name == "mnist10k" and args.samples == SAMPLES and within <= WITHIN
    rows = [row for found in said["rows"] for row in of(found, BARS.get(found["recipe"]) if barred else None)]
    whole = sum(all(one.get(name, {}).get("low") is not None for name in PROMISED) for one in said["rows"])
    rows.append(Row("rows with every number that is promised, its low and high", whole, bar=f"= {len(args.recipes)}"))
    for name, found in said["baselines"].items():
        rows.append(Row(name, found["value"], found["low"], found["high"]))
    rows.append(Row("forecast of the whole", said["forecast"].get("seconds"), unit="s"))
    rows.append(Row("time of the whole", said["seconds"], unit="s"))
    verdicts = [f"{claim['family']}: {claim['says']}: {claim['verdict']}" for claim in said["claims"]]
    over = f"mean, least and most of {args.seeds} seeds" if args.seeds > 1 else "one seed, intervals over its samples"
    note = f"{args.budget} each; {over}; {args.samples:,} samples; EfficientNet-Lite0 features. "
    failures = [f"{row['recipe']}: {why}" for row in said["rows"] for why in row["reasons"]]
    note += "; ".join([*failures, *verdicts])
    write(args, f"families_{args.set_name}", rows, lab.seconds, note, lab.kwh)


def of(found: dict[str, Any], bar: str | None) -> list[Row]:
    """The figures of a recipe. One that has no finished run misses its bar."""
    name, gap = found["recipe"], found.get("gap_closed") or {}
    rows = [Row(f"{name}: gap closed", gap.get("value"), gap.get("low"), gap.get("high"), bar=bar)]
    for metric, unit in SHOWN:
        one = found.get(metric) or {}
        if one.get("value") is not None:
            rows.append(Row(f"{name}: {metric}", one["value"], one["low"], one["high"], unit=unit))
    return rows


if __name__ == "__main__":
    main()
