"""All trained weights of a turn as one vector, in float32, and live in the precision of the passes.

In bf16 the live ones are the upper halves of the numbers, rounded; the lower halves lie behind them, and nothing twice.
One vector makes AdamW and the average single operators, and a resume a handful of plain tensors. Gradients stay where
the backward pass left them until `step` takes them, some millions at a time: they are never all there in float32, but
where those of several passes are summed. Matrices inside a network go by Muon (Jordan et al. 2024): momentum, then its
nearest orthogonal matrix by Newton-Schulz steps whose coefficients are those of Polar Express (Amsel et al. 2025, arXiv
2505.16932); stacked matrices each by itself.
All else goes by AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101). Weight decay touches matrices only. The average
is the power-function one of Karras et al. 2024 (arXiv 2312.02696, section 3.1). Knows no loss, no schedule and no file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import c_double, c_float, c_int64
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from genus.compiled import address as at
from genus.compiled import compiled
from genus.core import Stacked
from genus.errors import GenusError
from genus.recipe import Training

#: x -> a x + b (x x') x + c (x x')^2 x, in this order; brings singular values in [0.01, 1] to 1, give or take 0.15.
POLAR = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)
MOMENTUM = 0.95
ALIGNED = 64  # elements: a weight starts on a cache line in either precision
BLOCK = 1 << 24  # elements that are updated at once
PIECE = 1 << 20  # of these where each goes by itself: they stay in the cache
NEEDED = ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_bf16")


@cache
def kernel() -> Any:
    """The compiled functions, or None."""
    found = compiled(Path(__file__).with_suffix(".cpp"), "-fopenmp", needs=NEEDED)
    if found is not None:
        found.genus_squares.restype = c_double
    return found


def orthogonal(matrices: Tensor, precision: torch.dtype = torch.float32) -> Tensor:
    """The orthogonal factor of each of [k, m, n], approximately: all singular values near 1."""
    x = matrices.to(precision)
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    x = x / (matrices.flatten(1).norm(dim=1)[:, None, None] * 1.02 + 1e-7).to(precision)
    for a, b, c in POLAR:
        s = torch.bmm(x, x.mT)
        s = torch.baddbmm(s, s, s, beta=b, alpha=c)
        x = torch.baddbmm(x, s, x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)


@final
@dataclass(frozen=True, slots=True)
class Place:
    """Where a weight lies in the vector. stack: matrices that follow each other in it."""

    name: str
    shape: torch.Size
    start: int
    stack: int = 1

    @property
    def size(self) -> int:
        """Elements, without the padding behind."""
        return math.prod(self.shape)

    @property
    def matrix(self) -> tuple[int, int]:
        """Rows and columns of each matrix; a convolution's kernel is one, its outputs the rows."""
        rows = self.shape[0] if self.stack == 1 else self.shape[1]
        return rows, self.size // self.stack // rows

    def of(self, vector: Tensor) -> Tensor:
        """This weight's part of a vector, as a view."""
        return vector[self.start : self.start + self.size].view(self.shape)


