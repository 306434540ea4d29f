"""Weights of 8 and 4 bits: what perplexity they cost SmolLM2, and their size and speed beside llama.cpp's.

    genus import smollm2 --name smol
    genus export smol --format gguf --type q8_0 -o smol-q8_0.gguf
    genus export smol --format gguf --type q4_k -o smol-q4_k.gguf
    python proofs/compression.py --run RUNS/smol --gguf FOLDER --llama PYTHON_WITH_XLLAMACPP

Texts: tinyshakespeare (in the folder GENUS_DATA) and the docstrings of Python's library; two thirds of each calibrate,
the last third judges. Compressed runs go beside the run and are used again. Decoding: one thread, greedy, batch 1, each
engine in a process of its own and in turns, by the clock.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

from proof import ROOT, Row, arguments, shelf, write

BARS = {8: "<= 0.5", 4: "<= 5"}
GGUFS = {8: "smol-q8_0.gguf", 4: "smol-q4_k.gguf"}
CHARACTERS = 110_000


def docstrings() -> str:
    """Of the modules at the top of Python's library, those of some length."""
    found = []
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8", errors="replace"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node)
                found += [text] if text and len(text) > 200 else []
    return "\n\n".join(found)


def reported(run: Path, bits: int, texts: list[Path], windows: int) -> dict[str, Any]:
    """report.json of the compressed run, which is made if it is not there."""
    from genus.deploy import compress
    from genus.run import Run

    place = run.with_name(f"{run.name}-int{bits}")
    if not place.is_dir():
        compress(Run(run), bits, place.name, run.parents[1], texts, windows=windows)
    found: dict[str, Any] = json.loads((place / "report.json").read_text())
    return found


def speeds(run: Path, gguf: Path, args: Any) -> dict[str, Any]:
    """What benchmarks/decoding.py says of the two, by metric."""
    place = args.run.parents[1] / "speeds.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "decoding.py"), "--run", str(run), "--gguf", str(gguf)]
    command += ["--llama", args.llama, "--engines", "genus:fp32,llama", "--batches", "1", "--prefill", "0"]
    command += ["--rounds", str(args.rounds), "--tokens", str(args.tokens), "--json", str(place)]
    subprocess.run(command, check=True)
    return {row["metric"]: row for row in json.loads(place.read_text())["rows"]}


def main() -> None:
    args = arguments(
        __doc__,
        extra={
            "--run": (Path, None),
            "--gguf": (Path, None),
            "--llama": (str, None),
            "--rounds": (int, 5),
            "--tokens": (int, 128),
            "--windows": (int, 24),
        },
    )
    if args.run is None:
        raise SystemExit("--run RUN is missing: the folder of the imported run (genus import smollm2)")
    start = time.monotonic()
    keep = args.run.parents[1] / "texts"
    keep.mkdir(exist_ok=True)
    texts = {"shakespeare": (shelf(args, "tinyshakespeare") / "train.txt").read_text(), "docstrings": docstrings()}
    files = []
    for name, text in texts.items():
        files.append(keep / f"{name}.txt")
        files[-1].write_text(text[:CHARACTERS])
    rows = []
    for bits, bar in BARS.items():
        report = reported(args.run, bits, files, args.windows)
        found = {row["name"]: row for row in (*report["metrics"], *report["baselines"])}
        change, before = found["perplexity_change"], found[f"perplexity/{args.run.name}"]["value"]
        against = f"perplexity {before:.3f} in float32"
        metric = f"int{bits}: perplexity changes by"
        rows.append(Row(metric, change["value"], change["low"], change["high"], bar, against, "%"))
        size, gguf = found["bytes"]["value"] / 2**20, GGUFS[bits]
        beside = None
        if args.gguf is not None and (args.gguf / gguf).is_file():
            beside = f"{gguf}: {(args.gguf / gguf).stat().st_size / 2**20:.1f} MiB"
        rows.append(Row(f"int{bits}: size", size, baseline=beside, unit="MiB"))
        if beside is not None and args.llama is not None:
            each = speeds(args.run.with_name(f"{args.run.name}-int{bits}"), args.gguf / gguf, args)
            ours, theirs = each["batch 1: genus:fp32"], each["batch 1: llama.cpp"]
            said = f"{theirs['value']:.1f} of llama.cpp, {gguf}"
            rows.append(
                Row(f"int{bits}: decoding", ours["value"], ours["low"], ours["high"], baseline=said, unit="tokens/s")
            )
            times = each["batch 1: genus:fp32 over llama.cpp"]
            rows.append(Row(f"int{bits}: times as fast as llama.cpp", times["value"], times["low"], times["high"]))
    note = (
        "perplexity on windows of 256 tokens, intervals by bootstrap over windows. The file that SmolLM2 is imported "
        "from has 4 bits in groups of 32 itself, so its weights lie on levels that int4 has, and what int4 loses is by "
        "activations of 8 bits"
    )
    write(args, "compression", rows, time.monotonic() - start, note)


if __name__ == "__main__":
    main()
