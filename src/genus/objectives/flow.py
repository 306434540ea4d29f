"""Rectified flow: straight paths x_t = (1 - t) x + t e from data (t = 0) to noise (t = 1), learned by regression.

Liu et al. 2022 (arXiv 2209.03003), Lipman et al. 2022 (arXiv 2210.02747). The velocity is e - x = (x_t - x) / t, so
networks that say x, the velocity or a mixture of both are one model with other outputs; the error of x over t^2 is the
velocity's (Li and He 2025, arXiv 2511.13720). Times are logit-normal (Esser et al. 2024, arXiv 2403.03206). Noise may
be dealt out within a batch so that all paths together are the shortest (Tong et al. 2023, arXiv 2302.00482; Pooladian
et al. 2023, arXiv 2304.14772): they cross less and curve less. Knows no network, no solver and no medium.
"""

from __future__ import annotations

from typing import ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from genus.core import Batch, Draws, LogProb, Metrics, Nets, Network, Noise, Objective
from genus.errors import UsageError
from genus.objectives.denoising import Clean, Output, crowding, denoised, evenly, logit_normal
from genus.objectives.probability_flow import FIRST, PROBES, invert, log_prob
from genus.samplers.ode import Ode


@final
class Flow(Objective):
    """Mean squared error per cell.

    output, scale: what the network says (`objectives.denoising`). weight: of which error the loss is the square; the
    velocity's stops growing below t = `floor`. mean, spread: of the logit of the times; a higher mean gives more noise,
    and large x has more by itself (`crowding`).
    pairing: `transport` gives each x of a batch one of the batch's noises by optimal transport, among the samples of
    which the same is said: across them, a condition would say something of the noise, and samples are drawn from noise
    that knows nothing. first: the time at which the likelihood's path starts (`objectives.probability_flow`); where the
    network says x, one at which it still tells noise from detail. looks, probes: steps and random directions of the
    likelihood; 0 probes take every direction.
    """

    kind: Literal["objectives.flow"] = "objectives.flow"
    family: ClassVar[str] = "flow"
    output: Output = "residual"
    scale: float = Field(0.5, gt=0)
    weight: Literal["x", "velocity"] = "velocity"
    floor: float = Field(0.05, gt=0, lt=1)
    mean: float = 0.0
    spread: float = Field(1.0, gt=0)
    pairing: Literal["independent", "transport"] = "independent"
    first: float = Field(FIRST, gt=0, lt=1)
    looks: int = Field(32, ge=1)
    probes: int = Field(1, ge=0)

    @property
    def whole(self) -> bool:
        """Transport is a matter of all the samples of a batch."""
        return self.pairing == "transport"

    def draws(self, nets: Nets, batch: Batch, turn: str, noise: Noise) -> Draws:
        """t [B] and e [B, C, *dims]: the batch's own, where it is of pairs."""
        t = logit_normal(evenly(noise.child("times")), self.mean + crowding(batch.x), self.spread).float()
        paired = "e" in batch.extra
        e = batch.extra["e"] if paired else noise.normal(0, batch.x.shape[1:])
        if self.pairing == "transport":
            if paired:
                raise UsageError(f"{self.kind}: these samples have their own noise; set pairing to independent")
            e = e[nearest(batch.x, e, alike(batch))]
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
        return log_prob(self.predictor(nets), batch, noise, net.space.grain, self.looks, self.probes, self.first)

    @property
    def singly(self) -> dict[str, int]:
        """Several directions: one has no error that could be told."""
        return {"probes": PROBES} if self.probes == 1 else {}

    def invert(self, nets: Nets, batch: Batch) -> Tensor:
        """The noise at the path's end."""
        return invert(self.predictor(nets), batch, self.looks, self.first)


def alike(batch: Batch) -> Tensor:
    """[B] long: equal where the same is said of two samples."""
    said = list(zip(*(map(str, column) for column in batch.fields.values()), strict=True)) or [()] * len(batch)
    known = {row: i for i, row in enumerate(dict.fromkeys(said))}
    return torch.tensor([known[row] for row in said])


def nearest(x: Tensor, e: Tensor, group: Tensor) -> Tensor:
    """The permutation [B] of e within each group whose summed squared distance to x [B, ...] is the least."""
    from scipy.optimize import linear_sum_assignment

    found = torch.arange(len(x))
    for one in sorted(set(group.tolist())):
        rows = (group == one).nonzero()[:, 0]
        # Of |x - e|^2 only the product depends on the pairing.
        gain = x[rows].double().flatten(1).cpu() @ e[rows].double().flatten(1).cpu().T
        found[rows] = rows[torch.from_numpy(linear_sum_assignment(gain.numpy(), maximize=True)[1])]
    return found
