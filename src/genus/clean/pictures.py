"""Blank pictures, and pictures that are one picture twice: stored anew, resized, or a little brighter.

A perceptual hash (`genus.media.image.fingerprint`: Zauner 2010) finds candidates within a Hamming distance; each pair
is then looked at pixel by pixel, because small or simple pictures (digits, icons, flags, clock faces) share a hash
without being the same. Not here: crops, mirrored or edited pictures, the same thing photographed twice.

Search: the 64 bits fall into 4 words of 16. Within distance d some word differs in at most d // 4 bits, so looking up
each word, and each with one bit changed, finds all pairs to distance 7 (Norouzi, Punjani and Fleet 2012, arXiv
1307.2982).
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
    difference in any of 8 x 8 fields, of values from 0 to 1, after the best brightness and contrast. tiny: for
    pictures under 32 pixels a side, the largest root mean square as they are; they must be of one size. The record:
    the hash.
    """

    kind: Literal["clean.pictures.alike_pictures"] = "clean.pictures.alike_pictures"
    bits: int = Field(6, ge=0, le=7)
    rms: float = Field(0.05, gt=0, le=1)
    spot: float = Field(0.04, gt=0, le=1)
    tiny: float = Field(0.012, ge=0, le=1)

    usual: ClassVar[tuple[str, ...]] = ("image",)
    width: ClassVar[int] = 8

    def record(self, pile: Pile) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], np.ndarray[Any, np.dtype[np.bool_]]]:
        """One hash a picture."""
        hashes = np.array([MEDIA["image"].fingerprint(x) for x in pile.items], np.uint64)
        return hashes.view(np.uint8).reshape(len(pile), 8), np.ones(len(pile), bool)

    def pairs(self, table: Table) -> Found:
        """Candidates by hash, nearest hashes first; then by pixels."""
        hashes = table.shelf.columns(0, 8, np.uint64)[:, 0]
        low, high = within(hashes, self.bits)
        swap = table.rank[low] > table.rank[high]
        low[swap], high[swap] = high[swap], low[swap]
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


def difference(a: Image, b: Image) -> tuple[float, float] | None:
    """(root mean square, largest mean in any of 8 x 8 fields) of two pictures at the smaller one's size (64 at most).

    None if their shapes differ. Brightness and contrast of the second are fitted to the first, within a quarter.
    """
    (h, w), (k, m) = a.shape[:2], b.shape[:2]
    if abs(np.log(h * m / (w * k))) > 0.05:
        return None
    scale = min(1.0, 64 / min(h, w, k, m))
    size = (max(8, round(min(h, k) * scale)), max(8, round(min(w, m) * scale)))
    x, y = resized(shown(a), size), resized(shown(b), size)
    over = y[:, :, :3] - y[:, :, :3].mean()
    gain = float((over * (x[:, :, :3] - x[:, :, :3].mean())).sum() / max(float((over**2).sum()), 1e-9))
    gain = min(max(gain, 0.8), 1.25)
    offset = min(max(float(x[:, :, :3].mean() - gain * y[:, :, :3].mean()), -0.25), 0.25)
    y[:, :, :3] = np.clip(gain * y[:, :, :3] + offset * y[:, :, 3:], 0, 1)
    off = np.abs(x - y).max(axis=2)
    fields = np.add.reduceat(np.add.reduceat(off, np.arange(8) * size[0] // 8, 0), np.arange(8) * size[1] // 8, 1)
    cells = np.diff(np.arange(9) * size[0] // 8)[:, None] * np.diff(np.arange(9) * size[1] // 8)[None]
    return float(np.sqrt(np.mean(off**2))), float((fields / cells).max())


def resized(x: Any, size: tuple[int, int]) -> Any:
    """float32 [h, w, 4] at another size, each new pixel the mean of what it covers."""
    from PIL import Image as Pillow

    if x.shape[:2] == size:
        return x.copy()
    planes = [Pillow.fromarray(np.ascontiguousarray(x[:, :, c])) for c in range(4)]
    return np.stack([np.asarray(p.resize(size[::-1], Pillow.Resampling.BOX)) for p in planes], axis=2)


def within(hashes: Any, bits: int) -> tuple[Any, Any]:
    """All pairs of 64-bit hashes that differ in at most `bits` (to 7) bits; of words in very common use, near ones
    only.
    """
    n = len(hashes)
    seen = np.empty(0, np.int64)
    lows, highs = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
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
