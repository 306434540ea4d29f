"""A network in bf16 in two forms, each made when first wanted: one that reads at once, one that draws cell by cell.

Knows no kind of network.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, final

from torch import Tensor

from genus.core import Cond, Network, Scoring, Several, Space, State


@final
class Forms(Network):
    """at_once, drawn: make the forms; what is read with a state is read by the second."""

    def __init__(self, space: Space, at_once: Callable[[], Network], drawn: Callable[[], Network]) -> None:
        super().__init__()
        self.space, self._at_once, self._drawn = space, at_once, drawn

    @cached_property
    def at_once(self) -> Network:
        """For whole texts."""
        return self._at_once()

    @cached_property
    def drawn(self) -> Network:
        """For cells that follow others."""
        return self._drawn()

    def forward(self, x: Tensor, t: Tensor | None = None, cond: Cond = Cond(), state: State | None = None) -> Tensor:
        """See `Network`."""
        said: Tensor = (self.at_once if state is None else self.drawn)(x, t, cond, state)
        return said

    def start(self, batch: int, cells: int) -> State | None:
        """See `Network`."""
        return self.drawn.start(batch, cells)

    def several(self, x: Tensor, starts: Tensor, cond: Cond = Cond()) -> Tensor:
        """See `Several`."""
        net = self.at_once
        assert isinstance(net, Several)
        return net.several(x, starts, cond)

    def scored(self, x: Tensor, ids: Tensor, *rest: Any, **named: Any) -> tuple[Tensor, Tensor]:
        """See `Scoring`."""
        net = self.at_once
        assert isinstance(net, Scoring)
        return net.scored(x, ids, *rest, **named)
