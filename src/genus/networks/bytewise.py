"""Products of bytes while a network learns: three integer products a layer, twice as quick as those of 16 bits.

    y = x W^T       a scale a row of x, one a row of W
    dx = dy W       a scale a row of dy, one a column of W
    dW = dy^T x     in blocks of 512 rows, a scale a column of either in each, summed in float32

Wortsman et al. 2023 (arXiv 2304.13013) keep the third at 16 bits, as one scale serves too many rows; scales of blocks
(Xi et al. 2024, arXiv 2403.12422) are what lets it be rounded too. Everything else stays as it is: weights, norms,
attention, what is kept for the way back, and any pass that does not learn. Rounding is to the nearest, sums are of
integers, so a row comes out the same in any company. Where no kernel can be had torch rounds: the same, no faster.
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

#: Rows: of a block of dW, and of sums of integers at a time, which should stay near the processor.
BLOCK, NEAR = 512, 256
#: Sides of a matrix are multiples of this; rows fewer than `FEW` are not worth the rounding.
STEP, FEW = 16, 64
NEEDED = ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_bf16", "avx512_vnni")


@cache
def kernel() -> Any:
    """The compiled functions, or None."""
    return compiled(Path(__file__).with_suffix(".cpp"), "-fopenmp", needs=NEEDED)


@final
class Bytewise(nn.Linear):
    """A linear layer whose products are of bytes while it learns from bfloat16. It has the weights that it had."""

    def forward(self, input: Tensor) -> Tensor:
        """[..., K] -> [..., N]."""
        few = input.numel() < FEW * self.in_features
        if not (self.training and torch.is_grad_enabled()) or input.dtype is not torch.bfloat16 or few:
            return F.linear(input, self.weight, self.bias)
        y: Tensor = multiplied(input, self.weight)
        return y if self.bias is None else y + self.bias


def onto(nets: nn.Module) -> int:
    """Makes linear layers bytewise, where their sizes allow it; says how many. Names and weights stay."""
    found = 0
    for module in nets.modules():
        if type(module) is nn.Linear and not (module.in_features % STEP or module.out_features % STEP):
            module.__class__ = Bytewise
            found += 1
    return found


@torch.compiler.disable  # type: ignore[untyped-decorator]
def multiplied(x: Tensor, weight: Tensor) -> Tensor:
    """x [..., K] bfloat16 and weight [N, K] -> [..., N], with gradients for both."""
    return _Product.apply(x, weight)  # type: ignore[no-any-return, no-untyped-call]


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1]).contiguous()
        ctx.save_for_backward(flat, weight)
        q, scales = rows(weight.detach().contiguous())
        return product(flat, q.t(), scales).view(*x.shape[:-1], len(weight))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        back = grads[0].reshape(-1, grads[0].shape[-1]).contiguous()
        dx = dw = None
        if ctx.needs_input_grad[0]:
            dx = product(back, *columns(weight.detach().contiguous())).view(*grads[0].shape[:-1], weight.shape[1])
        if ctx.needs_input_grad[1]:
            dw = outer(back, x)
        return dx, dw


def product(x: Tensor, q: Tensor, scales: Tensor) -> Tensor:
    """x [M, K] bfloat16 by bytes q [K, N] with scales [N]: bfloat16 [M, N]."""
    mine, own = rows(x)
    n, found = q.shape[1], kernel()
    y = x.new_empty(len(x), n)
    for start in range(0, len(x), NEAR):
        sums = torch._int_mm(mine[start : start + NEAR], q)
        s, to = own[start : start + NEAR], y[start : start + NEAR]
        if found is None:
            to.copy_(sums.float() * scales * s[:, None])
        else:
            found.genus_numbers(at(sums), *_sizes(sums), at(s), at(scales), at(to), torch.get_num_threads())
    return y


def outer(g: Tensor, x: Tensor) -> Tensor:
    """g [M, N]^T x [M, K], both bfloat16: bfloat16 [N, K]."""
    y = torch.zeros(g.shape[1], x.shape[1])
    found = kernel()
    for start in range(0, len(x), BLOCK):
        (left, s), (right, r) = columns(g[start : start + BLOCK]), columns(x[start : start + BLOCK])
        sums = torch._int_mm(left.t(), right)
        if found is None:
            y += sums.float() * r * s[:, None]
        else:
            found.genus_added(at(sums), *_sizes(sums), at(s), at(r), at(y), torch.get_num_threads())
    return y.bfloat16()


def rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """x [m, k] bfloat16, contiguous, as bytes [m, k] with a scale a row [m]."""
    return _rounded(x, 1)


def columns(x: Tensor) -> tuple[Tensor, Tensor]:
    """x [m, k] bfloat16, contiguous, as bytes [m, k] with a scale a column [k]."""
    return _rounded(x, 0)


def _rounded(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    found = kernel()
    if found is None:
        most = x.float().abs().amax(axis).clamp(min=1e-30)
        return (x.float() * (127 / most).unsqueeze(axis)).round().to(torch.int8), most / 127
    q, scales = torch.empty(x.shape, dtype=torch.int8), torch.empty(x.shape[1 - axis])
    way = found.genus_rows if axis else found.genus_columns
    way(at(x), *_sizes(x), at(q), at(scales), torch.get_num_threads())
    return q, scales


def _sizes(x: Tensor) -> tuple[ctypes.c_int64, ctypes.c_int64]:
    return ctypes.c_int64(x.shape[0]), ctypes.c_int64(x.shape[1])
