"""bf16 against fp32: the 10.65 M language model trained in either by `genus train`, from one start on the same batches.
`--kinds bytes,bf16`: products of bytes (`training.products`) against those of bf16.

tinyshakespeare in characters; the seed decides weights and order of the data, so the number format is all that differs.
Two figures each: the mean training loss of the last hundred steps, and the loss over the whole validation split. The
same command with the same --keep goes on where it was: without AMX, fp32 takes an hour on one core.
`--width 128 --depth 4` is the 0.8 M model.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path

from lab import Lab, words
from proof import Row, arguments, shelf, write

from genus.run import Run
from genus.train.held import held_out

LAST, WINDOW = 100, 256
KINDS = {
    "fp32": ("precision=fp32", "compile=yes"),
    "bf16": ("precision=bf16", "compile=yes"),
    "bytes": ("precision=bf16", "products=bytes", "compile=yes"),
}
BAR = (384, 6, 16)  # width, depth and batch that the bar speaks of


def main() -> None:
    whole = {"--steps": (int, 1000), "--width": (int, 384), "--depth": (int, 6), "--batch": (int, 16)}
    args = arguments(__doc__, {**whole, "--kinds": (words, ["bf16", "fp32"]), "--keep": (Path, None)})
    if len(args.kinds) != 2 or not set(args.kinds) <= set(KINDS):
        raise SystemExit(f"--kinds {','.join(args.kinds)}: choose two of {', '.join(KINDS)}")
    lab = Lab(args.keep)
    lab.dataset("tinyshakespeare", sorted(shelf(args, "tinyshakespeare").glob("*.txt")), cleaned=False)
    same = [
        *(f"net.{name}" for name in (f"width={args.width}", f"depth={args.depth}", "head=64")),
        f"source.window={WINDOW}",
        *(f"training.{name}" for name in (f"batch={args.batch}", "optimiser=adamw", "rate=1e-3", f"seed={args.seed}")),
        *(f"training.{name}" for name in ("evaluations=10", "patience=1000")),
    ]
    ends, judged, weights = {}, {}, 0
    for kind in args.kinds:
        own = (f"training.{name}" for name in KINDS[kind])
        sets = [word for s in (*same, *own) for word in ("--set", s)]
        name = f"{kind}-{args.width}x{args.depth}-{args.batch}"
        call = ["--recipe", "chargpt", "--budget", f"{args.steps} steps", "--name", name, "--yes"]
        run = Run(Path(lab.genus("train", "tinyshakespeare", *call, *sets)["run"]))
        weights = run.summary["parameters"]
        lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
        losses = {line["step"]: line["loss"] for line in lines if line["split"] == "train"}
        if max(losses) != args.steps:
            raise SystemExit(f"{run.path} ended after {max(losses)} steps, not {args.steps}")
        ends[kind] = statistics.mean(loss for step, loss in losses.items() if step > args.steps - LAST)
        judged[kind] = held_out(run)
        lab.say(f"{name}: {ends[kind]:.4f} in training, {judged[kind]:.4f} held out")
    one, other = args.kinds
    bar = "<= 0.01" if args.steps >= 1000 and (args.width, args.depth, args.batch) == BAR else None
    at = f"mean of steps {args.steps - LAST + 1} to {args.steps}"
    rows = [
        Row(
            f"|{one} - {other}|, {how}",
            abs(of[one] - of[other]),
            bar=asked,
            unit="nats",
            baseline=f"{other} {of[other]:.4f}",
        )
        for how, of, asked in ((at, ends, bar), ("held out", judged, None))
    ]
    note = f"{weights:,} weights, {args.steps} steps of {args.batch} x {WINDOW} characters, AdamW; one seed"
    name = f"precision_{args.width}" + ("" if args.kinds == ["bf16", "fp32"] else f"_{one}_{other}")
    write(args, name, rows, lab.seconds, note, lab.kwh)


if __name__ == "__main__":
    main()
