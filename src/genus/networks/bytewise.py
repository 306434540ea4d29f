"""Products of bytes while a network learns: three integer products a layer, twice as quick as those of 16 bits.

    y = x W^T       a scale a row of x, one a row of W
    dx = dy W       a scale a row of dy, one a column of W
    dW = dy^T x     in blocks of 512 rows, a scale a column of either in each, summed in float32

Wortsman et al. 2023 (arXiv 2304.13013) keep the third at 16 bits, as one scale serves too many rows; scales of blocks
(Xi et al. 2024, arXiv 2403.12422) are what lets it be rounded too. Everything else stays as it is: weights, norms,
attention, what is kept for the way back, and any pass that does not learn. Rounding is to the nearest, sums are of
integers, so a row comes out the same in any company. The kernel rounds, multiplies and scales in one pass; where it is
not to be had torch does the same in several, with integer products of its own. Both are operators that a compiler of
graphs takes as they are.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genus.compiled import address as at
from genus.compiled import compiled

BLOCK = 512  # rows of x and dy whose columns have one scale
#: Sides of a matrix are multiples of STEP, and so short that sums of bytes stay integers of 32 bits; fewer rows than
#: FEW are not worth the rounding.
STEP, LONG, FEW = 16, 1 << 16, 64
NEEDED = ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_bf16", "avx512_vnni")
TILES = ("amx_int8",)  # where the processor has these, torch's own integer products are the quicker ones


@cache
def kernel() -> Any:
    """The compiled functions, or None."""
    return compiled(Path(__file__).with_suffix(".cpp"), "-fopenmp", needs=NEEDED, unless=TILES)


@final
class Bytewise(nn.Linear):
    """A linear layer whose products are of bytes while it learns from bfloat16. It has the weights that it had."""

    def forward(self, input: Tensor) -> Tensor:
        """[..., K] -> [..., N]."""
        few = input.numel() < FEW * self.in_features
        if not (self.training and torch.is_grad_enabled()) or input.dtype is not torch.bfloat16 or few:
            return F.linear(input, self.weight, self.bias)
        y: Tensor = product(input.reshape(-1, input.shape[-1]), self.weight, True).view(*input.shape[:-1], -1)
        return y if self.bias is None else y + self.bias


@final
class Panels(nn.Module):
    """A linear layer without a bias that only draws: its weights as bytes, rounded once, its inputs row by row.

    squared: what comes out goes through relu(x)^2 before it is rounded to bfloat16.
    """

    q: Tensor
    scales: Tensor
    sums: Tensor

    def __init__(self, weight: Tensor, squared: bool = False) -> None:
        super().__init__()
        self.squared, self.outputs = squared, len(weight)
        for name, part in zip(("q", "scales", "sums"), prepared(weight.detach().bfloat16(), True), strict=True):
            self.register_buffer(name, part)

    def forward(self, x: Tensor) -> Tensor:
        """[..., K] -> [..., N], bfloat16."""
        flat = x.reshape(-1, x.shape[-1]).bfloat16()
        y = multiplied(flat, self.q, self.scales, self.sums, self.squared)
        return y.view(*x.shape[:-1], self.outputs)


def fits(linear: nn.Linear) -> bool:
    """Whether its sides are such as the products are made for."""
    return all(n % STEP == 0 and n < LONG for n in linear.weight.shape)


def onto(nets: nn.Module) -> int:
    """Makes linear layers bytewise, where their sizes allow it; says how many. Names and weights stay."""
    found = 0
    for module in nets.modules():
        if type(module) is nn.Linear and fits(module):
            module.__class__ = Bytewise
            found += 1
    return found


@torch.library.custom_op(
    "genus::product_of_bytes", mutates_args=(), schema="(Tensor x, Tensor w, bool turned) -> Tensor"
)
def product(x: Tensor, w: Tensor, turned: bool) -> Tensor:
    """x [M, K] by w [K, N], or turned by the transpose of w [N, K]: [M, N], all bfloat16. Turned, it has gradients."""
    return multiplied(x, *prepared(w, turned))


def prepared(w: Tensor, turned: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The right side of a product, bfloat16, as `multiplied` reads it: bytes, a scale a column, 128 times its sum."""
    w, found = w.contiguous(), kernel()
    if found is None:
        right, scales = rounded(w, 1 if turned else 0)
        return right.t() if turned else right, scales, scales.new_empty(0)
    n = w.shape[0 if turned else 1]
    q, scales, sums = w.new_empty(w.shape, dtype=torch.int8), torch.empty(n), torch.empty(n, dtype=torch.int32)
    do = found.genus_turned if turned else found.genus_straight
    do(at(w), *_sizes(w), at(q), at(scales), at(sums), torch.get_num_threads())
    return q, scales, sums


