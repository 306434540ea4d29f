"""Diffusion: noise is added by a schedule and a network learns to take it out again.

Ho et al. 2020 (arXiv 2006.11239), Nichol and Dhariwal 2021 (arXiv 2102.09672), Salimans and Ho 2022 (arXiv 2202.00512),
Karras et al. 2022 (arXiv 2206.00364), Hang et al. 2023 (arXiv 2303.09556). Every one of these is a schedule of noise
levels, an output and a weight; seen at t = sigma / (alpha + sigma) the paths are those of `objectives.flow`, and one
sampler serves both. Knows no network, no solver and no medium.
"""

from __future__ import annotations

from typing import ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from genus.core import Batch, Draws, LogProb, Metrics, Nets, Network, Noise, Objective
from genus.objectives.denoising import LATEST, Clean, Output, crowding, denoised, evenly, logit_normal
from genus.objectives.probability_flow import PROBES, invert, log_prob
from genus.samplers.ode import Ode
from genus.samplers.schedules import SCHEDULES


@final
class Diffusion(Objective):
    """Mean squared error per cell.

    output, scale: what the network says (`objectives.denoising`). schedule: how training spreads the levels; `cosine`
    and `linear` draw them evenly along the schedule, `lognormal` draws log sigma from a normal of `mean` and `spread`
    (EDM), higher for large x (`crowding`). weight: `own` is the squared error of the output itself; `snr` that of x
    times the signal-to-noise ratio, at most `gamma` (min-SNR); `x` that of x. looks, probes: steps and random
    directions of the likelihood; 0 probes take every direction.
    """

    kind: Literal["objectives.diffusion"] = "objectives.diffusion"
    family: ClassVar[str] = "diffusion"
    output: Output = "v"
    scale: float = Field(0.5, gt=0)
    schedule: Literal["cosine", "linear", "lognormal"] = "cosine"
    mean: float = -1.2
    spread: float = Field(1.2, gt=0)
    weight: Literal["own", "snr", "x"] = "own"
    gamma: float = Field(5.0, gt=0)
    looks: int = Field(32, ge=1)
    probes: int = Field(1, ge=0)

    def draws(self, nets: Nets, batch: Batch, turn: str, noise: Noise) -> Draws:
        """t [B] and e [B, C, *dims]."""
        u = evenly(noise.child("times"))
        if self.schedule == "lognormal":
            t = logit_normal(u, self.mean + crowding(batch.x), self.spread)
        else:
            t = SCHEDULES[self.schedule](u)
        return {"t": t.clamp(1e-4, LATEST).float(), "e": noise.normal(0, batch.x.shape[1:])}

    def loss(self, nets: Nets, batch: Batch, draws: Draws, turn: str) -> tuple[Tensor, Metrics]:
        """Mean over the cells that count, each sample times its weight; logs the same, and the error of x alone."""
        predict, t = self.predictor(nets), draws["t"]
        if self.weight == "own":
            weight = predict.own_error(t)
        else:
            weight = (((1 - t) / t) ** 2).clamp(max=self.gamma) if self.weight == "snr" else torch.ones_like(t)
        return denoised(predict, batch, t, draws["e"], weight)

    def predictor(self, nets: Nets) -> Clean:
        """(x_t, t, cond) -> clean x."""
        return Clean(nets, self.output, self.scale)

    def sampler(self) -> Ode:
        """Down the schedule, in second order."""
        return Ode(method="dpm", spacing="karras" if self.schedule == "lognormal" else self.schedule)

    def log_prob(self, nets: Nets, batch: Batch, noise: Noise) -> LogProb:
        """Along the path, by `looks` steps and `probes` random directions; see `objectives.probability_flow`."""
        net = nets["net"]
        assert isinstance(net, Network)
        return log_prob(self.predictor(nets), batch, noise, net.space.grain, self.looks, self.probes)

    @property
    def singly(self) -> dict[str, int]:
        """Several directions: one has no error that could be told."""
        return {"probes": PROBES} if self.probes == 1 else {}

    def invert(self, nets: Nets, batch: Batch) -> Tensor:
        """The noise at the path's end."""
        return invert(self.predictor(nets), batch, self.looks)
