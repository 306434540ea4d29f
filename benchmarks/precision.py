"""bf16 against fp32: the 10.65 M language model trained in both from one start, on the same batches, step by step.

The two take turns in one process, so both have always seen the same; the difference of their losses is written at
every hundredth step, each a mean over the last hundred. Needs GENUS_DATA (tinyshakespeare). On a processor without
AMX a thousand steps take over an hour; `--width 128 --depth 4` is the 0.8 M model.
"""

from __future__ import annotations

import statistics
import time

import torch
from lm_training import WINDOW, ours, text
from proof import Row, arguments, write


def main() -> None:
    extra = {"--steps": (int, 1000), "--width": (int, 384), "--depth": (int, 6), "--batch": (int, 16)}
    args = arguments(__doc__, extra)
    began, data = time.monotonic(), text()
    draw = torch.Generator().manual_seed(args.seed)
    kinds = {"bf16": torch.bfloat16, "fp32": torch.float32}
    steps = {k: ours(v, compiled=True, seed=args.seed, width=args.width, depth=args.depth) for k, v in kinds.items()}
    losses: dict[str, list[float]] = {kind: [] for kind in kinds}
    rows = []
    for done in range(1, args.steps + 1):
        starts = torch.randint(0, len(data) - WINDOW, (args.batch, 1), generator=draw)
        batch = data[starts + torch.arange(WINDOW)][:, None]
        for kind, step in steps.items():
            losses[kind].append(step(batch))
        if done % 100 == 0:
            ends = {kind: statistics.mean(values[-100:]) for kind, values in losses.items()}
            full = done == args.steps >= 1000 and (args.width, args.depth, args.batch) == (384, 6, 16)
            off = ends["bf16"] - ends["fp32"]
            bar = "<= 0.01" if full else None
            name = f"|bf16 - fp32|, mean of steps {done - 99} to {done}"
            rows.append(Row(name, abs(off), bar=bar, unit="nats", baseline=f"fp32 {ends['fp32']:.4f}"))
            said = f"{args.depth} layers of width {args.width}, batch {args.batch} x {WINDOW}, AdamW"
            write(args, f"precision_{args.width}", rows, time.monotonic() - began, said)


if __name__ == "__main__":
    main()
