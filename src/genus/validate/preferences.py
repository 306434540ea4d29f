"""Is the better of two held-out answers told from the worse? By its likelihood, or by what a judge says it is worth.

A model of text prefers what it finds likelier: all of an answer, and per cell, which does not favour short ones. Beside
both: what the model that training began from prefers. A judge (`core.Judge`) has its own word; chance is a half.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from genus import dialogue
from genus.core import Judge, Model
from genus.learned.borrowed import lent
from genus.learned.preferences import PreferencesConfig, log_probs
from genus.run import in_memory
from genus.validate.findings import Finding, Measure, Result, share
from genus.validate.subject import Subject

PREFERRED = "preference_accuracy"
UNIT = "share of held-out pairs"


@final
class Preferences(Measure):
    """items: pairs at most. batch: pairs compared together."""

    kind: Literal["validate.preferences"] = "validate.preferences"
    items: int = Field(1000, ge=1)
    batch: int = Field(16, ge=1)

    def __call__(self, subject: Subject) -> Result:
        """Accuracy with a bootstrap interval, and before."""
        texts = [r.media for r in subject.held_out(1 << 30) if isinstance(r.media, str)]
        pairs = [text for text in texts if all(dialogue.versions(dialogue.read(text)))][: self.items]
        if not pairs:
            return Result(notes=("No preferences: nothing that is held out has a better and a worse answer.",))
        subject.model.nets.eval()
        now = self._compared(subject.model, pairs)
        metrics = [Finding(name, *share(hits), UNIT, "higher", subject.held) for name, hits in now.items()]
        baselines = [Finding(f"{PREFERRED}/chance", 0.5, unit=UNIT, better="higher", split=subject.held)]
        predict, _ = subject.model.predictor()
        if subject.before is not None and not isinstance(predict, Judge):
            before = self._compared(lent(subject.before)[0], pairs)
            baselines += [
                Finding(f"{name}/before", *share(hits), UNIT, "higher", subject.held) for name, hits in before.items()
            ]
        return Result(tuple(metrics), tuple(baselines), notes=(f"Preferences of {len(pairs):,} held-out pairs.",))

    def _compared(self, model: Model, pairs: list[str]) -> dict[str, NDArray[np.bool_]]:
        source = PreferencesConfig(window=model.space.dims[0])
        cache = in_memory(model.codec, pairs, source)
        predict, _ = model.predictor()
        found: dict[str, list[NDArray[np.bool_]]] = {}
        with torch.inference_mode():
            for part in source.judged(cache, model.codec, self.batch):
                sides = ((part.x, part.extra["said"]), (part.extra["rejected"], part.extra["rejected_said"]))
                if isinstance(predict, Judge):
                    good, bad = (predict.worth(x, said).double() for x, said in sides)
                    found.setdefault(PREFERRED, []).append((good > bad).numpy())
                    continue
                good, bad = (log_probs(model, replace(part, x=x, mask=said, extra={})) for x, said in sides)
                cells = [said.sum((1, 2)) for _, said in sides]
                found.setdefault(PREFERRED, []).append((good > bad).numpy())
                found.setdefault(f"{PREFERRED}_per_cell", []).append((good / cells[0] > bad / cells[1]).numpy())
        return {name: np.concatenate(parts) for name, parts in found.items()}
