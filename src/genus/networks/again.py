"""What is cheap is worked out again in the backward pass and not kept: less memory, the same numbers to the bit.

Chen et al. 2016, arXiv 1604.06174, for single steps between products: a norm, a gate. What they are made from is kept
anyway. Knows no layer.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def through(cheap: Callable[[Tensor], Tensor], product: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """product(cheap(x)); what lies between them is not kept, but made of x again.

    A compiler decides such things by itself, and is left alone.
    """
    y = cheap(x)
    if torch.compiler.is_compiling() or not torch.is_grad_enabled():
        return product(y)
    place, size = y.data_ptr(), y.numel()

    def pack(kept: Tensor) -> Tensor | torch.Size:
        same = kept.data_ptr() == place and kept.numel() == size and kept.is_contiguous()
        return kept.shape if same else kept

    def unpack(held: Tensor | torch.Size) -> Tensor:
        if isinstance(held, Tensor):
            return held
        with torch.no_grad():
            return cheap(x).view(held)

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        return product(y)
