"""The held-out loss of a finished run: over the whole validation split, where training looks at a part of it."""

from __future__ import annotations

from dataclasses import replace

import torch

from genus.core import Noise
from genus.errors import UsageError
from genus.run import Run
from genus.train.corpus import Corpus


def held_out(run: Run, batch: int = 32) -> float:
    """A mean over cells, with the same draws for every run. Raises `UsageError` where no loss tells progress."""
    model, phase = run.model(), run.phase
    turn = model.objective.judged
    if turn is None:
        raise UsageError(f"no held-out loss tells how good recipe {run.recipe.name} is; compare its samples instead")
    dataset = run.dataset()
    split = "val" if dataset.count("status = 'kept' AND split = 'val'") else "train"
    cache = Corpus(dataset, run.data["digest"]).cache(split, model.codec, phase.codec, phase.conditioner, run.source)
    noise, total, number, first = Noise(0).child("held out"), 0.0, 0, 0
    with torch.no_grad():
        for part in run.source.judged(cache, model.codec, batch):
            draws = model.objective.draws(model.nets, part, turn, noise.of(range(first, first + len(part))))
            if model.conditioner is not None:
                part = replace(part, cond=model.conditioner(part.fields))
            loss, _ = model.objective.loss(model.nets, replace(part, fields={}, ids=()), draws, turn)
            weight = model.objective.number(part)
            total, number, first = total + float(loss) * weight, number + weight, first + len(part)
    return total / max(1, number)
