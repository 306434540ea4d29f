"""All cells in a few rounds: guess every hidden one, keep the surest, hide the rest again. For masked models.

Chang et al. 2022, arXiv 2202.04200: after round k of n, cos(pi k / 2 n) of the cells are still hidden. Which guesses
count as sure is blurred by Gumbel noise that fades, or the rounds would all agree. Knows no network.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, final

import torch
from pydantic import Field
from torch import Tensor

from genus.core import Cond, Known, Noise, Predictor, Sampler, Space
from genus.errors import UsageError
from genus.samplers.filters import filtered


@final
class Rounds(Sampler):
    """steps: rounds. temperature: of the guesses. choice: how much chance there is in which are kept, at the start."""

    kind: Literal["samplers.rounds"] = "samplers.rounds"
    steps: int = Field(12, ge=1, le=10_000)
    temperature: float = Field(1.0, gt=0)
    top_k: int | None = Field(None, ge=1)
    top_p: float = Field(1.0, gt=0, le=1)
    choice: float = Field(4.5, ge=0)

    def stream(
        self, predict: Predictor, space: Space, cond: Cond, noise: Noise, known: Known | None = None
    ) -> Iterator[Tensor]:
        """[B, C, *dims] long after each round, all cells guessed; known cells stay. Raises `UsageError` without ids."""
        if space.vocab is None:
            raise UsageError(f"{self.kind} draws tokens, but this space has no vocabulary; choose another sampler")
        x = torch.full((len(noise), *space.shape), space.vocab)
        if known is not None:
            x = torch.where(known.mask, known.x.long(), x)
        open_ = x == space.vocab
        first = open_.flatten(1).sum(1)
        for k in range(self.steps):
            logits = filtered(predict(x, cond=cond), self.temperature, self.top_k, self.top_p, 0.0)
            guess = (logits + noise.gumbel(2 * k, logits.shape[1:])).argmax(-1)
            sure = logits.log_softmax(-1).gather(-1, guess[..., None])[..., 0]
            fade = self.choice * (1 - (k + 1) / self.steps)
            sure = (sure + fade * noise.gumbel(2 * k + 1, sure.shape[1:])).masked_fill(~open_, math.inf)
            full = torch.where(open_, guess, x)
            left = (first * math.cos(math.pi / 2 * (k + 1) / self.steps)).floor().long()
            left = left.clamp(max=(open_.flatten(1).sum(1) - 1).clamp(min=0))  # every round keeps one at least
            rank = sure.flatten(1).argsort(1).argsort(1).view(x.shape)
            open_ = rank < left.view(-1, *(1,) * (x.dim() - 1))
            x = torch.where(open_, space.vocab, full)
            yield full
            if not bool(open_.any()):
                return
