"""Contrastive learning of x and what is said of it: each x is told from those of other samples by its own condition.

    softmax  -log exp(s_ii) / sum_j exp(s_ij), and the same over columns     CLIP: Radford et al. 2021, arXiv 2103.00020
    sigmoid  -sum_j log sigmoid(z_ij s_ij), z = 1 for pairs, -1 else         SigLIP: Zhai et al. 2023, arXiv 2303.15343

s = scale cos(x, condition) + shift, both numbers learned by the net "logits". Samples of which the same is said are no
negatives of each other; one of which nothing is said takes no part. The loss compares the samples of a batch: half a
batch is another loss, so the loop refuses to cut one. Nothing can be drawn from it, and no density is learned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor

from genus.core import Batch, Cond, Draws, LogProb, Metrics, Nets, Noise, Objective, State
from genus.errors import NoLikelihood, UsageError
from genus.samplers.undrawn import Undrawn


@final
@dataclass(frozen=True)
class Comparison:
    """The predictor, an `Embedder`: (x [B, C, *dims], cond of B' samples) -> logits [B, B'], float32."""

    nets: Nets

    def __call__(self, x: Tensor, t: Tensor | None = None, cond: Cond = Cond(), state: State | None = None) -> Tensor:
        """See the class."""
        logits: Tensor = self.nets["logits"](self.seen(x) @ self.said(cond).mT)
        return logits

    def seen(self, x: Tensor) -> Tensor:
        """[B, C, *dims] -> unit vectors [B, D]."""
        return F.normalize(self.nets["net"](x).float(), dim=-1)

    def said(self, cond: Cond) -> Tensor:
        """Unit vectors [B, D]. Raises `UsageError` for a condition without a vector."""
        if cond.vector is None:
            raise UsageError("a condition without a vector cannot be compared with x; choose conditions.text")
        return F.normalize(cond.vector.float(), dim=-1)

    def start(self, batch: int, cells: int) -> State | None:
        """None: nothing is read cell by cell."""
        return None


@final
class Contrastive(Objective):
    """form: softmax (CLIP) or sigmoid (SigLIP; start its logits at a scale of 10 and a shift of -log(batch), the odds
    of a pair).
    """

    kind: Literal["objectives.contrastive"] = "objectives.contrastive"
    family: ClassVar[str] = "contrastive"
    form: Literal["softmax", "sigmoid"] = "softmax"

    @property
    def whole(self) -> bool:
        """Always: the other samples are what a pair is told from."""
        return True

    def draws(self, nets: Nets, batch: Batch, turn: str, noise: Noise) -> Draws:
        """group [B]: equal where the same is said, -1 where nothing is. Not random, but raw fields are known only here.

        Without fields, all samples differ.
        """
        rows = list(zip(*(map(str, (v or "" for v in column)) for column in batch.fields.values()), strict=True))
        known = {row: i for i, row in enumerate(dict.fromkeys(rows))}
        groups = [known[row] if any(row) else -1 for row in rows] if rows else range(len(batch))
        return {"group": torch.tensor(groups)}

    def loss(self, nets: Nets, batch: Batch, draws: Draws, turn: str) -> tuple[Tensor, Metrics]:
        """Mean over samples and both directions, in nats; logs it, and the share of x that find their own condition."""
        logits = self.predictor(nets)(batch.x, cond=batch.cond)
        group = draws["group"]
        there = (group >= 0).to(logits.dtype)
        own = torch.eye(len(batch), dtype=torch.bool, device=logits.device)
        left = ~own & ((group[:, None] == group) | (group < 0) | (group < 0)[:, None])
        if self.form == "softmax":
            s = logits.masked_fill(left, -1e9)
            index = torch.arange(len(batch), device=logits.device)
            each = 0.5 * (F.cross_entropy(s, index, reduction="none") + F.cross_entropy(s.mT, index, reduction="none"))
        else:
            each = -F.logsigmoid(torch.where(own, logits, -logits)).masked_fill(left, 0.0).sum(1)
        share = there if batch.weight is None else there * batch.weight
        number = there.sum().clamp(min=1)
        loss = (each * share).sum() / number
        best = logits.detach().masked_fill(left, -1e9).argmax(1) == torch.arange(len(batch), device=logits.device)
        return loss, {"loss": loss.detach(), "matched": (best * there).sum() / number}

    def predictor(self, nets: Nets) -> Comparison:
        """(x, cond) -> logits of each x with each condition."""
        return Comparison(nets)

    def sampler(self) -> Undrawn:
        """There is none to draw with."""
        return Undrawn(
            reason="this model compares x with text and draws nothing; use genus.load(RUN).embed and embed_texts, "
            "or choose a recipe that generates (see: genus recipes)"
        )

    def log_prob(self, nets: Nets, batch: Batch, noise: Noise) -> LogProb:
        """Raises `NoLikelihood`."""
        raise NoLikelihood(f"{self.kind} learns which x and texts belong together, not how likely an x is")
