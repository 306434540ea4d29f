"""A trained autoencoder as a codec: media -> the codes of an earlier phase's model, and back.

Esser et al. 2020 (arXiv 2012.09841), Rombach et al. 2021 (arXiv 2112.10752). Continuous codes are shifted and scaled,
channel by channel, to mean 0 and standard deviation 1 over training items: the calibration, which is kept with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol, Self, final, runtime_checkable

import torch
from pydantic import Field
from torch import Tensor

from genus.core import Codec, CodecConfig, Model, Nets, Space
from genus.errors import UsageError
from genus.learned.borrowed import CALIBRATED, calibration, fingerprint, lent, told
from genus.recipe import Phase
from genus.run import save


@runtime_checkable
class Coding(Protocol):
    """What is asked of the objective that trained the codes: `objectives.autoencoding`."""

    def code(self, nets: Nets, x: Tensor) -> Tensor: ...
    def read(self, nets: Nets, code: Tensor) -> Tensor: ...


@final
class Learned:
    """The codec of a model. shift, scale: of each channel of continuous codes."""

    streams = False
    coded = True

    def __init__(self, model: Model, phase: Phase, config: LearnedConfig) -> None:
        if not isinstance(model.objective, Coding):
            raise UsageError(f"{model.objective.kind} learns no code, so its model is no codec; train an autoencoder")
        self.model, self.phase, self.config, self.objective = model, phase, config, model.objective
        codes = getattr(model.nets["net"], "codes", None)
        assert isinstance(codes, Space), "a network with codes says their space"
        self.space = codes
        self.definition = fingerprint(model)

    @torch.no_grad()
    def encode(self, media: Sequence[Any]) -> list[Tensor]:
        """Codes, float16 [C', *dims'] before calibration, or int32 ids."""
        inner = self.model.codec
        x = torch.stack([inner.lift(stored) for stored in inner.encode(media)])
        codes = self.objective.code(self.model.nets, x)
        return list(codes.half() if self.space.vocab is None else codes.int())

    def like(self, media: Sequence[Any]) -> list[Any]:
        """As the first codec has them: what the model loses is lost here alone."""
        return self.model.codec.like(media)

    def lift(self, stored: Tensor) -> Tensor:
        """Calibrated float32, or long."""
        if self.space.vocab is not None:
            return stored.long()
        shift, scale = self._calibration(stored)
        return (stored.float() - shift) / scale

    @torch.no_grad()
    def decode(self, x: Tensor) -> list[Any]:
        """x [B, C', *dims'] -> media, 64 at a time."""
        if self.space.vocab is None:
            shift, scale = self._calibration(x)
            x = x * scale + shift
        decoded: list[Any] = []
        for start in range(0, len(x), 64):
            decoded += self.model.codec.decode(self.objective.read(self.model.nets, x[start : start + 64]))
        return decoded

    def _calibration(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Shift and scale, shaped to meet [..., C', *dims']."""
        shape = (-1, *(1,) * len(self.space.dims))
        shift, scale = self.config.shift or (0.0,), self.config.scale or (1.0,)
        return torch.tensor(shift, device=x.device).view(shape), torch.tensor(scale, device=x.device).view(shape)

    def save(self, folder: Path) -> LearnedConfig:
        """The model goes into `folder`/codec, so that a run is whole by itself."""
        save(self.model, self.phase, folder / "codec")
        return self.config.but(place=None)


@final
class LearnedConfig(CodecConfig):
    """phase: whose model it is, an earlier one of the recipe. place: its folder; shift, scale: found by `fit`."""

    kind: Literal["learned.codec"] = "learned.codec"
    phase: str = Field("autoencoder", pattern=r"^[a-z][a-z0-9-]*$")
    place: str | None = None
    shift: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()

    def after(self, earlier: Mapping[str, Path]) -> Self:
        """Told where the models of earlier phases lie. Raises `UsageError` if its own is not among them."""
        if self.place is not None:
            return self
        return self.but(place=told(self.kind, self.phase, earlier))

    def fit(self, media: Callable[[], Iterator[Any]]) -> Codec:
        """The earlier model with its calibration."""
        assert self.place is not None, "a learned codec is told where its model lies"
        model, phase = lent(self.place)
        codec = Learned(model, phase, self)
        if codec.space.vocab is not None or self.scale:
            return codec
        seen = list(islice(media(), CALIBRATED))
        shift, scale = calibration(codec.encode(seen[i : i + 64]) for i in range(0, len(seen), 64))
        return Learned(model, phase, self.but(shift=shift, scale=scale))

    def load(self, folder: Path) -> Codec:
        """What `save(folder)` wrote."""
        model, phase = lent(folder / "codec")
        return Learned(model, phase, self)
