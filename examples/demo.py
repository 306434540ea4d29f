"""The main job twice, on real data that this installation already carries: what `make demo` runs.

Pictures: the 1,797 handwritten digits of scikit-learn (Alpaydin and Kaynak 1998; CC-BY-4.0), written as PNG files into
a folder for each class. Text: what Python's own manual and docstrings say (PSF-2.0), a file for each topic or module.
Then `genus make` on each folder, as you would type it, and the figures of both reports.

    python examples/demo.py [--budget 2m] [--folder demo]
"""

from __future__ import annotations

import argparse
import ast
import json
import resource
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def digits(folder: Path, most: int = 1797) -> int:
    """Up to 1,797 grey 8x8 pictures as folder/CLASS/NUMBER.png; how many were written."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    data = load_digits()
    chosen = list(zip(data.images, data.target, strict=True))[:most]
    for i, (picture, label) in enumerate(chosen):
        place = folder / str(label)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray((picture * 255 / 16).round().astype(np.uint8)).save(place / f"{i:04}.png")
    return len(chosen)


def manual(folder: Path) -> int:
    """Prose about Python: the topics of `help()`, and the docstrings of each module of the standard library."""
    from pydoc_data.topics import topics

    folder.mkdir(parents=True, exist_ok=True)
    texts = {f"topic-{name}": text for name, text in topics.items()} | dict(docstrings())
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return len(texts)


def docstrings() -> Iterator[tuple[str, str]]:
    """(module, its docstrings of more than a line); nothing is imported or run."""
    library = Path(sysconfig.get_paths()["stdlib"])
    apart = {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3"}
    for path in sorted(library.rglob("*.py")):
        parts = path.relative_to(library).with_suffix("").parts
        if apart & set(parts):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                tree = ast.parse(path.read_bytes())
            except (SyntaxError, ValueError):
                continue
        nodes = (n for n in ast.walk(tree) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef))
        said = [text for node in nodes if (text := ast.get_docstring(node)) and "\n" in text]
        if said:
            yield ".".join(parts), "\n\n".join(said) + "\n"


def make(source: Path, home: Path, budget: str, *more: str) -> bool:
    """`genus make`, shown and run; whether the run was deployed."""
    call = ["make", str(source), "--budget", budget, "--home", str(home), "--yes", *more]
    print(f"\n$ genus {shlex.join(call)}", flush=True)
    return subprocess.run([sys.executable, "-m", "genus", *call], check=False).returncode == 0


def figures(run: Path) -> Iterator[str]:
    """The report's comparison in a few lines: each main metric beside its baselines."""
    report: dict[str, Any] = json.loads((run / "report.json").read_text(encoding="utf-8"))
    for metric in report["metrics"]:
        name = metric["name"]
        others = [b for b in report["baselines"] if b["name"].startswith(f"{name}/")]
        if name not in ("bits_per_byte", "gap_closed", "copies") and not name.startswith("frechet"):
            continue
        span = "" if metric["low"] is None else f" [{metric['low']:.3g}, {metric['high']:.3g}]"
        beside = ", ".join(f"{b['name'].split('/')[1]} {b['value']:.3g}" for b in others)
        better = f"; {metric['better']} is better"
        yield f"  {name} {metric['value']:.3g}{span}{better}{'; beside it: ' + beside if beside else ''}"
    used, asked = report["budget"]["used_s"], report["budget"]["asked_s"]
    spent = f", asked {asked:.0f} s" if asked else ""
    yield f"  training took {used:.0f} s{spent}; {report['energy']['kwh'] * 1000:.2g} Wh ({report['energy']['method']})"


def gate(run: Path) -> str:
    """Why a run was refused."""
    report: dict[str, Any] = json.loads((run / "report.json").read_text(encoding="utf-8"))
    return "; ".join(report["gate"]["reasons"])


def main() -> None:
    """Make the data, run the main job on both folders, say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", default="2m", help="of each training: 25s, 2m, 10m (default: 2m)")
    parser.add_argument("--folder", type=Path, default=Path("demo"), help="where data and home go (default: demo)")
    args = parser.parse_args()
    start = time.monotonic()
    data, home = args.folder / "data", args.folder / "home"
    shutil.rmtree(home, ignore_errors=True)  # what an earlier demo made; the demo starts at the beginning
    print(f"writing real data to {data}")
    print(f"  digits: {digits(data / 'digits')} pictures of scikit-learn's handwritten digits")
    print(f"  manual: {manual(data / 'manual')} texts from Python's own manual and docstrings")

    done = {
        "digits": make(data / "digits", home, args.budget, "--licence", "CC-BY-4.0"),
        "manual": make(data / "manual", home, args.budget, "--licence", "PSF-2.0"),
    }
    print(f"\nMade in {(time.monotonic() - start) / 60:.1f} minutes:")
    for name, deployed in done.items():
        run = home / "runs" / name
        if not (run / "report.json").exists():
            print(f"\n{name}: failed, see above")
            continue
        print(f"\n{name}: {'deployed' if deployed else 'not deployed, its gate says: ' + gate(run)}")
        print("\n".join(figures(run)))
        print(f"  page: {run / 'report.html'}")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(f"\nPeak memory of a run: {peak / 2**30:.2f} GiB. Both are toys, minutes of two cores: judge them as such.")
    genus = Path(sys.executable).with_name("genus")
    shown = shlex.quote(str(genus.relative_to(Path.cwd()) if genus.is_relative_to(Path.cwd()) else genus))
    at = f"--home {shlex.quote(str(home))}"
    print("Next, one of:")
    print(f"  {shown} generate digits 7 -n 4 {at}")
    print(f'  {shown} generate manual "The statement" {at}')
    served = [name for name, deployed in done.items() if deployed]
    if served:
        print(f"  {shown} serve {' '.join(served)} {at}")
    print(f"  {shown} make A_FOLDER_OF_YOURS --budget 10m")
    if not all((home / "runs" / name / "report.json").exists() for name in done):
        sys.exit("one of the two runs did not reach its report: see above")


if __name__ == "__main__":
    main()
