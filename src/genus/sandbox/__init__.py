"""A program that a model wrote, and tests of it, run in a process of their own: passed, failed, timed out or out of
memory.

What it holds back, on every system that has resource limits (Linux, macOS):

    time, memory      kernel limits of processor time and address space; the whole group is killed at a deadline
    files             an empty folder of its own; their size and number are limited
    all else          the interpreter's audit hook refuses sockets, other programs, signals, native calls, tracing,
                      reading outside of its folder and of Python's library, writing outside of its folder
    what we know      no environment, no descriptors, no input; what it prints goes nowhere

Where Linux permits namespaces, it has none of the machine's network and sees no process but its own; `Verdict.apart`
and `shelter` say whether that holds. Without them sockets are closed by the hook alone.

What it does not hold back: a flaw of the kernel or of the interpreter. The hook sees what Python is asked to do, not
what native code does, so a crafted object that corrupts the interpreter's memory gets by it. File names outside can be
asked for (os.stat), not read.

A verdict counts only with a secret that the program is not given, and only when the last test has run, so leaving
early, printing, or changing `assert`, builtins or modules makes no pass. Program and tests share one interpreter all
the same: a program that was written against this sandbox can look for the secret in the frames above it, or hide in a
list an element that equals everything. What a model learns from such verdicts is to be looked at, as with every reward.
"""

from __future__ import annotations

import json
import os
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, final

from pydantic import BaseModel, ConfigDict, Field

from genus.errors import UsageError

INSIDE = Path(__file__).with_name("inside.py")
Outcome = Literal["passed", "failed", "timed out", "out of memory"]
MOST = 1 << 16  # bytes that are read of what the process says


@final
class Limits(BaseModel):
    """seconds: of processor time. wall: seconds by the clock, for programs that wait. memory: bytes of address space.
    bytes: of a file. files: made or open at once. processes: threads too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float = Field(3.0, gt=0)
    wall: float = Field(12.0, gt=0)
    memory: int = Field(512 << 20, ge=64 << 20)
    bytes: int = Field(1 << 20, ge=0)
    files: int = Field(32, ge=0)
    processes: int = Field(16, ge=1)


@final
class Job(NamedTuple):
    """A program and tests of it: asserts that use its names.

    shadows: builtins (`sum`, `max`) that the tests are to see as the program defines them; all others they see as
    Python has them, whatever the program did.
    """

    program: str
    tests: str
    shadows: tuple[str, ...] = ()


@final
class Verdict(NamedTuple):
    """How it ended. text: what failed, the test first. seconds: processor time. apart: in namespaces of its own."""

    outcome: Outcome
    text: str = ""
    seconds: float = 0.0
    apart: bool = False

    @property
    def passed(self) -> bool:
        """Every test was run and held."""
        return self.outcome == "passed"


def run(program: str, tests: str, limits: Limits | None = None, shadows: Sequence[str] = ()) -> Verdict:
    """The verdict on a program. Raises `UsageError` for tests that are empty, and where no process can be limited."""
    if not tests.strip():
        raise UsageError("there are no tests, which every program would pass; give some, e.g. assert f(1) == 2")
    if sys.platform == "win32":
        raise UsageError("programs are run on Linux and macOS, whose limits the sandbox is made of; run genus there")
    limits, secret = limits or Limits(), secrets.token_hex(16)
    job = {**limits.model_dump(), "program": program, "tests": tests, "shadows": list(shadows), "secret": secret}
    with tempfile.TemporaryDirectory(prefix="genus-", ignore_cleanup_errors=True) as folder:
        said, late = _said(json.dumps(job).encode(), limits.wall, os.path.realpath(folder))
    found: dict[str, Any] = {}
    for line in said.splitlines():
        if line.startswith(secret.encode()):
            with suppress(ValueError):  # a line that was cut
                found |= json.loads(line[len(secret) :])
    seconds, apart = float(found.get("cpu", 0.0)), bool(found.get("apart", False))
    outcome: Outcome = found.get("outcome", "failed")
    text = str(found.get("text", ""))
    if late and not found:
        return Verdict("timed out", f"{limits.wall:g} seconds by the clock")
    if "outcome" not in found:
        status = int(found.get("status", 0))
        if -status == signal.SIGXCPU or (-status == signal.SIGKILL and seconds >= limits.seconds):
            outcome, text = "timed out", f"{limits.seconds:g} seconds of processor time"
        elif -status == signal.SIGKILL:
            outcome = "out of memory"
        else:
            text = f"it was ended by signal {-status}" if status < 0 else "the program left before the tests had ended"
    if outcome == "out of memory":
        text = f"{limits.memory >> 20} MB"
    return Verdict(outcome, text, seconds, apart)


def run_all(jobs: Sequence[Job], limits: Limits | None = None, workers: int | None = None) -> list[Verdict]:
    """Of many, some at a time: as many as there are processors, if nothing is said."""
    count = workers or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else workers or os.cpu_count()
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda job: run(job.program, job.tests, limits, job.shadows), jobs))


@lru_cache(maxsize=1)
def shelter() -> str:
    """A sentence that says what holds programs back here."""
    verdict = run("", "assert True")
    if not verdict.passed:
        raise UsageError(f"the sandbox does not work here ({verdict.outcome}: {verdict.text}); no program can be run")
    if verdict.apart:
        return "Programs ran without network, in namespaces of their own, behind limits and an audit hook."
    return (
        "This system permits no namespaces: programs ran behind limits, and only the interpreter's audit hook kept "
        "them from the network."
    )


def _said(job: bytes, wall: float, folder: str) -> tuple[bytes, bool]:
    """What a new process says to a job, and whether it was ended by the clock. It and its kin are dead then."""
    deadline = time.monotonic() + wall
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-B", str(INSIDE)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        env={},
        start_new_session=True,
    )
    assert process.stdin is not None and process.stdout is not None
    said, late = b"", False
    try:
        with suppress(BrokenPipeError), process.stdin:
            process.stdin.write(job)
        out = process.stdout.fileno()
        while len(said) < MOST:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([out], [], [], left)[0]:
                late = True
                break
            piece = os.read(out, MOST)
            if not piece:
                break
            said += piece
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    return said, late
