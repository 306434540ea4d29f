"""collect: sources -> dataset. Every item with origin, licence and consent; what is left out, with the reason.

The order of rows is the order of the walk, and an item's id follows from its origin and content. So a run that is
killed has left a beginning of what an undisturbed run would leave, and the next one adds the rest: nothing is lost or
doubled.
"""

from __future__ import annotations

import fcntl
import glob
import hashlib
import json
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import pyarrow as pa

from genus.collect import archives, contents, optouts, tables, walk
from genus.collect.contents import Found, Place
from genus.collect.limits import USUAL, Limits
from genus.collect.sidecars import Said
from genus.data.dataset import CONSENTS, Dataset, Item, identity, split_of
from genus.errors import GenusError, UsageError
from genus.media import MEDIA, Damaged

Progress = Callable[[int, int, int | None], None]

_YES = frozenset(("granted", "yes", "true", "1", "y", "given", "opted-in", "opt-in"))
_NO = frozenset(
    ("opted-out", "opt-out", "optout", "no", "false", "0", "n", "denied", "refused", "withdrawn", "revoked")
)


@final
@dataclass(frozen=True)
class Collected:
    """What one collect did. added: new items; known: usable ones already there; the others by reason, new or not."""

    dataset: Path
    version: int
    added: int
    known: int
    refused: dict[str, int]
    quarantined: dict[str, int]

    def json(self) -> dict[str, Any]:
        """The result object of `genus collect --json`."""
        return {**vars(self), "dataset": str(self.dataset)}


def collect(
    source: str | Path | Sequence[str | Path],
    dataset: Path,
    *,
    licence: str | None = None,
    consent: str = "unknown",
    medium: str | None = None,
    columns: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    commit_bytes: int = 64 << 20,
    limits: Limits = USUAL,
) -> Collected:
    """Add what is new in the sources to the dataset, which is made if it is not there.

    source: a file, a folder or a glob pattern, or several. licence: an SPDX identifier that holds where no column and
    no file's own header says otherwise. consent: "granted" or "unknown"; opt-outs are honoured either way. medium:
    take only this one. columns: role -> column name, for tables (roles: text, image, caption, label, licence, consent,
    split, name; several columns for text are joined by `+`). progress: called with (items, bytes, total bytes) a few
    times a second.

    Raises `UsageError` for a source that does not exist, `GenusError` if no item is usable or the disk is full.
    """
    if consent not in CONSENTS:
        raise UsageError(f"consent {consent!r} is none of {', '.join(CONSENTS)}")
    if medium is not None and medium not in MEDIA:
        raise UsageError(f"medium {medium!r} is none of {', '.join(MEDIA)}")
    named = tables.known(columns or {})
    sources = [os.fspath(s) for s in ([source] if isinstance(source, (str, Path)) else source)]
    roots = [(where, _roots(where)) for where in sources]
    beside: dict[str, set[str]] = {}  # the names in a folder that were named: they declare splits beside each other
    for named_path in (os.path.realpath(path) for _, paths in roots for _, path in paths):
        beside.setdefault(os.path.dirname(named_path), set()).add(os.path.basename(named_path))
    dataset = Path(os.path.abspath(dataset))
    with _alone(dataset) as scratch:
        table = Dataset.create(dataset)
        run = _Run(table, medium, progress, _total(roots) if progress else None)
        for where, paths in roots:
            place = Place(Path(), scratch, limits, named, licence, said=Said(licence=licence, consent=consent))
            run.source = walk.readable(os.path.abspath(where))
            found = (f for path in paths for f in _found(place, path, beside))
            table.append(run.items(found), commit_bytes=commit_bytes)
        run.withdraw()
        run.tell(last=True)
    done = Collected(dataset, table.version, run.added, run.known, dict(run.refused), dict(run.quarantined))
    if done.added + done.known == 0:
        raise GenusError(f"nothing in {', '.join(sources)} is usable: {run.why() or 'there are no files'}")
    return done


