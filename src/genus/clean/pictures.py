"""Blank pictures, and pictures that are one picture twice: stored anew, resized, or a little brighter.

A perceptual hash (`genus.media.image.fingerprint`: Zauner 2010) finds candidates within a Hamming distance; each pair
is then looked at pixel by pixel, because small or simple pictures (digits, icons, flags, clock faces) share a hash
without being the same. Not here: crops, mirrored or edited pictures, the same thing photographed twice.

Search among many: the 64 bits fall into 4 words of 16. Within distance d some word differs in at most d // 4 bits, so
looking up each word, and each with one bit changed, finds all pairs to distance 7 and most beyond (Norouzi, Punjani and
Fleet 2012, arXiv 1307.2982).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, final

import numpy as np
from pydantic import Field

from genus.clean.rule import Judge, Pile, Twins
from genus.clean.twins import Found, Table, fresh
from genus.media import MEDIA

__all__ = ["AlikePictures", "Blank", "difference"]

Image = np.ndarray[Any, np.dtype[np.uint8]]
SMALL = 32  # under so many pixels a side, a pixel is a feature
FIELDS = 16
FEW = 1 << 14  # up to so many hashes, all pairs are counted
_BUCKET = 64  # of equal words this many neighbours are compared with each item: past it the word says nothing


@final
class Blank(Judge):
    """A picture of one colour. spread: largest difference between its lightest and darkest values, 0 to 255, in each
    channel, that still counts as one colour; what is fully transparent has no colour.
    """

    kind: Literal["clean.pictures.blank"] = "clean.pictures.blank"
    spread: int = Field(3, ge=0, le=255)
    usual: ClassVar[tuple[str, ...]] = ("image",)

    def judge(self, pile: Pile) -> Mapping[int, str]:
        """By the range of values after transparency."""
        out = {}
        for i, x in enumerate(pile.items):
            if x.shape[2] == 4:
                shown = x[:, :, 3] > self.spread
                if not shown.any():
                    out[i] = "wholly transparent"
                    continue
                if np.ptp(x[:, :, 3]) > self.spread:
                    continue  # its outline is something
            span = int(np.ptp(x[:, :, :3], axis=(0, 1)).max())
            if span <= self.spread:
                out[i] = f"one colour (values within {span} of 255)"
        return out


@final
class AlikePictures(Twins):
    """One picture twice; all but one of them go.

    bits: largest Hamming distance of the hashes. rms, spot: largest root mean square difference, and largest mean
    difference in any of 16 x 16 fields, of values from 0 to 1, after the best brightness and contrast. tiny: for
    pictures under 32 pixels a side, the largest root mean square as they are; they must be of one size.
    """

    kind: Literal["clean.pictures.alike_pictures"] = "clean.pictures.alike_pictures"
    bits: int = Field(10, ge=0, le=16)
    rms: float = Field(0.04, gt=0, le=1)
    spot: float = Field(0.1, gt=0, le=1)
    tiny: float = Field(0.012, ge=0, le=1)

    usual: ClassVar[tuple[str, ...]] = ("image",)
    width: ClassVar[int] = 16 + FIELDS * FIELDS * 2

    def record(self, pile: Pile) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], np.ndarray[Any, np.dtype[np.bool_]]]:
        """The hash, height and width, and 16 x 16 fields of brightness and opacity: enough to pass over most pairs."""
        out = np.zeros((len(pile), self.width), np.uint8)
        for i, x in enumerate(pile.items):
            out[i, :8] = np.array([MEDIA["image"].fingerprint(x)], np.uint64).view(np.uint8)
            out[i, 8:16] = np.array(x.shape[:2], np.uint32).view(np.uint8)
            out[i, 16:] = np.round(255 * brief(x)).astype(np.uint8).ravel()
        return out, np.ones(len(pile), bool)

    def pairs(self, table: Table) -> Found:
        """Candidates by hash, then by fields, all at once; what is left is read again and compared pixel by pixel."""
        low, high = within(table.shelf.columns(0, 8, np.uint64)[:, 0], self.bits)
        swap = table.rank[low] > table.rank[high]
        low[swap], high[swap] = high[swap], low[swap]
        like = np.zeros(len(low), bool)
        for which, a, b in table.shelf.pairs(low, high):
            like[which] = self._maybe(a, b)
        low, high = low[like], high[like]
        order = np.lexsort((low, high))
        low, high = low[order], high[order]
        alike = np.zeros(len(low), np.float32)
        for at in range(0, len(low), 64):
            which = slice(at, at + 64)
            images = table.read(np.unique(np.concatenate([low[which], high[which]])).tolist())
            for i in range(at, min(at + 64, len(low))):
                alike[i] = self._alike(images[int(low[i])], images[int(high[i])])
        good = alike > 0
        return Found(low[good], high[good], alike[good])

    def _maybe(self, a: Any, b: Any) -> Any:
        """Whether records are near enough for a closer look: bool [pairs]. Looser than `_alike`, so it loses none."""
        sizes = (np.ascontiguousarray(r[:, 8:16]).view(np.uint32).astype(np.float64) for r in (a, b))
        (h, w), (k, m) = (size.T for size in sizes)
        tiny = np.minimum(np.minimum(h, w), np.minimum(k, m)) < SMALL
        x, y = (r[:, 16:].reshape(len(r), -1, 2).astype(np.float32) / 255 for r in (a, b))
        plain = np.abs(x - y).max((1, 2))
        x, y = x[:, :, 0] - x[:, :, 0].mean(1, keepdims=True), y[:, :, 0] - y[:, :, 0].mean(1, keepdims=True)
        gain = np.clip((x * y).sum(1) / np.maximum((y * y).sum(1), 1e-9), 0.8, 1.25)
        fitted = np.minimum(np.abs(x - gain[:, None] * y).max(1), plain)
        same = (h == k) & (w == m)
        shape = np.abs(np.log(h * m / (w * k))) <= 0.05
        return np.where(tiny, same & (plain <= 8 * self.tiny), shape & (fitted <= self.spot + 0.05))

    def _alike(self, a: Image, b: Image) -> float:
        """1 less the root mean square difference if the two are one picture, else 0."""
        if min(*a.shape[:2], *b.shape[:2]) < SMALL:
            rms = float(np.sqrt(np.mean((shown(a) - shown(b)) ** 2))) if a.shape[:2] == b.shape[:2] else 1.0
            return 1 - rms if rms <= self.tiny else 0.0
        found = difference(a, b)
        return 1 - found[0] if found is not None and found[0] <= self.rms and found[1] <= self.spot else 0.0


def shown(x: Image) -> Any:
    """float32 [H, W, 4]: colour times opacity, and opacity; 0 to 1."""
    y = x.astype(np.float32) / 255
    colour = np.broadcast_to(y[:, :, :1], (*y.shape[:2], 3)) if y.shape[2] == 1 else y[:, :, :3]
    opaque = y[:, :, 3:] if y.shape[2] == 4 else np.ones_like(y[:, :, :1])
    return np.concatenate([colour * opaque, opaque], axis=2)


def brief(x: Image) -> Any:
    """float32 [16, 16, 2]: mean brightness (times opacity) and opacity, 0 to 1."""
    y = shown(x)
    grey = np.stack([y[:, :, :3].mean(2), y[:, :, 3]], axis=2)
    return np.clip(resized(grey, FIELDS), 0, 1)


def difference(a: Image, b: Image) -> tuple[float, float] | None:
    """(root mean square, largest mean in any of 16 x 16 fields) of two pictures' difference, both at 32 x 32.

    None if their shapes differ. Brightness and contrast of the second are fitted to the first, within a quarter. Means
    keep their sign until the end, so that what resampling and compression do to edges cancels, and a moved hand of a
    clock does not.
    """
    (h, w), (k, m) = a.shape[:2], b.shape[:2]
    if abs(np.log(h * m / (w * k))) > 0.05:
        return None
    x, y = resized(shown(a), 2 * FIELDS), resized(shown(b), 2 * FIELDS)
    opaque = y[:, :, 3:]
    over, under = (
        v[:, :, :3] - v[:, :, 3:] * v[:, :, :3].sum() / max(3 * float(v[:, :, 3].sum()), 1e-9) for v in (y, x)
    )
    gain = min(max(float((over * under).sum() / max(float((over**2).sum()), 1e-9)), 0.8), 1.25)
    shift = float((x[:, :, :3] - gain * y[:, :, :3]).sum() / max(3 * float(opaque.sum()), 1e-9))
    y[:, :, :3] = np.clip(gain * y[:, :, :3] + min(max(shift, -0.25), 0.25) * opaque, 0, 1)
    off = x - y
    fields = off.reshape(FIELDS, 2, FIELDS, 2, 4).mean((1, 3))
    return float(np.sqrt((off**2).max(2).mean())), float(np.abs(fields).max())


def resized(x: Any, side: int) -> Any:
    """float32 [side, side, channels], each pixel a weighted mean of what it covers (a triangle: boxes alias)."""
    from PIL import Image as Pillow

    planes = [Pillow.fromarray(np.ascontiguousarray(x[:, :, c])) for c in range(x.shape[2])]
    return np.stack([np.asarray(p.resize((side, side), Pillow.Resampling.BILINEAR)) for p in planes], axis=2)


def within(hashes: Any, bits: int) -> tuple[Any, Any]:
    """Pairs of 64-bit hashes that differ in at most `bits` bits: all of them among few hashes, or up to 7 bits; else
    most, and of words in very common use near ones only.
    """
    n = len(hashes)
    seen = np.empty(0, np.int64)
    lows, highs = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    if n <= FEW:
        for at in range(n):
            near = np.flatnonzero(np.bitwise_count(hashes[at + 1 :] ^ hashes[at]) <= bits)
            lows.append(np.full(len(near), at))
            highs.append(near + at + 1)
        return np.concatenate(lows), np.concatenate(highs)
    for word in range(4):
        key = ((hashes >> np.uint64(16 * word)) & np.uint64(0xFFFF)).astype(np.int64)
        order = np.lexsort((hashes, key))
        sorted_keys = key[order]
        for flip in (0, *(1 << np.arange(16) if bits >= 4 else ())):
            other = key[order] ^ flip
            start, stop = np.searchsorted(sorted_keys, other), np.searchsorted(sorted_keys, other, side="right")
            if flip == 0:
                start = np.arange(n) + 1  # each pair once
            count = np.minimum(np.maximum(stop - start, 0), _BUCKET)
            for at in range(0, n, 1 << 16):
                piece = slice(at, at + (1 << 16))
                some = count[piece]
                left = np.repeat(np.arange(n)[piece], some)
                right = np.repeat(start[piece] - (np.cumsum(some) - some), some) + np.arange(some.sum())
                a, b = order[left], order[right]
                near = np.bitwise_count(hashes[a] ^ hashes[b]) <= bits
                a, b = a[near], b[near]
                a, b, seen = fresh(np.minimum(a, b), np.maximum(a, b), seen)
                lows.append(a)
                highs.append(b)
    return np.concatenate(lows), np.concatenate(highs)
