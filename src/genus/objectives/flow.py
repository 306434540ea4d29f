"""Rectified flow: straight paths x_t = (1 - t) x + t e from data (t = 0) to noise (t = 1), learned by regression.

Liu et al. 2022 (arXiv 2209.03003), Lipman et al. 2022 (arXiv 2210.02747). The velocity is e - x = (x_t - x) / t, so
networks that say x, the velocity or a mixture of both are one model with other outputs; the error of x over t^2 is the
velocity's (Li and He 2025, arXiv 2511.13720). Times are logit-normal (Esser et al. 2024, arXiv 2403.03206). Knows no
network, no solver and no medium.
"""

from __future__ import annotations

from typing import ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from genus.core import Batch, Draws, LogProb, Metrics, Nets, Network, Noise, Objective
from genus.objectives.denoising import Clean, Output, crowding, denoised, evenly, logit_normal
from genus.objectives.probability_flow import invert, log_prob
from genus.samplers.ode import Ode


@final
class Flow(Objective):
    """Mean squared error per cell.

    output, scale: what the network says (`objectives.denoising`). weight: of which error the loss is the square; the
    velocity's stops growing below t = `floor`. mean, spread: of the logit of the times; a higher mean gives more noise,
    and large x has more by itself (`crowding`).
    looks, probes: steps and random directions of the likelihood; 0 probes take every direction.
    """

    kind: Literal["objectives.flow"] = "objectives.flow"
    family: ClassVar[str] = "flow"
    output: Output = "residual"
    scale: float = Field(0.5, gt=0)
    weight: Literal["x", "velocity"] = "velocity"
    floor: float = Field(0.05, gt=0, lt=1)
    mean: float = 0.0
    spread: float = Field(1.0, gt=0)
    looks: int = Field(32, ge=1)
    probes: int = Field(1, ge=0)

    def draws(self, nets: Nets, batch: Batch, turn: str, noise: Noise) -> Draws:
        """t [B] and e [B, C, *dims]: the batch's own, where it is of pairs."""
        t = logit_normal(evenly(noise.child("times")), self.mean + crowding(batch.x), self.spread).float()
        e = batch.extra["e"] if "e" in batch.extra else noise.normal(0, batch.x.shape[1:])
        return {"t": t, "e": e}

    def loss(self, nets: Nets, batch: Batch, draws: Draws, turn: str) -> tuple[Tensor, Metrics]:
        """Mean over the cells that count, each sample times its weight; logs the same, and the error of x alone."""
        t = draws["t"]
        weight = t.clamp(min=self.floor) ** -2 if self.weight == "velocity" else torch.ones_like(t)
        return denoised(self.predictor(nets), batch, t, draws["e"], weight)

    def predictor(self, nets: Nets) -> Clean:
        """(x_t, t, cond) -> clean x."""
        return Clean(nets, self.output, self.scale)

    def sampler(self) -> Ode:
        """Along the straight paths' mean velocity."""
        return Ode()

    def log_prob(self, nets: Nets, batch: Batch, noise: Noise) -> LogProb:
        """Along the path, by `looks` steps and `probes` random directions; see `objectives.probability_flow`."""
        net = nets["net"]
        assert isinstance(net, Network)
        return log_prob(self.predictor(nets), batch, noise, net.space.grain, self.looks, self.probes)

    def invert(self, nets: Nets, batch: Batch) -> Tensor:
        """The noise at the path's end."""
        return invert(self.predictor(nets), batch, self.looks)
