"""What proofs that train models share: runs that are kept, pictures that are drawn once, distances with intervals.

A proof that is killed and started again with the same --keep goes on: finished runs are read, one that was cut off
resumes, and of samples only those are drawn that are not there. Time and energy are the sum of what all the calls took.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from genus import files
from genus.run import Run
from genus.train.meter import Meter
from genus.validate import distances
from genus.validate.features import Features, features
from genus.validate.findings import Keep, around, left_out
from genus.validate.subject import Subject

BATCH = 50
PULSE = 120.0  # seconds between two lines while a command works
Pictures = NDArray[np.uint8]  # [n, H, W, C]
#: value, low, high.
Span = tuple[float, float, float]


@final
class Lab:
    """keep: a folder that stays, or None. What is trained lies in its `home`, as the genus command left it.

    settings: `RECIPE:part.field=value`, for every run of that recipe.
    """

    def __init__(self, keep: Path | None, settings: Sequence[str] = ()) -> None:
        self.settings = tuple(settings)
        self._temporary = tempfile.TemporaryDirectory(prefix="genus-proof-") if keep is None else None
        self.folder = Path(self._temporary.name) if self._temporary is not None else Path(str(keep)).absolute()
        self.home = self.folder / "home"
        self.home.mkdir(parents=True, exist_ok=True)
        self._spent = self.folder / "spent.json"
        before = json.loads(self._spent.read_text()) if self._spent.exists() else {}
        self._meter = Meter(before.get("seconds", 0.0), before.get("kwh", 0.0))

    @property
    def seconds(self) -> float:
        """Of this call and those before it."""
        return self._meter.seconds

    @property
    def kwh(self) -> float:
        """Of this call and those before it, all that it started included."""
        return self._meter.kwh

    def say(self, line: str) -> None:
        """A line of progress; what was spent is noted with it."""
        files.write_json(self._spent, {"seconds": self.seconds, "kwh": self.kwh})
        print(f"{time.strftime('%H:%M:%S')} {self.seconds / 60:7.1f} min  {line}", file=sys.stderr, flush=True)

    def genus(self, *words: str) -> dict[str, Any]:
        """What a genus command says with --json. Ends the proof with the command's own words where it failed."""
        call = [sys.executable, "-m", "genus", *words, "--home", str(self.home), "--json"]
        with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
            while True:
                try:
                    out, told = child.communicate(timeout=PULSE)
                    break
                except subprocess.TimeoutExpired:
                    self.say(f"genus {words[0]} goes on")
        if child.returncode not in (0, 1) or not out.strip():  # 1: done, but the gate or a recipe failed
            raise SystemExit(f"genus {' '.join(words)}\nended with {child.returncode}:\n{told[-3000:]}")
        said: dict[str, Any] = json.loads(out)
        return said

    def dataset(self, name: str, sources: Sequence[Path], cleaned: bool = True) -> None:
        """Collected and, if said so, cleaned, once."""
        mark = self.folder / f"{name}.ready"
        if not mark.exists():
            self.genus("collect", *map(str, sources), "--name", name)
            if cleaned:
                self.genus("clean", name)
            mark.touch()
        self.say(f"data {name}")

    def run(self, dataset: str, recipe: str, budget: str, seed: int) -> Run:
        """Trained, or read if it is there. Its name says recipe and seed; other settings want another --keep.

        The seed is that of every phase.
        """
        from genus.recipes import find

        name = f"{dataset}-{recipe}-{seed}"
        path = self.home / "runs" / name
        if not (path / "summary.json").exists():
            self.say(f"training {name} for {budget}")
            seeds = [f"{phase.name}.training.seed={seed}" for phase in find(recipe).phases]
            own = [s.removeprefix(f"{recipe}:") for s in self.settings if s.startswith(f"{recipe}:")]
            sets = [word for s in (*seeds, *own) for word in ("--set", s)]
            self.genus("train", dataset, "--recipe", recipe, "--budget", budget, "--name", name, "--yes", *sets)
        run = Run(path)
        self.say(f"run {name}: {run.summary['parameters']:,} parameters, {run.summary['seconds']:.0f} s")
        return run

    def tuned(
        self, name: str, dataset: str, recipe: str, budget: str, settings: Sequence[str], start: str, **given: str
    ) -> Run:
        """Trained from the run `start`, or read if it is there. given: runs in place of earlier phases."""
        path = self.home / "runs" / name
        if not (path / "summary.json").exists():
            self.say(f"training {name} for {budget}")
            sets = [word for setting in settings for word in ("--set", setting)]
            runs = [word for phase, run in given.items() for word in ("--given", f"{phase}={run}")]
            words = ["--recipe", recipe, "--budget", budget, "--name", name, "--yes", "--from", start]
            self.genus("train", dataset, *words, *runs, *sets)
        run = Run(path)
        self.say(f"run {name}: {run.summary['steps']} steps, {run.summary['seconds']:.0f} s")
        return run

    def kept(self, run: Run, key: str, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """An array that belongs to a run, made once."""
        path = run.path / "kept" / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.npy"
        if not path.exists():
            found = make()
            path.parent.mkdir(exist_ok=True)
            files.replace(path, lambda part: _save(part, found))
        found = np.load(path, allow_pickle=False)
        return found

    def drawn(self, run: Run, key: str, n: int, draw: Callable[[range], Sequence[Any]]) -> Pictures:
        """`draw` of 0 .. n, in batches that are kept one by one. key: tells these samples from the run's others."""
        parts = []
        for start in range(0, n, BATCH):
            at = range(start, min(start + BATCH, n))
            parts.append(self.kept(run, f"{key} {at}", lambda at=at: np.stack(draw(at))))  # type: ignore[misc]
            if start % (4 * BATCH) == 0:
                self.say(f"{run.name}, {key}: {at.stop} of {n} drawn")
        return np.concatenate(parts)

    def looks(self, run: Run, key: str, n: int, draw: Callable[[range], Sequence[Any]]) -> Features:
        """The features of those."""
        return self.kept(run, f"{key} {n} features", lambda: features(list(self.drawn(run, key, n, draw))))

    def samples(self, subject: Subject, run: Run, key: str, n: int, **knobs: Any) -> Features:
        """Features of samples that are asked for as validation asks: with the fields of held-out items in turn."""
        name = " ".join([key, *(f"{k}={v}" for k, v in sorted(knobs.items()))])
        return self.looks(run, name, n, lambda at: subject.draw(at, **knobs))


def _save(path: Path, array: NDArray[Any]) -> None:
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def tables(folder: Path) -> list[Path]:
    """A data set's training and test split."""
    return [folder / f"{split}.parquet" for split in ("train", "test")]


def distance(made: Features, real: Features) -> Span:
    """Fréchet distance of as many of one as of the other, with a 95 % jackknife interval."""
    return jackknifed(lambda made, real: distances.frechet(made, real), made, real)


def apart(first: Features, second: Features, real: Features) -> Span:
    """The first's Fréchet distance over the second's; both thinned alike, so that what they share falls out."""
    return jackknifed(_quotient, first, second, real)


def _quotient(first: Features, second: Features, real: Features) -> float:
    return distances.frechet(first, real) / max(distances.frechet(second, real), 1e-12)


def jackknifed(statistic: Callable[..., float], *sets: Features) -> Span:
    """A statistic of sets of equal size, and its interval from leaving a tenth of each out in turn."""
    return around(statistic(*sets), left_out(partial(_thinned, statistic, sets)))


def _thinned(statistic: Callable[..., float], sets: Sequence[Features], keep: Keep) -> float:
    return statistic(*(x[keep(len(x))] for x in sets))


def resampled(values: NDArray[Any], statistic: Callable[[NDArray[Any]], float] = np.mean, times: int = 2000) -> Span:
    """A statistic of items (the first axis) with its 95 % bootstrap interval over them."""
    rng = np.random.default_rng(0)
    found = [statistic(values[rng.integers(0, len(values), len(values))]) for _ in range(times)]
    low, high = np.quantile(found, (0.025, 0.975))
    return float(statistic(values)), float(low), float(high)


def table(path: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    """Rows as .jsonl."""
    files.write(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def numbers(text: str) -> list[float]:
    """'1,2.5' as numbers: an argument's type."""
    return [float(part) for part in text.split(",")]


def words(text: str) -> list[str]:
    """'a,b' as words: an argument's type."""
    return [part.strip() for part in text.split(",") if part.strip()]
