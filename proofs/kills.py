"""kill -9 at random moments over all five stages: the final weights and dataset are those of an undisturbed run, bit
for bit.

Both cells, language and images: `genus make` with a budget in steps is run once undisturbed, then again in a fresh home
under a watcher that kills it (SIGKILL) at random moments and starts it anew until it finishes. Needs no GENUS_DATA:
the data are scikit-learn's digits and the topics of Python's own documentation.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
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
    "topics": (topics, "gpt", ["gate.opponents=[]"]),  # so short a run cannot beat them, and deploy shall run too
}


def command(source: Path, home: Path, name: str, recipe: str, steps: int, settings: list[str]) -> list[str]:
    sets = [part for s in ("training.compile=no", "training.batch=8", *settings) for part in ("--set", s)]
    start = [sys.executable, "-m", "genus", "make", str(source), "--home", str(home), "--name", name, "--yes", "--json"]
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


def disturbed(call: list[str], kills: int, whole: float, dice: random.Random) -> tuple[int, list[str]]:
    """Run `call` again and again, killing it `kills` times; (kills that hit a living process, stages they hit)."""
    hit: list[str] = []
    while True:
        with tempfile.TemporaryFile("w+") as said:
            process = subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True)
            if len(hit) < kills:
                # Moments spread over the whole run; early ones hit collect and clean.
                end = time.monotonic() + dice.choice((0.3, 1.0)) * whole * dice.random()
                while time.monotonic() < end and process.poll() is None:
                    time.sleep(0.02)
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                    said.seek(0)
                    stages = [w for line in said for w in line.split()[:1] if w in STAGES]
                    hit.append(stages[-1] if stages else "start")
                    continue
            process.wait()
            said.seek(0)
            if process.returncode != 0:
                raise SystemExit(f"the run failed with {process.returncode}:\n{said.read()[-3000:]}")
            if len(hit) >= kills:
                return len(hit), hit
            # It finished before its kills were spent: the rest hits runs that only verify what is there.
            whole *= 0.9


STAGES = ("collect", "clean", "train", "validate", "deploy")


def main() -> None:
    args = arguments(__doc__, extra={"--kills": (int, 20), "--steps": (int, 150)})
    start = time.monotonic()
    rows, notes = [], []
    for name, (fill, recipe, settings) in CELLS.items():
        with tempfile.TemporaryDirectory(prefix="genus-kills-") as place:
            fill(Path(place) / "data")
            calls = [
                command(Path(place) / "data", Path(place) / home, name, recipe, args.steps, settings)
                for home in ("calm", "rough")
            ]
            calls[1] = [part for part in calls[1] if part != "--json"]  # stages are read from what it says
            calm = time.monotonic()
            subprocess.run(calls[0], check=True, stdout=subprocess.DEVNULL)
            whole = time.monotonic() - calm
            kills, hit = disturbed(calls[1], args.kills // len(CELLS), whole, random.Random(args.seed))
            a, b = (fingerprint(Path(place) / home, name) for home in ("calm", "rough"))
            equal = [key for key in a if a[key] == b[key]]
            notes.append(f"{name}: killed in {', '.join(f'{s} {hit.count(s)}' for s in ('start', *STAGES))}")
            rows.append(Row(f"{name}: of dataset, weights, config, metrics bit-identical", len(equal), bar="= 4"))
            rows.append(Row(f"{name}: kills", kills))
            print(notes[-1], "equal:", ", ".join(equal), file=sys.stderr)
    write(args, "kills", rows, time.monotonic() - start, "; ".join(notes))


if __name__ == "__main__":
    main()