@final
class Halves:
    """A vector of float32 numbers. live: what networks compute with: the numbers, or in bf16 their upper halves.

    x = 65536 live + rest in the bits of an integer, so live is x rounded to the nearest (a half: away from zero).
    """

    def __init__(self, size: int, precision: torch.dtype) -> None:
        """Zeros. Raises `GenusError` for another format than float32 and bf16."""
        if precision not in (torch.float32, torch.bfloat16):
            raise GenusError(f"weights are trained in float32 or bfloat16, not in {precision}")
        self.live = torch.zeros(size, dtype=precision)
        self.rest = torch.zeros(size, dtype=torch.int16) if precision is torch.bfloat16 else None

    def __len__(self) -> int:
        return len(self.live)

    def read(self, start: int, stop: int) -> Tensor:
        """Numbers start..stop, float32, to be changed and put back."""
        some = self.live[start:stop]
        if self.rest is None:
            return some
        return some.view(torch.int16).int().mul_(1 << 16).add_(self.rest[start:stop]).view(torch.float32)

    def halves(self) -> tuple[Tensor, ...]:
        """Where the numbers lie: the live ones and, in bf16, what is behind them."""
        return (self.live,) if self.rest is None else (self.live, self.rest)

    def put(self, start: int, x: Tensor) -> None:
        """Numbers from `start` on, float32."""
        stop = start + len(x)
        if self.rest is None:
            if x.data_ptr() != self.live[start:].data_ptr():
                self.live[start:stop] = x
            return
        self.rest[start:stop] = x.view(torch.int16)[::2]
        self.live[start:stop].view(torch.int16).copy_((x.view(torch.int32) + (1 << 15)).view(torch.int16)[1::2])

    def whole(self) -> Tensor:
        """A copy of all numbers."""
        found = torch.empty(len(self))
        for a in range(0, len(self), PIECE):
            found[a : a + PIECE] = self.read(a, min(a + PIECE, len(self)))
        return found

    def fill(self, x: Tensor) -> None:
        """All numbers."""
        for a in range(0, len(self), PIECE):
            self.put(a, x[a : a + PIECE])


