"""Archives and compressed files, unpacked beside the dataset under every limit before anything of them is believed.

A member is written as a plain file only if its path stays inside; links are made last, when no file can be written
through them any more, and the walk then judges them like any other. Not here: passwords, or formats beyond zip, tar,
gzip, bzip2 and xz.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any, final

from genus.collect import limits
from genus.collect.limits import Bad, Limits

_COPY = 1 << 20
_DAMAGE = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError, KeyError)
#: Formats that are zip files inside, but are one document to their owner.
_DOCUMENTS = ("[Content_Types].xml", "mimetype", "META-INF/MANIFEST.MF", "AndroidManifest.xml")


@final
@dataclass
class Budget:
    """What may still be unpacked, shared by an archive and all archives inside it."""

    limits: Limits
    packed: int
    bytes: int = 0
    members: int = 0

    def take(self, n: int) -> None:
        """Count `n` more bytes. Raises `Bad`("archive bomb")."""
        self.bytes += n
        if self.bytes > self.limits.unpacked:
            raise Bad(limits.BOMB, f"unpacks to more than {self.limits.unpacked} bytes")
        if self.bytes > self.limits.ratio_from and self.bytes > self.packed * self.limits.ratio:
            raise Bad(limits.BOMB, f"more than {self.limits.ratio} bytes for each of its {self.packed}")

    def member(self) -> None:
        """Count one more file. Raises `Bad`("archive bomb")."""
        self.members += 1
        if self.members > self.limits.members:
            raise Bad(limits.BOMB, f"more than {self.limits.members} files")


@final
@dataclass
class Unpacked:
    """What came out. bad: (member, reason, detail); the member "" is the archive itself."""

    bad: list[tuple[str, str, str]] = field(default_factory=list)


def kind(head: bytes) -> str | None:
    """zip, tar, gz, bz2 or xz, by the first bytes (at least 512 where there are as many)."""
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return "zip"
    if head[257:262] == b"ustar":
        return "tar"
    if head[:2] == b"\x1f\x8b":
        return "gz"
    if head[:3] == b"BZh" and head[4:10] in (b"1AY&SY", b"\x17rE8P\x90"):
        return "bz2"
    return "xz" if head[:6] == b"\xfd7zXZ\0" else None


def unpack(path: Path, name: str, form: str, into: Path, budget: Budget) -> Unpacked:
    """Everything in the archive as files below `into`. Raises `Bad` if nothing of it is to be used.

    name: the archive's own, from which a single compressed file takes its name. Raises `GenusError` on a full disk.
    """
    into.mkdir(parents=True)
    if form == "zip":
        return _zip(path, into, budget)
    if form == "tar":
        with path.open("rb") as file:
            return _tar(file, into, budget)
    opener: Any = {"gz": gzip.open, "bz2": bz2.open, "xz": lzma.open}[form]
    try:
        with opener(path, "rb") as file:
            head = file.read(512)
    except _DAMAGE as error:
        raise Bad(_reason(error), f"{form}: {limits.said(error)}") from None
    out = Unpacked()
    with opener(path, "rb") as file:
        if kind(head) == "tar" or _old_tar(name):
            return _tar(_Counted(file, Budget(budget.limits, budget.packed)), into, budget)
        budget.member()
        plain = PurePosixPath(name)
        inner = plain.stem if plain.suffix.lower() in (".gz", ".bz2", ".xz") else f"{plain.name}.unpacked"
        _write(file, into / inner, budget, inner, out)
    return out


def clear(into: Path) -> None:
    """Remove what was unpacked, if anything."""
    if into.is_dir():
        shutil.rmtree(into)


def _old_tar(name: str) -> bool:
    return name.lower().endswith((".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz"))


def _zip(path: Path, into: Path, budget: Budget) -> Unpacked:
    out = Unpacked()
    try:
        archive = zipfile.ZipFile(path)
    except _DAMAGE as error:
        raise Bad(limits.TRUNCATED, f"zip: {limits.said(error)}") from None
    with archive:
        members = sorted(archive.infolist(), key=lambda m: m.filename)
        if any(member.filename in _DOCUMENTS for member in members):
            raise Bad(limits.UNKNOWN, "a document, program or book in zip form")
        links: list[tuple[str, Path, str]] = []
        for member in members:
            if member.is_dir():
                continue
            budget.member()
            target = _place(member.filename, into, out)
            if target is None:
                continue
            if member.flag_bits & 1:
                out.bad.append((member.filename, limits.ENCRYPTED, "needs a password"))
                continue
            if (member.external_attr >> 16) & 0o170000 == 0o120000:
                links.append((member.filename, target, _target(archive, member)))
                continue
            try:
                with archive.open(member) as file:
                    _write(file, target, budget, member.filename, out)
            # zipfile raises the last two for a compression or an encryption that it does not know.
            except (*_DAMAGE, NotImplementedError, RuntimeError) as error:
                out.bad.append((member.filename, limits.DAMAGED, limits.said(error)))
        _link(links, out)
    return out


def _target(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> str:
    try:
        with archive.open(member) as file:
            return file.read(4096).decode("utf-8", "surrogateescape")
    except _DAMAGE:
        return ""


def _tar(file: Any, into: Path, budget: Budget) -> Unpacked:
    """Streamed, so that one pass serves compressed ones; what came before damage is kept."""
    out = Unpacked()
    links: list[tuple[str, Path, str]] = []
    try:
        with tarfile.open(fileobj=file, mode="r|", errors="surrogateescape") as archive:
            for member in archive:
                if member.isdir():
                    continue
                budget.member()
                target = _place(member.name, into, out)
                if target is None:
                    continue
                if member.issym() or member.islnk():
                    # A hard link names its target from the archive's root, a symbolic one from its own folder.
                    to = member.linkname if member.issym() else os.path.relpath(into / member.linkname, target.parent)
                    links.append((member.name, target, to))
                elif not member.isreg():
                    out.bad.append((member.name, limits.SPECIAL, "device or pipe in an archive"))
                else:
                    source = archive.extractfile(member)
                    if source is not None:
                        _write(source, target, budget, member.name, out)
                # tarfile remembers every member, which over millions of them is memory.
                archive.members = []  # type: ignore[attr-defined]
    except _DAMAGE as error:
        if isinstance(error, OSError):
            limits.full_disk(error, into)
        out.bad.append(("", _reason(error), f"tar: {limits.said(error)}"))
    _link(links, out)
    return out


def _place(name: str, into: Path, out: Unpacked) -> Path | None:
    """Where a member goes, or None with a finding if its path leaves the archive."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or parts[0] == "/" or ".." in parts or ":" in parts[0] or "\0" in name:
        out.bad.append((name, limits.TRAVERSAL, name))
        return None
    place = into.joinpath(*parts)
    while os.path.lexists(place):  # The same name twice: both are kept.
        place = place.with_name(f"{place.stem}~{place.suffix}")
    return place


