"""A split as the network will read it: encoded once, memory-mapped, shared by every later run with the same codec.

    KEY/cells.bin   all items, one after another: [cells, C] for a stream, [items, C, *dims] else
    KEY/index.json  item ids, offsets, fields, shape and type

KEY is a digest of the data and the codec, so a changed dataset or vocabulary never meets an old cache. A folder is
written under a temporary name and renamed: it is whole or it is not there.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import psutil
import torch
from torch import Tensor

from genus import files
from genus.core import Codec
from genus.errors import GenusError

#: What a source of items yields: the record's id, its media, its fields.
Encodable = tuple[str, Any, Mapping[str, Any]]
#: Media to what is stored of each.
Encode = Callable[[Sequence[Any]], list[Tensor]]


@final
@dataclass(frozen=True)
class Cache:
    """An encoded split. `item(i)` is what the codec gave, `fields` what the conditioner reads."""

    cells: np.memmap[Any, Any]
    streams: bool
    ids: Sequence[str]
    starts: np.ndarray[Any, np.dtype[np.int64]]  # [items + 1], in cells for a stream, in items else
    fields: Mapping[str, Sequence[Any]]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def total(self) -> int:
        """Cells of a stream, items else."""
        return int(self.starts[-1])

    def cut(self, start: int, stop: int) -> Tensor:
        """Cells start..stop of the stream as [C, cells]; or items start..stop as [items, C, *dims]."""
        piece = torch.from_numpy(np.array(self.cells[start:stop]))
        return piece.T if self.streams else piece

    def take(self, items: Sequence[int]) -> Tensor:
        """These items as [items, C, *dims] (not for streams)."""
        return torch.from_numpy(self.cells[np.asarray(items)])


def encoded(
    home: Path,
    key: str,
    codec: Codec,
    records: Callable[[], Iterator[Encodable]],
    progress: Callable[[int], None] | None = None,
    encode: Encode | None = None,
) -> Cache:
    """The cache under `home` for `key`, made from `records()` if it is not there yet. Raises `GenusError` if empty.

    encode: what is stored of each item; None: what the codec gives.
    """
    folder = home / hashlib.sha256(key.encode()).hexdigest()[:20]
    if not _whole(folder):
        part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
        for left in home.glob(".*.part"):  # of a process that was killed
            if not psutil.pid_exists(int(left.name.split(".")[-2])):
                shutil.rmtree(left, ignore_errors=True)
        try:
            _fill(part, encode or codec.encode, codec.streams, records, progress)
            if not _whole(folder):  # another process may have been quicker, and may be reading it
                shutil.rmtree(folder, ignore_errors=True)
                os.replace(part, folder)
        except OSError as error:
            raise GenusError(f"cannot write the encoded data to {home}: {error.strerror or error}") from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return _read(folder)


def _whole(folder: Path) -> bool:
    """Whether the cache is there and no file of it was cut short."""
    try:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        return int(index["bytes"]) == (folder / "cells.bin").stat().st_size
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _fill(
    part: Path,
    encode: Encode,
    streams: bool,
    records: Callable[[], Iterator[Encodable]],
    progress: Callable[[int], None] | None,
) -> None:
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    ids: list[str] = []
    starts = [0]
    fields: dict[str, list[Any]] = {}
    kind, tail = "", ()
    with (part / "cells.bin").open("wb") as out:
        for group in _groups(records()):
            for (name, _, extra), x in zip(group, encode([media for _, media, _ in group]), strict=True):
                stored = (x.T if streams else x[None]).contiguous().numpy()
                kind, tail = str(stored.dtype), stored.shape[1:]
                out.write(stored.tobytes())
                starts.append(starts[-1] + stored.shape[0])
                ids.append(name)
                for field, value in extra.items():
                    fields.setdefault(field, [None] * (len(ids) - 1)).append(value)
                for column in fields.values():
                    column.extend([None] * (len(ids) - len(column)))
            if progress is not None:
                progress(len(ids))
        out.flush()
        os.fsync(out.fileno())
        size = out.tell()
    index = {"ids": ids, "starts": starts, "fields": fields, "dtype": kind, "tail": tail, "streams": streams}
    index["bytes"] = size
    files.write(part / "index.json", json.dumps(index))


def _groups(records: Iterator[Encodable], most: int = 64, most_cells: int = 1 << 22) -> Iterator[list[Encodable]]:
    """A few items at a time, few enough that memory stays flat."""
    group: list[Encodable] = []
    size = 0
    for record in records:
        group.append(record)
        size += getattr(record[1], "size", None) or len(record[1])  # numbers of a picture, characters of a text
        if len(group) >= most or size >= most_cells:
            yield group
            group, size = [], 0
    if group:
        yield group


def _read(folder: Path) -> Cache:
    index = files.read_json(folder / "index.json")
    if not index["ids"]:
        shutil.rmtree(folder)
        raise GenusError("this split of the dataset is empty; collect more, or loosen the rules of clean")
    shape = (index["starts"][-1], *index["tail"])
    cells = np.memmap(folder / "cells.bin", np.dtype(index["dtype"]), "r", shape=shape)
    return Cache(cells, index["streams"], index["ids"], np.array(index["starts"], np.int64), index["fields"])
