"""How rotary positions of published decoders reach beyond those that they were trained on: slower waves.

A setting of `networks.decoder`, whose name their kinds carry. Knows no network.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from genus.parts import Part


class Stretch(Part):
    """How rotary positions reach beyond the `trained` ones (Grattafiori et al. 2024, arXiv 2407.21783).

    Waves that fit into the trained length fewer than `low` times become `factor` times as long, those that fit more
    than `high` times stay, between them the change is gradual.
    """

    kind: Literal["networks.decoder.stretch"] = "networks.decoder.stretch"
    factor: float = Field(8.0, ge=1)
    low: float = Field(1.0, gt=0)
    high: float = Field(4.0, gt=0)
    trained: int = Field(8192, ge=1)

    strength: ClassVar[float] = 1.0

    def of(self, speed: Tensor) -> Tensor:
        """Angles a place, stretched."""
        fits = self.trained * speed / (2 * math.pi)
        kept = ((fits - self.low) / (self.high - self.low)).clamp(0, 1)
        return speed / self.factor * (1 - kept) + speed * kept


class Evenly(Part):
    """All waves become `factor` times as long (Chen et al. 2023, arXiv 2306.15595)."""

    kind: Literal["networks.decoder.evenly"] = "networks.decoder.evenly"
    factor: float = Field(ge=1)
    strength: ClassVar[float] = 1.0

    def of(self, speed: Tensor) -> Tensor:
        """Angles a place, stretched."""
        return speed / self.factor


class Yarn(Part):
    """How rotary positions reach beyond the `trained` ones by YaRN (Peng et al. 2023, arXiv 2309.00071).

    The wave that fits into the trained length `fast` times, and shorter ones, stay; the one that fits `slow` times, and
    longer ones, become `factor` times as long; between them the change is even from wave to wave. sharpness: what the
    tables are multiplied by, so that attention to more cells is as sharp; None: 0.1 log(factor) + 1.
    """

    kind: Literal["networks.decoder.yarn"] = "networks.decoder.yarn"
    factor: float = Field(ge=1)
    trained: int = Field(ge=1)
    fast: float = Field(32.0, gt=0)
    slow: float = Field(1.0, gt=0)
    sharpness: float | None = Field(None, gt=0)

    @property
    def usual(self) -> float:
        """The paper's strength."""
        return 0.1 * math.log(self.factor) + 1

    @property
    def strength(self) -> float:
        """What cosine and sine are multiplied by."""
        return self.usual if self.sharpness is None else self.sharpness

    def of(self, speed: Tensor) -> Tensor:
        """Angles a place, stretched. Waves are a geometric sequence, so the one that fits n times has a number."""
        ratio = float(speed[0].log() - speed[-1].log()) / (len(speed) - 1)
        first, last = (math.log(self.trained / (2 * math.pi * n)) / ratio for n in (self.fast, self.slow))
        first, last = max(math.floor(first), 0), min(math.ceil(last), 2 * len(speed) - 1)
        longer = ((torch.arange(len(speed)) - first) / max(last - first, 0.001)).clamp(0, 1)
        return speed / self.factor * longer + speed * (1 - longer)