def multiplied(x: Tensor, q: Tensor, scales: Tensor, sums: Tensor, squared: bool = False) -> Tensor:
    """x [M, K] bfloat16 by what was `prepared`: [M, N] bfloat16. squared: relu(y)^2 of the product y."""
    x, found = x.contiguous(), kernel()
    if found is None:
        left, own = rounded(x, 1)
        y = torch._int_mm(left, q).float() * scales * own[:, None]
        return (y.relu().square() if squared else y).bfloat16()
    y = x.new_empty(len(x), len(scales))
    numbers = at(q), at(scales), at(sums), ctypes.c_int64(len(scales))
    found.genus_product(at(x), *_sizes(x), *numbers, at(y), int(squared), torch.get_num_threads())
    return y


@torch.library.custom_op("genus::outer_product_of_bytes", mutates_args=(), schema="(Tensor g, Tensor x) -> Tensor")
def outer(g: Tensor, x: Tensor) -> Tensor:
    """g [M, N]^T x [M, K], both bfloat16: bfloat16 [N, K]."""
    g, x, found = g.contiguous(), x.contiguous(), kernel()
    if found is None:
        y = torch.zeros(g.shape[1], x.shape[1])
        for start in range(0, len(x), BLOCK):
            (left, s), (right, r) = rounded(g[start : start + BLOCK], 0), rounded(x[start : start + BLOCK], 0)
            y += torch._int_mm(left.t(), right).float() * r * s[:, None]
        return y.bfloat16()
    y = x.new_empty(g.shape[1], x.shape[1])
    sizes = *_sizes(g), ctypes.c_int64(x.shape[1]), ctypes.c_int64(BLOCK)
    found.genus_outer(at(g), at(x), *sizes, at(y), torch.get_num_threads())
    return y


@product.register_fake
def _(x: Tensor, w: Tensor, turned: bool) -> Tensor:
    return x.new_empty(x.shape[0], w.shape[0 if turned else 1])


@outer.register_fake
def _(g: Tensor, x: Tensor) -> Tensor:
    return x.new_empty(g.shape[1], x.shape[1])


def _kept(ctx: Any, inputs: tuple[Tensor, Tensor, bool], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])


def _back(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
    x, w = ctx.saved_tensors
    dx = product(g, w, False) if ctx.needs_input_grad[0] else None
    return dx, outer(g, x) if ctx.needs_input_grad[1] else None, None


product.register_autograd(_back, setup_context=_kept)


def rounded(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """x [m, k] bfloat16 as bytes [m, k], with a scale a row [m] (axis 1) or a column [k] (axis 0)."""
    most = x.float().abs().amax(axis).clamp(min=1e-30)
    by = torch.full((), 127.0) / most  # 127 / most would be 127 times a rounded 1 / most
    return (x.float() * by.unsqueeze(axis)).round().to(torch.int8), most / 127


def _sizes(x: Tensor) -> tuple[ctypes.c_int64, ctypes.c_int64]:
    return ctypes.c_int64(x.shape[0]), ctypes.c_int64(x.shape[1])
