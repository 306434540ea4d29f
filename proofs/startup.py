"""Start-up: `genus --help` without torch; `import genus` against `import typer`, in alternation, each in a fresh
process.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from proof import Row, arguments, write


def seconds(code: str) -> float:
    """Of a fresh interpreter that runs `code`, less nothing: both sides pay the same start."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def inside(code: str) -> float:
    """Seconds of the import alone, measured inside a fresh interpreter."""
    timed = f"import time; t = time.perf_counter(); {code}; print(time.perf_counter() - t)"
    return float(subprocess.run([sys.executable, "-c", timed], check=True, capture_output=True, text=True).stdout)


def main() -> None:
    args = arguments(__doc__, extra={"--rounds": (int, 15)})
    start = time.monotonic()
    ratios = sorted(inside("import genus") / inside("import typer") for _ in range(args.rounds))
    cli = sorted(inside("import genus.cli") / inside("import typer") for _ in range(args.rounds))
    code = (
        "import sys; sys.argv = ['genus', '--help']\ntry:\n import genus.cli; genus.cli.main()\n"
        "except SystemExit: pass\nprint('torch' in sys.modules)"
    )
    pass\n" loads = subprocess.run(
        [sys.executable, "-c", f"{code}print('torch' in sys.modules)"], capture_output=True, text=True
  
   
    ) torch = float(loads.stdout.strip().splitlines()[-1] == "True")
    rows = [
        Row("import genus / import typer", statistics.median(ratios), ratios[0], ratios[-1], bar="<= 2"),
        Row("import genus.cli / import typer", statistics.median(cli), cli[0], cli[-1]),
        Row("genus --help loads torch (1: yes)", torch, bar="= 0"),
    ]
    write(args, "startup", rows, time.monotonic() - start)


if __name__ == "__main__":
    main()
