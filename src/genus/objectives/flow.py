"""Rectified flow: straight paths x_t = (1 - t) x + t e from data (t = 0) to noise (t = 1), learned by regression.

Liu et al. 2022 (arXiv 2209.03003), Lipman et al. 2022 (arXiv 2210.02747). The velocity is e - x = (x_t - x) / t, so
networks that say x, the velocity or a mixture of both are one model with other outputs; the error of x over t^2 is the
velocity's (Li and He 2025, arXiv 2511.13720). Times are logit-normal (Esser et al. 2024, arXiv 2403.03206). Knows no
network, no solver and no medium; no likelihood yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from genus.core import (
    Batch,
    Cond,
    Draws,
    LogProb,
    Metrics,
    Nets,
    Network,
    Noise,
    Objective,
    Predictor,
    State,
)
from genus.errors import NoLikelihood, UsageError
from genus.samplers.ode import Ode

GOLDEN = 0.6180339887498949  # the step of the additive recurrence whose points lie most evenly


def times(noise: Noise, mean: float, spread: float) -> Tensor:
    """[B] float32 in (0, 1): logit-normal, evenly spread over neighbouring samples, each a function of (key, sample).

    A batch is a run of samples, so its times are stratified however it is cut into micro-batches.
    """
    start = noise.of([0]).uniform(0)  # one shift for the whole key
    index = torch.tensor(noise.samples, dtype=torch.float64)
    u = ((start + index * GOLDEN) % 1).clamp(1e-6, 1 - 1e-6)
    return torch.sigmoid(mean + spread * torch.special.ndtri(u)).float()


def along(t: Tensor, x: Tensor) -> Tensor:
    """t [B] shaped to multiply x [B, C, *dims]."""
    return t.view(-1, *(1,) * (x.dim() - 1))


@final
class Flow(Objective):
    """Mean squared error per cell.

    output: what the network says. `residual` is what the best linear guess from x_t leaves of x, at unit scale, for
    data of standard deviation `scale` (Karras et al. 2022, arXiv 2206.00364, in these coordinates): near the data it
    need not learn to repeat x_t. weight: of which error the loss is the square; the velocity's stops growing below
    t = `floor`. mean, spread: of the logit of the times; a higher mean gives more noise.
    """

    kind: Literal["objectives.flow"] = "objectives.flow"
    family: ClassVar[str] = "flow"
    output: Literal["x", "velocity", "residual"] = "residual"
    scale: float = Field(0.5, gt=0)
    weight: Literal["x", "velocity"] = "velocity"
    floor: float = Field(0.05, gt=0, lt=1)
    mean: float = 0.0
    spread: float = Field(1.0, gt=0)

    def draws(self, batch: Batch, turn: str, noise: Noise) -> Draws:
        """t [B] and e [B, C, *dims]."""
        return {"t": times(noise.child("times"), self.mean, self.spread), "e": noise.normal(0, batch.x.shape[1:])}

    def loss(self, nets: Nets, batch: Batch, draws: Draws, turn: str) -> tuple[Tensor, Metrics]:
        """Mean over the cells that count, each sample times its weight; logs the same, and the error of x alone."""
        x, t = batch.x.float(), draws["t"]
        s = along(t, x)
        error = (self._clean(nets, (1 - s) * x + s * draws["e"], t, batch.cond) - x).square()
        scale = t.clamp(min=self.floor) ** -2 if self.weight == "velocity" else torch.ones_like(t)
        scale = scale if batch.weight is None else scale * batch.weight
        if batch.mask is None:
            loss, plain = (error.flatten(1).mean(1) * scale).mean(), error.mean()
        else:
            error, cells = error * batch.mask, batch.mask.sum().clamp(min=1)
            loss, plain = (error.flatten(1).sum(1) * scale).sum() / cells, error.sum() / cells
        return loss, {"loss": loss.detach(), "error": plain.detach()}

    def predictor(self, nets: Nets) -> Predictor:
        """(x_t, t, cond) -> clean x."""
        return Clean(self, nets)

    def sampler(self) -> Ode:
        """Along the straight paths' mean velocity."""
        return Ode()

    def log_prob(self, nets: Nets, batch: Batch, noise: Noise) -> LogProb:
        """Not yet: see the message."""
        raise NoLikelihood(
            f"{self.kind} gives no likelihood yet: it takes the divergence of the velocity along the whole path"
        )

    def _clean(self, nets: Nets, x: Tensor, t: Tensor, cond: Cond) -> Tensor:
        net = nets["net"]
        assert isinstance(net, Network)
        if net.space.vocab is not None:
            raise UsageError(
                f"{self.kind} needs continuous cells, but this space has a vocabulary; choose a codec of x"
            )
        s = along(t, x)
        if self.output != "residual":
            said: Tensor = net(x, t, cond).float()
            return said if self.output == "x" else x - s * said
        size = ((1 - s) ** 2 * self.scale**2 + s**2).sqrt()  # of x_t
        rest: Tensor = net(x / size, t, cond).float()
        return (1 - s) * self.scale**2 / size**2 * x + s * self.scale / size * rest


@final
@dataclass(frozen=True)
class Clean:
    """The predictor of a flow."""

    flow: Flow
    nets: Nets

    def __call__(self, x: Tensor, t: Tensor | None = None, cond: Cond = Cond(), state: State | None = None) -> Tensor:
        """x [B, C, *dims] at times t [B] -> clean x, float32."""
        assert t is not None, "a flow is read at a time"
        return self.flow._clean(self.nets, x, t, cond)

    def start(self, batch: int, cells: int) -> State | None:
        """None: every cell is read at every time."""
        return None
