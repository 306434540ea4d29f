"""What this machine does: which number format pays, how long a step takes, what it needs in memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, Literal

import psutil
import torch
from torch import Tensor


def fastest(repeat: int, work: Callable[[], object]) -> float:
    """Seconds of the quickest of `repeat` calls: the one the rest of the machine disturbed least."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


@lru_cache(maxsize=1)
def bf16_gain() -> float:
    """How many times as fast as fp32 a bf16 matrix product is here: the quickest of each, taken in many short turns.

    A millisecond each, on one thread: longer ones, or two that wait for each other, are cut off by other work.
    """
    kinds = (torch.float32, torch.bfloat16)
    pairs = [(torch.randn(256, 512, dtype=kind), torch.randn(512, 512, dtype=kind)) for kind in kinds]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        turns = [[fastest(1, partial(torch.matmul, a, b)) for a, b in pairs] for _ in range(160)]
    finally:
        torch.set_num_threads(threads)
    single, half = (min(times) for times in zip(*turns, strict=True))
    return float(single / half)


def precision(asked: Literal["auto", "bf16", "fp32"]) -> torch.dtype:
    """bf16 where it pays (by a quarter at least), fp32 else or when asked."""
    if asked == "auto":
        return torch.bfloat16 if bf16_gain() > 1.25 else torch.float32
    return torch.bfloat16 if asked == "bf16" else torch.float32


def saved_bytes(forward: Callable[[], Any]) -> int:
    """What `forward` keeps for its backward pass: the memory that grows with the batch."""
    held: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        forward()
    return sum(held.values())


def free_bytes() -> int:
    """Memory that a run may take."""
    return int(psutil.virtual_memory().available)
