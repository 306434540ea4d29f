"""log p(x) of a denoiser: along its ordinary differential equation, density changes by the divergence of the velocity.

    log p(x_0) = log N(x_1) + integral over t of div v(x_t, t),    v = (x_t - p(x_t, t)) / t

Chen et al. 2018 (arXiv 1806.07366); the divergence by random probes, Hutchinson's estimate, as in Grathwohl et al. 2018
(arXiv 1810.01367); for diffusion, Song et al. 2020 (arXiv 2011.13456). Heun's steps on times that are dense near the
data. What has a grain is spread over it evenly first, which gives a bound (Theis et al. 2015, arXiv 1511.01844).
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from genus.core import Batch, LogProb, Noise, Predictor

PROBES = 4  # enough that the error they leave can be told
FIRST = 1e-3  # the path starts a little away from the data, where the velocity would have no bound


def times(steps: int, first: float = FIRST) -> list[float]:
    """From `first` to 1, dense near the data."""
    return [first ** (1 - (i / steps) ** 0.5) if i < steps else 1.0 for i in range(steps + 1)]


def divergence(velocity: Tensor, x: Tensor, probes: Tensor) -> Tensor:
    """[K, B]: e' (dv/dx) e for each probe e of [K, B, C, *dims]."""
    found = []
    for i, e in enumerate(probes):
        (g,) = torch.autograd.grad(velocity, x, e, retain_graph=i + 1 < len(probes))
        found.append((g * e).flatten(1).sum(1))
    return torch.stack(found)


def invert(predict: Predictor, batch: Batch, steps: int, first: float = FIRST) -> Tensor:
    """The noise that the path leads x to, [B, C, *dims]: from it the path leads back to x, as well as it can."""
    x = (1 - first) * batch.x.float()
    with torch.no_grad():
        for t, r in pairwise(times(steps, first)):
            v = (x - predict(x, torch.full((len(x),), t, device=x.device), batch.cond)) / t
            ahead = x + (r - t) * v
            w = (ahead - predict(ahead, torch.full((len(x),), r, device=x.device), batch.cond)) / r
            x = x + 0.5 * (r - t) * (v + w)
    return x


def log_prob(
    predict: Predictor,
    batch: Batch,
    noise: Noise,
    grain: float | None,
    steps: int,
    probes: int,
    first: float = FIRST,
) -> LogProb:
    """nats [B] and the standard error that the probes leave. probes: 0 takes every direction: no such error, slow.

    first: the time at which the path starts. The density is that of what the model draws, with noise of so small a
    level, first / (1 - first), added: a model whose samples lack the last detail gives real items no other.
    """
    with torch.inference_mode(False), torch.enable_grad():
        x = batch.x.detach().float().clone()
        cond = batch.cond.map(lambda road: road.detach().clone())
        shape = x.shape[1:]
        volume = 0.0
        if grain is not None:
            x = x + grain * (noise.uniform(0, shape).to(x) - 0.5)
            volume = math.prod(shape) * math.log(grain)
        x = (1 - first) * x
        volume += math.prod(shape) * math.log1p(-first)
        if probes:
            e = torch.stack([noise.uniform(1 + k, shape).to(x).sub(0.5).sign() for k in range(probes)])
        else:
            cells = math.prod(shape)
            e = torch.eye(cells).to(x).view(cells, 1, *shape).expand(cells, len(x), *shape)

        def looked(x: Tensor, t: float) -> tuple[Tensor, Tensor]:
            x = x.detach().requires_grad_()
            velocity = (x - predict(x, torch.full((len(x),), t, device=x.device), cond)) / t
            return velocity.detach(), divergence(velocity, x, e).double()

        total = torch.zeros(len(e), len(x), dtype=torch.float64)
        for t, r in pairwise(times(steps, first)):
            v, grown = looked(x, t)
            w, later = looked(x + (r - t) * v, r)
            x = (x + 0.5 * (r - t) * (v + w)).detach()
            total += 0.5 * (r - t) * (grown + later).cpu()
        last = -0.5 * (x.double().square() + math.log(2 * math.pi)).flatten(1).sum(1).cpu()
        nats = last + (total.mean(0) if probes else total.sum(0)) + volume
        error = total.std(0) / math.sqrt(probes) if probes > 1 else None
    return LogProb(nats, exact=False, error=error, bound=grain is not None)
