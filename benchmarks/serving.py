"""What guesses and kept beginnings save: an imported chat model, one thread, by the processor's time.

    python benchmarks/serving.py RUN --precision int4 --rounds 5

Guesses (`--lookup`): code that goes on and summaries (of SciTLDR's abstracts, from the folder in GENUS_DATA; else of a
page here), greedy and drawn, with and without in turns; the texts must be the same. Seconds are those behind the first
cell.
Beginnings: the time to the first token of a second question behind a long text, read for the first question or not.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch

from genus.deploy.chorus import Chorus
from genus.deploy.passage import grow
from genus.run import Run

ROOT = Path(__file__).resolve().parents[1]


def tasks(codec: Any, turn: int) -> dict[str, Any]:
    lines = (ROOT / "src/genus/cli/uses.py").read_text(encoding="utf-8").splitlines()
    abstracts = Path(os.environ.get("GENUS_DATA", "")) / "scitldr" / "test.jsonl"
    if abstracts.is_file():
        page = json.loads(abstracts.read_text(encoding="utf-8").splitlines()[3 + 4 * turn])["abstract"].strip()
    else:
        page = (ROOT / "docs/compare.md").read_text(encoding="utf-8")[300 * turn : 300 * turn + 1500]
    return {
        "code": "\n".join(lines[15 + 6 * turn : 65 + 6 * turn]) + "\n",
        "summary": codec.conversation([{"role": "user", "content": f"Summarize this text:\n\n{page}"}]),
    }


def drawn(model: Any, prompt: Any, knobs: dict[str, Any], chorus: Chorus | None = None) -> tuple[str, float, float]:
    """(the text, seconds to its first cell, seconds in all)."""
    begun, first, said = time.process_time(), 0.0, ""
    for growths in grow(model, prompt, 0, [0], (), knobs, chorus):
        first = first or time.process_time() - begun
        said += "".join(growth.text for growth in growths)
    return said, first, time.process_time() - begun


def main() -> None:
    read = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    read.add_argument("run")
    read.add_argument("--precision", default="int4")
    read.add_argument("--rounds", type=int, default=5)
    read.add_argument("--tokens", type=int, default=96)
    read.add_argument("--tasks", nargs="*", default=["code", "summary"])
    read.add_argument("--temperatures", type=float, nargs="*", default=[0.0, 0.7])
    read.add_argument("--lookup", type=int, default=3)
    read.add_argument("--ahead", type=int, default=6)
    read.add_argument("--long", type=int, default=2000)
    args = read.parse_args()
    torch.set_num_threads(1)
    model = Run(args.run).model()
    codec: Any = model.codec
    plain = {"temperature": 0, "tokens": args.tokens, "precision": args.precision}
    drawn(model, "The", plain)
    for what, temperature in ((w, t) for w in args.tasks for t in args.temperatures):
        ratios, same, spent = [], 0, [0.0, 0.0]
        for turn in range(args.rounds):
            prompt, knobs = tasks(codec, turn)[what], {**plain, "temperature": temperature, "top_p": 0.95}
            guessing = {**knobs, "lookup": args.lookup, "ahead": args.ahead}
            both = [drawn(model, prompt, k) for k in ((knobs, guessing) if turn % 2 else (guessing, knobs))]
            one, other = both if turn % 2 else both[::-1]
            same += one[0] == other[0]
            times = [made[2] - made[1] for made in (one, other)]
            spent = [a + b for a, b in zip(spent, times, strict=True)]
            ratios.append(times[0] / times[1])
        row = {"lookup on": what, "temperature": temperature, "times as fast": [round(r, 2) for r in ratios]}
        row |= {"median": round(median(ratios), 2), "of all seconds": round(spent[0] / spent[1], 2)}
        print(json.dumps({**row, "same texts": f"{same} of {args.rounds}"}), flush=True)
    if not args.long:
        return
    page = "".join((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("architecture.md", "use.md"))
    system = {"role": "system", "content": codec.decode(torch.tensor([[codec.ids([page])[0][: args.long - 40]]]))[0]}
    ratios = []
    for turn in range(max(2, args.rounds // 2)):
        chorus, short = Chorus(), {**plain, "tokens": 2}
        turns = [
            codec.conversation([system, {"role": "user", "content": said}])
            for said in (f"What is part {turn}?", "And why is it so?")
        ]
        drawn(model, turns[0], short, chorus)
        with_it, without = drawn(model, turns[1], short, chorus), drawn(model, turns[1], short)
        assert with_it[0] == without[0]
        ratios.append(without[1] / with_it[1])
        print(json.dumps({"first token of": len(turns[1]), "anew": round(without[1], 3), "kept": round(with_it[1], 3)}))
    print(json.dumps({"kept beginning, times as fast": round(median(ratios), 1)}))


if __name__ == "__main__":
    main()
