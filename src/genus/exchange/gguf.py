"""GGUF files, read memory-mapped and written in one pass: named values, then tensors. Knows no model.

Little-endian: "GGUF", version, the number of tensors and of values; the values (name, type, value); of each tensor
name, sizes (the fastest axis first), number format and offset; then their data, each aligned.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, final

import numpy as np
from numpy.typing import NDArray

from genus import files
from genus.errors import GenusError, UsageError
from genus.exchange.packing import CODES, OTHERS, Floats, Format, packed, unpacked

MAGIC, VERSION, ALIGNMENT = b"GGUF", 3, 32
#: Types of values: numpy's for numbers, and three of their own.
NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 10: "<Q", 11: "<q", 12: "<d"}
BOOL, STRING, ARRAY = 7, 8, 9


@final
@dataclass(frozen=True)
class Stored:
    """A tensor in a file. shape: the slowest axis first, as in numpy. start: of its bytes in the file."""

    name: str
    shape: tuple[int, ...]
    form: Format
    start: int

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.form.bytes(math.prod(self.shape))


@final
class Reader:
    """Values and tensors of a file, the latter read when asked for.

    Raises `UsageError` if it is no GGUF, `GenusError` if it is cut short or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._map: NDArray[np.uint8] = np.memmap(path, np.uint8, "r")
        except (OSError, ValueError) as error:
            raise UsageError(f"{path} cannot be read: {error}") from None
        self._bytes = self._map.data
        if bytes(self._map[:4]) != MAGIC:
            raise UsageError(f"{path} is no GGUF file: it begins with {bytes(self._map[:4])!r}, not with {MAGIC!r}")
        self._at = 4
        version = self._number("<I")
        if version not in (2, 3):
            raise UsageError(f"{path} is GGUF of version {version}; versions 2 and 3 are read")
        tensors, values = self._number("<Q"), self._number("<Q")
        self.values: dict[str, Any] = {}
        for _ in range(values):
            name = self._text()
            self.values[name] = self._value(self._number("<I"))
        heads = [self._head() for _ in range(tensors)]
        align = self.values.get("general.alignment", ALIGNMENT)
        if not isinstance(align, int) or align < 1:
            raise GenusError(f"{path} is damaged: its alignment is {align!r}; download it again")
        base = -(-self._at // align) * align
        self.tensors = {name: Stored(name, shape, form, base + start) for name, shape, form, start in heads}
        end = max((t.start + t.size for t in self.tensors.values()), default=0)
        if end > len(self._map):
            raise GenusError(
                f"{path} is cut short: it has {len(self._map):,} of {end:,} bytes; download or copy it again"
            )

    def read(self, name: str) -> Floats:
        """A tensor as float32."""
        t = self.tensors[name]
        return unpacked(t.form, self._map[t.start : t.start + t.size], t.shape)

    def _take(self, count: int) -> bytes:
        start, self._at = self._at, self._at + count
        if self._at > len(self._map):
            raise GenusError(f"{self.path} is cut short inside its head; download or copy it again")
        return bytes(self._bytes[start : self._at])

    def _number(self, kind: str) -> Any:
        return struct.unpack(kind, self._take(struct.calcsize(kind)))[0]

    def _text(self) -> str:
        return self._take(self._number("<Q")).decode("utf-8", "replace")

    def _value(self, kind: int) -> Any:
        if kind in NUMBERS:
            return self._number(NUMBERS[kind])
        if kind == BOOL:
            return bool(self._number("<B"))
        if kind == STRING:
            return self._text()
        if kind == ARRAY:
            inner, count = self._number("<I"), self._number("<Q")
            if inner in NUMBERS:
                kept = np.dtype(NUMBERS[inner])
                return np.frombuffer(self._take(count * kept.itemsize), kept).tolist()
            return [self._value(inner) for _ in range(count)]
        raise GenusError(f"{self.path} is damaged: there is no type {kind} of values; download it again")

    def _head(self) -> tuple[str, tuple[int, ...], Format, int]:
        name, axes = self._text(), self._number("<I")
        if axes > 4:
            raise GenusError(f"{self.path} is damaged: tensor {name!r} has {axes} axes; download it again")
        shape = tuple(self._number("<Q") for _ in range(axes))[::-1]
        code, start = self._number("<I"), self._number("<Q")
        if code not in CODES:
            known = ", ".join(form.name for form in CODES.values())
            raise UsageError(
                f"{self.path}: tensor {name!r} is in the number format {OTHERS.get(code, code)}, which is not read "
                f"(read are: {known}); take the file of another format"
            )
        form = CODES[code]
        if shape and shape[-1] % form.numbers:
            raise GenusError(f"{self.path} is damaged: tensor {name!r} of {shape} cannot be {form.name}")
        return name, shape, form, start


def write(
    path: Path,
    values: Mapping[str, Any],
    tensors: Sequence[tuple[str, tuple[int, ...], Format]],
    data: Callable[[], Iterator[Floats]],
) -> Path:
    """A file, whole or not there. data: the tensors' numbers in the same order; one is held at a time.

    A value's type follows from it: bool, int (unsigned 32 bits), float (32 bits), str, and lists of one of these (of
    int: signed); an empty list is one of str.
    """
    head = bytearray(MAGIC + struct.pack("<IQQ", VERSION, len(tensors), len(values)))
    for name, value in values.items():
        head += _text(name) + _value(value)
    start = 0
    for name, shape, form in tensors:
        head += _text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *reversed(shape))
        head += struct.pack("<IQ", form.code, start)
        start += _aligned(form.bytes(math.prod(shape)))

    def fill(temporary: Path) -> None:
        with temporary.open("wb") as file:
            file.write(head + bytes(_aligned(len(head)) - len(head)))
            for (name, shape, form), x in zip(tensors, data(), strict=True):
                assert x.shape == shape, f"{name}: {x.shape} is not {shape}"
                _put(file, packed(form, x))

    return files.replace(path, fill)


def _put(file: BinaryIO, data: NDArray[np.uint8]) -> None:
    file.write(data.data)
    file.write(bytes(_aligned(data.size) - data.size))


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(value: Any) -> bytes:
    """Type and value."""
    if isinstance(value, bool):
        return struct.pack("<I?", BOOL, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", STRING) + _text(value)
    if not value or isinstance(value[0], str):
        return struct.pack("<IIQ", ARRAY, STRING, len(value)) + b"".join(map(_text, value))
    kind = 6 if isinstance(value[0], float) else 5
    return struct.pack("<IIQ", ARRAY, kind, len(value)) + np.array(value, NUMBERS[kind]).tobytes()
