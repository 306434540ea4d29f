"""A condition that an earlier phase draws: a small picture to be made large, an embedding to be made a picture.

A condition is another phase's x. In training it is what that phase's codec makes of the item itself; in sampling it is
what that phase's model draws for what was asked. If it has the axes of x it is a grid beside x, enlarged (a cascade: Ho
et al. 2021, arXiv 2106.15282; Saharia et al. 2022, arXiv 2205.11487); a single cell is a vector (Ramesh et al. 2022,
arXiv 2204.06125). Whatever else is asked goes to an ordinary conditioner inside.

A model that was trained on true conditions meets drawn ones, which are a little off. So noise is added to them:

    c_s = (1 - s) c + s e          s even in 0 .. most in training, s = level in sampling

and the network is told s (conditioning augmentation, in the coordinates of `objectives.flow`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, final

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from genus.core import Cond, Conditioner, ConditionerConfig, Model, Noise, Roads, Space
from genus.errors import UsageError
from genus.learned.borrowed import lent, told
from genus.networks.convolutional import waves
from genus.parts import Any_

BETWEEN = {1: "linear", 2: "bilinear", 3: "trilinear"}
TOLD = 128  # numbers that say the level of the noise


@final
class Drawn(Conditioner):
    """The field `sees` and those of the conditioner inside -> Cond.

    A value of that field is an item, of which the earlier phase's codec makes a condition, or a condition [C, *dims]
    with noise of `level`, as `draw` gives it. The vector: what is inside says, the level, a condition of one cell.
    """

    sees: str

    def __init__(self, config: DrawnConfig, model: Model, space: Space) -> None:
        super().__init__()
        self.config, self.dropout, self.sees = config, config.dropout, f"x of {config.phase}"
        self.model, of = model, model.space  # no module: it is lent, neither trained nor saved with these weights
        self.dims, self.single = space.dims, math.prod(of.dims) == 1
        if of.vocab is not None or not (self.single or len(of.dims) == len(space.dims)):
            raise UsageError(
                f"phase {config.phase!r} has x of {len(of.dims)} axes{' of ids' if of.vocab else ''}, which is no "
                f"condition for x of {len(space.dims)}: it takes numbers on as many axes, or one vector"
            )
        self.inside = None if config.inside is None else config.inside.build(space)
        roads = Roads() if self.inside is None else self.inside.roads
        if roads.grid is not None:
            raise UsageError(f"{config.kind} cannot hold a conditioner that gives a grid; choose conditions.text")
        self.nothing = nn.Parameter(torch.randn(of.cells)) if self.single else None
        width = (roads.vector or 0) + (TOLD if config.most else 0) + (of.cells if self.single else 0)
        self.roads = Roads(width or None, roads.tokens, None if self.single else of.channels)

    @property
    def takes(self) -> bool:
        """Whether anything can be asked, here or of the earlier phase."""
        return self.model.takes or (self.inside is not None and self.inside.takes)

    def forward(self, fields: Mapping[str, Sequence[Any]], noise: Noise | None = None) -> Cond:
        """See the class. Raises `UsageError` if the field is not there: `draw` completes what was asked."""
        if self.sees not in fields:
            raise UsageError(f"this model needs {self.sees!r}; given: {', '.join(fields) or 'nothing'}")
        x, drawn = self._x(fields[self.sees])
        s = torch.full((len(x),), self.config.level if drawn else 0.0)
        if noise is not None and not drawn and self.config.most:
            blur = noise.child("augmentation")
            s = (blur.uniform(0) * self.config.most).float()
            x = mixed(x, s, blur.normal(1, x.shape[1:]))
        asked = {name: column for name, column in fields.items() if name != self.sees}
        inside = self._inside(asked, len(x), noise)
        if self.nothing is None:
            size = F.interpolate(x, self.dims, mode=BETWEEN[len(self.dims)]) if x.shape[2:] != self.dims else x
            return Cond(self._vector(inside, s, None), inside.tokens, size)
        x, kept = x.flatten(1), self.kept(noise)
        if kept is not None:
            x = torch.where(kept[:, None], x, self.nothing.to(x))
        return Cond(self._vector(inside, s, x), inside.tokens)

    def null(self, batch: int) -> Cond:
        """What is inside says nothing, and no vector is known; a grid is never dropped, so guidance leaves it."""
        inside = Cond() if self.inside is None else self.inside.null(batch)
        if inside.empty and self.nothing is None:
            return Cond()
        x = None if self.nothing is None else self.nothing.expand(batch, -1)
        return Cond(self._vector(inside, torch.full((batch,), self.config.level), x), inside.tokens)

    @torch.no_grad()
    def draw(self, noise: Noise, asked: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
        """What was asked; as the condition, what the earlier model draws for it, or what is made of items given."""
        rest = {name: column for name, column in asked.items() if name != self.sees}
        said = rest if self.inside is None else self.inside.draw(noise, rest)
        if self.sees in asked:
            x, drawn = self._x(asked[self.sees])
            if drawn:
                return {**said, self.sees: asked[self.sees]}
        else:
            *_, x = self.model.stream(noise.child("earlier"), said, **self.config.knobs)
        if self.config.level:
            s = torch.full((len(x),), self.config.level)
            x = mixed(x, s, noise.child("augmentation").normal(1, x.shape[1:]))
        return {**said, self.sees: list(x)}

    def _x(self, values: Sequence[Any]) -> tuple[Tensor, bool]:
        """Conditions [B, C, *dims], and whether they are drawn ones."""
        if isinstance(values[0], Tensor):
            return torch.stack(list(values)), True
        codec = self.model.codec
        return codec.lift(torch.stack(codec.encode(values))), False

    def _inside(self, asked: Mapping[str, Sequence[Any]], batch: int, noise: Noise | None) -> Cond:
        if self.inside is None:
            return Cond()
        cond: Cond = self.inside(asked, noise) if asked else self.inside.null(batch)
        return cond

    def _vector(self, inside: Cond, s: Tensor, x: Tensor | None) -> Tensor | None:
        parts = [inside.vector, waves(s) if self.config.most else None, x]
        there = [part.float() for part in parts if part is not None]
        return torch.cat(there, 1) if there else None


def mixed(x: Tensor, s: Tensor, e: Tensor) -> Tensor:
    """(1 - s) x + s e for x, e [B, ...] and s [B]."""
    s = s.view(-1, *(1,) * (x.dim() - 1))
    return (1 - s) * x + s * e


@final
class DrawnConfig(ConditionerConfig):
    """phase: whose x is the condition. inside: for whatever else is asked. dropout: of a vector; a grid always stays.

    most: the largest level of noise in training; 0: none is ever added. level: the level in sampling. knobs: of the
    earlier model's sampler. place: its folder.
    """

    kind: Literal["learned.drawn"] = "learned.drawn"
    phase: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    inside: Any_[ConditionerConfig] | None = None
    dropout: float = Field(0.1, ge=0, lt=1)
    most: float = Field(0.5, ge=0, le=1)
    level: float = Field(0.1, ge=0, le=1)
    knobs: dict[str, Any] = Field(default_factory=dict)
    place: str | None = Field(None, exclude=True)

    @model_validator(mode="after")
    def _trained(self) -> Self:
        if self.level > self.most:
            raise ValueError(f"level = {self.level:g} is more noise than training adds; most = {self.most:g}")
        return self

    def after(self, earlier: Mapping[str, Path]) -> Self:
        """Told where the models of earlier phases lie. Raises `UsageError` if its own is not among them."""
        return self.but(place=told(self.kind, self.phase, earlier))

    @property
    def borrowed(self) -> dict[str, Path]:
        """The one that draws."""
        return {} if self.place is None else {self.phase: Path(self.place)}

    @property
    def reads(self) -> tuple[str, ...]:
        """What the conditioner inside reads."""
        return () if self.inside is None else self.inside.reads

    def fit(self, fields: Callable[[], Iterator[Mapping[str, Any]]]) -> Self:
        """The conditioner inside is."""
        return self if self.inside is None else self.but(inside=self.inside.fit(fields))

    def admit(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """As the conditioner inside does."""
        return dict(fields) if self.inside is None else self.inside.admit(fields)

    def build(self, space: Space) -> Drawn:
        """The module; the earlier model stays as it is. Raises `UsageError` if its x is no condition for this one."""
        assert self.place is not None, "a drawn condition is told where the model lies that draws it"
        return Drawn(self, lent(self.place)[0], space)
