"""Again adds only what is new; killed at any moment and run again, nothing is lost or doubled."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import genus
from genus.collect import collect
from genus.data.dataset import Dataset
from genus.errors import GenusError

PROGRAM = (
    "import sys; from pathlib import Path; from genus.collect import collect\n"
    "collect(sys.argv[1], Path(sys.argv[2]), commit_bytes=30000)"
)


def make(fill, png, n: int = 40) -> Path:
    files: dict[str, str | bytes] = {f"{i % 5}/{i}.txt": f"item {i} " * (40 + i * 20) for i in range(n)}
    files |= {
        "long.txt": "".join(f"line {i}\n" for i in range(20000)),
        "p/a.png": png(1),
        "bad.png": b"\x89PNG\r\n\x1a\n",
        "e": "",
    }
    files |= {"t.jsonl": "".join(f'{{"text": "row {i}"}}\n' for i in range(200)), ".nogenus": "3\n"}
    return fill(files)


def test_again_adds_only_what_is_new(fill, png, tmp_path):
    source = make(fill, png)
    first = collect(source, tmp_path / "d")
    again = collect(source, tmp_path / "d")
    assert (again.added, again.known) == (0, first.added)
    assert (again.version, again.refused, again.quarantined) == (first.version, first.refused, first.quarantined)
    fill({"0/0.txt": "changed", "new.txt": "new"})
    more = collect(source, tmp_path / "d")
    assert (more.added, more.known) == (2, first.added - 1)


def test_the_same_from_many_commits_or_one(fill, png, tmp_path):
    source = make(fill, png)
    collect(source, tmp_path / "one")
    collect(source, tmp_path / "many", commit_bytes=10000)
    assert Dataset.open(tmp_path / "one").digest() == Dataset.open(tmp_path / "many").digest()


def test_killed_and_run_again_is_as_undisturbed(fill, png, tmp_path):
    source = make(fill, png)
    collect(source, tmp_path / "whole")
    expected = Dataset.open(tmp_path / "whole").digest()
    environment = {**os.environ, "PYTHONPATH": str(Path(genus.__file__).parents[1])}
    draw = random.Random(0)
    killed = 0
    for _ in range(6):
        process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(source), str(tmp_path / "d")], env=environment)
        until = time.monotonic() + 20
        versions = tmp_path / "d" / "_versions"
        there = len(list(versions.glob("*.manifest")))
        while time.monotonic() < until and process.poll() is None and len(list(versions.glob("*.manifest"))) <= there:
            time.sleep(0.001)
        time.sleep(draw.random() * 0.03)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    assert killed >= 2
    collect(source, tmp_path / "d")
    data = Dataset.open(tmp_path / "d")
    assert len(data.ids()) == data.count()
    assert data.digest() == expected


def test_two_at_once_do_not_mix(fill, tmp_path):
    source = fill({"a.txt": "words"})

    def meanwhile(*state: object) -> None:
        with pytest.raises(GenusError, match="another process"):
            collect(source, tmp_path / "d")

    assert collect(source, tmp_path / "d", progress=meanwhile).added == 1


def test_what_a_killed_run_had_unpacked_is_removed(fill, tmp_path):
    left = tmp_path / ".d.unpack" / "0"
    left.mkdir(parents=True)
    (left / "x").write_text("left over")
    collect(fill({"a.txt": "words"}), tmp_path / "d")
    assert not left.parent.exists()
