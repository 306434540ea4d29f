"""The dataset: one row an item, in one Lance folder; versioned, each commit atomic, nothing ever deleted.

A row says what the item is, where it came from, under which licence and consent, and what became of it. Rows keep
their place for ever: `append` adds at the end, `update` rewrites columns where they stand. So the order of `scan` is a
fact of the data, and `digest` does not depend on how many commits it took. Memory is one commit's worth, whatever the
size.

Not here: what enters (`genus.collect`), what is judged good (`genus.clean`), encoded caches (`genus.data.cache`).
Imports no torch. Format: Lance v2 (Pace et al. 2025, arXiv 2504.15247).
"""

from __future__ import annotations

import hashlib
import json
import struct
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import pyarrow as pa

from genus.data.splits import SPLITS, split_of
from genus.errors import GenusError, UsageError

__all__ = ["SCHEMA", "SPLITS", "Dataset", "Item", "Record", "identity", "split_of"]

STATUSES = ("kept", "refused", "quarantined", "removed")
CONSENTS = ("granted", "unknown", "opted-out")

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("medium", pa.string()),
        pa.field("content", pa.large_binary()),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("origin", pa.string(), nullable=False),
        pa.field("licence", pa.string()),
        pa.field("consent", pa.string(), nullable=False),
        pa.field("caption", pa.string()),
        pa.field("label", pa.string()),
        pa.field("fields", pa.string(), nullable=False),
        pa.field("declared", pa.string()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
        pa.field("cleaned", pa.large_binary()),
        pa.field("language", pa.string()),
        pa.field("group", pa.string()),
        pa.field("split", pa.string(), nullable=False),
        pa.field("notes", pa.string(), nullable=False),
    ]
)
#: A commit also ends at this many rows, so that rows without content cannot fill the memory.
ROWS = 32768


def identity(origin: str, sha256: str) -> str:
    """The id of an item: hex32 of sha256(origin NUL sha256)."""
    return hashlib.sha256(f"{origin}\0{sha256}".encode()).hexdigest()[:32]


@final
@dataclass(frozen=True, slots=True)
class Item:
    """One row. What is left empty of id, sha256, size and split follows from the rest.

    id: hex32 of sha256(origin NUL sha256). content: bytes, None if refused or quarantined. size: bytes. fields, notes:
    JSON objects of further columns, and of what a rule had to say. declared: the split that the source itself states.
    cleaned: content with personal data masked, None where it is as content. group: the id of the first item of its
    near-duplicate group, None: its own.
    """

    origin: str
    source: str = ""
    medium: str | None = None
    content: bytes | None = None
    sha256: str = ""
    id: str = ""
    size: int = -1
    licence: str | None = None
    consent: str = "unknown"
    caption: str | None = None
    label: str | None = None
    fields: str = "{}"
    declared: str | None = None
    status: str = "kept"
    reason: str | None = None
    cleaned: bytes | None = None
    language: str | None = None
    group: str | None = None
    split: str = ""
    notes: str = "{}"

    def __post_init__(self) -> None:
        fill = object.__setattr__
        if not self.sha256 and self.content is not None:
            fill(self, "sha256", hashlib.sha256(self.content).hexdigest())
        if self.size < 0:
            fill(self, "size", len(self.content or b""))
        if not self.id:
            fill(self, "id", identity(self.origin, self.sha256))
        if not self.split:
            fill(self, "split", self.declared or split_of(self.sha256 or self.id))
        for column, known in (("status", STATUSES), ("consent", CONSENTS), ("split", SPLITS)):
            if getattr(self, column) not in known:
                raise UsageError(f"{column} {getattr(self, column)!r} is none of {', '.join(known)} ({self.origin})")


@final
@dataclass(frozen=True, slots=True)
class Record:
    """A kept item, decoded: media is str for text and code, uint8 [H, W, C] for an image.

    fields: the item's further columns, with caption, label, origin and size over them.
    """

    id: str
    media: Any
    fields: dict[str, Any]