def _write(file: IO[bytes], target: Path, budget: Budget, name: str, out: Unpacked) -> None:
    """One member to disk; what was damaged on the way is removed again and noted."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        sink = target.open("xb")
    except OSError as error:
        limits.full_disk(error, target.parent)
        out.bad.append((name, limits.UNREADABLE, f"cannot be unpacked under this name: {error.strerror}"))
        return
    try:
        with sink:
            for block in _blocks(file):
                budget.take(len(block))
                sink.write(block)
    except _DAMAGE as error:
        target.unlink(missing_ok=True)
        if isinstance(error, OSError):
            limits.full_disk(error, target.parent)
        out.bad.append((name, _reason(error), limits.said(error)))


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    while block := file.read(_COPY):
        yield block


def _link(links: list[tuple[str, Path, str]], out: Unpacked) -> None:
    for name, place, to in links:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(to)
        except (OSError, ValueError) as error:
            out.bad.append((name, limits.LINK_BROKEN, limits.said(error)))


def _reason(error: BaseException) -> str:
    said = str(error).lower()
    cut = isinstance(error, EOFError) or any(word in said for word in ("end-of-stream", "unexpected end", "truncat"))
    return limits.TRUNCATED if cut else limits.DAMAGED


@final
class _Counted:
    """A reader that counts what it unpacks, so that a bomb in a tar's headers is met too.

    Apart from the count of what is written, where the holes of a sparse file appear that no reader sees.
    """

    def __init__(self, file: IO[bytes], budget: Budget) -> None:
        self._file, self._budget = file, budget

    def read(self, n: int = -1) -> bytes:
        block = self._file.read(n)
        self._budget.take(len(block))
        return block
