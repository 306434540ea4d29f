"""For families that learn something other than to draw: asked for a sample, they say why there is none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, final

from torch import Tensor

from genus.core import Cond, Known, Noise, Predictor, Sampler, Space
from genus.errors import UsageError


@final
class Undrawn(Sampler):
    """reason: a sentence that says what such a model does instead."""

    kind: Literal["samplers.undrawn"] = "samplers.undrawn"
    reason: str

    def stream(
        self, predict: Predictor, space: Space, cond: Cond, noise: Noise, known: Known | None = None
    ) -> Iterator[Tensor]:
        """Raises `UsageError` with the reason, at once."""
        raise UsageError(self.reason)