@final
class Dataset:
    """A handle on one version. `append` and `update` commit a new one and move this handle to it."""

    def __init__(self, path: Path, table: Any, only: tuple[str, ...] = ()) -> None:
        self.path = path
        self.shows = only  # media; none: all
        self._table = table

    @staticmethod
    def open(path: Path, version: int | None = None) -> Dataset:
        """The newest version, or the one asked for. Raises `UsageError` if it is not there."""
        import lance

        path = Path(path)
        if not _exists(path):
            raise UsageError(f"no dataset at {path}; make one with: genus collect SOURCE")
        try:
            return Dataset(
                path,
                lance.dataset(str(path), version=version, index_cache_size_bytes=0, metadata_cache_size_bytes=16 << 20),
            )
        except (ValueError, OSError) as error:
            which = "" if version is None else f" at version {version}"
            raise UsageError(f"cannot open the dataset {path}{which}: {error}") from error

    @staticmethod
    def create(path: Path) -> Dataset:
        """A new, empty dataset; or, if there is one already, that one."""
        import lance

        path = Path(path)
        if not _exists(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _guard(path, lambda: lance.write_dataset(SCHEMA.empty_table(), str(path), mode="create"))
        return Dataset.open(path)

    @property
    def version(self) -> int:
        """Lance's version number: grows with each commit."""
        return int(self._table.version)

    def only(self, media: Sequence[str]) -> Dataset:
        """The same version, of which `scan`, `count` and `media` show these media alone: what a recipe can learn."""
        return Dataset(self.path, self._table, tuple(media))

    def _shown(self, where: str | None) -> str | None:
        if not self.shows:
            return where
        own = f"medium IN ({', '.join(map(repr, self.shows))})"
        return own if where is None else f"({where}) AND {own}"

    def append(self, items: Iterable[Item], *, commit_bytes: int = 64 << 20) -> int:
        """Add rows at the end; how many. Streams: a commit about every `commit_bytes` of content.

        A crash leaves the commits made so far, each whole. Raises `GenusError` if the disk is full.
        """
        rows: list[Item] = []
        held = added = 0
        for item in items:
            rows.append(item)
            held += len(item.content or b"") + len(item.cleaned or b"") + 512
            if held >= commit_bytes or len(rows) >= ROWS:
                added += self._commit(rows)
                rows, held = [], 0
        return added + (self._commit(rows) if rows else 0)

    def _commit(self, rows: list[Item]) -> int:
        import lance

        columns = {name: [getattr(row, name) for row in rows] for name in SCHEMA.names}
        table = pa.table(columns, schema=SCHEMA)
        n = len(rows)
        rows.clear()
        del columns
        self._table = _guard(self.path, lambda: lance.write_dataset(table, self._table, mode="append"))
        return n

    def ids(self) -> set[bytes]:
        """The 16-byte ids of all rows, whatever became of them."""
        return {bytes.fromhex(i) for batch in self.scan(["id"], batch=8192) for i in batch.column(0).to_pylist()}

    def scan(self, columns: Sequence[str], where: str | None = None, batch: int = 256) -> Iterator[pa.RecordBatch]:
        """Some columns of the rows that meet `where` (SQL), in order, at most `batch` rows at a time."""
        unknown = sorted(set(columns) - set(SCHEMA.names))
        if unknown:
            raise UsageError(f"a dataset has no column {', '.join(unknown)}; it has: {', '.join(SCHEMA.names)}")
        scanner = self._table.scanner(
            columns=list(columns),
            filter=self._shown(where),
            batch_size=batch,
            batch_readahead=1,
            fragment_readahead=1,
            scan_in_order=True,
            io_buffer_size=64 << 20,
        )
        yield from scanner.to_batches()

    def count(self, where: str | None = None) -> int:
        """How many rows meet `where`."""
        return int(self._table.count_rows(filter=self._shown(where)))

    def update(self, table: pa.Table | Iterable[pa.RecordBatch]) -> None:
        """Set the given columns of the rows with the given `id`s, in one atomic commit; rows keep their place.

        Ids that the dataset does not have are ignored; of two rows with one id the last one counts. The values wait in
        an unnamed file beside the dataset, so memory holds one fragment. Raises `GenusError` on a full disk or if
        another process committed meanwhile; the last version then stays whole.
        """
        import lance

        batches = iter(table.to_batches() if isinstance(table, pa.Table) else table)
        first = next(batches, None)
        if first is None:
            return
        schema = _fit(first.schema)
        with tempfile.TemporaryFile(dir=self.path.parent) as file:
            keys = bytearray()  # of each row 24 bytes: its id, the number of its batch, its place there

            def spool() -> None:
                with pa.ipc.new_file(pa.PythonFile(file, "w"), schema) as writer:
                    number = 0
                    for given in _chain(first, batches):
                        if given.num_rows == 0:
                            continue
                        writer.write_batch(given.select(schema.names).cast(schema))
                        for row, item in enumerate(given.column("id").to_pylist()):
                            keys.extend(bytes.fromhex(item) + struct.pack(">II", number, row))
                        number += 1

            _guard(self.path, spool)
            if not keys:
                return
            order = np.frombuffer(keys, "S24")
            order.sort()  # where it lies; of two rows with one id the later one comes last
            with pa.ipc.open_file(pa.PythonFile(file, "r")) as reader:
                changed, modified = [], set()
                for fragment in self._table.get_fragments():
                    values = _values(fragment, order, reader)
                    if values is None:
                        continue
                    meta, touched = _guard(self.path, lambda f=fragment, v=values: f.update_columns(v, left_on="id"))
                    changed.append(meta)
                    modified |= set(touched)
        if changed:
            operation = lance.LanceOperation.Update(updated_fragments=changed, fields_modified=sorted(modified))
            read = self.version
            _guard(self.path, lambda: lance.LanceDataset.commit(str(self.path), operation, read_version=read))
            self._table = Dataset.open(self.path)._table

    def digest(self) -> str:
        """Hex sha256 over every row and column but `source` (where a folder lay is not what it holds), in order.

        Each column is hashed as its stream of lengths (-1: null) and its stream of bytes, so neither the number of
        commits nor the size of batches shows.
        """
        names = [name for name in SCHEMA.names if name != "source"]
        parts = {name: (hashlib.sha256(), hashlib.sha256()) for name in names}
        rows = 0
        for batch in self.scan(names):
            rows += batch.num_rows
            for name in names:
                lengths, data = _flat(batch.column(name))
                parts[name][0].update(lengths)
                parts[name][1].update(data)
        whole = hashlib.sha256(struct.pack("<q", rows))
        for name in names:
            whole.update(name.encode() + b"\0" + parts[name][0].digest() + parts[name][1].digest())
        return whole.hexdigest()

    def media(
        self, split: str | None = None, columns: Sequence[str] = (), medium: str | None = None
    ) -> Iterator[Record]:
        """The kept items of a split and a medium (None: all), decoded, as cleaned.

        `columns` of the row join the record's fields. Raises `UsageError` for an unknown split or medium.
        """
        from genus.media import MEDIA

        if split is not None and split not in SPLITS:
            raise UsageError(f"split {split!r} is none of {', '.join(SPLITS)}")
        if medium is not None and medium not in MEDIA:
            raise UsageError(f"medium {medium!r} is none of {', '.join(MEDIA)}")
        where = "status = 'kept'" + ("" if split is None else f" AND split = '{split}'")
        where += "" if medium is None else f" AND medium = '{medium}'"
        own = ("caption", "label", "origin", "size")
        asked = [name for name in columns if name not in own]
        names = list(dict.fromkeys(["id", "medium", "content", "cleaned", "fields", *own, *asked]))
        for batch in self.scan(names, where, batch=64):
            for row in batch.to_pylist():
                content = row["content"] if row["cleaned"] is None else row["cleaned"]
                said = {**json.loads(row["fields"]), **{name: row[name] for name in (*own, *asked)}}
                yield Record(row["id"], MEDIA[row["medium"]].read(content), said)


def _exists(path: Path) -> bool:
    """Whether a first version was committed; a folder alone may be left of a process that was killed before."""
    return any((path / "_versions").glob("*.manifest"))


def _fit(schema: pa.Schema) -> pa.Schema:
    """The columns of an update, in the dataset's own types. Raises `UsageError` for one that cannot be updated."""
    if "id" not in schema.names:
        raise UsageError(f"an update needs the column id; it has: {', '.join(schema.names)}")
    unknown = [name for name in schema.names if name not in SCHEMA.names]
    if unknown:
        raise UsageError(f"a dataset has no column {', '.join(unknown)}; it has: {', '.join(SCHEMA.names)}")
    return pa.schema([SCHEMA.field(name) for name in schema.names])


def _chain(first: pa.RecordBatch, rest: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from rest


def _values(fragment: Any, order: Any, reader: Any) -> pa.Table | None:
    """The new values for one fragment's rows, each id once; None if it has none of them. order: S24, sorted."""
    ids = {bytes.fromhex(i) for b in fragment.to_batches(columns=["id"]) for i in b.column(0).to_pylist()}
    last = np.searchsorted(order, np.array([i + b"\xff" * 8 for i in ids], "S24")) - 1
    keys = order[last[last >= 0]].tobytes()
    given = (struct.unpack(">16sII", keys[at : at + 24]) for at in range(0, len(keys), 24))
    found = np.array([place for key, *place in given if key in ids], np.int64)
    if not len(found):
        return None
    taken = []
    for number in np.unique(found[:, 0]):
        rows = np.sort(found[found[:, 0] == number, 1])
        taken.append(reader.get_batch(int(number)).take(pa.array(rows)))
    return pa.Table.from_batches(taken)


def _flat(column: pa.Array) -> tuple[bytes, Any]:
    """(int64 lengths with -1 for null, the bytes in one piece) of a string, binary or int64 column."""
    if pa.types.is_int64(column.type):
        return b"", column.to_numpy(zero_copy_only=False).astype("<i8").tobytes()
    null = column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None
    column = column.cast(pa.large_binary())
    if null is not None:
        column = column.fill_null(b"")
    offsets = np.frombuffer(column.buffers()[1], "<i8")[column.offset : column.offset + len(column) + 1]
    lengths = np.diff(offsets)
    if null is not None:
        lengths[null] = -1
    data = column.buffers()[2]
    return lengths.tobytes(), b"" if data is None else memoryview(data)[offsets[0] : offsets[-1]]


def _guard(path: Path, step: Any) -> Any:
    """A step that writes; what the disk or a rival process does to it is said in a sentence."""
    try:
        return step()
    except (OSError, ValueError, RuntimeError) as error:
        said = str(error)
        if "No space left" in said or "StorageFull" in said or getattr(error, "errno", None) == 28:
            raise GenusError(
                f"the disk of {path} is full; free some space and run again: no version was harmed"
            ) from error
        if "onflict" in said:
            raise GenusError(f"another process changed {path} at the same time; run again") from error
        raise GenusError(f"cannot write the dataset {path}: {said.splitlines()[0]}") from error
