"""C++ files beside their Python, compiled when first needed, which takes a few seconds, and kept in the user's cache.

Each has a C interface and a slower equal in Python, which serves where there is no compiler or the processor lacks what
the file asks for; GENUS_KERNELS=no asks for that. Knows no file's content.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

PLAIN = ("-O3", "-march=native", "-shared", "-fPIC", "-std=c++17")


@cache
def compiled(source: Path, *options: str, needs: Sequence[str] = (), unless: Sequence[str] = ()) -> ctypes.CDLL | None:
    """The functions of a file, or None. needs: flags that the processor has, by the names of /proc/cpuinfo; unless:
    with any of these there is something better.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    flags = next((line for line in lines if line.startswith("flags")), "")
    compiler = shutil.which("g++") or shutil.which("clang++")
    has = set(flags.split())
    if compiler is None or not set(needs) <= has or has & set(unless) or os.environ.get("GENUS_KERNELS") == "no":
        return None
    told = "\n".join([flags or platform.processor() or platform.machine(), compiler, *options])
    shared = Path(__file__).parent
    parts = [source, *sorted(shared.glob("*.hpp"))]
    name = hashlib.sha256(b"".join(part.read_bytes() for part in parts) + told.encode()).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "genus"
    library = folder / f"{source.stem}-{name}.so"
    try:
        if not library.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as room:
                made = Path(room) / library.name
                command = [compiler, *PLAIN, f"-I{shared}", str(source), "-o", str(made), *options]
                subprocess.run(command, check=True, capture_output=True)
                os.replace(made, library)
        return ctypes.CDLL(str(library))
    except (OSError, subprocess.CalledProcessError):
        return None


def address(numbers: object) -> ctypes.c_void_p:
    """Where the numbers of a torch tensor or a numpy array lie, for a call."""
    found: int = numbers.data_ptr() if hasattr(numbers, "data_ptr") else numbers.ctypes.data  # type: ignore[attr-defined]
    return ctypes.c_void_p(found)
