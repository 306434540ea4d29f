"""What a network says of itself while it is trained, beside its answer: a term to be made small, or only a figure.

Networks know no loss. Where one needs more than the loss of its answer (experts that shall be asked alike), it says so
during its pass, and whoever trains it listens, whatever the objective:

    with listening() as said:        # the loop, around a pass
        loss = ...
    aside("balance", each, 0.01)     # inside a network

A term is a number a sample, so no sample knows another and micro-batches add up to the whole batch. Where nobody
listens (drawing, scoring, judging) nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

from torch import Tensor


@final
@dataclass(frozen=True, slots=True)
class Aside:
    """each: [B], of every sample of a pass. weight: of its mean beside the loss; 0: it is only logged."""

    name: str
    each: Tensor
    weight: float = 0.0


_listeners: list[list[Aside]] = []


@contextmanager
def listening() -> Iterator[Sequence[Aside]]:
    """Inside, what networks say is gathered, in the order in which they say it."""
    heard: list[Aside] = []
    _listeners.append(heard)
    try:
        yield heard
    finally:
        _listeners.remove(heard)


def listened() -> bool:
    """Whether anyone would hear: a network need not work out what nobody does."""
    return bool(_listeners)


def aside(name: str, each: Tensor, weight: float = 0.0) -> None:
    """Say it to the innermost listener. Several layers may say the same: their terms add up, their mean is logged."""
    if _listeners:
        _listeners[-1].append(Aside(name, each, weight))
