"""One pass from a latent to x: how a GAN, and a VAE as a generator, are drawn. Knows no network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Protocol, final, runtime_checkable

from pydantic import Field
from torch import Tensor

from genus.core import Cond, Known, Noise, Predictor, Sampler, Space
from genus.errors import UsageError


@runtime_checkable
class FromLatent(Predictor, Protocol):
    """A predictor (z, cond) -> x; `latent` is the shape of one z."""

    @property
    def latent(self) -> tuple[int, ...]: ...


@final
class OneShot(Sampler):
    """temperature: the standard deviation of z; below 1, likelier and less varied samples."""

    kind: Literal["samplers.oneshot"] = "samplers.oneshot"
    temperature: float = Field(1.0, gt=0)

    def latent(self, predict: Predictor, space: Space) -> tuple[int, ...]:
        """Of z. Raises `UsageError` for families of more passes."""
        if not isinstance(predict, FromLatent):
            raise UsageError(f"{self.kind} draws x from a latent in one pass; this family has another sampler")
        return predict.latent

    def stream(
        self, predict: Predictor, space: Space, cond: Cond, noise: Noise, known: Known | None = None
    ) -> Iterator[Tensor]:
        """The sample, [B, C, *dims]. Raises `UsageError` as `latent` does, and for known cells."""
        shape = self.latent(predict, space)
        if known is not None:
            raise UsageError(f"{self.kind} cannot be given parts of x; ask without them")
        yield predict(self.temperature * noise.normal(0, shape), cond=cond)
