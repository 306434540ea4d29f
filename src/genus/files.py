"""Files that are either whole or not there: written to a temporary name beside the target, synced, renamed."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from genus.errors import GenusError, UsageError


def write(path: Path, content: bytes | str) -> Path:
    """Write `content` atomically; a crash or a full disk leaves the old file. Raises `GenusError` with the remedy."""
    data = content.encode() if isinstance(content, str) else content

    def fill(temporary: Path) -> None:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    return replace(path, fill)


def replace(path: Path, fill: Callable[[Path], None]) -> Path:
    """`fill` writes a temporary path, which then takes the place of `path` in one step."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fill(temporary)
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise GenusError(
            f"cannot write {path}: {error.strerror or error}; free some space or choose another place"
        ) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path


@contextmanager
def beside(path: Path, suffix: str = "") -> Iterator[Path]:
    """A place beside `path` for a file or a folder, which is renamed to it at the end; after an error it is removed.

    What a process that was killed has left there is removed too. suffix: of the temporary name.
    """
    import psutil

    for left in path.parent.glob(f".{glob.escape(path.name)}.*.part{suffix}"):
        process = left.name.removesuffix(f".part{suffix}").rsplit(".", 1)[-1]
        if process.isdigit() and not psutil.pid_exists(int(process)):
            remove(left)
    made = path.with_name(f".{path.name}.{os.getpid()}.part{suffix}")
    remove(made)
    try:
        yield made
        os.replace(made, path)
    finally:
        remove(made)


def remove(path: Path) -> None:
    """A file, or a folder and all that is in it, if it is there and can be."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> Path:
    """`value` as readable JSON, atomically."""
    return write(path, json.dumps(value, indent=2, ensure_ascii=False, sort_keys=False) + "\n")


def read_json(path: Path) -> Any:
    """The JSON in `path`. Raises `UsageError` if it is missing, `GenusError` if it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist") from None
    except (ValueError, OSError) as error:
        raise GenusError(f"{path} cannot be read: {error}") from error


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in `path`. Raises as `read_json`, and `GenusError` if it holds something else."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise GenusError(f"{path} is damaged: it holds no JSON object but {value!r:.40}; copy or download it again")
    return value


def sha256(path: Path) -> str:
    """Of a file's content, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
