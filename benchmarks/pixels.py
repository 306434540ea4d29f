"""Short runs of `pixelgpt` on digits of half the side, for rates and sizes: so many processor seconds on one thread.

Prints held-out bits per dimension at every fifth of the way, so that runs can be compared at equal pictures too.
Each further argument is one run, written as keywords of `run`. Needs GENUS_DATA.

    python benchmarks/pixels.py 30 "levels=16, near=0" "levels=16, near=2"
"""

from __future__ import annotations

import ast
import io
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor

from genus.codecs.levels import Levels
from genus.codecs.pixels import Pixels
from genus.conditions.label import LabelConfig
from genus.core import Batch, Noise
from genus.networks.transformer import TransformerConfig
from genus.objectives.autoregression import Autoregression
from genus.recipe import Training
from genus.train.optimisers import Flat
from genus.train.pace import rate_scale

HELD = 128  # pictures


def digits(split: str, levels: int) -> tuple[Tensor, list[str]]:
    folder = os.environ.get("GENUS_DATA")
    if not folder:
        sys.exit("set GENUS_DATA to the folder that holds mnist10k/train.parquet")
    table = pq.read_table(Path(folder) / "mnist10k" / f"{split}.parquet").to_pydict()
    pictures = np.stack([np.asarray(Image.open(io.BytesIO(row))) for row in table["image"]])
    half = pictures.reshape(-1, 14, 2, 14, 2, 1).mean((2, 4)).round().astype(np.uint8)
    return torch.stack(Levels(Pixels(14, 14, 1), levels).encode(list(half))), [str(v) for v in table["label"]]


def run(
    seconds: float,
    levels: int = 256,
    near: int = 2,
    batch: int = 16,
    depth: int = 4,
    width: int = 128,
    head: int = 64,
    seed: int = 0,
    **training: Any,
) -> None:
    """`training`: fields of genus.recipe.Training."""
    (pictures, labels), (held, said) = digits("train", levels), digits("test", levels)
    told = Training(**{"rate": 3e-3, "cooldown": 0.6, "seed": seed, **training})
    torch.manual_seed(seed)
    conditioner = LabelConfig().fit(lambda: ({"label": label} for label in labels)).build()
    space = Levels(Pixels(14, 14, 1), levels).space
    net = TransformerConfig(depth=depth, width=width, head=head, near=near).build(space, conditioner.roads)
    nets, objective = torch.nn.ModuleDict({"conditioner": conditioner, "net": net}), Autoregression(ends=False)
    flat, draw = Flat(nets, told, torch.bfloat16), np.random.default_rng(seed)

    @torch.no_grad()
    def judged() -> float:
        cond = conditioner({"label": said[:HELD]})
        nats = objective.log_prob(nets, Batch(held[:HELD].long(), cond=cond), Noise(0)).nats
        return float(-nats.mean()) / space.cells / math.log(2)

    used, step, shown, begun = 0.0, 0, 0, time.process_time()
    while (progress := used / seconds) < 1:
        at = draw.integers(0, len(pictures), batch)
        keep = torch.from_numpy(draw.random(batch) >= conditioner.dropout)
        cond = conditioner({"label": [labels[i] for i in at]}, keep)
        flat.zero()
        loss, _ = objective.loss(nets, Batch(pictures[at].long(), cond=cond), {}, "main")
        loss.backward()
        flat.step(rate_scale(progress, told), step)
        step += 1
        used = time.process_time() - begun
        if int(used / seconds * 5) > shown:
            shown = int(used / seconds * 5)
            each = 1000 * used / step / batch
            print(f"  {shown / 5:.1f}: {step * batch} pictures, {each:.1f} ms each, {judged():.4f} bits", flush=True)
            begun = time.process_time() - used


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    torch.set_num_threads(1)
    for spec in sys.argv[2:]:
        call = ast.parse(f"run({spec})", mode="eval").body
        assert isinstance(call, ast.Call)
        print(spec, flush=True)
        run(float(sys.argv[1]), **{str(k.arg): ast.literal_eval(k.value) for k in call.keywords})


if __name__ == "__main__":
    main()
