"""Several terms as one loss: each pulls at what a network said with its asked share of the first term's pull.

Terms of a loss have units of their own, and their gradients grow and shrink while a model learns. So weights are not
given but found, sample by sample: the gradient of each term by x, the network's output, is brought to `share` times the
length of the anchor's. Balanced at the output, which is cheap, as by Défossez et al. 2022 (arXiv 2210.13438); against
the reconstruction's gradient of the same step, as by Esser et al. 2020 (arXiv 2012.09841). There is no running average,
so nothing to keep, and a sample's weights know no other sample. Knows no network and no term.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

NONE = 1e-20  # below this length there is no direction to pull in


@final
@dataclass(frozen=True, slots=True)
class Term:
    """each [B]: the term of each sample, a function of x. share: length of its gradient by x, the anchor's being 1."""

    name: str
    each: Tensor
    share: float


def balanced(x: Tensor, anchor: Tensor, terms: Sequence[Term]) -> Tensor:
    """[B]: the value of the anchor [B], and by x [B, ...] the gradient of the anchor and of all terms.

    The anchor's own gradient stays as it is, by x and by all else. Through a term, gradients reach x and what lies
    before it, never the weights that the term itself was computed with. A term without a gradient pulls nowhere.
    """
    if not terms:
        return anchor
    length = lengths(slope(anchor, x))
    pull = torch.zeros_like(x)
    for term in terms:
        towards = slope(term.each, x)
        size = lengths(towards)
        scale = torch.where(size > NONE, term.share * length / size.clamp(min=NONE), 0)
        pull = pull + scale.view(-1, *(1,) * (x.dim() - 1)) * towards
    moved = (pull * x).flatten(1).sum(1)
    return anchor + moved - moved.detach()


def slope(each: Tensor, x: Tensor) -> Tensor:
    """The gradient of each sample's number [B] by that sample, as x; a constant."""
    return torch.autograd.grad(each.sum(), x, retain_graph=True)[0]


def lengths(x: Tensor) -> Tensor:
    """Of each sample, [B]."""
    length: Tensor = torch.linalg.vector_norm(x.flatten(1).float(), dim=1)
    return length
