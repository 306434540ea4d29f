"""Self-attention in one pass each way: normalised, rotated, asked, answered, a head of a text at a time in the caches.

What `attention.turn` and `attention.attend` give together, for bfloat16 on a processor with the instructions for it.
Scores and probabilities are never all there: they are found again on the way back from a number a row, the logarithm of
its sum of powers (Dao et al. 2022, arXiv 2205.14135). A causal query does not look past its sixteen keys. Sums are in
float32 and rounded once, so it is nearer to float32 than the operators one after another.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genus import graphs
from genus.compiled import address as at
from genus.compiled import compiled
from genus.networks.attention import Table

STEP = 32  # channels of a head: a multiple of this
NEEDED = ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_bf16")
TILES = ("amx_bf16",)  # where the processor has these, torch's own products are the quicker ones


@cache
def kernel() -> Any:
    """The compiled functions, or None."""
    return compiled(Path(__file__).with_suffix(".cpp"), "-fopenmp", needs=NEEDED, unless=TILES)


@graphs.constant
def ready() -> bool:
    """Whether there is a kernel, as a compiler of graphs may ask it."""
    return kernel() is not None


def serves(dtype: torch.dtype, device: torch.device, head: int) -> bool:
    """Whether `attended` can do it: bfloat16 on such a processor."""
    return dtype is torch.bfloat16 and device.type == "cpu" and head % STEP == 0 and ready()


def attended(
    qkv: Tensor, table: Table, heads: int, causal: bool, begun: Tensor | None = None, normed: bool = True
) -> Tensor:
    """qkv [B, N, heads + 2 kv heads, D], the queries first and the values last -> [B, N, heads, D]. See `serves`.

    begun: [B, N], where the text of each cell begins (`attention.begun`); causal, a cell sees none before it. normed:
    queries and keys are normalised before they are rotated.
    """
    cos, sin = (part.reshape(-1, *qkv.shape[1::2]) for part in table)  # [1 or B, N, D]
    y: Tensor = _forth(qkv, cos, sin, None if begun is None else begun.int(), heads, causal, normed)[0]
    return y


@torch.library.custom_op(
    "genus::attend",
    mutates_args=(),
    schema="(Tensor qkv, Tensor cos, Tensor sin, Tensor? begun, int heads, bool causal, bool normed)"
    " -> (Tensor, Tensor)",
)
def _forth(
    qkv: Tensor, cos: Tensor, sin: Tensor, begun: Tensor | None, heads: int, causal: bool, normed: bool
) -> tuple[Tensor, Tensor]:
    qkv, cos, sin = qkv.contiguous(), cos.contiguous(), sin.contiguous()
    begun = None if begun is None else begun.contiguous()
    y, sums = _found(qkv, heads)
    told = at(cos), at(sin), _own(cos), None if begun is None else at(begun)
    places = at(y), at(sums), torch.get_num_threads()
    kernel().genus_attend(at(qkv), *told, *_sizes(qkv, heads), int(causal), int(normed), *places)
    return y, sums


@torch.library.custom_op(
    "genus::attend_back",
    mutates_args=(),
    schema="(Tensor dy, Tensor qkv, Tensor sums, Tensor cos, Tensor sin, Tensor? begun, bool causal, bool normed)"
    " -> Tensor",
)
def _back(
    dy: Tensor, qkv: Tensor, sums: Tensor, cos: Tensor, sin: Tensor, begun: Tensor | None, causal: bool, normed: bool
) -> Tensor:
    dy, qkv, cos, sin = dy.contiguous(), qkv.contiguous(), cos.contiguous(), sin.contiguous()
    begun = None if begun is None else begun.contiguous()
    dqkv, sizes = torch.empty_like(qkv), _sizes(qkv, dy.shape[2])
    told = at(cos), at(sin), _own(cos), None if begun is None else at(begun)
    places = at(dy), at(qkv), at(sums)
    kernel().genus_attend_back(*places, *told, *sizes, int(causal), int(normed), at(dqkv), torch.get_num_threads())
    return dqkv


@_forth.register_fake
def _(
    qkv: Tensor, cos: Tensor, sin: Tensor, begun: Tensor | None, heads: int, causal: bool, normed: bool
) -> tuple[Tensor, Tensor]:
    return _found(qkv, heads)


@_back.register_fake
def _(
    dy: Tensor, qkv: Tensor, sums: Tensor, cos: Tensor, sin: Tensor, begun: Tensor | None, causal: bool, normed: bool
) -> Tensor:
    return qkv.new_empty(qkv.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    qkv, cos, sin, begun, _, *ctx.knobs = inputs
    ctx.save_for_backward(qkv, cos, sin, begun, output[1])
    ctx.mark_non_differentiable(output[1])


def _gradient(ctx: Any, dy: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    qkv, cos, sin, begun, sums = ctx.saved_tensors
    return _back(dy, qkv, sums, cos, sin, begun, *ctx.knobs), *[None] * 6


_forth.register_autograd(_gradient, setup_context=_keep)


def _found(qkv: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    b, n, _, d = qkv.shape
    return qkv.new_empty(b, n, heads, d), qkv.new_empty((b, heads, n), dtype=torch.float32)


def _own(cos: Tensor) -> ctypes.c_int64:
    """Numbers from one text's table to the next; 0: they have one."""
    return ctypes.c_int64(cos[0].numel() if len(cos) > 1 else 0)


def _sizes(qkv: Tensor, heads: int) -> tuple[ctypes.c_int64, ...]:
    b, n, rows, d = qkv.shape
    return tuple(map(ctypes.c_int64, (b, n, heads, (rows - heads) // 2, d)))
