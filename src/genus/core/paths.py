"""The path x_t = (1 - t) x + t e from noise to data, which all denoisers and their samplers share."""

from __future__ import annotations

import math

from torch import Tensor


def along(t: Tensor, x: Tensor) -> Tensor:
    """t [B] shaped to multiply x [B, C, *dims]."""
    return t.view(-1, *(1,) * (x.dim() - 1))


def move(x: Tensor, p: Tensor, t: float, r: float, slope: Tensor | None = None) -> Tensor:
    """From time t to r < t, with the clean x linear in time: p at t, `slope` its derivative; None: constant."""
    y = (r / t) * x + (1 - r / t) * p
    if slope is None:
        return y
    return y - (t - r + (r * math.log(r / t) if r > 0 else 0.0)) * slope
