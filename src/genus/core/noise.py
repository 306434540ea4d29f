"""Every random draw, addressed by (key, sample, draw)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from ctypes import c_double, c_int64, c_uint64
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from genus.compiled import address, compiled
from genus.errors import UsageError

WORD = 0xFFFFFFFFFFFFFFFF
MANY = 2048  # ids from which on a compiled file looks for the drawn one
CLOSE = 64  # ids that may come close to it there
LEAST = 2.0**-16  # fractions below it are taken for it in float32
SLACK = 5e-3  # far more than float32 is off above it

Words = np.ndarray[Any, np.dtype[np.uint64]]


@final
@dataclass(frozen=True, slots=True)
class Noise:
    """Counter-based randomness: draw `t` of sample `i` depends on (key, i, t) alone.

    Never on the size of the batch, the position in it, the device or the worker; so sample 7 of key 1 is the same alone
    and among 64, and whoever knows (key, i) can make an output again. The seam of the watermark too: another class
    with this shape may draw from the same distribution under a secret key.

    The bits are Philox4x64-10 (Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3), as in numpy; values
    follow from them by fixed, monotone maps in float64, so they do not move with a library's sampling algorithms.
    """

    key: int
    samples: tuple[int, ...] = (0,)
    first: Tensor | None = field(default=None, compare=False)  # [B, ...]: given in place of normal draw 0, the latent

    def __len__(self) -> int:
        return len(self.samples)

    def child(self, name: str) -> Noise:
        """An independent stream for another use ('dropout', 'phase 2')."""
        digest = hashlib.blake2b(f"{self.key}/{name}".encode(), digest_size=8).digest()
        return Noise(int.from_bytes(digest, "little"), self.samples)

    def of(self, samples: Iterable[int]) -> Noise:
        """The same stream read for other samples."""
        return Noise(self.key, tuple(int(i) for i in samples))

    def part(self, start: int, stop: int) -> Noise:
        """Samples start..stop of this one."""
        return Noise(self.key, self.samples[start:stop], None if self.first is None else self.first[start:stop])

    def bits(self, draw: int, shape: Sequence[int] = ()) -> Words:
        """[B, *shape] raw 64-bit words; draw in 0 .. 2^63."""
        n = math.prod(shape)
        words = np.empty((len(self.samples), n), np.uint64)
        for row, i in enumerate(self.samples):
            # Key = (stream, sample); counter word 1 = draw, word 0 counts blocks inside the draw: no two ever meet.
            key = np.array([self.key & WORD, i & WORD], np.uint64)
            words[row] = np.random.Philox(key=key, counter=np.array([0, draw, 0, 0], np.uint64)).random_raw(n)
        return words.reshape(len(self.samples), *shape)

    def uniform(self, draw: int, shape: Sequence[int] = ()) -> Tensor:
        """[B, *shape] float64 in the open interval (0, 1)."""
        # 52 bits: with one more, the half that is added would round the largest word up to 1.
        return _fraction(self.bits(draw, shape))

    def normal(self, draw: int, shape: Sequence[int] = ()) -> Tensor:
        """[B, *shape] float32, standard normal. The top bit of the word is the sign."""
        if self.first is not None and draw == 0:
            if tuple(self.first.shape) != (len(self), *shape):
                raise UsageError(
                    f"latents of shape {list(self.first.shape)} were given, {[len(self), *shape]} are drawn"
                )
            return self.first.float()
        z: Tensor = torch.special.ndtri(self.uniform(draw, shape))
        return z.float()

    def gumbel(self, draw: int, shape: Sequence[int] = ()) -> Tensor:
        """[B, *shape] float64, standard Gumbel; argmax(logits + gumbel) is a draw from softmax(logits)."""
        return -torch.log(-torch.log(self.uniform(draw, shape)))

    def chosen(self, draw: int, logits: Tensor) -> Tensor:
        """argmax(logits + gumbel(draw)) over the last axis, [B, ...] of [B, ..., V]: draws from their softmax.

        Most ids are ruled out in float32; which of the rest it is, float64 says. Where that is not sure (an id whose
        noise float32 does not hold came close), all are looked at in float64.
        """
        flat = logits.flatten(0, -2)
        found = _contended(self, draw, flat) if logits.shape[-1] >= MANY else None
        if found is None:
            bits = self.bits(draw, logits.shape[1:]).reshape(flat.shape)
            found = [_chosen(words, row) for words, row in zip(bits, flat, strict=True)]
        return torch.tensor(found).view(logits.shape[:-1])


def _fraction(bits: Words) -> Tensor:
    """Words as numbers in (0, 1), float64."""
    return torch.from_numpy(((bits >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52)


def _chosen(words: Words, logits: Tensor) -> int:
    """The argmax of logits [V] and the Gumbel noise of these words."""
    # 1 - u, which is fine where u is near 1: there the noise is large.
    rest = torch.from_numpy((~words >> np.uint64(12)).view(np.int64)).float().mul_(2.0**-52)
    seen = logits.float() - rest.clamp_(max=1 - LEAST).neg_().log1p_().neg_().log_()
    most = float(seen.max())
    some = (seen >= most - SLACK).nonzero()[:, 0]
    exact = logits[some].double() - torch.log(-torch.log(_fraction(words[some.numpy()])))
    if not float(exact.max()) >= most - SLACK / 2:
        some, exact = torch.arange(len(logits)), logits.double() - torch.log(-torch.log(_fraction(words)))
    return int(some[exact.argmax()])


def _contended(noise: Noise, draw: int, logits: Tensor) -> list[int] | None:
    """The same of each row [B .., V] by the compiled file; None where there is none, or where too many come close."""
    kernel = compiled(Path(__file__).with_suffix(".cpp"))
    if kernel is None or not len(logits):
        return None
    rows, inner = len(logits), len(logits) // len(noise)
    samples = np.array([i & WORD for i in noise.samples], np.uint64)
    near = logits.detach().to("cpu", torch.float32).contiguous()
    ids, words = np.empty((rows, CLOSE), np.int64), np.empty((rows, CLOSE), np.uint64)
    counts = np.empty(rows, np.int64)
    kernel.genus_contenders(
        c_uint64(noise.key & WORD), address(samples), c_int64(rows), c_int64(inner), c_uint64(draw), address(near),
        c_int64(logits.shape[-1]), c_double(SLACK), c_int64(CLOSE), address(ids), address(words), address(counts),
    )  # fmt: skip
    if counts.min() < 1:
        return None
    found = []
    for row, n in enumerate(counts.tolist()):
        some = torch.from_numpy(ids[row, :n])
        exact = logits[row, some].double() - torch.log(-torch.log(_fraction(words[row, :n]))) if n > 1 else some
        found.append(int(some[exact.argmax()]))
    return found
