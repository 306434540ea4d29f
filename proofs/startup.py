"""Start-up: `genus --help` without torch; `import genus` against `import typer`, in alternation, in fresh processes."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from proof import Row, arguments, write

HELP = """
import sys
sys.argv = ["genus", "--help"]
try:
    import genus.cli
    genus.cli.main()
except SystemExit:
    pass
print("torch" in sys.modules)
"""


def inside(code: str) -> float:
    """Seconds of the import alone, measured inside a fresh interpreter."""
    timed = f"import time; t = time.perf_counter(); {code}; print(time.perf_counter() - t)"
    return float(subprocess.run([sys.executable, "-c", timed], check=True, capture_output=True, text=True).stdout)


def main() -> None:
    args = arguments(__doc__, extra={"--rounds": (int, 15)})
    start = time.monotonic()
    ratios = sorted(inside("import genus") / inside("import typer") for _ in range(args.rounds))
    cli = sorted(inside("import genus.cli") / inside("import typer") for _ in range(args.rounds))
    said = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=True).stdout
    rows = [
        Row("import genus / import typer", statistics.median(ratios), ratios[0], ratios[-1], bar="<= 2"),
        Row("import genus.cli / import typer", statistics.median(cli), cli[0], cli[-1]),
        Row("genus --help loads torch (1: yes)", float(said.split()[-1] == "True"), bar="= 0"),
    ]
    write(args, "startup", rows, time.monotonic() - start, f"median, least and most of {args.rounds} pairs")


if __name__ == "__main__":
    main()
