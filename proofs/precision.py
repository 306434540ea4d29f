"""bf16 against fp32: the 10.65 M language model trained in either by `genus train`, from one start on the same batches.
`--kinds bytes,bf16`: products of bytes (`training.products`) against those of bf16.

tinyshakespeare in characters; the seed decides weights and order of the data, so the number format is all that differs.
Two figures each: the mean training loss of the last hundred steps, and the loss over the whole validation split. The
same command with the same --keep goes on where it was: without AMX, fp32 takes an hour on one core.
`--width 128 --depth 4` is the 0.8 M model; `--optimiser muon` is what genus trains by if nobody says otherwise.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from lab import Lab, words
from proof import Row, arguments, interval, shelf, write

from genus.run import Run
from genus.train.held import held_out

LAST, WINDOW = 100, 256
KINDS = {
    "fp32": ("precision=fp32", "compile=yes"),
    "bf16": ("precision=bf16", "products=own", "compile=yes"),
    "bytes": ("precision=bf16", "products=bytes", "compile=yes"),
}
BAR = (384, 6, 16)  # width, depth and batch that the bar speaks of


def main() -> None:
    size = {"--steps": (int, 1000), "--width": (int, 384), "--depth": (int, 6), "--batch": (int, 16)}
    how: Any = {"--kinds": (words, ["bf16", "fp32"]), "--optimiser": (str, "adamw"), "--keep": (Path, None)}
    args = arguments(__doc__, {**size, **how})
    if len(args.kinds) != 2 or not set(args.kinds) <= set(KINDS):
        raise SystemExit(f"--kinds {','.join(args.kinds)}: choose two of {', '.join(KINDS)}")
    lab = Lab(args.keep)
    lab.dataset("tinyshakespeare", sorted(shelf(args, "tinyshakespeare").glob("*.txt")), cleaned=False)
    trained: dict[str, list[float]] = {kind: [] for kind in args.kinds}
    judged: dict[str, list[float]] = {kind: [] for kind in args.kinds}
    weights = 0
    for seed in range(args.seed, args.seed + args.seeds):
        for kind in args.kinds:
            run = learnt(lab, args, kind, seed)
            weights = run.summary["parameters"]
            lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
            losses = {line["step"]: line["loss"] for line in lines if line["split"] == "train"}
            if max(losses) != args.steps:
                raise SystemExit(f"{run.path} ended after {max(losses)} steps, not {args.steps}")
            trained[kind].append(statistics.mean(loss for step, loss in losses.items() if step > args.steps - LAST))
            judged[kind].append(held_out(run))
            lab.say(f"{run.path.name}: {trained[kind][-1]:.4f} in training, {judged[kind][-1]:.4f} held out")
    one, other = args.kinds
    bar = "<= 0.01" if args.steps >= 1000 and (args.width, args.depth, args.batch) == BAR else None
    rows = []
    for of, where in ((trained, f"mean of steps {args.steps - LAST + 1} to {args.steps}"), (judged, "held out")):
        apart = [a - b for a, b in zip(of[one], of[other], strict=True)]
        beside = f"{other} {statistics.mean(of[other]):.4f}"
        asked = bar if of is trained else None
        rows.append(
            Row(f"|{one} - {other}|, {where}", abs(statistics.mean(apart)), bar=asked, unit="nats", baseline=beside)
        )
        if args.seeds > 1:
            rows.append(Row(f"{one} - {other}, {where}, seed by seed", *interval(apart), unit="nats"))
    seeds = "one seed" if args.seeds == 1 else f"{args.seeds} seeds: the mean; seed by seed median, least and most"
    by = "AdamW" if args.optimiser == "adamw" else "Muon"
    note = f"{weights:,} weights, {args.steps} steps of {args.batch} x {WINDOW} characters, {by}; {seeds}"
    name = f"precision_{args.width}" + ("" if args.kinds == ["bf16", "fp32"] else f"_{one}_{other}")
    name += "" if args.optimiser == "adamw" else f"_{args.optimiser}"
    write(args, name, rows, lab.seconds, note, lab.kwh)


def learnt(lab: Lab, args: Any, kind: str, seed: int) -> Run:
    """The run of one number format and one seed."""
    training = {"batch": args.batch, "optimiser": args.optimiser, "seed": seed, "evaluations": 10, "patience": 1000}
    if args.optimiser == "adamw":
        training["rate"] = 1e-3
    same = [
        *(f"net.{name}" for name in (f"width={args.width}", f"depth={args.depth}", "head=64")),
        f"source.window={WINDOW}",
        *(f"training.{name}={value}" for name, value in training.items()),
    ]
    own = (f"training.{name}" for name in KINDS[kind])
    sets = [word for s in (*same, *own) for word in ("--set", s)]
    name = f"{kind}-{args.width}x{args.depth}-{args.batch}"
    name += "" if args.optimiser == "adamw" else f"-{args.optimiser}"
    name += f"-{seed}" if seed else ""
    call = ["--recipe", "chargpt", "--budget", f"{args.steps} steps", "--name", name, "--yes"]
    return Run(Path(lab.genus("train", "tinyshakespeare", *call, *sets)["run"]))


if __name__ == "__main__":
    main()
