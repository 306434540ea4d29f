"""Fine-tuning by a few weights: every linear layer W gets a correction of low rank, and W itself stands still.

    y = W x + (alpha / rank) B A x,    A [rank, in] random, B [out, rank] zero at the start

Hu et al. 2021, arXiv 2106.09685. For any network: its linear layers are replaced in place. When training ends the
correction is added to W, so what is kept is the network as it was, and nothing downstream knows of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Literal, final

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from genus.errors import UsageError
from genus.parts import Part


@final
class Adapted(nn.Module):
    """A linear layer that stands still, and its correction."""

    def __init__(self, linear: nn.Linear, rank: int, scale: float) -> None:
        super().__init__()
        self.linear, self.scale = linear, scale
        self.a = nn.Parameter(torch.randn(rank, linear.in_features) / math.sqrt(linear.in_features))
        self.b = nn.Parameter(torch.zeros(linear.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        y: Tensor = self.linear(x)
        return torch.add(y, F.linear(F.linear(x, self.a.to(x.dtype)), self.b.to(x.dtype)), alpha=self.scale)


@final
class LoraConfig(Part):
    """rank, alpha: of the correction. layers: a pattern that the names of adapted layers contain; the usual one takes
    all that stand in a stack, as 'blocks.3.up' does.
    """

    kind: Literal["networks.lora"] = "networks.lora"
    rank: int = Field(8, ge=1)
    alpha: float = Field(16.0, gt=0)
    layers: str = r"\.\d+\."

    @property
    def scale(self) -> float:
        """Of the correction."""
        return self.alpha / self.rank

    def onto(self, nets: nn.ModuleDict, precision: torch.dtype = torch.float32) -> None:
        """Freeze all weights, in this number format, and adapt the layers. Raises `UsageError` if there are none."""
        nets.requires_grad_(False).to(precision)
        found = [(n, m) for n, m in nets.named_modules() if isinstance(m, nn.Linear) and re.search(self.layers, n)]
        if not found:
            raise UsageError(
                f"{self.kind}: no linear layer has a name with {self.layers!r} in it; change adapter.layers"
            )
        for name, linear in found:
            parent, _, own = name.rpartition(".")
            setattr(nets.get_submodule(parent), own, Adapted(linear, self.rank, self.scale))

    def merged(self, base: Mapping[str, Tensor], trained: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights of the network as it was, in float32, with the corrections added."""
        whole = {name: value.detach().float().clone() for name, value in base.items()}
        for name in trained:
            if name.endswith(".a"):
                layer = name.removesuffix(".a")
                whole[f"{layer}.weight"] += self.scale * trained[f"{layer}.b"].float() @ trained[name].float()
        return whole
