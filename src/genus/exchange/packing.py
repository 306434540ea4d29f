"""Numbers in the number formats of GGUF: whole ones, and blocks of a few bits with a scale. Vectorised, in numpy.

A block format cuts a row into blocks (32 numbers, or 256 for the K formats), each stored as so many bytes. `unpacked`
reads all of these; `packed` writes those that an export offers. The layouts are those of ggml, whose reference
quantisers q8_0, q4_0, q4_1 and q5_0 repeat bit by bit; q4_k searches its scales by weighted least squares.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Whole = NDArray[np.integer[Any]]
PIECE = 1 << 14  # blocks worked on at once, so that what lies between stays in the cache


@final
@dataclass(frozen=True)
class Format:
    """code: in the file. numbers, size: of a block, and its bytes. read: [n, size] -> [n, numbers]; write: back."""

    name: str
    code: int
    numbers: int
    size: int
    read: Callable[[Bytes], Floats]
    write: Callable[[Floats], Bytes] | None = None

    def bytes(self, count: int) -> int:
        """That so many numbers take."""
        return count // self.numbers * self.size


def unpacked(form: Format, data: Bytes, shape: tuple[int, ...]) -> Floats:
    """Stored bytes as float32 of this shape."""
    blocks, out = data.reshape(-1, form.size), np.empty((data.size // form.size, form.numbers), np.float32)
    for start in range(0, len(blocks), PIECE):
        out[start : start + PIECE] = form.read(blocks[start : start + PIECE])
    return out.reshape(shape)


def packed(form: Format, x: Floats) -> Bytes:
    """Numbers as they are stored, flat; the last axis is a multiple of the block."""
    assert form.write is not None and x.shape[-1] % form.numbers == 0, f"{form.name} does not fit {x.shape}"
    blocks = np.ascontiguousarray(x, np.float32).reshape(-1, form.numbers)
    out = np.empty((len(blocks), form.size), np.uint8)
    for start in range(0, len(blocks), PIECE):
        out[start : start + PIECE] = form.write(blocks[start : start + PIECE])
    return out.reshape(-1)


def _half(b: Bytes, at: int) -> Floats:
    """The float16 at these bytes, [n, 1]."""
    return np.ascontiguousarray(b[:, at : at + 2]).view(np.float16).astype(np.float32)


def _halved(x: Floats) -> Bytes:
    return x.astype(np.float16).view(np.uint8)


def _nibbles(b: Bytes) -> Whole:
    """[n, 16] -> [n, 32]: the low halves of all bytes, then the high ones."""
    return np.concatenate([b & 15, b >> 4], axis=1)


def _folded(q: Whole) -> Bytes:
    half = q.shape[1] // 2
    return (q[:, :half] | (q[:, half:] << 4)).astype(np.uint8)


def _inverse(d: Floats) -> Floats:
    with np.errstate(divide="ignore"):
        return np.where(d == 0, np.float32(0), np.float32(1) / d).astype(np.float32)


def _f32(b: Bytes) -> Floats:
    return np.ascontiguousarray(b).view(np.float32)


def _f16(b: Bytes) -> Floats:
    return np.ascontiguousarray(b).view(np.float16).astype(np.float32)


def _bf16(b: Bytes) -> Floats:
    return (np.ascontiguousarray(b).view(np.uint16).astype(np.uint32) << 16).view(np.float32)


def _to_bf16(x: Floats) -> Bytes:
    """To the nearest, ties to even; what is no number stays none."""
    bits = x.view(np.uint32)
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
    rounded = np.where(np.isnan(x), (bits >> 16) | 64, rounded)
    return rounded.astype(np.uint16).view(np.uint8)


def _q8_0(b: Bytes) -> Floats:
    return _half(b, 0) * np.ascontiguousarray(b[:, 2:]).view(np.int8)


def _to_q8_0(x: Floats) -> Bytes:
    d = np.abs(x).max(1, keepdims=True) / np.float32(127)
    y = x * _inverse(d)
    whole = np.floor(np.abs(y))
    q = np.sign(y) * (whole + np.floor(2 * (np.abs(y) - whole)))  # half away from zero
    return np.concatenate([_halved(d), q.astype(np.int8).view(np.uint8)], axis=1)


def _extreme(x: Floats) -> Floats:
    """The number that is farthest from zero, with its sign, [n, 1]."""
    return np.take_along_axis(x, np.abs(x).argmax(1)[:, None], 1)


def _q4_0(b: Bytes) -> Floats:
    return _half(b, 0) * (_nibbles(b[:, 2:]).astype(np.float32) - 8)


def _to_q4_0(x: Floats) -> Bytes:
    d = _extreme(x) / np.float32(-8)
    q = np.trunc(x.astype(np.float64) * _inverse(d).astype(np.float64) + 8.5).clip(0, 15).astype(np.uint8)
    return np.concatenate([_halved(d), _folded(q)], axis=1)


def _q4_1(b: Bytes) -> Floats:
    return _half(b, 0) * _nibbles(b[:, 4:]).astype(np.float32) + _half(b, 2)


def _to_q4_1(x: Floats) -> Bytes:
    low = x.min(1, keepdims=True)
    d = (x.max(1, keepdims=True) - low) / np.float32(15)
    q = np.trunc((x - low) * _inverse(d) + np.float32(0.5)).clip(0, 15).astype(np.uint8)
    return np.concatenate([_halved(d), _halved(low), _folded(q)], axis=1)


def _fifth(b: Bytes) -> Whole:
    """[n, 4] -> [n, 32]: a bit each, times 16."""
    return np.unpackbits(b, axis=1, bitorder="little") << 4


def _q5_0(b: Bytes) -> Floats:
    return _half(b, 0) * ((_nibbles(b[:, 6:]) | _fifth(b[:, 2:6])).astype(np.float32) - 16)


def _to_q5_0(x: Floats) -> Bytes:
    d = _extreme(x) / np.float32(-16)
    q = np.trunc(x.astype(np.float64) * _inverse(d).astype(np.float64) + 16.5).clip(0, 31).astype(np.uint8)
    return np.concatenate([_halved(d), np.packbits(q >> 4, axis=1, bitorder="little"), _folded(q & 15)], axis=1)


def _q5_1(b: Bytes) -> Floats:
    return _half(b, 0) * (_nibbles(b[:, 8:]) | _fifth(b[:, 4:8])).astype(np.float32) + _half(b, 2)


def _scales(b: Bytes) -> tuple[Bytes, Bytes]:
    """Twelve bytes as eight scales and eight minima of six bits, each [n, 8]."""
    low, middle, high = b[:, :4], b[:, 4:8], b[:, 8:]
    scale = np.concatenate([low & 63, (high & 15) | ((low >> 6) << 4)], axis=1)
    least = np.concatenate([middle & 63, (high >> 4) | ((middle >> 6) << 4)], axis=1)
    return scale, least


def _joined(scale: Bytes, least: Bytes) -> Bytes:
    low = scale[:, :4] | ((scale[:, 4:] >> 4) << 6)
    middle = least[:, :4] | ((least[:, 4:] >> 4) << 6)
    return np.concatenate([low, middle, (scale[:, 4:] & 15) | ((least[:, 4:] & 15) << 4)], axis=1)


def _spread(b: Bytes, q: Whole) -> Floats:
    """q [n, 8, 32] by the scales and minima in the first 16 bytes."""
    scale, least = _scales(b[:, 4:16])
    d, m = _half(b, 0) * scale, _half(b, 2) * least
    return (d[:, :, None] * q - m[:, :, None]).reshape(len(b), 256)


def _q4_k(b: Bytes) -> Floats:
    qs = b[:, 16:].reshape(-1, 4, 1, 32) >> np.array([0, 4], np.uint8)[:, None]
    return _spread(b, (qs & 15).reshape(-1, 8, 32))


def _q5_k(b: Bytes) -> Floats:
    qs = (b[:, 48:].reshape(-1, 4, 1, 32) >> np.array([0, 4], np.uint8)[:, None]) & 15
    high = (b[:, 16:48].reshape(-1, 1, 32) >> np.arange(8, dtype=np.uint8)[:, None]) & 1
    return _spread(b, qs.reshape(-1, 8, 32) | (high << 4))


def _q6_k(b: Bytes) -> Floats:
    ql, qh = b[:, :128].reshape(-1, 2, 1, 64), b[:, 128:192].reshape(-1, 2, 1, 32)
    low = ((ql >> np.array([0, 4], np.uint8)[:, None]) & 15).reshape(-1, 2, 4, 32)
    high = (qh >> np.array([0, 2, 4, 6], np.uint8)[:, None]) & 3
    q = (low | (high << 4)).astype(np.float32) - 32
    d = _half(b, 208) * np.ascontiguousarray(b[:, 192:208]).view(np.int8)
    return (q.reshape(-1, 16, 16) * d[:, :, None]).reshape(-1, 256)


def _to_q4_k(x: Floats) -> Bytes:
    blocks = x.reshape(-1, 8, 32)
    scale, least = _fitted(blocks)
    d, m = scale.max(1, keepdims=True) / np.float32(63), least.max(1, keepdims=True) / np.float32(63)
    scale = np.rint(scale * _inverse(d)).clip(0, 63)
    least = np.rint(least * _inverse(m)).clip(0, 63)
    kept_d = d.astype(np.float16).astype(np.float32) * scale
    kept_m = m.astype(np.float16).astype(np.float32) * least
    q = np.rint((blocks + kept_m[:, :, None]) * _inverse(kept_d)[:, :, None]).clip(0, 15).astype(np.uint8)
    pairs = q.reshape(-1, 4, 2, 32)
    qs = (pairs[:, :, 0] | (pairs[:, :, 1] << 4)).reshape(-1, 128)
    return np.concatenate([_halved(d), _halved(m), _joined(scale.astype(np.uint8), least.astype(np.uint8)), qs], axis=1)


def _fitted(x: Floats) -> tuple[Floats, Floats]:
    """Scale and minimum of x [..., 32] ~ scale q - least, q = 0 .. 15, least >= 0: the best of some starts.

    Large numbers weigh more. From each start the levels are rounded, and both are solved for by least squares.
    """
    weight = np.sqrt((x * x).mean(-1, keepdims=True)) + np.abs(x)
    low = np.minimum(x.min(-1, keepdims=True), 0)
    span = x.max(-1, keepdims=True) - low
    best_scale, best_least = span / np.float32(15), -low
    best = np.full_like(span, np.inf)
    for levels in (15.0, *np.arange(14.0, 17.01, 0.25)):
        q = np.rint((x - low) * _inverse(span / np.float32(levels))).clip(0, 15)
        w, wq, wx = (
            weight.sum(-1, keepdims=True),
            (weight * q).sum(-1, keepdims=True),
            (weight * x).sum(-1, keepdims=True),
        )
        wqq, wqx = (weight * q * q).sum(-1, keepdims=True), (weight * q * x).sum(-1, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            det = w * wqq - wq * wq
            scale, least = (w * wqx - wx * wq) / det, -(wqq * wx - wq * wqx) / det
            scale, least = np.where(least < 0, wqx / wqq, scale), np.maximum(least, 0)
        off = (weight * np.square(scale * q - least - x)).sum(-1, keepdims=True)
        better = np.isfinite(off) & (off < best) & (scale > 0)
        best_scale, best_least = np.where(better, scale, best_scale), np.where(better, least, best_least)
        best = np.where(better, off, best)
    return best_scale[..., 0].astype(np.float32), best_least[..., 0].astype(np.float32)


FORMATS: dict[str, Format] = {
    form.name: form
    for form in (
        Format("f32", 0, 1, 4, _f32, lambda x: np.ascontiguousarray(x).view(np.uint8)),
        Format("f16", 1, 1, 2, _f16, lambda x: np.ascontiguousarray(_halved(x))),
        Format("bf16", 30, 1, 2, _bf16, _to_bf16),
        Format("q8_0", 8, 32, 34, _q8_0, _to_q8_0),
        Format("q4_0", 2, 32, 18, _q4_0, _to_q4_0),
        Format("q4_1", 3, 32, 20, _q4_1, _to_q4_1),
        Format("q5_0", 6, 32, 22, _q5_0, _to_q5_0),
        Format("q5_1", 7, 32, 24, _q5_1),
        Format("q4_k", 12, 256, 144, _q4_k, _to_q4_k),
        Format("q5_k", 13, 256, 176, _q5_k),
        Format("q6_k", 14, 256, 210, _q6_k),
    )
}
CODES: dict[int, Format] = {form.code: form for form in FORMATS.values()}
#: Names of the formats that are known and not read, for a message.
OTHERS: dict[int, str] = {
    9: "Q8_1",
    10: "Q2_K",
    11: "Q3_K",
    15: "Q8_K",
    16: "IQ2_XXS",
    17: "IQ2_XS",
    18: "IQ3_XXS",
    19: "IQ1_S",
    20: "IQ4_NL",
    21: "IQ3_S",
    22: "IQ2_S",
    23: "IQ4_XS",
    29: "IQ1_M",
    34: "TQ1_0",
    35: "TQ2_0",
    39: "MXFP4",
}


def through(form: Format, x: Any) -> Floats:
    """What comes back of numbers that are stored in this format."""
    return unpacked(form, packed(form, x), x.shape)