@final
class Flat:
    """The trained weights of `nets` and everything their optimiser remembers.

    Building it moves the weights into the live vector: after that `nets` computes in `precision`, and its weights are
    views that `step` rewrites in place. Weights that need no gradient are left alone.
    """

    def __init__(self, nets: nn.Module, training: Training, precision: torch.dtype = torch.float32) -> None:
        """Raises `GenusError` if `nets` has nothing to train."""
        self.training, self.precision = training, precision
        trained = {name: p for name, p in nets.named_parameters() if p.requires_grad}
        if not trained:
            raise GenusError("this turn trains no weights: all are frozen; check the turn's `trains` and the recipe")

        def rank(item: tuple[str, nn.Parameter]) -> tuple[int, tuple[int, ...]]:
            name, p = item
            if training.optimiser == "muon" and inner(name, p):
                return 0, tuple(p.shape)  # equal shapes lie together, so that one batched product serves them
            return (1, ()) if p.ndim > 1 else (2, ())

        stacked = {
            f"{at}.{own}" for at, part in nets.named_modules() if isinstance(part, Stacked) for own in part.stacked
        }
        self.places: list[Place] = []
        ends = [0, 0, 0]  # of the matrices for Muon, of those for AdamW, of all else
        for item in sorted(trained.items(), key=rank):
            start = max(ends)
            shape = item[1].shape
            self.places.append(Place(item[0], shape, start, shape[0] if item[0] in stacked else 1))
            end = start + -(-item[1].numel() // ALIGNED) * ALIGNED
            ends[rank(item)[0] :] = [end] * (3 - rank(item)[0])
        self.ends = ends
        self.weights = [trained[place.name] for place in self.places]
        self.numbers = Halves(ends[2], precision)
        self.sum: Tensor | None = None  # of the gradients of several passes
        self.bundles = self._bundles()
        # Weights move a piece at a time, and what remembers them comes after: never are both there beside a third.
        for place, weight in zip(self.places, self.weights, strict=True):
            flat = weight.detach().reshape(-1)
            for a in range(0, len(flat), PIECE):
                self.numbers.put(place.start + a, flat[a : a + PIECE].float())
            del flat
            weight.data = place.of(self.numbers.live)
        self.mean, self.square = torch.zeros(ends[2]), torch.zeros(ends[2] - ends[0])
        self.steps = [torch.zeros(()), torch.zeros(())]  # of AdamW with and without decay: what its fused form counts
        self.ema = self.numbers.whole() if training.ema else None

    def _bundles(self) -> list[tuple[int, Place]]:
        """(number, first) of runs of equal matrices, or of equal stacks of them, in Muon's part; a block at most."""
        found: list[tuple[int, Place]] = []
        for place in self.places:
            if place.start >= self.ends[0]:
                break
            room = bool(found) and (found[-1][0] + 1) * place.size <= BLOCK
            if room and (found[-1][1].shape, found[-1][1].stack) == (place.shape, place.stack):
                found[-1] = (found[-1][0] + 1, found[-1][1])
            else:
                found.append((1, place))
        return found

    def zero(self) -> None:
        """Forget the gradients."""
        if self.sum is not None:
            self.sum.zero_()
        for weight in self.weights:
            weight.grad = None

    def gather(self) -> None:
        """Add what the weights' `.grad` hold to a float32 sum, and empty them.

        Called after each micro-batch, it keeps the sum out of the live precision. A single pass has no use for it.
        """
        if self.sum is None:
            self.sum = torch.zeros(self.ends[2])
        for place, weight in zip(self.places, self.weights, strict=True):
            if weight.grad is not None:
                place.of(self.sum).add_(weight.grad)
                weight.grad = None

    def _gradient(self, start: int, stop: int) -> Tensor:
        """Elements start..stop of the gradient, float32, to be written to."""
        if self.sum is not None:
            return self.sum[start:stop]
        found = torch.zeros(stop - start)
        for place, weight in zip(self.places, self.weights, strict=True):
            a, b = max(start, place.start), min(stop, place.start + place.size)
            if a < b and weight.grad is not None:
                found[a - start : b - start] = weight.grad.reshape(-1)[a - place.start : b - place.start]
        return found

    @torch.no_grad()
    def step(self, rate_scale: float, step: int) -> Tensor:
        """One update; `step` counts from 0. Returns the gradient's norm before clipping.

        A gradient that is not finite changes nothing: the caller sees it in the norm and decides.
        """
        if self.sum is not None:
            self.gather()
        norm = self._norm() if self.sum is None else self.sum.norm()
        if not bool(norm.isfinite()):
            return norm
        share = self.training.clip / (norm + 1e-6) if norm > self.training.clip else None

        def clipped(start: int, stop: int) -> Tensor:
            some = self._gradient(start, stop)
            return some if share is None else some.mul_(share)

        self._muon(self.training.muon_rate * rate_scale, clipped)
        self._adamw(self.training.rate * rate_scale, clipped, share)
        for weight in self.weights:
            weight.grad = None
        if self.ema is not None:
            # beta = (1 - 1 / t)^(1 / h): weights of a step grow as a power of its number, h = 1 is the plain mean.
            beta = (1 - 1 / (step + 1)) ** (1 / self.training.ema)
            for a in range(0, len(self.ema), PIECE):
                b = min(a + PIECE, len(self.ema))
                self.ema[a:b].lerp_(self.numbers.read(a, b), 1 - beta)
        return norm

    def _norm(self) -> Tensor:
        """Of the gradients where they are."""
        quick = self._quick()
        if quick is not None:
            grads = [w.grad.contiguous() for w in self.weights if w.grad is not None]
            threads = torch.get_num_threads()
            return torch.tensor(math.sqrt(sum(quick.genus_squares(at(g), c_int64(g.numel()), threads) for g in grads)))
        found = [torch.linalg.vector_norm(w.grad, dtype=torch.float32) for w in self.weights if w.grad is not None]
        return torch.stack(found).norm() if found else torch.zeros(())

    def _muon(self, rate: float, clipped: Callable[[int, int], Tensor]) -> None:
        for number, first in self.bundles:
            stride = -(-first.size // ALIGNED) * ALIGNED
            start, stop = first.start, first.start + number * stride
            grad, mean = clipped(start, stop), self.mean[start:stop]
            mean.lerp_(grad, 1 - MOMENTUM)
            grad.lerp_(mean, MOMENTUM)  # Nesterov's look ahead
            rows, columns = first.matrix
            lay = (number, first.stack, rows, columns), (stride, rows * columns, columns, 1)
            some = grad.as_strided(*lay, grad.storage_offset())
            update = orthogonal(some.reshape(-1, rows, columns), self.precision).view_as(some)
            x = self.numbers.read(start, stop).mul_(1 - rate * self.training.weight_decay)
            # Jordan's scale: the change of an output is as large whatever the shape.
            x.as_strided(*lay, x.storage_offset()).sub_(update, alpha=rate * max(1.0, rows / columns) ** 0.5)
            self.numbers.put(start, x)

    def _quick(self) -> Any:
        """The compiled functions, where numbers lie in halves and gradients where the pass left them; or None."""
        return kernel() if len(self.numbers.halves()) == 2 and self.sum is None else None

    def _adamw(self, rate: float, clipped: Callable[[int, int], Tensor], share: Tensor | None) -> None:
        (beta1, beta2), first, quick = self.training.betas, self.ends[0], self._quick()
        for start, end, decay, count in (
            (self.ends[0], self.ends[1], self.training.weight_decay, self.steps[0]),
            (self.ends[1], self.ends[2], 0.0, self.steps[1]),
        ):
            if quick is not None and end > start:
                n = int(count.add_(1))
                root, pace = math.sqrt(1 - beta2**n), rate / (1 - beta1**n)
                numbers = [1.0 if share is None else float(share), 1 - rate * decay, pace, beta1, beta2, root, 1e-8]
                said = [*map(c_float, numbers), torch.get_num_threads()]
                for place, weight in zip(self.places, self.weights, strict=True):
                    if start <= place.start < end:
                        grad = None if weight.grad is None else weight.grad.contiguous()
                        halves = [at(half[place.start :]) for half in self.numbers.halves()]
                        kept = at(self.mean[place.start :]), at(self.square[place.start - first :])
                        g = None if grad is None else at(grad)
                        quick.genus_adamw(*halves, g, *kept, c_int64(place.size), *said)
                continue
            before = count.clone()
            for a in range(start, end, PIECE):
                b = min(a + PIECE, end)
                x = self.numbers.read(a, b)
                adamw(
                    [x],
                    [clipped(a, b)],
                    [self.mean[a:b]],
                    [self.square[a - first : b - first]],
                    [],
                    [count.copy_(before)],
                    fused=True,
                    amsgrad=False,
                    beta1=beta1,
                    beta2=beta2,
                    lr=rate,
                    weight_decay=decay,
                    eps=1e-8,
                    maximize=False,
                )
                self.numbers.put(a, x)

    def averaged(self) -> dict[str, Tensor]:
        """The weights to keep, by name, in float32, copied: the average where there is one."""
        vector = self.numbers.whole() if self.ema is None else self.ema.clone()
        return {place.name: place.of(vector) for place in self.places}

    @contextmanager
    def swap_ema(self) -> Iterator[None]:
        """Inside, the nets compute with the average; after, with the live weights again. Nothing if there is none."""
        if self.ema is None:
            yield
            return
        before = self.numbers.live.clone()
        self.numbers.live.copy_(self.ema)
        try:
            yield
        finally:
            self.numbers.live.copy_(before)

    def state_dict(self) -> dict[str, Tensor]:
        """All that a bit-exact resume needs, as plain tensors."""
        master = self.numbers.whole()
        state = {"master": master, "mean": self.mean, "square": self.square, "steps": torch.stack(self.steps)}
        return state if self.ema is None else {**state, "ema": self.ema}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take up where `state_dict` left off. Raises `GenusError` if it is of other weights or another optimiser."""
        mine = self.state_dict()
        for name, tensor in mine.items():
            if name not in state or state[name].shape != tensor.shape:
                found = tuple(state[name].shape) if name in state else "nothing"
                raise GenusError(
                    f"the checkpoint's {name} is {found}, expected {tuple(tensor.shape)}; was the recipe changed?"
                )
            if name not in ("steps", "master"):
                tensor.copy_(state[name])
        self.numbers.fill(state["master"])
        for count, stored in zip(self.steps, state["steps"], strict=True):
            count.copy_(stored)
        self.zero()


def inner(name: str, weight: Tensor) -> bool:
    """Whether Muon may have this weight: a matrix or convolution in a stack of layers, as 'blocks.3.up.weight' is.

    What stands outside of a stack meets ids, raw cells or outputs, and is AdamW's.
    """
    return weight.ndim > 1 and re.search(r"\.\d+\.", name) is not None and "embed" not in name
