"""Consistency: from any point of a path straight to its end, so that one look at the network draws a sample.

Song et al. 2023 (arXiv 2303.01469), Song and Dhariwal 2023 (arXiv 2310.14189). The same x and e at two times, the
later r = (1 - gap) t: what the network says at t shall be what it says at r, where it is told no gradient; at t = 0 it
says x itself, whatever its weights, so the data enters there. No teacher: a trained denoiser is the start, and the gap
shrinks over the run, from 1, where the pair is (t, 0) and this is denoising (Geng et al. 2024, arXiv 2406.14548).
Knows no network, no solver and no medium.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self, final

import torch
from pydantic import Field
from torch import Tensor

from genus.core import Batch, Draws, Metrics, Nets, Noise, Objective
from genus.objectives.denoising import Clean, along, evenly, logit_normal
from genus.samplers.ode import Ode


@final
class Consistency(Objective):
    """The distance of both answers, root mean square of a sample's cells, over the time t between them.

    output, scale: what the network says (`objectives.denoising`): as in the phase that it starts from. An output of x
    is none: it would not be x at t = 0. first, gap: of the pair, as a part of t, when the run begins and when it ends.
    mean, spread: of the logit of t; wider than a denoiser's, for the way begins at pure noise. No held-out loss tells
    progress, as the network is compared with itself.
    """

    kind: Literal["objectives.consistency"] = "objectives.consistency"
    family: ClassVar[str] = "diffusion"
    judged: ClassVar[str | None] = None
    output: Literal["velocity", "residual", "noise", "v"] = "residual"
    scale: float = Field(0.5, gt=0)
    first: float = Field(1.0, gt=0, le=1)
    gap: float = Field(0.1, gt=0, le=1)
    mean: float = 0.0
    spread: float = Field(2.0, gt=0)
    floor: float = Field(0.05, gt=0, lt=1)
    huber: float = Field(0.03, ge=0)

    def at(self, progress: float) -> Self:
        """The gap shrinks by the same factor in equal parts of the run."""
        return self.but(gap=self.first ** (1 - progress) * self.gap**progress)

    def draws(self, nets: Nets, batch: Batch, turn: str, noise: Noise) -> Draws:
        """t and r < t, [B]; e [B, C, *dims]."""
        t = logit_normal(evenly(noise.child("times")), self.mean, self.spread).float()
        return {"t": t, "r": (1 - self.gap) * t, "e": noise.normal(0, batch.x.shape[1:])}

    def loss(self, nets: Nets, batch: Batch, draws: Draws, turn: str) -> tuple[Tensor, Metrics]:
        """Mean over the cells that count, each sample times its weight; logs the same."""
        predict, x, t, r = self.predictor(nets), batch.x.float(), draws["t"], draws["r"]
        with torch.no_grad():
            s = along(r, x)
            target = predict((1 - s) * x + s * draws["e"], r, batch.cond)
            target = torch.where(s > 0, target, x)
        s = along(t, x)
        off = (predict((1 - s) * x + s * draws["e"], t, batch.cond) - target).square()
        if self.huber > 0:
            apart = (off.flatten(1).mean(1) + self.huber**2).sqrt() - self.huber
            each = apart / t.clamp(min=self.floor)
        else:
            each = off.flatten(1).mean(1) / t.clamp(min=self.floor) ** 2
        loss = each.mean()
        return loss, {"loss": loss.detach()}

    def predictor(self, nets: Nets) -> Clean:
        """(x_t, t, cond) -> the x that the path from there leads to."""
        return Clean(nets, self.output, self.scale)

    def sampler(self) -> Ode:
        """All noise anew after each look."""
        return Ode(steps=2, method="anew")
