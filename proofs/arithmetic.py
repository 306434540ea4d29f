"""Learning from own answers: sums that a small model mostly fails after fine-tuning, before and after GRPO.

Sums of two numbers of two digits. A pupil's answers are what a transformer of characters is fine-tuned on: often none
("?"), else thought through column by column ("47+38" -> "<think>7+8=15 4+3+1=08</think>085"), with numbers that
are one off and carries that are forgotten. So it has the form, and right results are rare. `grpo` goes on from it with
sums and nothing but the rule that tells whether the last number is right. pass@1: the share of held-out sums that are
right, drawn at temperature 1 (the policy itself) and at 0 (its likeliest answer). Then the same model answers with its
thought bounded to so many tokens. Toy scale: it shows that the loop learns by reward, and nothing of language models.
"""

from __future__ import annotations

import json
import tempfile
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

TOKENS = 40  # of an answer, at most
QUICK = ("training.precision=fp32", "training.compile=no")
LEARNING = (
    f"source.tokens={TOKENS}",
    "source.group=16",
    "training.batch=256",
    "training.rate=4e-4",
    "training.cooldown=0.2",
    "objective.updates=2",
    "objective.kl=0.0",
)
BUDGETS = (0, 3, 6, 11, 15, 24)  # of thought, in tokens; a whole one takes 15
UNSAID, SLIP, FORGOTTEN = 0.5, 0.3, 0.5  # how often nothing is tried, a number is one off, a carry is left out


def answered(a: int, b: int, dice: Random) -> str:
    """A pupil's answer: none, or column by column in thought and then the sum, with slips."""

    def slipped(n: int) -> int:
        return max(0, n + dice.choice((-1, 1))) if dice.random() < SLIP else n

    if dice.random() < UNSAID:
        return "<think></think>?"
    ones = slipped(a % 10 + b % 10)
    carry = int(ones > 9 and dice.random() >= FORGOTTEN)
    tens = slipped(a // 10 + b // 10 + carry)
    thought = f"{a % 10}+{b % 10}={ones:02} {a // 10}+{b // 10}+{carry}={tens:02}"
    return f"<think>{thought}</think>{slipped(10 * tens + ones % 10):03}"


def sums(folder: Path, seed: int) -> tuple[Dataset, Dataset, list[tuple[int, int]]]:
    """(sums with careless answers, sums with their results alone, sums that neither has)."""
    pairs, dice = [(a, b) for a in range(10, 100) for b in range(10, 100)], Random(seed)
    dice.shuffle(pairs)
    found = []
    for name, said in (("careless", lambda a, b: answered(a, b, dice)), ("right", lambda a, b: str(a + b))):
        rows = [{"question": f"{a}+{b}", "answer": said(a, b)} for a, b in pairs[1000:5000]]
        table = folder / f"{name}.jsonl"
        table.write_text("".join(json.dumps(row) + "\n" for row in rows))
        collect(table, folder / name, licence="CC0-1.0")
        found.append(Dataset.open(folder / name))
    return found[0], found[1], pairs[:1000]


def passed(run: Run, held: list[tuple[int, int]], temperature: float = 1.0, thinking: int | None = None) -> float:
    """The share of held-out sums that are right."""
    asked = [(Message("user", f"{a}+{b}"),) for a, b in held]
    said = answers(run.model(), asked, TOKENS, batch=250, thinking=thinking, temperature=temperature, top_p=1.0)
    found = Arithmetic().all(asked, [str(a + b) for a, b in held], said)
    return sum(found) / len(found)


def tuned(careless: Dataset, folder: Path, seed: int, steps: int) -> Run:
    """A model of the pupil's answers."""
    net = TransformerConfig(depth=2, width=64, head=32)
    last = find("sft").phases[-1]
    phase = last.but(name="sft", start=None, codec=CharactersConfig(), nets={"net": net}, share=1.0)
    known = ("training.batch=64", "training.rate=3e-3", "training.muon_rate=0.02", f"training.seed={seed}")
    recipe = with_settings(find("sft").but(phases=(phase,)), [*QUICK, *known])
    return train(recipe, careless, folder, budget(f"{steps} steps"))


def taught(start: Run, right: Dataset, folder: Path, seed: int, steps: int) -> Run:
    """The same model after GRPO."""
    recipe = with_settings(with_start(find("grpo"), start.path), [*QUICK, *LEARNING, f"training.seed={seed}"])
    return train(recipe, right, folder, budget(f"{steps} steps"))


def seeded(seed: int, args: Any, folder: Path) -> dict[str, float]:
    """pass@1 before and after, with each bound on thought, and the seconds of either phase."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "found.json").exists():
        return dict(json.loads((folder / "found.json").read_text()))
    careless, right, held = sums(folder, seed)
    held = held[: args.held]
    before = tuned(careless, folder / "sft", seed, args.sft)
    after = taught(before, right, folder / "grpo", seed, args.grpo)
    runs = (("before", before), ("after", after))
    found = {f"{name}{t:g}": passed(run, held, t) for name, run in runs for t in (1, 0)}
    found |= {f"budget{n}": passed(after, held, thinking=n) for n in BUDGETS}
    found |= {"sft": before.summary["seconds"], "grpo": after.summary["seconds"]}
    (folder / "found.json").write_text(json.dumps(found))
    print(json.dumps({"seed": seed, **found}), flush=True)
    return found


def falls(found: dict[str, float], held: int) -> int:
    """How often a longer thought is surely worse than the next shorter one: by more than 1.96 standard errors."""
    rates = [found[f"budget{n}"] for n in BUDGETS]
    errors = [p * (1 - p) / held for p in rates]
    pairs = zip(rates, rates[1:], errors, errors[1:], strict=False)
    return sum(p - q > 1.96 * (e + f) ** 0.5 for p, q, e, f in pairs)


def main() -> None:
    """See the module."""
    wanted = {"--sft": (int, 400), "--grpo": (int, 120), "--held": (int, 500), "--keep": (Path, None)}
    args = arguments(__doc__, wanted)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        folder = args.keep or Path(place)
        found = [seeded(args.seed + i, args, folder / f"seed{args.seed + i}") for i in range(args.seeds)]
    rows = []
    for t, how in ((1, "drawn"), (0, "likeliest")):
        for name in ("before", "after"):
            value, low, high = interval([f[f"{name}{t}"] for f in found])
            rows.append(Row(f"pass@1 {name} GRPO, {how}", value, low, high, unit="share"))
        value, low, high = interval([f[f"after{t}"] / max(1 / args.held, f[f"before{t}"]) for f in found])
        rows.append(Row(f"pass@1 after / before, {how}", value, low, high, ">= 5" if t else None, unit="times"))
    rows += [
        Row(f"pass@1, thought of {n} tokens at most", *interval([f[f"budget{n}"] for f in found]), unit="share")
        for n in BUDGETS
    ]
    worse, of = sum(falls(f, args.held) for f in found), (len(BUDGETS) - 1) * len(found)
    rows.append(Row("longer thoughts that are surely worse", worse, bar="<= 0", unit=f"of {of}"))
    note = (
        f"Toy scale: sums of two numbers of two digits, 0.1 M weights, {args.sft} steps of fine-tuning on careless "
        f"answers, {args.grpo} of GRPO with 256 answers and two updates each; {args.seeds} seeds, median with least "
        f"and most; {args.held} held-out sums. A thought is bounded in drawing at temperature 1, after GRPO."
    )
    seconds = sum(f["sft"] + f["grpo"] for f in found)
    write(args, "arithmetic", rows, seconds, note)


if __name__ == "__main__":
    main()
