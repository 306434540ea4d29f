"""What lies between a transformer's products, in one pass each way: normalised and modulated rows, gates, a square.

As operators one after another they take a tenth of a step of a small transformer of pictures, in one pass each about
half of that (docs/log.md). For bfloat16 on a processor with the instructions for it: sums and what lies between are
float32, and a result is rounded once, so it is nearer to float32 than the operators are. Elsewhere it is the operators.
All are rows apart, so a sample comes out the same in any company; all are operators that a compiler of graphs takes as
they are.
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
from genus.networks.attention import Normal, Relu2, taped

STEP = 16  # numbers of a row: a multiple of this
NEEDED = ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_bf16")


@cache
def kernel() -> Any:
    """The compiled functions, or None."""
    return compiled(Path(__file__).with_suffix(".cpp"), "-fopenmp", needs=NEEDED)


@graphs.constant
def ready() -> bool:
    """Whether there is a kernel, as a compiler of graphs may ask it."""
    return kernel() is not None


def serves(x: Tensor) -> bool:
    """Whether the kernel can do it: rows of bfloat16 on such a processor."""
    return x.dtype is torch.bfloat16 and x.device.type == "cpu" and x.shape[-1] % STEP == 0 and ready()


def normed(x: Tensor, shift: Tensor | None = None, scale: Tensor | None = None) -> Tensor:
    """x [B, N, width] over its root mean square, times 1 + scale and plus shift, each [B, 1, width]; None: neither."""
    if serves(x):
        mods = [None if m is None else m.expand(len(x), 1, -1) for m in (shift, scale)]
        y: Tensor = _normed(x, *mods)[0]
        return y
    y = taped(Normal, x)
    return y if shift is None or scale is None else y * (1 + scale) + shift


def let_in(x: Tensor, y: Tensor, gate: Tensor | None) -> Tensor:
    """x + y (1 + gate), x and y [B, N, width], gate [B, 1, width]; None: without."""
    if gate is None:
        return x + y
    if serves(x) and y.dtype is x.dtype:
        z: Tensor = _let_in(x, y, gate.expand(len(x), 1, -1))
        return z
    return x + y * (1 + gate)


def squared(x: Tensor) -> Tensor:
    """relu(x)^2; see `attention.Relu2`."""
    if serves(x):
        y: Tensor = _squared(x, None)
        return y
    return taped(Relu2, x)


@torch.library.custom_op(
    "genus::normed", mutates_args=(), schema="(Tensor x, Tensor? shift, Tensor? scale) -> (Tensor, Tensor)"
)
def _normed(x: Tensor, shift: Tensor | None, scale: Tensor | None) -> tuple[Tensor, Tensor]:
    x = x.contiguous()
    y, by = _found(x)
    shift, scale = _mods(shift, scale)
    kernel().genus_normed(at(x), _at(shift), _at(scale), *_sizes(x, scale), at(y), at(by), torch.get_num_threads())
    return y, by


@torch.library.custom_op(
    "genus::normed_back",
    mutates_args=(),
    schema="(Tensor g, Tensor x, Tensor by, Tensor? scale) -> (Tensor, Tensor, Tensor)",
)
def _normed_back(g: Tensor, x: Tensor, by: Tensor, scale: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    g, x = g.contiguous(), x.contiguous()
    (scale,) = _mods(scale)
    dx, dshift, dscale = torch.empty_like(x), _sums(x), _sums(x)
    places = at(dx), at(dshift), at(dscale), torch.get_num_threads()
    kernel().genus_normed_back(at(g), at(x), at(by), _at(scale), *_sizes(x, scale), *places)
    return dx, dshift, dscale


@torch.library.custom_op("genus::let_in", mutates_args=(), schema="(Tensor x, Tensor y, Tensor gate) -> Tensor")
def _let_in(x: Tensor, y: Tensor, gate: Tensor) -> Tensor:
    x, y = x.contiguous(), y.contiguous()
    (let,) = _mods(gate)
    z = torch.empty_like(x)
    kernel().genus_let_in(at(x), at(y), _at(let), *_sizes(x, let), at(z), torch.get_num_threads())
    return z


@torch.library.custom_op(
    "genus::let_in_back", mutates_args=(), schema="(Tensor g, Tensor y, Tensor gate) -> (Tensor, Tensor)"
)
def _let_in_back(g: Tensor, y: Tensor, gate: Tensor) -> tuple[Tensor, Tensor]:
    g, y = g.contiguous(), y.contiguous()
    (let,) = _mods(gate)
    dy, dgate = torch.empty_like(y), _sums(y)
    places = at(dy), at(dgate), torch.get_num_threads()
    kernel().genus_let_in_back(at(g), at(y), _at(let), *_sizes(y, let), *places)
    return dy, dgate


@torch.library.custom_op("genus::squared", mutates_args=(), schema="(Tensor x, Tensor? g) -> Tensor")
def _squared(x: Tensor, g: Tensor | None) -> Tensor:
    x, g = x.contiguous(), None if g is None else g.contiguous()
    y = torch.empty_like(x)
    kernel().genus_squared(at(x), _at(g), ctypes.c_int64(x.numel()), at(y), torch.get_num_threads())
    return y


@_normed.register_fake
def _(x: Tensor, shift: Tensor | None, scale: Tensor | None) -> tuple[Tensor, Tensor]:
    return _found(x)


@_normed_back.register_fake
def _(g: Tensor, x: Tensor, by: Tensor, scale: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape), _sums(x), _sums(x)


@_let_in.register_fake
def _(x: Tensor, y: Tensor, gate: Tensor) -> Tensor:
    return x.new_empty(x.shape)


@_let_in_back.register_fake
def _(g: Tensor, y: Tensor, gate: Tensor) -> tuple[Tensor, Tensor]:
    return y.new_empty(y.shape), _sums(y)


@_squared.register_fake
def _(x: Tensor, g: Tensor | None) -> Tensor:
    return x.new_empty(x.shape)


def _keep_normed(ctx: Any, inputs: tuple[Tensor, Tensor | None, Tensor | None], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(inputs[0], output[1], inputs[2])
    ctx.mark_non_differentiable(output[1])


def _back_normed(ctx: Any, g: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    x, by, scale = ctx.saved_tensors
    dx, dshift, dscale = _normed_back(g, x, by, scale)
    return (dx, None, None) if scale is None else (dx, dshift, dscale)


def _keep_let_in(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[1:])


def _back_let_in(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return g, *_let_in_back(g, *ctx.saved_tensors)


def _keep_squared(ctx: Any, inputs: tuple[Tensor, None], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0])


def _back_squared(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
    return _squared(ctx.saved_tensors[0], g), None


_normed.register_autograd(_back_normed, setup_context=_keep_normed)
_let_in.register_autograd(_back_let_in, setup_context=_keep_let_in)
_squared.register_autograd(_back_squared, setup_context=_keep_squared)


def _found(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape[:-1], dtype=torch.float32)


def _sums(x: Tensor) -> Tensor:
    return x.new_empty(len(x), 1, x.shape[-1])


def _mods(*given: Tensor | None) -> list[Tensor | None]:
    """Modulations whose numbers lie together, each sample's as far from the next one's: slices of one are left so."""
    mods = [m for m in given if m is not None]
    if any(m.stride(-1) != 1 or m.stride(0) != mods[0].stride(0) for m in mods):
        return [None if m is None else m.contiguous() for m in given]
    return list(given)


def _at(x: Tensor | None) -> ctypes.c_void_p | None:
    return None if x is None else at(x)


def _sizes(x: Tensor, mods: Tensor | None) -> tuple[ctypes.c_int64, ...]:
    """Numbers from one sample's modulation to the next, samples, rows of each, numbers of a row."""
    apart, samples, width = 0 if mods is None else mods.stride(0), len(x), x.shape[-1]
    return tuple(map(ctypes.c_int64, (apart, samples, x.numel() // max(1, samples * width), width)))
