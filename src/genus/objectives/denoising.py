"""What diffusion and flow matching share: a network that sees x_t = (1 - t) x + t e, and how its output is read.

Five outputs, one model: each says the clean x. `residual` is what the best linear guess from x_t leaves of x, at unit
scale, for data of standard deviation `scale`: the preconditioning of Karras et al. 2022 (arXiv 2206.00364) in these
coordinates. `noise` and `v` are those of the variance-preserving process, alpha x + sigma e with alpha^2 + sigma^2 = 1
(Ho et al. 2020, arXiv 2006.11239; Salimans and Ho 2022, arXiv 2202.00512), whose network sees x_t at that scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from genus.core import Batch, Cond, Metrics, Nets, Network, Noise, State, along
from genus.errors import UsageError

Output = Literal["x", "velocity", "residual", "noise", "v"]
GOLDEN = 0.6180339887498949  # the step of the additive recurrence whose points lie most evenly
LATEST = 1 - 1e-3  # noise at t = 1 says nothing of x: it is read as if a little earlier


def evenly(noise: Noise) -> Tensor:
    """[B] float64 in (0, 1), evenly spread over neighbouring samples, each a function of (key, sample).

    A batch is a run of samples, so its times are stratified however it is cut into micro-batches.
    """
    start = noise.of([0]).uniform(0)  # one shift for the whole key
    index = torch.tensor(noise.samples, dtype=torch.float64)
    return ((start + index * GOLDEN) % 1).clamp(1e-6, 1 - 1e-6)


def logit_normal(u: Tensor, mean: float, spread: float) -> Tensor:
    """[B] float64 in (0, 1): its logit, which is log sigma, is normal. Esser et al. 2024, arXiv 2403.03206."""
    return torch.sigmoid(mean + spread * torch.special.ndtri(u))


def crowding(x: Tensor) -> float:
    """What is to be added to the logit of the times for x [B, C, *dims] of more than 24 x 24 cells; 0 for fewer.

    Neighbours of a finer grid say the same, so the same noise hides less: to hide as much, sigma grows as the square
    root of the number of cells (Hoogeboom et al. 2023, arXiv 2301.11093).
    """
    return max(0.0, 0.5 * math.log(max(1, math.prod(x.shape[2:])) / 24**2))


@final
@dataclass(frozen=True)
class Clean:
    """The predictor: (x_t [B, C, *dims], t [B], cond) -> clean x, float32."""

    nets: Nets
    output: Output
    scale: float

    def __call__(self, x: Tensor, t: Tensor | None = None, cond: Cond = Cond(), state: State | None = None) -> Tensor:
        """See the module."""
        assert t is not None, "a denoiser is read at a time"
        net = self.nets["net"]
        assert isinstance(net, Network)
        if net.space.vocab is not None:
            raise UsageError("denoising needs continuous cells, but this space has a vocabulary; choose a codec of x")
        if self.output == "x":
            return net(x, t, cond).float()  # type: ignore[no-any-return]
        if self.output == "velocity":
            return x - along(t, x) * net(x, t, cond).float()  # type: ignore[no-any-return]
        if self.output == "residual":
            s = along(t, x)
            size = ((1 - s) ** 2 * self.scale**2 + s**2).sqrt()  # of x_t
            rest: Tensor = net(x / size, t, cond).float()
            return (1 - s) * self.scale**2 / size**2 * x + s * self.scale / size * rest
        t = t.clamp(max=LATEST)
        s = along(t, x)
        size = ((1 - s) ** 2 + s**2).sqrt()
        alpha, sigma, seen = (1 - s) / size, s / size, x / size
        said: Tensor = net(seen, t, cond).float()
        return (seen - sigma * said) / alpha if self.output == "noise" else alpha * seen - sigma * said

    def start(self, batch: int, cells: int) -> State | None:
        """None: every cell is read at every time."""
        return None

    def own_error(self, t: Tensor) -> Tensor:
        """What turns a squared error of x into that of the network's own output, [B]."""
        ratio = ((1 - t) / t) ** 2
        if self.output == "x":
            return torch.ones_like(t)
        if self.output == "velocity":
            return t**-2
        if self.output == "residual":
            return ((1 - t) ** 2 * self.scale**2 + t**2) / (t * self.scale) ** 2
        return ratio if self.output == "noise" else ratio + 1


def denoised(
    predict: Clean, batch: Batch, t: Tensor, e: Tensor, weight: Tensor, target: Tensor | None = None
) -> tuple[Tensor, Metrics]:
    """Mean squared error of x over the cells that count, each sample times its weight [B]; logs it and the bare one.

    target: what should be said in place of x.
    """
    x, s = batch.x.float(), along(t, batch.x)
    error = (predict((1 - s) * x + s * e, t, batch.cond) - (x if target is None else target)).square()
    weight = weight if batch.weight is None else weight * batch.weight
    if batch.mask is None:
        loss, plain = (error.flatten(1).mean(1) * weight).mean(), error.mean()
    else:
        error, cells = error * batch.mask, batch.mask.sum().clamp(min=1)
        loss, plain = (error.flatten(1).sum(1) * weight).sum() / cells, error.sum() / cells
    return loss, {"loss": loss.detach(), "error": plain.detach()}
