"""Short character-model runs, to find rates and sizes: so many processor seconds on one thread, then a validation loss.

Processor time, so that a machine others use too gives comparable figures; the proof with the clock and peers is
proofs/tinyshakespeare.py. Each further argument is one run, written as keywords of `run`. Needs GENUS_DATA.

    python benchmarks/characters.py 150 "batch=24, window=128" "batch=32, window=64, muon_rate=0.04"
"""

from __future__ import annotations

import ast
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genus.core import Batch, Noise, Roads, Space
from genus.networks.transformer import TransformerConfig
from genus.objectives.autoregression import Autoregression
from genus.recipe import Training
from genus.train.optimisers import Flat
from genus.train.pace import rate_scale


def ids(*names: str) -> tuple[int, list[Tensor]]:
    folder = os.environ.get("GENUS_DATA")
    if not folder:
        sys.exit("set GENUS_DATA to the folder that holds tinyshakespeare/train.txt")
    texts = [(Path(folder) / "tinyshakespeare" / name).read_text(encoding="utf-8") for name in names]
    letters = {c: i for i, c in enumerate(sorted(set("".join(texts))))}
    return len(letters), [torch.tensor([letters[c] for c in text]) for text in texts]


def windows(x: Tensor) -> Batch:
    """Cell 0 of a window is context: it does not count."""
    mask = torch.ones_like(x, dtype=torch.bool)
    mask[:, :, 0] = False
    return Batch(x, mask=mask)


def run(
    seconds: float,
    window: int = 128,
    batch: int = 32,
    depth: int = 4,
    width: int = 128,
    head: int = 64,
    dropout: float = 0.0,
    precision: str = "bf16",
    steps: int | None = None,
    seed: int = 0,
    **training: Any,
) -> dict[str, float]:
    """`training`: fields of genus.recipe.Training. steps: in place of seconds."""
    vocab, (train, val) = ids("train.txt", "val.txt")
    told = Training(**{"rate": 3e-3, "cooldown": 0.6, "seed": seed, **training})
    torch.manual_seed(seed)
    config = TransformerConfig(depth=depth, width=width, head=head, dropout=dropout)
    net = config.build(Space((window,), 1, vocab), Roads())
    nets, objective = torch.nn.ModuleDict({"net": net}), Autoregression()
    flat = Flat(nets, told, torch.bfloat16 if precision == "bf16" else torch.float32)
    draw = torch.Generator().manual_seed(seed)
    begun, step, last = time.process_time(), 0, [0.0]
    while (progress := step / steps if steps else (time.process_time() - begun) / seconds) < 1:
        starts = torch.randint(0, len(train) - window, (batch, 1), generator=draw)
        flat.zero()
        loss, _ = objective.loss(nets, windows(train[starts + torch.arange(window)][:, None]), {}, "main")
        loss.backward()
        flat.step(rate_scale(progress, told), step)
        last = [*last[-99:], float(loss.detach())]
        step += 1
    used = time.process_time() - begun
    net.eval()
    held = val[: len(val) // window * window].view(-1, 1, window)
    with flat.swap_ema():
        nats = sum(float(objective.log_prob(nets, windows(x), Noise(0)).nats.sum()) for x in held.split(64))
    weights = sum(p.numel() for p in net.parameters())
    return {
        "weights": weights,
        "steps": step,
        "characters": step * batch * window,
        "seconds": round(used, 1),
        "train": round(sum(last) / len(last), 4),
        "val": round(-nats / (len(held) * (window - 1)), 4),
    }


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    torch.set_num_threads(1)
    for spec in sys.argv[2:]:
        call = ast.parse(f"run({spec})", mode="eval").body
        assert isinstance(call, ast.Call)
        knobs = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
        print(spec, run(float(sys.argv[1]), **knobs), flush=True)


if __name__ == "__main__":
    main()
