"""What is modelled: a space, its conditions, what is known of it, a batch. Values only; no part of a model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, final

import torch
from torch import Tensor


@final
@dataclass(frozen=True, slots=True)
class Space:
    """What a network sees: the only thing that codec, network, objective and sampler must agree on.

    dims: () vector, (T,) text or audio, (H, W) image, (T, H, W) video, (D, H, W) solid; for a stream (text), the
    longest window. channels: features of a cell; for tokens, parallel streams (RVQ codebooks). vocab: None: continuous.
    grain: continuous x takes the values -1, -1 + grain, .. 1 (pixels: 2 / 255), so its likelihood is a probability;
    with a vocab, ids are such values in order, and no mere names. ends: ids that end a stream, first the one that
    closes an item; none named: the last id.
    """

    dims: tuple[int, ...]
    channels: int = 1
    vocab: int | None = None
    grain: float | None = None
    ends: tuple[int, ...] = ()

    @property
    def stops(self) -> tuple[int, ...]:
        """The ids that end a stream; none without a vocabulary."""
        return self.ends or (() if self.vocab is None else (self.vocab - 1,))

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, *dims): one sample without the batch."""
        return (self.channels, *self.dims)

    @property
    def cells(self) -> int:
        """Cells of one sample, all channels counted: what a likelihood per cell is divided by."""
        return math.prod(self.shape)

    @property
    def levels(self) -> int | None:
        """How many values on a scale a cell may have; None: its values have no grain."""
        return None if self.grain is None else round(2 / self.grain) + 1


@final
@dataclass(frozen=True, slots=True)
class Cond:
    """Three roads from a condition into a network, and no fourth.

    vector: [B, D] class, style, speaker -> time modulation, FiLM, style. tokens: [B, L, D] text, heard audio ->
    attention, apart from the cells or along with them (they carry their own positions; a row of zeros is padding, which
    nothing attends to). grid: [B, C, *dims] mask, depth, low resolution, first frame -> channel concatenation,
    ControlNet.
    """

    vector: Tensor | None = None
    tokens: Tensor | None = None
    grid: Tensor | None = None

    def map(self, f: Callable[[Tensor], Tensor]) -> Cond:
        """The same function on each road that is in use."""
        return Cond(*(None if v is None else f(v) for v in (self.vector, self.tokens, self.grid)))

    def join(self, other: Cond) -> Cond:
        """Two conditions as one batch, this one first: how guidance runs condition and null in one pass.

        A road that the other leaves out is as here.
        """
        pairs = ((self.vector, other.vector), (self.tokens, other.tokens), (self.grid, other.grid))
        return Cond(*(None if a is None else torch.cat([a, a if b is None else b]) for a, b in pairs))

    @property
    def empty(self) -> bool:
        """Nothing is said on any road."""
        return self.vector is None and self.tokens is None and self.grid is None


@final
@dataclass(frozen=True, slots=True)
class Roads:
    """How wide each road of a Cond is; None: not in use. A network is built for these."""

    vector: int | None = None
    tokens: int | None = None
    grid: int | None = None


class Rule(Protocol):
    """What one sample of a stream may hold: ids drawn so far -> bool [vocab], those that may follow; never none.

    Ids of the space beyond those that it tells of (sentinels behind a codec's) may not.
    """

    def __call__(self, drawn: Sequence[int]) -> Tensor: ...


@final
@dataclass(frozen=True, slots=True)
class Known:
    """Cells that are given, not drawn: a prompt is a known beginning of a text, inpainting known pixels.

    x: [B, C, *dims]. mask: bool, the same shape, true where x is known. Elsewhere x is a draft, which a sampler that is
    told to start from one (`strength`) departs from, and all others ignore. rules: what is known of the cells to come,
    a rule a sample; none: nothing.
    """

    x: Tensor
    mask: Tensor
    rules: tuple[Rule, ...] = ()


@final
@dataclass(frozen=True, slots=True)
class Batch:
    """Some samples, and what is said of them.

    x: [B, C, *dims]. fields: raw values that the conditioner reads (label, caption, audio), one per sample. cond:
    filled in by the loop, once per turn. mask: [B, C, *dims] bool, cells that count in a loss; None: all. weight: [B]
    advantage, importance, curriculum. extra: old or reference log-probabilities, the rejected sample, ... ids: of the
    records, so provenance follows the data.
    """

    x: Tensor
    fields: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    cond: Cond = Cond()
    mask: Tensor | None = None
    weight: Tensor | None = None
    extra: Mapping[str, Tensor] = field(default_factory=dict)
    ids: Sequence[str] = ()

    def __len__(self) -> int:
        return self.x.shape[0]

    @property
    def cells(self) -> int:
        """Cells that count."""
        return int(self.mask.sum()) if self.mask is not None else self.x.numel()

    def part(self, start: int, stop: int) -> Batch:
        """Samples start..stop as a batch of their own."""

        def cut(v: Any) -> Any:
            return v[start:stop]

        return Batch(
            x=cut(self.x),
            fields={k: cut(v) for k, v in self.fields.items()},
            cond=self.cond.map(cut),
            mask=None if self.mask is None else cut(self.mask),
            weight=None if self.weight is None else cut(self.weight),
            extra={k: cut(v) for k, v in self.extra.items()},
            ids=cut(self.ids),
        )

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with its tensors on `device`."""

        def move(v: Tensor) -> Tensor:
            return v.to(device, non_blocking=True)

        return replace(
            self,
            x=move(self.x),
            cond=self.cond.map(move),
            mask=None if self.mask is None else move(self.mask),
            weight=None if self.weight is None else move(self.weight),
            extra={k: move(v) for k, v in self.extra.items()},
        )
