"""What files say of each other: captions beside images, metadata tables, class folders, and names that declare a split.

Not here: opt-outs (`genus.collect.optouts`) and licences, which hold for whole folders.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, final

from genus.collect import tables, walk
from genus.collect.limits import Bad, Limits
from genus.collect.walk import File, Listing
from genus.data.splits import SPLITS
from genus.media import Damaged, image, text

_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
#: `train`, `train-00000-of-00004`, `test_0`, `val.2`; not `test_parser`.
_DECLARES = re.compile(rf"({'|'.join(_SPLITS)})([-_.]\d.*)?", re.IGNORECASE)
#: Single files whose name may declare a split; `test.py` is a program.
_HOLDERS = (
    ".jsonl",
    ".ndjson",
    ".csv",
    ".tsv",
    ".parquet",
    ".arrow",
    ".txt",
    ".zip",
    ".tar",
    ".gz",
    ".bz2",
    ".xz",
    ".tgz",
)
_METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
#: Written by `datasets` beside its own files.
HUGGING_FACE = frozenset(("dataset_info.json", "dataset_infos.json", "state.json", "dataset_dict.json"))


@final
@dataclass(frozen=True)
class Said:
    """What is known of an item besides its content. fields: values of further columns.

    drawn: splits that the source leaves out although it declares train; their share is drawn from train, by content.
    """

    caption: str | None = None
    label: str | None = None
    licence: str | None = None
    consent: str | None = None
    declared: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    drawn: frozenset[str] = frozenset()

    def over(self, other: Said) -> Said:
        """This one's statements, and the other's where this one is silent."""
        mine = {k: v for k, v in vars(self).items() if v is not None and k not in ("fields", "drawn")}
        return replace(other, **mine, fields={**other.fields, **self.fields})


NOTHING = Said()


def split_named(value: Any) -> str | None:
    """train, val or test for any of their usual names; None for anything else."""
    return _SPLITS.get(str(value).strip().lower())


def declare(said: Said, name: str, siblings: Iterable[str], folder: bool) -> Said:
    """What was said, with the split that a file's or folder's name declares.

    Only beside a `train` does a name declare another split: a lone folder `test` in a library holds its tests, not its
    held-out data. And a `train` beside which there is none declares nothing: its splits are drawn as those of any data.
    """
    split = _declares(name, folder)
    if split is None:
        return said
    there = {_declares(sibling, folder) for sibling in siblings} - {None}
    if "train" not in there or len(there) == 1:
        return said
    return replace(said, declared=split, drawn=frozenset(SPLITS) - there)


def _declares(name: str, folder: bool) -> str | None:
    if not folder:
        holder = next((suffix for suffix in _HOLDERS if name.lower().endswith(suffix)), None)
        if holder is None:
            return None
        name = (
            name[: -len(holder)].removesuffix(".tar").removesuffix(".jsonl").removesuffix(".csv").removesuffix(".txt")
        )
    match = _DECLARES.fullmatch(name)
    return _SPLITS[match[1].lower()] if match else None


def documents(listing: Listing, classes: bool) -> set[str]:
    """The README of a folder of tables, or of a tree of class folders: it is about the data, not part of it."""
    held = (".parquet", ".arrow", ".jsonl", ".ndjson", ".csv", ".tsv")
    if not classes and not any(file.name.lower().endswith(held) for file in listing.files):
        return set()
    return {file.name for file in listing.files if file.name.lower().split(".")[0] == "readme"}


def is_image(file: File) -> bool:
    """By its first bytes."""
    try:
        with file.path.open("rb") as handle:
            return image.kind(handle.read(64)) is not None
    except OSError:
        return False


def captions(listing: Listing) -> dict[str, File]:
    """Image name -> the text file beside it: `x.txt` or `x.caption` for `x.png`, also `x.png.txt`."""
    notes = [f for f in listing.files if f.name.endswith((".txt", ".caption"))]
    if not notes:
        return {}
    by_stem: dict[str, list[File]] = {}
    for file in listing.files:
        if not file.name.endswith((".txt", ".caption")):
            by_stem.setdefault(PurePosixPath(file.name).stem, []).append(file)
            by_stem.setdefault(file.name, []).append(file)
    found: dict[str, File] = {}
    for note in notes:
        for file in by_stem.get(note.name.rsplit(".", 1)[0], ()):
            if is_image(file):
                found.setdefault(file.name, note)
    return found


def caption(note: File) -> str | None:
    """The text of a caption file; None if it is empty, enormous or no text."""
    try:
        with note.path.open("rb") as handle:
            data = handle.read((1 << 20) + 1)
        text.check(data)
        return text.read(data).strip() if len(data) <= 1 << 20 else None
    except (Damaged, OSError):
        return None


def metadata(listing: Listing, named: Mapping[str, str], bounds: Limits) -> tuple[dict[str, Said], str | None]:
    """(path below this folder -> what the folder's metadata table says of it, the table's name); ({}, None) if none."""
    for file in listing.files:
        if file.name not in _METADATA:
            continue
        found: dict[str, Said] = {}
        try:
            with file.path.open("rb") as handle:
                form = tables.kind(handle.read(512), file.name)
            for row in tables.rows(file.path, form, bounds) if form else ():
                name = row.values.get("file_name")
                if isinstance(name, str):
                    rest = {k: v for k, v in row.values.items() if k != "file_name"}
                    found[name.removeprefix("./")] = of_row(rest, _metadata_roles(list(rest), named))
        except (Bad, OSError):
            pass  # Rows that were read count; as a table of its own it will be quarantined with the reason.
        if found:
            return found, file.name
    return {}, None


def _metadata_roles(columns: list[str], named: Mapping[str, str]) -> dict[str, str]:
    usable = {role: column for role, column in named.items() if column in columns and role not in ("text", "image")}
    roles = tables.roles(["file", *columns], {"image": "file", **usable})
    return {role: column for role, column in roles.items() if role not in ("image", "name")}


def of_row(values: Mapping[str, Any], roles: Mapping[str, str]) -> Said:
    """A row's statements by their roles; the other columns become fields."""

    def word(role: str) -> str | None:
        value = values.get(roles[role]) if role in roles else None
        return None if value is None or value == "" or isinstance(value, (bytes, dict, list)) else str(value)

    used = {part for role, column in roles.items() if role != "name" for part in column.split("+")}
    rest = {k: v for k, v in values.items() if k not in used and v is not None and not isinstance(v, bytes)}
    return Said(
        caption=word("caption"),
        label=word("label"),
        licence=word("licence"),
        consent=word("consent"),
        declared=split_named(word("split")),
        fields=rest,
    )


