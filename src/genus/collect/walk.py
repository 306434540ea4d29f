"""Folders, listed in one order on every machine, without leaving the root, looping, or opening what is not a file.

Not here: what is in the files (`genus.collect.contents`).
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from genus.collect import limits

#: Left by programs, not by people. Names that begin with a dot are passed over too.
LITTER = frozenset(("__MACOSX", "__pycache__", "Thumbs.db", "desktop.ini", "node_modules"))


@final
@dataclass(frozen=True)
class File:
    """A regular file that lies inside the root, and may be opened. name: as the folder calls it."""

    name: str
    path: Path
    size: int


@final
@dataclass
class Listing:
    """What one folder holds, each part sorted by the bytes of the names. bad: (name, reason, detail)."""

    files: list[File] = field(default_factory=list)
    folders: list[tuple[str, Path]] = field(default_factory=list)
    bad: list[tuple[str, str, str]] = field(default_factory=list)
    names: frozenset[str] = frozenset()


def listing(folder: Path, root: Path, linked: bool = False) -> Listing:
    """One folder. `root`: the real path that links may not leave. linked: this folder was itself reached by a link.

    A linked folder is followed if it lies inside the root, is no ancestor of the link, and not while already behind a
    link: so each file is met at most once a link, never exponentially often.
    """
    found = Listing()
    try:
        with os.scandir(folder) as entries:
            these = sorted(entries, key=lambda entry: os.fsencode(entry.name))
    except OSError as error:
        found.bad.append(("", limits.UNREADABLE, str(error.strerror)))
        return found
    found.names = frozenset(entry.name for entry in these)
    if "_versions" in found.names and found.names & {"_transactions", "data"}:
        return Listing()  # A Lance dataset, perhaps the one being written.
    for entry in these:
        if entry.name.startswith(".") or entry.name in LITTER:
            continue
        path = Path(entry.path)
        try:
            if entry.is_symlink():
                _check_link(path, folder, root)
                if entry.is_dir() and linked:
                    continue
            state = entry.stat()
            if stat.S_ISDIR(state.st_mode):
                found.folders.append((entry.name, path))
            elif stat.S_ISREG(state.st_mode):
                found.files.append(File(entry.name, path, state.st_size))
            else:
                found.bad.append((entry.name, limits.SPECIAL, stat.filemode(state.st_mode)))
        except limits.Bad as bad:
            found.bad.append((entry.name, bad.reason, bad.detail))
        except OSError as error:
            found.bad.append((entry.name, limits.UNREADABLE, str(error.strerror)))
    return found


def _check_link(path: Path, folder: Path, root: Path) -> None:
    try:
        target = path.resolve(strict=True)
    except (RuntimeError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            # A link to nothing that points outside is still, first of all, a link outside.
            inside = Path(os.path.realpath(path)).is_relative_to(root)
            raise limits.Bad(limits.LINK_BROKEN if inside else limits.LINK_OUT, readable(os.readlink(path))) from None
        if isinstance(error, PermissionError):
            raise
        raise limits.Bad(limits.LINK_LOOP, readable(os.readlink(path))) from None
    if not target.is_relative_to(root):
        raise limits.Bad(limits.LINK_OUT, readable(os.readlink(path)))
    if folder.resolve().is_relative_to(target):
        raise limits.Bad(limits.LINK_LOOP, readable(os.readlink(path)))


def size(path: Path) -> int:
    """Bytes of all files under a path, for the progress alone: approximate, and never fails."""
    try:
        if path.is_file():
            return path.stat().st_size
        return sum(os.lstat(os.path.join(top, name)).st_size for top, _, names in os.walk(path) for name in names)
    except OSError:
        return 0


def readable(name: str) -> str:
    r"""A file name as valid Unicode: bytes that are not UTF-8 are written as in \\xe9."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
