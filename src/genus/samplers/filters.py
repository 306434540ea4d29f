"""What is done to next-cell logits before a draw: penalties by what a text holds already, then filters. Knows no loop.

Filters take ids away, in this order, each from what the one before has left: top-k (Fan et al. 2018, arXiv 1805.04833),
top-p (Holtzman et al. 2020, arXiv 1904.09751), min-p (Nguyen et al. 2024, arXiv 2407.01082), typical (Meister et al.
2022, arXiv 2202.00666). The repetition penalty is that of Keskar et al. 2019 (arXiv 1909.05858).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

FEW = 256  # ids that are sorted first


def filtered(
    logits: Tensor, temperature: float, top_k: int | None, top_p: float, min_p: float = 0.0, typical_p: float = 1.0
) -> Tensor:
    """Logits [..., V] over the temperature, -inf where a filter takes the id away. At least one id remains. Float64,
    or as they are where nothing is done.

    top_p keeps the smallest set of likeliest ids whose probability reaches it; min_p those at least so likely as that
    fraction of the likeliest; typical_p the smallest set that reaches it of the ids whose -log p is nearest to the
    entropy.
    """
    if temperature == 1 and top_k is None and top_p == 1 and not min_p and typical_p == 1:
        return logits
    logits = logits.double() / temperature
    if top_k is not None and top_k < logits.shape[-1]:
        least = logits.topk(top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < least, -math.inf)
    if top_p < 1:
        p = logits.softmax(-1)
        falling, order = p.topk(min(FEW, p.shape[-1]))  # most often these reach it, and sorting all takes far longer
        if bool((falling.sum(-1) < top_p).any()):
            falling, order = p.sort(dim=-1, descending=True)
        logits = reaching(logits, falling, order, top_p)
    if min_p > 0:
        best = logits.max(-1, keepdim=True).values
        logits = logits.masked_fill(logits < best + math.log(min_p), -math.inf)
    if typical_p < 1:
        said = logits.log_softmax(-1)
        p = said.exp()
        entropy = -(p * said).nan_to_num(0.0).sum(-1, keepdim=True)
        order = (-said - entropy).abs().sort(dim=-1, stable=True).indices
        logits = reaching(logits, p.gather(-1, order), order, typical_p)
    return logits


def reaching(logits: Tensor, p: Tensor, order: Tensor, mass: float) -> Tensor:
    """Logits of the first ids of `order` whose probabilities p (in this order) reach `mass`; -inf for the others."""
    wanted = p.cumsum(-1) - p < mass  # what stands before an id does not reach it yet
    kept = torch.zeros(logits.shape, dtype=torch.bool).scatter(-1, order, wanted)
    return logits.masked_fill(~kept, -math.inf)


def penalised(
    logits: Tensor, past: Tensor, drawn: Tensor, repetition: float, presence: float, frequency: float
) -> Tensor:
    """Logits [C, V], ids lowered that stand in a text. past: all its ids [C, n]; drawn: those after the prompt.

    repetition divides a positive logit of an id of the past, and multiplies a negative one. Of an id that was drawn,
    presence is taken away once, frequency each time.
    """
    if repetition != 1 and past.shape[1]:
        held = logits.gather(-1, past)
        logits = logits.scatter(-1, past, torch.where(held > 0, held / repetition, held * repetition))
    if (presence or frequency) and drawn.shape[1]:
        times = torch.zeros_like(logits).scatter_add_(-1, drawn, torch.ones_like(drawn, dtype=logits.dtype))
        logits = logits - frequency * times - presence * (times > 0)
    return logits
