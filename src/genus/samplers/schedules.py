"""Noise schedules, as the time t of a level: data at t = 0, noise at t = 1, x_t = (1 - t) x + t e up to a factor.

A schedule maps u in [0, 1] to t in [0, 1], u = 0 the cleanest: training draws u evenly, sampling walks down u. What
the literature writes as alpha x + sigma e (variance preserving) or x + sigma e (EDM) is the same level at
t = sigma / (alpha + sigma) or sigma / (1 + sigma), seen at another scale.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

Schedule = Literal["even", "cosine", "linear", "karras"]


def even(u: Tensor) -> Tensor:
    """t = u: flow matching."""
    return u


def cosine(u: Tensor) -> Tensor:
    """alpha = cos(pi u / 2). Nichol and Dhariwal 2021, arXiv 2102.09672, without their offset."""
    angle = u * (math.pi / 2)
    return torch.sin(angle) / (torch.sin(angle) + torch.cos(angle))


@lru_cache(maxsize=1)
def _linear_table() -> Tensor:
    """log(sigma / alpha) of the thousand steps, float64."""
    kept = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
    return 0.5 * torch.log((1 - kept) / kept)


def linear(u: Tensor) -> Tensor:
    """A thousand steps with beta from 1e-4 to 0.02; u = k / 999 is step k, between them log sigma / alpha is linear.

    Ho et al. 2020, arXiv 2006.11239.
    """
    table = _linear_table()
    at = u.double() * (len(table) - 1)
    low = at.floor().clamp(max=len(table) - 2)
    left, right = table[low.long()], table[low.long() + 1]
    return torch.sigmoid(left + (right - left) * (at - low)).to(u)


def karras(u: Tensor, least: float = 0.002, most: float = 80.0, rho: float = 7.0) -> Tensor:
    """sigma^(1 / rho) evenly spaced. Karras et al. 2022, arXiv 2206.00364, equation 5."""
    low, high = least ** (1 / rho), most ** (1 / rho)
    sigma: Tensor = (low + u * (high - low)) ** rho
    return sigma / (1 + sigma)


SCHEDULES = {"even": even, "cosine": cosine, "linear": linear, "karras": karras}


def steps(schedule: Schedule, number: int, shift: float = 1.0) -> list[float]:
    """number + 1 times from the noisiest of the schedule down to 0.

    shift: above 1, more of them at the noisy end (Esser et al. 2024, arXiv 2403.03206, equation 23).
    """
    last = number - 1 if schedule in ("karras", "linear") else number  # these end above 0: one more step clears it
    u = torch.linspace(1, 0, last + 1, dtype=torch.float64)
    t = SCHEDULES[schedule](u)
    found: list[float] = (shift * t / (1 + (shift - 1) * t)).tolist()
    return [*found[:number], 0.0]
