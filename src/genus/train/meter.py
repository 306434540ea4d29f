"""What a run has used: wall time, energy, memory.

Energy is read from the processor's counter (RAPL, /sys/class/powercap) where the machine shows it; else it is the
processor time used times an assumed power a core, and `method` says so.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path
from typing import final

#: Watts a busy core is taken to draw where nothing measures it: a server package of about 240 W over 24 .. 32 cores,
#: with memory; laptops draw about the same a core under load.
ASSUMED_WATTS_A_CORE = 10.0
_COUNTERS = Path("/sys/class/powercap")


def _counter() -> float | None:
    """Joules of all packages since some start, or None."""
    total, any_ = 0.0, False
    for zone in _COUNTERS.glob("intel-rapl:*"):
        try:
            # A package holds its cores and graphics, which have zones of their own; its memory stands beside it.
            if not (zone / "name").read_text().startswith(("package", "dram")):
                continue
            total += int((zone / "energy_uj").read_text()) / 1e6
            any_ = True
        except (OSError, ValueError):
            return None
    return total if any_ else None


def watts() -> tuple[float, str]:
    """The power that energy budgets are turned into time with, and how it is known."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores * ASSUMED_WATTS_A_CORE, f"estimated: {cores} cores x {ASSUMED_WATTS_A_CORE:g} W"


def cpu_seconds() -> float:
    """Processor time of this process and its finished children."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def peak_bytes() -> int:
    """The most memory this program has held; where the system tells no such thing, this process before it, too."""
    try:  # what getrusage says begins with the most of whoever started us: every run of a comparison had its parent's
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, LookupError):
        pass
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


@final
class Meter:
    """Runs from when it is made; `already` carries what an interrupted run had used."""

    def __init__(self, already_s: float = 0.0, already_kwh: float = 0.0) -> None:
        self._wall, self._cpu, self._joules = time.monotonic(), cpu_seconds(), _counter()
        self._already_s, self._already_kwh = already_s, already_kwh

    @property
    def seconds(self) -> float:
        """Wall time."""
        return self._already_s + time.monotonic() - self._wall

    @property
    def kwh(self) -> float:
        """Energy by `method`."""
        now = _counter()
        if self._joules is not None and now is not None and now >= self._joules:
            return self._already_kwh + (now - self._joules) / 3.6e6
        return self._already_kwh + (cpu_seconds() - self._cpu) * ASSUMED_WATTS_A_CORE / 3.6e6

    @property
    def method(self) -> str:
        """How the energy is known."""
        if self._joules is not None:
            return "measured: processor counter (RAPL), package and memory"
        return (
            f"estimated: processor seconds x {ASSUMED_WATTS_A_CORE:g} W a core (this machine shows no energy counter)"
        )
