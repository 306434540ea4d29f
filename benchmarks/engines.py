"""Engines in processes of their own, which take turns: one line of JSON asks, one line answers."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

Clocks = tuple[float, float]  # seconds that went by, seconds of the processor


def clocks() -> Clocks:
    """Now."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return time.perf_counter(), used.ru_utime + used.ru_stime


def asked() -> Iterator[dict[str, Any]]:
    """In the engine's process: what is wanted next. Says that it is ready."""
    print("ready", flush=True)
    for line in sys.stdin:
        yield json.loads(line)


def told(began: Clocks, **said: Any) -> None:
    """In the engine's process: the answer to what was asked, with the time since `began` and the most memory yet."""
    seconds, cpu = (now - then for now, then in zip(clocks(), began, strict=True))
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print("result " + json.dumps({"seconds": seconds, "cpu": cpu, "peak": most, **said}), flush=True)


class Engine:
    """A child process that runs `command`; what it writes besides answers goes to `log`."""

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.name, self.log = name, log
        with log.open("w") as errors:
            self.child = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        self._read("ready")

    def _read(self, mark: str) -> str:
        assert self.child.stdout is not None
        for line in self.child.stdout:
            if line.startswith(mark):
                return line[len(mark) :]
        raise SystemExit(f"{self.name} ended:\n{self.log.read_text()[-2000:]}")

    def ask(self, **task: Any) -> dict[str, Any]:
        """Its answer."""
        assert self.child.stdin is not None
        self.child.stdin.write(json.dumps(task) + "\n")
        self.child.stdin.flush()
        said: dict[str, Any] = json.loads(self._read("result "))
        return said

    def leave(self) -> None:
        """Nothing more is asked; it ends when it has done what it does then."""
        assert self.child.stdin is not None
        self.child.stdin.close()
        if self.child.wait() != 0:
            raise SystemExit(f"{self.name} ended:\n{self.log.read_text()[-2000:]}")

    def end(self) -> None:
        """It is not needed any more."""
        self.child.kill()
        self.child.wait()


def turned(engines: Sequence[Engine], turns: int, **task: Any) -> dict[str, list[dict[str, Any]]]:
    """Answers of all engines to one task, asked in turns whose order turns round."""
    found: dict[str, list[dict[str, Any]]] = {engine.name: [] for engine in engines}
    for turn in range(turns):
        for engine in engines if turn % 2 else engines[::-1]:
            found[engine.name].append(engine.ask(**task))
    return found


def ratios(theirs: Sequence[dict[str, Any]], ours: Sequence[dict[str, Any]], of: str = "seconds") -> list[float]:
    """By how many times ours took less, turn by turn."""
    return [a[of] / b[of] for a, b in zip(theirs, ours, strict=True)]


def by_processor(theirs: Sequence[dict[str, Any]], ours: Sequence[dict[str, Any]]) -> str:
    """The median of these ratios by the processor's time, in words."""
    return f"{median(ratios(theirs, ours, 'cpu')):.3g} by processor time"
