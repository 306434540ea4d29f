"""The path from noise to data, for diffusion and flow alike: a differential equation, with or without new noise.

    dx/dt = (x - p(x, t)) / t        p: the predictor's clean x, in coordinates x_t = (1 - t) x + t e

The linear part is solved exactly: over a step from t to r, with p(s) = p + c (s - t),

    x_r = (r/t) x + (1 - r/t) p - c (t - r + r log(r/t))

which is Euler's step for c = 0 and has no singular end, at t = 1 or at r = 0. A change of scale leaves it as it is, so
it is DDIM's step too (Song et al. 2021, arXiv 2010.02502). Of second order: `multistep` takes c from the step before;
`dpm` does so in log SNR (DPM-Solver++ 2M: Lu et al. 2022, arXiv 2211.01095); `heun` looks a second time at the end of
the step (Karras et al. 2022, arXiv 2206.00364). Where p is no mean but an end of the path itself (a consistency
model's), each look gives a sample, and `anew` gives it other noise before the next: x_r = (1 - r) p + r e (Song et al.
2023, arXiv 2303.01469). Knows no network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import ClassVar, Literal, Self, final

import torch
from pydantic import Field, model_validator
from torch import Tensor

from genus.core import Cond, Known, Noise, Predictor, Sampler, Space, move
from genus.errors import UsageError
from genus.samplers.schedules import Schedule, steps


def level(t: float) -> float:
    """sigma of x + sigma e; infinite at t = 1."""
    return t / (1 - t) if t < 1 else math.inf


def heun(x: Tensor, p: Tensor, t: float, r: float, ahead: Callable[[Tensor, float], Tensor]) -> Tensor:
    """The mean of the slopes at both ends, along sigma. 0 < r < t < 1."""
    end = move(x, p, t, r)
    first, second = (x / (1 - t) - p) / level(t), (end / (1 - r) - ahead(end, r)) / level(r)
    return (1 - r) * (x / (1 - t) + (level(r) - level(t)) * (first + second) / 2)


def in_log_snr(p: Tensor, t: float, r: float, before: tuple[float, Tensor]) -> Tensor:
    """p carried to the middle of the step, linear in the log of the signal-to-noise ratio. 0 < r < t < its time < 1."""
    at, earlier = before
    gone, step = math.log(level(at) / level(t)), math.log(level(t) / level(r))
    return p + (p - earlier) * (step / (2 * gone))


def stirred(x: Tensor, t: float, gamma: float, e: Tensor) -> tuple[Tensor, float]:
    """New noise is added until sigma is 1 + gamma times what it was. t < 1."""
    sigma = level(t)
    more = sigma * (1 + gamma)
    later = more / (1 + more)
    return (1 - later) * (x / (1 - t) + math.sqrt(more**2 - sigma**2) * e), later


def ancestral(x: Tensor, p: Tensor, t: float, r: float, eta: float, e: Tensor) -> Tensor:
    """DDIM's step with a share of its noise drawn anew; eta = 1: all of it, which is DDPM's step. r < t."""
    size_t, size_r = math.hypot(1 - t, t), math.hypot(1 - r, r)  # of unit-variance coordinates
    kept = ((1 - t) / size_t) / ((1 - r) / size_r)
    fresh = eta * (r / size_r) / (t / size_t) * math.sqrt(max(0.0, 1 - kept**2)) * size_r
    return (1 - r) * p + math.sqrt(max(0.0, r**2 - fresh**2)) * (x - (1 - t) * p) / t + fresh * e


@final
class Ode(Sampler):
    """steps: looks at the network (`heun`: twice as many, less one). spacing: of their times (`samplers.schedules`).

    shift: above 1, more of them at the noisy end. churn: noise added anew on the way, as in Karras et al. eta: with
    `euler`, the share of the noise that is drawn anew at each step: 0 is DDIM, 1 is DDPM's ancestral sampling.
    `anew` draws all of it anew, for predictors whose p is a sample (`objectives.consistency`).
    strength: below 1, the path starts from a draft with so much noise (Meng et al. 2021, arXiv 2108.01073).

    Known cells follow their own straight path, from the noise of the sample to their value, so the rest is drawn beside
    cells as noisy as itself, and they come out exactly as given.
    """

    kind: Literal["samplers.ode"] = "samplers.ode"
    wide: ClassVar[bool] = True
    steps: int = Field(30, ge=1, le=10_000)
    method: Literal["euler", "heun", "multistep", "dpm", "anew"] = "multistep"
    spacing: Schedule = "even"
    shift: float = Field(1.0, gt=0)
    churn: float = Field(0.0, ge=0)
    eta: float = Field(0.0, ge=0, le=1)
    strength: float = Field(1.0, gt=0, le=1)

    @model_validator(mode="after")
    def _fresh(self) -> Self:
        if self.eta > 0 and self.method != "euler":
            raise ValueError(f"eta = {self.eta:g} draws noise anew in Euler's step; choose method euler, or eta 0")
        if self.churn > 0 and self.method in ("multistep", "dpm"):
            raise ValueError(f"churn = {self.churn:g} unsettles {self.method}, which looks back; choose euler or heun")
        return self

    def latent(self, predict: Predictor, space: Space) -> tuple[int, ...]:
        """Of x: the noise that the path starts from."""
        return space.shape

    def stream(
        self, predict: Predictor, space: Space, cond: Cond, noise: Noise, known: Known | None = None
    ) -> Iterator[Tensor]:
        """The clean x as it is expected at each time, then the sample. [B, C, *dims] float32."""
        if space.vocab is not None:
            raise UsageError(f"{self.kind} draws continuous cells, but this space has a vocabulary")
        grid = steps(self.spacing, self.steps, self.shift)
        x = grid[0] * noise.normal(0, space.shape)
        if self.strength < 1:
            if known is None:
                raise UsageError(f"strength = {self.strength:g} starts from a draft; give one, or leave strength at 1")
            grid = [self.strength, *(t for t in grid if t < self.strength)]
            x = (1 - self.strength) * known.x.float() + self.strength * noise.normal(0, space.shape)
        gamma = min(self.churn / self.steps, math.sqrt(2) - 1)
        before: tuple[float, Tensor] | None = None

        def clean(x: Tensor, t: float) -> Tensor:
            p = predict(x, torch.full((len(noise),), t), cond).float()
            return p if known is None else torch.where(known.mask, known.x.float(), p)

        for i, (t, r) in enumerate(pairwise(grid)):
            if gamma > 0 and t < 1:
                x, t = stirred(x, t, gamma, noise.normal(i + 1, space.shape))
            p = clean(x, t)
            now = (t, p)
            if self.eta > 0 and r > 0:
                x = ancestral(x, p, t, r, self.eta, noise.normal(i + 1, space.shape))
            elif self.method == "anew":
                x = (1 - r) * p + r * noise.normal(i + 1, space.shape)
            elif self.method == "heun" and r > 0 and t < 1:
                x = heun(x, p, t, r, clean)
            elif self.method == "multistep" and before is not None:
                x = move(x, p, t, r, (p - before[1]) / (t - before[0]))
            elif self.method == "dpm" and before is not None and r > 0 and before[0] < 1:
                x = move(x, in_log_snr(p, t, r, before), t, r)
            else:
                x = move(x, p, t, r)
            before = now
            if r > 0:
                yield p
        yield x
