"""kill -9 at random moments over all five stages: the final weights and dataset are those of an undisturbed run, bit
for bit.

Both cells, language and images: `genus make` with a budget in steps is run once undisturbed, then in fresh homes, where
it is killed (SIGKILL) once in each stage, at a random moment of it, and started anew each time until it finishes. Needs
no GENUS_DATA: the data are scikit-learn's digits and the topics of Python's own documentation.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from proof import Row, arguments, write


def digits(folder: Path) -> None:
    """A few hundred 8x8 digits in class folders."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    data = load_digits()
    for i, (picture, label) in enumerate(zip(data.images[:400], data.target[:400], strict=True)):
        place = folder / str(label)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray((picture * 255 / 16).astype(np.uint8)).save(place / f"{i:04}.png")


def topics(folder: Path) -> None:
    """Python's documentation topics, a file each."""
    from pydoc_data.topics import topics as found

    folder.mkdir(parents=True, exist_ok=True)
    for name, text in found.items():
        (folder / f"{name}.txt").write_text(text)


CELLS = {
    "digits": (digits, "flow", ["measures.fidelity.samples=32"]),
    # A gate that so short a run passes, because deploy is to run too.
    "topics": (topics, "gpt", ["net.width=64", "net.depth=2", "gate.opponents=[]", "gate.copies=1"]),
}


def command(source: Path, home: Path, name: str, recipe: str, steps: int, settings: list[str]) -> list[str]:
    sets = [part for s in ("training.compile=no", "training.batch=8", *settings) for part in ("--set", s)]
    start = [sys.executable, "-m", "genus", "make", str(source), "--home", str(home), "--name", name, "--yes"]
    return [*start, "--recipe", recipe, "--budget", f"{steps} steps", *sets]


def fingerprint(home: Path, name: str) -> dict[str, str]:
    """What must be equal: the dataset's content, the weights, and what the gate said."""
    from genus import files
    from genus.data.dataset import Dataset

    run = home / "runs" / name
    report = json.loads((run / "report.json").read_text())
    said = [[m["name"], m["value"], m["low"], m["high"]] for m in report["metrics"]]
    return {
        "dataset": Dataset.open(home / "datasets" / name).digest(),
        "weights": files.sha256(run / "model.safetensors"),
        "config": files.sha256(run / "config.json"),
        "metrics": json.dumps([m for m in said if "second" not in m[0] and "kwh" not in m[0]]),
    }


def calm(call: list[str]) -> dict[str, float]:
    """Run `call` to its end; seconds of each stage."""
    began: dict[str, float] = {}
    with started(call) as (process, heard):
        while process.poll() is None:
            for stage in heard():
                began.setdefault(stage, time.monotonic())
            time.sleep(0.005)
        finished(process, heard)
    ends = [*list(began.values())[1:], time.monotonic()]
    return {stage: end - start for (stage, start), end in zip(began.items(), ends, strict=True)}


def killed(call: list[str], stage: str, after: float) -> bool:
    """Run `call`, kill it so many seconds after a stage has begun; False if it was through before that."""
    with started(call) as (process, heard):
        while process.poll() is None and stage not in heard():
            time.sleep(0.001)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(after)
        alive = process.poll() is None
        if alive:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        else:
            finished(process, heard)
    return alive


@contextlib.contextmanager
def started(call: list[str]) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], list[str]]]]:
    """A process of its own group, and a function that says which stages it has announced."""
    with tempfile.NamedTemporaryFile("w") as said:

        def heard() -> list[str]:
            lines = Path(said.name).read_text().splitlines()
            return [word for line in lines for word in line.split()[:1] if word in STAGES]

        process = subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True)
        try:
            yield process, heard
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def finished(process: subprocess.Popen[bytes], heard: Callable[[], list[str]]) -> None:
    if process.wait() != 0:
        raise SystemExit(
            f"the run ended with {process.returncode}, after {heard()}: {' '.join(map(str, process.args))}"
        )


STAGES = ("collect", "clean", "train", "validate", "deploy")


def main() -> None:
    args = arguments(__doc__, extra={"--rounds": (int, 3), "--steps": (int, 150)})
    start = time.monotonic()
    dice = random.Random(args.seed)
    rows, notes = [], []
    for name, (fill, recipe, settings) in CELLS.items():
        with tempfile.TemporaryDirectory(prefix="genus-kills-") as folder:
            place = Path(folder)
            fill(place / "data")
            seconds = calm(command(place / "data", place / "calm", name, recipe, args.steps, settings))
            whole = fingerprint(place / "calm", name)
            hits, equal = 0, 0
            for number in range(args.rounds):
                home = place / f"rough{number}"
                call = command(place / "data", home, name, recipe, args.steps, settings)
                moments = []
                for stage in STAGES:
                    after = dice.random() * seconds[stage]
                    if killed(call, stage, after):
                        hits += 1
                        moments.append(f"{stage} {after:.2f} s")
                calm(call)
                found = fingerprint(home, name)
                different = [key for key in whole if found[key] != whole[key]]
                equal += not different
                print(name, "killed in", ", ".join(moments), "; different:", different, file=sys.stderr, flush=True)
            rows.append(Row(f"{name}: kills that hit the stage they were meant for", hits))
            said = f"{name}: runs of {args.rounds} whose dataset, weights, config and metrics are bit-identical"
            rows.append(Row(said, equal, bar=f"= {args.rounds}"))
            notes.append(f"{name}: {', '.join(f'{k} {v:.1f} s' for k, v in seconds.items())} undisturbed")
    total = sum(row.value or 0 for row in rows[::2])
    rows.append(Row("kills in all", total, bar=">= 20"))
    write(args, "kills", rows, time.monotonic() - start, "; ".join(notes))


if __name__ == "__main__":
    main()
