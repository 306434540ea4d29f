"""A model of Python, from the standard library: beside an n-gram of order 6, and with what follows beside without it.

`codegen` learns from the modules of the standard library (without its tests and tables of characters) and is asked of
files that it never saw: bits per byte; the rest of a line, whose beginning is given (line completion); and the same
rest with the lines behind it given too (fill in the middle). Whether what follows helps is judged by the bits of the
rest: of rests that are found exactly there are too few to tell. The n-gram (modified Kneser-Ney) counts all the
training text. Intervals are a bootstrap over files.

--budget: of the training. --keep FOLDER: data and run stay there; the same command goes on with them. --set: settings
of the recipe, with spaces between. --counted, --held: bytes of training text that the n-gram counts, of held-out text.
--points: lines of each file.
"""

from __future__ import annotations

import shutil
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from proof import Row, arguments, write

from genus.clean import clean
from genus.collect import collect
from genus.data.dataset import Dataset
from genus.recipes import find, with_settings
from genus.run import Run
from genus.train.budget import budget
from genus.train.stage import train
from genus.validate.completion import Completion
from genus.validate.findings import Finding
from genus.validate.likelihood import Likelihood
from genus.validate.subject import Subject

#: Not the library itself, or no programs that anybody wrote.
LEFT_OUT = {"test", "tests", "encodings", "pydoc_data", "lib2to3", "idlelib", "turtledemo", "site-packages"}
LEFT_OUT |= {"dist-packages", "__pycache__", "distutils", "ensurepip", "__phello__"}


def library(folder: Path) -> Path:
    """A copy of the modules to learn from."""
    source = Path(sysconfig.get_paths()["stdlib"])
    if not folder.exists():
        part = folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        for path in sorted(source.rglob("*.py")):
            name = path.relative_to(source)
            if not LEFT_OUT & set(name.parts) and path.stat().st_size:
                (part / name.parent).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, part / name)
        part.rename(folder)
    return folder


def learned(folder: Path, asked: str, seed: int, settings: list[str]) -> Run:
    """The run of codegen in this folder, trained as far as the budget says."""
    data = folder / "data"
    if not (data / "cleaned").exists():
        collect(library(folder / "library"), data / "set", licence="PSF-2.0")
        clean(data / "set")
        (data / "cleaned").touch()
    recipe = with_settings(find("codegen"), [f"training.seed={seed}", *settings])
    return train(recipe, Dataset.open(data / "set"), folder / "run", budget(asked))


def row(name: str, found: Finding, baseline: Finding | None = None, bar: str | None = None) -> Row:
    """A finding as a figure, beside another."""
    beside = None
    if baseline is not None:
        low, high = baseline.low or 0.0, baseline.high or 0.0
        beside = f"{baseline.value:.4f} ({low:.4f} to {high:.4f})"
    return Row(name, found.value, found.low, found.high, bar, beside, found.unit)


def sure(name: str, found: Finding) -> Row:
    """Whether a gain is one: its interval lies above nothing."""
    return Row(name, found.low, bar=">= 0", unit=found.unit)


def main() -> None:
    extra = {
        "--budget": (str, "15m"),
        "--keep": (Path, None),
        "--files": (int, 200),
        "--points": (int, 24),
        "--set": (str, ""),
    }
    extra |= {"--counted": (int, 1 << 30), "--held": (int, 1 << 20)}
    args = arguments(__doc__, extra=extra)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="genus-proof-") as temporary:
        folder = (args.keep or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        run = learned(folder, args.budget, args.seed, args.set.split())
        print(f"trained: {run.summary}", file=sys.stderr, flush=True)
        subject = Subject.of(run)
        text = Likelihood(order=6, counted=args.counted, held=args.held, primed=0)(subject)
        lines = Completion(items=args.files, points=args.points, order=6, counted=args.counted)(subject)
        summary = run.summary  # the folder may not outlive this block
    found = {finding.name: finding for result in (text, lines) for finding in (*result.metrics, *result.baselines)}
    for name in ("bits_per_byte", "line_match", "gap_match", "gap_bits_per_byte"):
        print({n: round(f.value, 4) for n, f in found.items() if n.startswith(name)}, file=sys.stderr)
    rows = [
        row(
            "bits per byte of held-out files",
            found["bits_per_byte"],
            found["bits_per_byte/ngram6"],
            f"<= {found['bits_per_byte/ngram6'].value:.4f}",
        ),
        row("the rest of a line, exactly", found["line_match"], found["line_match/ngram6"]),
        row("what it gains on the n-gram", found["line_match_gain"]),
        sure("the same, the lower end of its interval", found["line_match_gain"]),
        row("the same with what follows given, exactly", found["gap_match"], found["gap_match/left_to_right"]),
        row("what it gains on left-to-right", found["gap_match_gain"]),
        row("its bits per byte", found["gap_bits_per_byte"], found["gap_bits_per_byte/left_to_right"]),
        row("bits per byte that are saved", found["gap_bits_saved"]),
        sure("the same, the lower end of its interval", found["gap_bits_saved"]),
    ]
    size = f"{int(summary['parameters']) / 1e6:.2f} M parameters, {summary['steps']:,} steps, --budget {args.budget}"
    notes = " ".join((*text.notes, *lines.notes))
    write(
        args, "programs", rows, time.monotonic() - begun, f"{size}; 95 % bootstrap over files. {notes}", summary["kwh"]
    )


if __name__ == "__main__":
    main()
