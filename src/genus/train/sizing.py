"""A budget becomes a size: model, batch and steps from data, time and this machine, by a written rule.

    L(N, D) = E + A / N^alpha + B / D'^beta                 Hoffmann et al. 2022, arXiv 2203.15556; refit by Besiroglu
                                                             et al. 2024, arXiv 2404.10102
    D' = U (1 + R (1 - exp(-(D / U - 1) / R))), R = 15.4     what repeated data is worth; Muennighoff et al. 2023,
                                                             arXiv 2305.16264
    batch = 0.292 C^0.327 cells, C = 6 N D                   DeepSeek LLM 2024, arXiv 2401.02954

N counts weights, D tokens (cells, or so many a sample) trained on, U the different ones there are. Each size of the
dial is built and timed for a few steps here and now; D follows from the time. Of the sizes whose predicted loss is as
good as the least one's but for what the law cannot tell, the smallest is taken (the rule of one standard error, Breiman
et al. 1984): near its least the law is flat, and a small model draws faster. The constants of a recipe are its own:
they were fitted on small runs of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal, Self, final

import numpy as np
from pydantic import Field, model_validator

from genus.parts import Part
from genus.train.law import effective, fitted


@final
class SizingConfig(Part):
    """dials: sizes to try, ascending. sample: tokens that a sample counts as, whatever its size; None: its cells. For
    pictures a sample is what is learned from, not a pixel. near: by what share predicted losses may differ and count as
    equal. batch: least and most samples a step.
    """

    kind: Literal["train.sizing"] = "train.sizing"
    dials: tuple[Annotated[int, Field(ge=1)], ...] = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20)
    sample: float | None = Field(None, gt=0)
    floor: float = 1.82
    a: float = 482.0
    alpha: float = 0.348
    b: float = 2085.0
    beta: float = 0.366
    repeat: float = Field(15.4, gt=0)
    near: float = Field(0.002, ge=0)
    batch: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = (8, 256)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.batch[0] > self.batch[1]:
            raise ValueError(f"batch = {self.batch}: the least comes first")
        return self

    def loss(self, weights: int, tokens: float, different: float) -> float:
        """Predicted loss of a model of this size after so many tokens, of which so many are different."""
        d = effective(tokens, different, self.repeat)
        return float(self.floor + self.a / weights**self.alpha + self.b / max(d, 1.0) ** self.beta)

    def best(self, losses: Sequence[float]) -> int:
        """Of the predicted losses of sizes, ascending, which to take."""
        least = min(losses)
        return next(i for i, loss in enumerate(losses) if loss <= least * (1 + self.near))

    def refitted(self, runs: Sequence[tuple[int, float, float, float]]) -> Self:
        """With the constants that fit these runs best: (weights, tokens, different ones, held-out loss) of each.

        Raises `UsageError` for fewer than four.
        """
        x = np.array([(weights, effective(tokens, different, self.repeat)) for weights, tokens, different, _ in runs])
        law = fitted(x.reshape(-1, 2), np.array([loss for *_, loss in runs]))
        (a, alpha), (b, beta) = law.terms
        return self.but(floor=law.floor, a=a, alpha=alpha, b=b, beta=beta)

    def samples(self, weights: int, tokens: float, of_sample: float) -> int:
        """Samples a step: a power of two near the law's, within `batch`. of_sample: tokens of one."""
        compute = 6.0 * weights * tokens
        ideal = 0.292 * compute**0.327 / max(1.0, of_sample)
        least, most = self.batch
        return int(min(most, max(least, 2 ** round(math.log2(max(1.0, ideal))))))
