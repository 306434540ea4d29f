"""The vectors of a contrastive model as a codec: media -> the unit vector that an earlier phase's encoder sees in it.

What a prior of embeddings learns (Ramesh et al. 2022, arXiv 2204.06125). Calibrated channel by channel to mean 0 and
standard deviation 1 over training items. Nothing is decoded: a phase that is told such vectors draws the media.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Self, final

import torch
from pydantic import Field
from torch import Tensor

from genus.core import Codec, CodecConfig, Embedder, Model, Space
from genus.errors import UsageError
from genus.learned.borrowed import CALIBRATED, calibration, fingerprint, lent, told
from genus.recipe import Phase
from genus.run import save


@final
class Embedding:
    """x [D, 1]: one cell, as many channels as the vector has numbers."""

    streams = False
    coded = True

    def __init__(self, model: Model, phase: Phase, config: EmbeddingConfig) -> None:
        predict, _ = model.predictor()
        if not isinstance(predict, Embedder):
            raise UsageError(f"{model.objective.kind} learns no vectors of items; name a contrastive phase, as in clip")
        self.model, self.phase, self.config, self.predict = model, phase, config, predict
        self.definition = fingerprint(model)
        with torch.no_grad():
            width = predict.seen(torch.zeros(1, *model.space.shape)).shape[1]
        self.space = Space((1,), width)
        self.shift, self.scale = torch.tensor(config.shift or (0.0,)), torch.tensor(config.scale or (1.0,))

    @torch.no_grad()
    def encode(self, media: Sequence[Any]) -> list[Tensor]:
        """Unit vectors, float32 [D, 1] before calibration."""
        inner = self.model.codec
        return list(self.predict.seen(inner.lift(torch.stack(inner.encode(media))))[:, :, None])

    def lift(self, stored: Tensor) -> Tensor:
        """Calibrated."""
        return (stored - self.shift[:, None]) / self.scale[:, None]

    def decode(self, x: Tensor) -> list[Any]:
        """The vectors themselves, float32 [D]."""
        return list((x[:, :, 0] * self.scale + self.shift).numpy())

    def like(self, media: Sequence[Any]) -> list[Any]:
        """Items as their vectors."""
        return [vector[:, 0].numpy() for vector in self.encode(media)]

    def save(self, folder: Path) -> EmbeddingConfig:
        """The model goes into `folder`/codec, so that a run is whole by itself."""
        save(self.model, self.phase, folder / "codec")
        return self.config.but(place=None)


@final
class EmbeddingConfig(CodecConfig):
    """phase: whose encoder it is, an earlier one of the recipe. place: its folder; shift, scale: found by `fit`."""

    kind: Literal["learned.embedding"] = "learned.embedding"
    phase: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    place: str | None = None
    shift: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()

    def after(self, earlier: Mapping[str, Path]) -> Self:
        """Told where the models of earlier phases lie. Raises `UsageError` if its own is not among them."""
        return self.but(place=told(self.kind, self.phase, earlier))

    def fit(self, media: Callable[[], Iterator[Any]]) -> Codec:
        """The earlier model with its calibration."""
        assert self.place is not None, "a learned codec is told where its model lies"
        model, phase = lent(self.place)
        codec, seen = Embedding(model, phase, self), list(islice(media(), CALIBRATED))
        shift, scale = calibration(codec.encode(seen[i : i + 64]) for i in range(0, len(seen), 64))
        return Embedding(model, phase, self.but(shift=shift, scale=scale))

    def load(self, folder: Path) -> Codec:
        """What `save(folder)` wrote."""
        model, phase = lent(folder / "codec")
        return Embedding(model, phase, self)
