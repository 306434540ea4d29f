"""Freed memory stays with the process for what is asked next, where glibc would give it back and fetch it anew.

A network that draws pictures asks for the same arrays of some megabytes at each step, and each fresh page costs the
kernel more than what is computed in it: a fifth of a transformer's drawing. Blocks of up to 32 MiB come from the heap,
which keeps at most 256 MiB that nobody uses. Another library of C, or none, is left as it is.
"""

from __future__ import annotations

import ctypes
import platform
from functools import cache

HELD, BLOCK = 256 << 20, 32 << 20
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of <malloc.h>


@cache
def hold() -> bool:
    """From now on, for the whole process; whether the library took it."""
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    return bool(library.mallopt(M_MMAP_THRESHOLD, BLOCK) and library.mallopt(M_TRIM_THRESHOLD, HELD))
