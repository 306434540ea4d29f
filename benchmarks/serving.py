"""What guesses and kept beginnings save: an imported chat model, one thread, by the processor's time.

    python benchmarks/serving.py --run RUN --precision bf16,int8,int4 --rounds 8

Guesses (`--lookup`): code that goes on and summaries (of SciTLDR's abstracts; without that set, of a
page here), greedy and drawn, with and without in turns; the texts must be the same. Seconds are those behind the first
cell; texts of SciTLDR come from --data or GENUS_DATA.
Beginnings: the time to the first token of a second question behind a long text, read for the first question or not.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

from genus.deploy.chorus import Chorus
from genus.deploy.passage import grow
from genus.run import Run

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "proofs"))
from proof import ROOT, Row, arguments, bootstrap, interval, write


def tasks(codec: Any, turn: int, shelf: Path | None) -> dict[str, Any]:
    lines = (ROOT / "src/genus/cli/uses.py").read_text(encoding="utf-8").splitlines()
    abstracts = None if shelf is None else shelf / "scitldr" / "test.jsonl"
    if abstracts is not None and abstracts.is_file():
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


Pairs = list[tuple[float, float]]  # seconds of a text without guesses and with


def guessed(model: Any, precision: str, what: str, temperature: float, args: Any) -> tuple[Pairs, list[Row]]:
    """Texts with guesses and without, in turns."""
    found, same = Pairs(), 0
    for turn in range(args.rounds):
        knobs = {"temperature": temperature, "top_p": 0.95, "tokens": args.tokens, "precision": precision}
        guessing = {**knobs, "lookup": args.lookup, "ahead": args.ahead}
        prompt = tasks(model.codec, turn, args.data)[what]
        both = [drawn(model, prompt, k) for k in ((knobs, guessing) if turn % 2 else (guessing, knobs))]
        one, other = both if turn % 2 else both[::-1]
        same += one[0] == other[0]
        found.append((one[2] - one[1], other[2] - other[1]))
        print(f"{precision}, {what}, temperature {temperature:g}: {found[-1][0] / found[-1][1]:.2f}", flush=True)
    name = f"{precision}: {what}, {'greedy' if temperature == 0 else f'temperature {temperature:g}'}"
    return found, [
        gained(name, found),
        Row(f"{name}: texts that stay the same, of {args.rounds}", same, bar=f"= {args.rounds}"),
    ]


def gained(name: str, found: Pairs, bar: str | None = None) -> Row:
    """How many times as fast guesses make these texts together."""

    def ratio(pairs: Any) -> float:
        return float(sum(a for a, _ in pairs) / sum(b for _, b in pairs))

    return Row(f"{name}: times as fast by lookup", ratio(found), *bootstrap(found, ratio), bar=bar)  # type: ignore[arg-type]


def begun(model: Any, args: Any) -> list[Row]:
    """The first token of a second question behind a long text, whose keys and values were kept or not."""
    page = "".join((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("architecture.md", "use.md"))
    codec = model.codec
    system = {"role": "system", "content": codec.decode(torch.tensor([[codec.ids([page])[0][: args.long - 40]]]))[0]}
    ratios, sizes = list[float](), list[int]()
    for turn in range(max(3, args.rounds // 3)):
        chorus, short = Chorus(), {"temperature": 0, "tokens": 2, "precision": args.precision.split(",")[0]}
        turns = [
            codec.conversation([system, {"role": "user", "content": said}])
            for said in (f"What is part {turn}?", "And why is it so?")
        ]
        drawn(model, turns[0], short, chorus)
        with_it, without = drawn(model, turns[1], short, chorus), drawn(model, turns[1], short)
        assert with_it[0] == without[0]
        ratios.append(without[1] / with_it[1])
        sizes.append(len(turns[1]))
        print(f"first token of {sizes[-1]}: {without[1]:.3f} s anew, {with_it[1]:.3f} s kept", flush=True)
    name = f"time to the first token of {sizes[-1]}: anew over with a kept beginning"
    return [Row(name, *interval(ratios), bar=">= 10")]


def main() -> None:
    extra = {
        "--run": (str, None), "--precision": (str, "bf16,int8,int4"), "--rounds": (int, 8), "--tokens": (int, 96),
        "--tasks": (str, "code,summary"), "--temperatures": (str, "0,0.7"), "--lookup": (int, 3), "--ahead": (int, 6),
        "--long": (int, 2000),
    }  # fmt: skip
    args = arguments(__doc__, extra)
    if args.run is None or not Path(args.run).is_dir():
        raise SystemExit(f"--run {args.run}: not the folder of a run; import a model and name it")
    torch.set_num_threads(1)
    started, model = time.monotonic(), Run(args.run).model()
    rows = list[Row]()
    for precision in args.precision.split(","):
        drawn(model, "The", {"temperature": 0, "tokens": args.tokens, "precision": precision})
        for what in args.tasks.split(","):
            every = Pairs()
            for temperature in args.temperatures.split(","):
                found, said = guessed(model, precision, what, float(temperature), args)
                every, rows = [*every, *found], [*rows, *said]
            # Its bar is for the first precision: that in which the model draws by itself.
            bar = ">= 1.3" if precision == args.precision.split(",")[0] else None
            rows.append(gained(f"{precision}: {what}, all of these", every, bar))
    if args.long:
        rows += begun(model, args)
    note = (
        f"one thread, processor time; {args.tokens} tokens of each of {args.rounds} texts, guesses "
        f"of {args.ahead} at most where {args.lookup} ids agree: all seconds behind the first cell, interval: "
        "bootstrap over texts; beginnings: median, least and most"
    )
    write(args, "serving", rows, time.monotonic() - started, note)


if __name__ == "__main__":
    main()
