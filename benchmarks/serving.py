"""What guesses and kept beginnings save: an imported chat model, one thread, by the processor's time.

    python benchmarks/serving.py RUN --precision int4 --rounds 5

Guesses (`--lookup`): code that goes on and a summary, greedy, with and without in turns; the texts must be the same.
Beginnings: the time to the first token of a second question behind a long text, read for the first question or not.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch

from genus.deploy.chorus import Chorus
from genus.deploy.passage import grow
from genus.run import Run

ROOT = Path(__file__).resolve().parents[1]


def tasks(codec: Any, start: int) -> dict[str, Any]:
    lines = (ROOT / "src/genus/cli/uses.py").read_text(encoding="utf-8").splitlines()
    page = (ROOT / "docs/compare.md").read_text(encoding="utf-8")[start : start + 1500]
    asked = f"Repeat the main sentences of this text, word for word:\n\n{page}"
    return {
        "code": "\n".join(lines[15 + start // 50 : 65 + start // 50]) + "\n",
        "summary": codec.conversation([{"role": "user", "content": asked}]),
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
    read.add_argument("--long", type=int, default=2000)
    args = read.parse_args()
    torch.set_num_threads(1)
    model = Run(args.run).model()
    codec: Any = model.codec
    plain = {"temperature": 0, "tokens": args.tokens, "precision": args.precision}
    drawn(model, "The", plain)
    for what in ("code", "summary"):
        ratios, same = [], 0
        for turn in range(args.rounds):
            prompt = tasks(codec, 300 * turn)[what]
            one = drawn(model, prompt, plain)
            other = drawn(model, prompt, {**plain, "lookup": 3, "ahead": 8})
            same += one[0] == other[0]
            ratios.append((one[2] - one[1]) / (other[2] - other[1]))
        row = {"lookup on": what, "times as fast": [round(r, 2) for r in ratios], "median": round(median(ratios), 2)}
        print(json.dumps({**row, "same texts": f"{same} of {args.rounds}"}), flush=True)
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
