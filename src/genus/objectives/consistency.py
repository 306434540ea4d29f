"""Consistency: from any point of a path straight to its end, so that one look at the network draws a sample.

Song et al. 2023 (arXiv 2303.01469), Song and Dhariwal 2023 (arXiv 2310.14189). The same x and e, at two times t and
r < t: what the network says at t shall be what it says at r, which passes no gradient; at r = 0 that is x itself, and
there the data enters. No teacher: a trained denoiser is the start, and the gap between the times shrinks over the run;
where it is all of t, this is denoising (Geng et al. 2024, arXiv 2406.14548). Knows no network, no solver, no medium.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self, final

import torch
from pydantic import Field
from torch import Tensor

from genus.core import Batch, Draws, Metrics, Nets, Noise, Objective, along
from genus.objectives.denoising import Clean, Output, crowding, denoised, evenly, logit_normal
from genus.samplers.ode import Ode

LEAST = 0.2  # else no pair would end at x


@final
class Consistency(Objective):
    """Mean squared error per cell, over t^2, which stops shrinking below `floor`.

    output, scale: what the network says (`objectives.denoising`): as in the phase that it starts from. first, gap: of
    the pair, as a part of t, when the run begins and when it ends; below t = `LEAST`, a part of that. mean, spread: of
    the logit of t; wide, because samples are drawn from its very end; large x has more noise by itself (`crowding`). No
    held-out loss tells progress, since the network is compared with itself.
    """

    kind: Literal["objectives.consistency"] = "objectives.consistency"
    family: ClassVar[str] = "flow"
    judged: ClassVar[str | None] = None
    output: Output = "residual"
    scale: float = Field(0.5, gt=0)
    first: float = Field(0.3, gt=0, le=1)
    gap: float = Field(0.05, gt=0, le=1)
    mean: float = 0.0
    spread: float = Field(2.0, gt=0)
    floor: float = Field(0.05, gt=0, lt=1)

    def at(self, progress: float) -> Self:
        """The gap shrinks by the same factor in equal parts of the run."""
        return self.but(gap=self.first ** (1 - progress) * self.gap**progress)

    def draws(self, nets: Nets, batch: Batch, turn: str, noise: Noise) -> Draws:
        """t and r < t, [B]; e [B, C, *dims]."""
        t = logit_normal(evenly(noise.child("times")), self.mean + crowding(batch.x), self.spread).float()
        r = (t - self.gap * t.clamp(min=LEAST)).clamp(min=0)
        return {"t": t, "r": r, "e": noise.normal(0, batch.x.shape[1:])}

    def loss(self, nets: Nets, batch: Batch, draws: Draws, turn: str) -> tuple[Tensor, Metrics]:
        """Mean over the cells that count, each sample times its weight; logs the same, and the bare error."""
        predict, t, e = self.predictor(nets), draws["t"], draws["e"]
        x, s = batch.x.float(), along(draws["r"], batch.x)
        with torch.no_grad():
            target = torch.where(s > 0, predict((1 - s) * x + s * e, draws["r"], batch.cond), x)
        return denoised(predict, batch, t, e, t.clamp(min=self.floor) ** -2, target)

    def predictor(self, nets: Nets) -> Clean:
        """(x_t, t, cond) -> the x that the path from there leads to."""
        return Clean(nets, self.output, self.scale)

    def sampler(self) -> Ode:
        """All noise anew after each look."""
        return Ode(steps=2, method="anew")