@final
class _Run:
    """Judges what is found, against what the dataset already has, and keeps the counts."""

    def __init__(self, table: Dataset, medium: str | None, progress: Progress | None, total: int | None):
        self.table, self.medium = table, medium
        self.progress, self.total, self.told = progress, total, 0.0
        self.source = ""
        self.added = self.known = self.seen = self.spent = 0
        self.refused: Counter[str] = Counter()
        self.quarantined: Counter[str] = Counter()
        self.details: dict[str, str] = {}
        self.withdrawn: dict[tuple[str, str], str] = {}
        self.usable: set[bytes] = set()
        self.others: set[bytes] = set()
        for batch in table.scan(["id", "status"], batch=8192):
            for key, status in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                (self.usable if status in ("kept", "removed") else self.others).add(bytes.fromhex(key))

    def items(self, found: Iterator[Found]) -> Iterator[Item]:
        """The rows that the dataset does not have yet."""
        for one in found:
            self.seen += 1
            self.spent += one.spent
            self.tell()
            item = self.judge(one)
            if item is not None:
                yield item

    def judge(self, one: Found) -> Item | None:
        """The row for one thing found; None if the dataset has it, or another medium was asked for."""
        if one.content is None:
            return self.left_out(one, "", one.reason or "", one.detail, one.refusal)
        if self.medium is not None and one.medium != self.medium:
            return None
        medium = MEDIA[one.medium or ""]
        content, sha = one.content, hashlib.sha256(one.content).hexdigest()
        said = one.said
        consent = _consent(said.consent)
        refusal = (optouts.COLUMN, f"column says {said.consent!r}") if consent == "opted-out" else None
        if medium.name == "image":
            refusal = refusal or optouts.in_image(content, one.xmp)
        if refusal is not None:
            return self.left_out(one, sha, *refusal, True)
        key = bytes.fromhex(identity(one.origin, sha))
        try:
            if medium.suffix != ".png":
                medium.check(content)
                content = medium.write(medium.read(content))
                sha = hashlib.sha256(content).hexdigest()
                key = bytes.fromhex(identity(one.origin, sha))
            elif key not in self.usable:
                medium.check(content)
        except Damaged as damaged:
            return self.left_out(one, sha, damaged.reason, damaged.detail, False)
        if key in self.usable:
            self.known += 1
            return None
        self.usable.add(key)
        self.added += 1
        declared = said.declared
        if declared == "train" and (drawn := split_of(sha)) in said.drawn:
            declared = drawn
        return Item(
            origin=one.origin,
            source=self.source,
            medium=medium.name,
            content=content,
            sha256=sha,
            id=key.hex(),
            licence=_word(said.licence),
            consent=consent,
            caption=_word(said.caption),
            label=_word(said.label),
            fields=_json(said.fields),
            declared=declared,
            notes=_json(one.notes),
        )

    def left_out(self, one: Found, sha: str, reason: str, detail: str, refusal: bool) -> Item | None:
        """The row that says why there is no content."""
        (self.refused if refusal else self.quarantined)[reason] += 1
        self.details.setdefault(reason, f"{one.origin}: {detail}")
        if refusal:
            self.withdrawn[self.source, one.origin] = reason
        key = bytes.fromhex(identity(one.origin, sha))
        if key in self.others or key in self.usable:
            return None
        self.others.add(key)
        return Item(
            origin=one.origin,
            source=self.source,
            medium=one.medium,
            sha256=sha,
            id=key.hex(),
            size=one.size or len(one.content or b""),
            licence=_word(one.said.licence),
            consent="opted-out" if refusal else "unknown",
            declared=one.said.declared,
            status="refused" if refusal else "quarantined",
            reason=reason,
            notes=_json({**one.notes, reason: walk.readable(detail)}),
        )

    def withdraw(self) -> None:
        """Items that an earlier run took and whose owner has opted out since: their content goes, their row stays."""
        if not self.withdrawn:
            return
        ids, reasons = [], []
        for batch in self.table.scan(["id", "source", "origin"], "status IN ('kept', 'removed')", batch=8192):
            for row in batch.to_pylist():
                for origin in _within(row["origin"]):
                    if reason := self.withdrawn.get((row["source"], origin)):
                        ids.append(row["id"])
                        reasons.append(reason)
                        break
        if ids:
            n = len(ids)
            gone = {"status": ["refused"] * n, "reason": reasons, "consent": ["opted-out"] * n}
            nulls = pa.nulls(n, pa.large_binary())
            self.table.update(pa.table({"id": ids, **gone, "content": nulls, "cleaned": nulls}))

    def tell(self, last: bool = False) -> None:
        """Progress, at most ten times a second."""
        now = time.monotonic()
        if self.progress is not None and (last or now - self.told > 0.1):
            self.told = now
            self.progress(self.seen, self.spent, self.total)

    def why(self) -> str:
        """The counts by reason, each with its first case."""
        counts = (self.refused + self.quarantined).most_common()
        return "; ".join(f"{n} {reason} ({self.details[reason]})" for reason, n in counts)