def class_folders(root: Path) -> tuple[str, ...] | None:
    """The leading folders that all classes share, if this tree is images in class folders; None if it is not.

    It is if every file in a class that could be an item is an image, no image lies at the top, and there are two
    classes at least; notes may lie above the classes. A class is the path below what is shared, splits left out:
    `data/train/cat` and `data/test/dog` give cat and dog.
    """
    seen: set[tuple[str, ...]] = set()
    for parts, listing in _folders(root):
        notes = {note.name for note in captions(listing).values()}
        for file in listing.files:
            if (
                file.name in notes
                or file.name in _METADATA
                or file.name.lower().startswith(("readme", "licen", "copying"))
            ):
                continue
            below = without_splits(parts)
            if not is_image(file):
                if below and file.size and _is_text(file):
                    return None
                continue
            if not below:
                return None
            seen.add(below)
    if len(seen) < 2:
        return None
    shared = 0
    some = min(seen)
    while shared < len(some) - 1 and all(len(p) > shared + 1 and p[shared] == some[shared] for p in seen):
        shared += 1
    return some[:shared]


def without_splits(parts: tuple[str, ...]) -> tuple[str, ...]:
    """A folder's path without the parts that name a split."""
    return tuple(part for part in parts if split_named(part) is None)


def _is_text(file: File) -> bool:
    try:
        with file.path.open("rb") as handle:
            return not text.binary(handle.read(1024))
    except OSError:
        return False


def _folders(root: Path) -> Iterator[tuple[tuple[str, ...], Listing]]:
    real = root.resolve()
    waiting: list[tuple[tuple[str, ...], Path, bool]] = [((), root, False)]
    while waiting:
        parts, path, linked = waiting.pop()
        found = walk.listing(path, real, linked)
        yield parts, found
        if len(parts) < 100:
            waiting += [((*parts, name), below, linked or below.is_symlink()) for name, below in found.folders]
