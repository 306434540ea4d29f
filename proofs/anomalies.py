"""How well a model of digits tells other pictures from digits: AUROC of each score of `genus anomalies`, set by set.

Trains `--recipe` (flow, edm, vae, ...) on mnist10k within `--budget`, then scores `--items` held-out digits beside as
many of each other set: characters (omniglot_small) and icons (game_icons), both shown light on dark as the digits are;
other held-out digits turned upside down; pictures of one grey each; pictures of noise. No bar: the known failures of
likelihood are to be seen here, not to be hidden (Nalisnick et al. 2018, Do deep generative models know what they don't
know?).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from proof import Row, arguments, interval, shelf, write

from genus import load
from genus.deploy.oddness import compared, held_out
from genus.media import image
from genus.run import Run
from genus.validate.ranks import told_apart

Pictures = list[np.ndarray]


def pictures(folder: Path, n: int) -> Pictures:
    """The first `n` of a set's test split, light on dark."""
    rows = pq.read_table(folder / "test.parquet", columns=["image"]).slice(0, n).to_pylist()
    read = (image.read(row["image"]["bytes"] if isinstance(row["image"], dict) else row["image"]) for row in rows)
    return [255 - flat(x) if flat(x).mean() > 127 else flat(x) for x in read]


def flat(x: np.ndarray) -> np.ndarray:
    """Grey [H, W, 1]; what is transparent lies on white."""
    if x.shape[2] == 4:
        opaque = x[:, :, 3:] / 255
        x = (x[:, :, :3] * opaque + 255 * (1 - opaque)).astype(np.uint8)
    return x.mean(2, keepdims=True).round().astype(np.uint8)


def sets(run: Run, n: int, args: object) -> tuple[Pictures, dict[str, Pictures]]:
    """Usual digits, and the others by name."""
    digits = held_out(run, 2 * n)
    usual, rest = digits[: len(digits) // 2], digits[len(digits) // 2 :]
    shape, dice = usual[0].shape, np.random.default_rng(0)
    return usual, {
        "characters": pictures(shelf(args, "omniglot_small"), n),
        "icons": pictures(shelf(args, "game_icons"), n),
        "upside down": [np.ascontiguousarray(x[::-1, ::-1]) for x in rest],
        "one grey": [np.full(shape, level, np.uint8) for level in dice.integers(0, 256, n)],
        "noise": list(dice.integers(0, 256, (n, *shape)).astype(np.uint8)),
    }


def trained(args: object, home: Path, seed: int) -> Run:
    """A run of this seed."""
    name = f"digits-{seed}"
    tables = [str(shelf(args, "mnist10k") / f"{split}.parquet") for split in ("train", "test")]
    call = [sys.executable, "-m", "genus", "collect", *tables, "--name", "digits", "--home", str(home), "--json"]
    if not (home / "datasets" / "digits").is_dir():
        subprocess.run(call, check=True, stdout=subprocess.DEVNULL)
    settings = [part for s in (f"training.seed={seed}", *args.set.split()) for part in ("--set", s)]
    call = [
        sys.executable,
        "-m",
        "genus",
        "train",
        "digits",
        "--recipe",
        args.recipe,
        "--budget",
        args.budget,
        *settings,
    ]
    subprocess.run(
        [*call, "--name", name, "--home", str(home), "--yes", "--json"], check=True, stdout=subprocess.DEVNULL
    )
    return load(home / "runs" / name)


def main() -> None:
    extra = {
        "--recipe": (str, "flow"),
        "--budget": (str, "10m"),
        "--items": (int, 200),
        "--probes": (int, 1),
        "--set": (str, ""),
    }
    args = arguments(__doc__, extra=extra)
    for name in ("mnist10k", "omniglot_small", "game_icons"):
        shelf(args, name)
    start, kwh, failed = time.monotonic(), 0.0, set()
    found: dict[str, list[tuple[float, float, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="genus-proof-") as folder:
        for seed in range(args.seed, args.seed + args.seeds):
            run = trained(args, Path(folder) / "home", seed)
            kwh += run.summary["kwh"]
            usual, others = sets(run, args.items, args)
            knobs = {"probes": args.probes} if "probes" in type(run.model().objective).model_fields else {}
            media = [x for some in others.values() for x in some]
            scores = compared(run, usual, media, knobs)
            at = 0
            for name, some in others.items():
                for score, values in scores.odd.items():
                    told = told_apart(scores.usual[score], values[at : at + len(some)])
                    found.setdefault(f"AUROC of {score}, digits and {name}", []).append(told)
                    if score == "likelihood" and told[0] < 0.5:
                        failed.add(name)
                at += len(some)
            mean = {score: float(values.mean()) for score, values in scores.usual.items()}
            print(f"seed {seed}:", json.dumps(mean), *scores.says, sep="\n  ", file=sys.stderr, flush=True)
    alone = args.seeds == 1
    rows = [Row(name, *(t[0] if alone else interval([one[0] for one in t]))) for name, t in found.items()]
    spread = "95 % bootstrap intervals" if alone else f"median, least and most of {args.seeds} seeds"
    worse = f"; likelihood alone finds these likelier than digits: {', '.join(sorted(failed))}" if failed else ""
    note = f"{args.recipe}, {args.items} items a set; {spread}; 0.5 is chance{worse}"
    write(args, f"anomalies_{args.recipe}", rows, time.monotonic() - start, note, kwh)


if __name__ == "__main__":
    main()
