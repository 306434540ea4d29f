"""Memory of collect and clean over growing input: flat, or the design has failed.

Makes text of each size (deterministic, in a temporary folder that is removed), runs collect and then clean in processes
of their own, and records the peak resident memory that the kernel reports for each.

    python proofs/collect_memory.py --sizes "0.2 1 4"

Also the growth of each stage's peak from 1 GB on, where it is to be flat.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from proof import Row, arguments, write

SOURCE = Path(__file__).resolve().parents[1] / "src"
#: What runs in the child: the stage, then one line with its own peak (ru_maxrss is in KiB on Linux).
CHILD = """
import json, resource, sys, time
from pathlib import Path
stage, source, dataset = sys.argv[1:]
start = time.perf_counter()
if stage == "collect":
    from genus.collect import collect
    done = collect(source, Path(dataset)).json()
else:
    from genus.clean import clean
    clean(Path(dataset))
    done = {}
from genus.data.dataset import Dataset
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"peak_mb": round(peak), "seconds": round(seconds, 1), "items": Dataset.open(Path(dataset)).count()}))
"""


def write_text(folder: Path, size: int, seed: int = 0) -> None:
    """`size` bytes of made-up prose: a large file, and small ones beside it, in the proportion 3 to 1.

    Words have a long-tailed vocabulary, so that rules and hashes meet text of a usual shape; sentences are drawn from
    200,000, so that no two passages are near each other and yet writing is fast.
    """
    draw = np.random.default_rng(seed)
    letters = np.frombuffer(b"etaoinshrdlcumwfgypbvk", np.uint8)
    words = [letters[draw.integers(0, len(letters), n)].tobytes() for n in draw.integers(2, 10, 20000)]
    chance = 1 / np.arange(10, 10 + len(words))
    chosen = draw.choice(len(words), (200_000, 14), p=chance / chance.sum())
    sentences = [b" ".join(words[w] for w in row).capitalize() + b". " for row in chosen]

    def passage() -> bytes:
        some = [sentences[i] for i in draw.integers(0, len(sentences), 2400)]
        return b"\n\n".join(b"".join(some[i : i + 8]) for i in range(0, len(some), 8)) + b"\n\n"

    folder.mkdir(parents=True)
    written = 0
    with (folder / "large.txt").open("wb") as file:
        while written < size * 3 // 4:
            written += file.write(passage())
    number = 0
    while written < size:
        text = passage()
        for start in range(0, len(text), 8000):
            path = folder / f"{number // 1000:04d}" / f"{number:07d}.txt"
            path.parent.mkdir(exist_ok=True)
            written += path.write_bytes(text[start : start + 8000])
            number += 1


def run(stage: str, source: Path, dataset: Path) -> dict[str, Any]:
    path = os.pathsep.join(filter(None, [str(SOURCE), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", CHILD, stage, str(source), str(dataset)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{stage} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def main() -> None:
    stages = ["collect", "clean"]
    extra = {"--sizes": (numbers, [0.2, 1.0, 4.0]), "--stages": (str.split, stages), "--folder": (Path, None)}
    asked = arguments(__doc__, extra)
    began = time.monotonic()
    rows: list[dict[str, Any]] = []
    for size in asked.sizes:
        need = int(size * 4e9)  # Source, dataset, and what clean adds to it, with room.
        with tempfile.TemporaryDirectory(dir=asked.folder, prefix="genus-memory-") as folder:
            free = shutil.disk_usage(folder).free
            if free < need:
                raise SystemExit(f"{size} GB needs {need / 1e9:.1f} GB of disk, {free / 1e9:.1f} are free; use --sizes")
            write_text(Path(folder) / "source", int(size * 1e9))
            for stage in ("collect", "clean"):
                if stage == "clean" and stage not in asked.stages:
                    continue
                row = {
                    "stage": stage,
                    "input_gb": size,
                    **run(stage, Path(folder) / "source", Path(folder) / "dataset"),
                }
                rows.append(row)
                print(json.dumps(row), flush=True)
    found = [Row(f"{r['stage']} of {r['input_gb']:g} GB, peak", r["peak_mb"], unit="MB") for r in rows]
    for stage in asked.stages:
        peaks = {row["input_gb"]: row["peak_mb"] for row in rows if row["stage"] == stage}
        if 1.0 in peaks:
            largest = max(peaks)
            name = f"{stage}: peak at {largest:g} GB over that at 1 GB"
            found.append(Row(name, peaks[largest] / peaks[1.0], bar="<= 1.1" if largest >= 4 else None))
    note = "one run each; peak resident memory of the stage's own process; flat: at most a tenth more at 4 GB"
    write(asked, "collect_memory", found, time.monotonic() - began, note)


def numbers(text: str) -> list[float]:
    """'0.2 1 4' as numbers."""
    return [float(part) for part in text.split()]


if __name__ == "__main__":
    main()
