"""Latents of a normal distribution as points one can walk between and add up. Where they come from: `Run.invert`.

A normal latent of many dimensions lies near a sphere, so a way goes along a great circle (White 2016,
arXiv 1609.04468), and a sum a + b - c (Radford et al. 2015, arXiv 1511.06434) is brought back to the length of a.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from genus.errors import UsageError

STRAIGHT = 1e-3  # radians: nearer ends are joined by a straight line, which is then the same


def between(a: Tensor, b: Tensor, at: Sequence[float]) -> Tensor:
    """[n, *shape]: the points at these shares of the way from a to b, both [*shape]. Both ends are exact.

    Raises `UsageError` for ends that lie opposite to each other: no great circle is the shortest.
    """
    cosine = torch.dot(a.flatten().double(), b.flatten().double()) / (a.double().norm() * b.double().norm()).clamp(
        min=1e-30
    )
    angle = torch.acos(cosine.clamp(-1, 1))
    s = torch.tensor(at, dtype=torch.float64).view(-1, *(1,) * a.dim())
    if angle < STRAIGHT:
        return ((1 - s) * a + s * b).to(a.dtype)
    if angle > torch.pi - STRAIGHT:
        raise UsageError("these two lie opposite to each other, so no way between them is the shortest; choose others")
    turned = torch.sin((1 - s) * angle) * a.double() + torch.sin(s * angle) * b.double()
    return (turned / torch.sin(angle)).to(a.dtype)


def steps(n: int) -> list[float]:
    """n shares of a way, both ends among them. Raises `UsageError` for fewer than two."""
    if n < 2:
        raise UsageError(f"n = {n}: a way has two ends at least; ask for more, e.g. 8")
    return [i / (n - 1) for i in range(n)]


def summed(base: Tensor, plus: Tensor, minus: Tensor) -> Tensor:
    """base + mean of plus - mean of minus, as long as base. base [*shape]; plus, minus [k, *shape], k may be 0."""
    moved = base + sum((sign * some.mean(0) for sign, some in ((1, plus), (-1, minus)) if len(some)), torch.zeros(()))
    size = moved.norm()
    return moved * (base.norm() / size) if size > 0 else moved
