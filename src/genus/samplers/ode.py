"""The flow's ordinary differential equation, solved from noise (t = 1) to data (t = 0). For diffusion and flow alike.

    dx/dt = (x - p(x, t)) / t        p: the predictor's clean x, in coordinates x_t = (1 - t) x + t e

The linear part is solved exactly: over a step from t to r, with p(s) = p + c (s - t),

    x_r = (r/t) x + (1 - r/t) p - c (t - r + r log(r/t))

which is Euler's step for c = 0 and has no singular end, at t = 1 or at r = 0. `multistep` takes c from the step before
(as DPM-Solver++ 2M does in log-SNR: Lu et al. 2022, arXiv 2211.01095), `heun` from a second look at the end of the
step (Karras et al. 2022, arXiv 2206.00364). Knows no network. Draws nothing but the noise at t = 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Literal, final

import torch
from pydantic import Field
from torch import Tensor

from genus.core import Cond, Known, Noise, Predictor, Sampler, Space
from genus.errors import UsageError


def move(x: Tensor, p: Tensor, t: float, r: float, slope: Tensor | None = None) -> Tensor:
    """From time t to r < t, with the clean x linear in time: `slope` is its derivative; None: constant."""
    y = (r / t) * x + (1 - r / t) * p
    if slope is None:
        return y
    return y - (t - r + (r * math.log(r / t) if r > 0 else 0.0)) * slope


@final
class Ode(Sampler):
    """steps: looks at the network (`heun`: twice as many, less one). shift: above 1, more of them at the noisy end.

    Known cells follow their own straight path, from the noise of the sample to their value, so the rest is drawn beside
    cells as noisy as itself, and they come out exactly as given.
    """

    kind: Literal["samplers.ode"] = "samplers.ode"
    steps: int = Field(30, ge=1, le=10_000)
    method: Literal["euler", "heun", "multistep"] = "multistep"
    shift: float = Field(1.0, gt=0)

    def grid(self) -> list[float]:
        """Times from 1 to 0: even ones, shifted as in Esser et al. 2024 (arXiv 2403.03206, equation 23)."""
        even = [1 - i / self.steps for i in range(self.steps + 1)]
        return [self.shift * u / (1 + (self.shift - 1) * u) for u in even]

    def stream(
        self, predict: Predictor, space: Space, cond: Cond, noise: Noise, known: Known | None = None
    ) -> Iterator[Tensor]:
        """The clean x as it is expected at each time, then the sample. [B, C, *dims] float32."""
        if space.vocab is not None:
            raise UsageError(f"{self.kind} draws continuous cells, but this space has a vocabulary")
        x = noise.normal(0, space.shape)
        grid = self.grid()
        before: tuple[float, Tensor] | None = None

        def clean(x: Tensor, t: float) -> Tensor:
            p = predict(x, torch.full((len(noise),), t), cond).float()
            return p if known is None else torch.where(known.mask, known.x.float(), p)

        for t, r in pairwise(grid):
            p = clean(x, t)
            slope = None
            if self.method == "heun" and r > 0:
                slope = (p - clean(move(x, p, t, r), r)) / (t - r)
            elif self.method == "multistep" and before is not None:
                slope = (p - before[1]) / (t - before[0])
            x, before = move(x, p, t, r, slope), (t, p)
            if r > 0:
                yield p
        yield x
