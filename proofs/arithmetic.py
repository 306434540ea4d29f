"""Learning from own answers: sums that a small model mostly fails after fine-tuning, before and after GRPO.

Sums of two numbers of two digits, worked column by column ("47+38" -> "7+8=15 4+3+1=8 85"). For each seed: a
transformer of characters is fine-tuned on worked sums for a few steps, so that it has the form and mostly not the
result; `grpo` goes on from it with nothing but the rule that tells whether the last number is right. pass@1: the share
of held-out sums that are right, drawn at temperature 1 (the policy itself) and at 0 (its likeliest answer). Toy scale:
it shows that the loop learns by reward, and nothing of language models.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

import torch
from proof import Row, arguments, interval, write

from genus.codecs.characters import CharactersConfig
from genus.collect import collect
from genus.data.dataset import Dataset
from genus.dialogue import Message
from genus.networks.transformer import TransformerConfig
from genus.recipes import find, with_settings, with_start
from genus.rewards.arithmetic import Arithmetic
from genus.run import Run
from genus.train.budget import budget
from genus.train.stage import train
from genus.validate.subject import answers

TOKENS = 28  # of an answer, at most
QUICK = ("training.precision=fp32", "training.compile=no")


def worked(a: int, b: int) -> str:
    """Column by column, the result last."""
    ones = a % 10 + b % 10
    carry = "+1" if ones > 9 else ""
    return f"{a % 10}+{b % 10}={ones} {a // 10}+{b // 10}{carry}={a // 10 + b // 10 + ones // 10} {a + b}"


def sums(folder: Path, seed: int) -> tuple[Dataset, list[tuple[int, int]]]:
    """(worked sums as a dataset, sums that it does not have)."""
    pairs = [(a, b) for a in range(10, 100) for b in range(10, 100)]
    Random(seed).shuffle(pairs)
    rows = [{"question": f"{a}+{b}", "answer": worked(a, b)} for a, b in pairs[1000:5000]]
    table = folder / "sums.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    collect(table, folder / "sums", licence="CC0-1.0")
    return Dataset.open(folder / "sums"), pairs[:1000]


def passed(run: Run, held: list[tuple[int, int]], temperature: float) -> float:
    """The share of held-out sums that are right."""
    asked = [(Message("user", f"{a}+{b}"),) for a, b in held]
    said = answers(run.model(), asked, TOKENS, batch=250, temperature=temperature, top_p=1.0)
    found = Arithmetic().all(asked, [str(a + b) for a, b in held], said)
    return sum(found) / len(found)


def seeded(seed: int, args: Any) -> dict[str, float]:
    """pass@1 before and after, and the seconds of either phase."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        data, held = sums(folder, seed)
        held = held[: args.held]
        tuning, attempts = find("sft").phases[-1], find("grpo")
        net = TransformerConfig(depth=2, width=64, head=32)
        phase = tuning.but(name="sft", start=None, codec=CharactersConfig(), nets={"net": net}, share=1.0)
        recipe = find("sft").but(phases=(phase,))
        known = ("training.batch=32", "training.rate=3e-3", "training.muon_rate=0.02", f"training.seed={seed}")
        tuned = train(with_settings(recipe, [*QUICK, *known]), data, folder / "sft", budget(f"{args.sft} steps"))
        told = (f"source.tokens={TOKENS}", "source.group=8", "training.batch=64", f"training.seed={seed}")
        rates = ("training.rate=2e-4", "training.muon_rate=1e-3", "objective.kl=0.0")
        recipe = with_settings(with_start(attempts, tuned.path), [*QUICK, *told, *rates])
        taught = train(recipe, data, folder / "grpo", budget(f"{args.grpo} steps"))
        found = {
            f"{name}{t:g}": passed(run, held, t) for name, run in (("before", tuned), ("after", taught)) for t in (1, 0)
        }
        seconds = {"sft": tuned.summary["seconds"], "grpo": taught.summary["seconds"]}
        print(json.dumps({"seed": seed, **found, **seconds}), flush=True)
        return {**found, **seconds}


def main() -> None:
    """See the module."""
    args = arguments(__doc__, {"--sft": (int, 250), "--grpo": (int, 400), "--held": (int, 1000)})
    torch.set_num_threads(1)
    start = time.monotonic()
    found = [seeded(args.seed + i, args) for i in range(args.seeds)]
    rows = []
    for t, how in ((1, "drawn"), (0, "likeliest")):
        for name in ("before", "after"):
            value, low, high = interval([f[f"{name}{t}"] for f in found])
            rows.append(Row(f"pass@1 {name} GRPO, {how}", value, low, high, unit="share"))
        value, low, high = interval([f[f"after{t}"] / max(1 / args.held, f[f"before{t}"]) for f in found])
        rows.append(Row(f"pass@1 after / before, {how}", value, low, high, ">= 5" if t else None, unit="times"))
    note = (
        f"Toy scale: sums of two numbers of two digits, 0.1 M weights, {args.sft} steps of fine-tuning, {args.grpo} of "
        f"GRPO with 64 answers each; {args.seeds} seeds, median with least and most; {args.held} held-out sums."
    )
    write(args, "arithmetic", rows, time.monotonic() - start, note)


if __name__ == "__main__":
    main()