def _within(origin: str) -> Iterator[str]:
    """An origin, and everything that it is a part of: the whole file of a piece, the archive of a member."""
    yield origin
    for mark in re.finditer(r"[#!]", origin):
        yield origin[: mark.start()]


def _consent(said: str | None) -> str:
    plain = (said or "").strip().lower()
    return "granted" if plain in _YES else "opted-out" if plain in _NO else "unknown"


def _word(said: str | None) -> str | None:
    """A text that Unicode can hold: half a surrogate pair is written out."""
    return None if said is None else said.encode("utf-8", "backslashreplace").decode()


def _json(said: Mapping[str, Any]) -> str:
    return _word(json.dumps(dict(said), ensure_ascii=False, default=str)) or "{}"


def _roots(source: str) -> list[tuple[str, Path]]:
    """(path below what the user named, the path itself), sorted. Raises `UsageError` if there is nothing."""
    path = Path(os.path.abspath(os.path.expanduser(source)))
    if os.path.lexists(path):
        return [("", path)]
    if glob.has_magic(source):
        parts = path.parts
        fixed = Path(*parts[: next(i for i, part in enumerate(parts) if glob.has_magic(part))])
        matches = sorted(glob.glob(str(path), recursive=True), key=os.fsencode)
        # A folder brings all that is below it, which a pattern may have matched too.
        tops = [
            m
            for m in matches
            if not any(up != m and m.startswith(up.rstrip("/") + "/") for up in matches if os.path.isdir(up))
        ]
        if tops:
            return [(os.path.relpath(top, fixed), Path(top)) for top in tops]
    raise UsageError(f"{source} does not exist")


def _found(place: Place, root: tuple[str, Path], beside: Mapping[str, set[str]]) -> Iterator[Found]:
    below, given = root
    path = Path(os.path.realpath(given))
    before = below or "."
    if path.is_dir():
        prefix = "" if before == "." else walk.readable(before) + "/"
        yield from contents.tree(replace(place, root=path, prefix=prefix, rules=contents.above(path)))
        return
    folder = os.path.dirname(before)
    prefix = walk.readable(folder) + "/" if folder else ""
    place = replace(place, root=path.parent, prefix=prefix, rules=contents.above(path.parent))
    yield from contents.folder(place, path.parent, path.name, beside[str(path.parent)])


def _total(roots: Sequence[tuple[str, Sequence[tuple[str, Path]]]]) -> int:
    return sum(walk.size(path) for _, paths in roots for _, path in paths)


@contextmanager
def _alone(dataset: Path) -> Iterator[Path]:
    """The right to write, which ends with the process whatever becomes of it; yields a folder to unpack into."""
    dataset.parent.mkdir(parents=True, exist_ok=True)
    scratch = dataset.parent / f".{dataset.name}.unpack"
    with (dataset.parent / f".{dataset.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise GenusError(f"another process is collecting into {dataset}; wait for it to end") from None
        archives.clear(scratch)
        try:
            yield scratch
        finally:
            archives.clear(scratch)
