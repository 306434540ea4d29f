"""Fine-tuning by a few weights: every linear layer W gets a correction of low rank, and W itself stands still.

    y = W' x,    W' = W + (alpha / rank) B A,    A [rank, in] random, B [out, rank] zero at the start

Hu et al. 2021, arXiv 2106.09685. With `lengths` the length of each row is a weight of its own, m, and the correction
turns the row alone: W' = m (W + (alpha / rank) B A) / |W + (alpha / rank) B A|, m = |W| at the start (DoRA: Liu et al.
2024, arXiv 2402.09353; as there, the divisor has no gradient).

For any network: its linear layers are replaced in place. When training ends the correction is added to W, so what is
kept is the network as it was, and nothing downstream knows of it.
"""

from __future__ import annotations

import copy
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

ADAPTER = "adapter.safetensors"  # what was trained, beside the model of a run that was trained by one


@final
class Adapted(nn.Module):
    """A linear layer that stands still, and its correction. m: lengths of the rows, if they are learned."""

    def __init__(self, linear: nn.Linear, rank: int, scale: float, lengths: bool = False) -> None:
        super().__init__()
        self.linear, self.scale = linear, scale
        self.a = nn.Parameter(torch.randn(rank, linear.in_features) / math.sqrt(linear.in_features))
        self.b = nn.Parameter(torch.zeros(linear.out_features, rank))
        self.m = nn.Parameter(linear.weight.detach().float().norm(dim=1)) if lengths else None

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        turned = F.linear(F.linear(x, self.a.to(x.dtype)), self.b.to(x.dtype))
        if self.m is None:
            y: Tensor = self.linear(x)
            return torch.add(y, turned, alpha=self.scale)
        with torch.no_grad():
            length = corrected(self.linear.weight, self.a, self.b, self.scale).norm(dim=1)
        y = torch.add(F.linear(x, self.linear.weight), turned, alpha=self.scale) * (self.m / length).to(x.dtype)
        return y if self.linear.bias is None else y + self.linear.bias

    def merged(self) -> nn.Linear:
        """One layer that does the same."""
        whole = corrected(self.linear.weight, self.a, self.b, self.scale).detach()
        if self.m is not None:
            whole *= (self.m.detach().float() / whole.norm(dim=1))[:, None]
        made = copy.copy(self.linear)
        made._parameters = {**self.linear._parameters, "weight": nn.Parameter(whole, requires_grad=False)}
        return made


def corrected(weight: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
    """A matrix with its correction added, float32."""
    return torch.addmm(weight.float(), b.float(), a.float(), alpha=scale)


@final
class LoraConfig(Part):
    """rank, alpha: of the correction. layers: a pattern that the names of adapted layers contain; the usual one takes
    all that stand in a stack, as 'blocks.3.up' does. lengths: those of rows are learned apart (DoRA).
    """

    kind: Literal["networks.lora"] = "networks.lora"
    rank: int = Field(8, ge=1)
    alpha: float = Field(16.0, gt=0)
    layers: str = r"\.\d+\."
    lengths: bool = False

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
            setattr(nets.get_submodule(parent), own, Adapted(linear, self.rank, self.scale, self.lengths))

    def merged(self, base: Mapping[str, Tensor], trained: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights of the network as it was, in float32, with the corrections added."""
        whole = {name: value.detach().float().clone() for name, value in base.items()}
        for name in trained:
            if name.endswith(".a"):
                layer = name.removesuffix(".a")
                to = corrected(whole[f"{layer}.weight"], trained[name], trained[f"{layer}.b"], self.scale)
                lengths = trained.get(f"{layer}.m")
                whole[f"{layer}.weight"] = to if lengths is None else to * (lengths.float() / to.norm(dim=1))[:, None]
        return whole
