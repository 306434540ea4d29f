"""A policy that pleases a judge too much: the judge's word goes on rising while its answers get worse.

A toy, in which what is truly wanted is known (`courtesy.py`): a small transformer learns to answer as clerks do, a
judge learns from pairs of their answers, as people's preferences are learned from, and `rloo` pleases the judge:
without any price on distance, and once more within a budget of nats. Along the way: how far the policy is, what the
judge says, and what its answers are worth. Gao et al. 2022 (arXiv 2210.10760) draw such curves of large models, with a
larger judge for the truth. Draws docs/images/overoptimisation.svg.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import courtesy
import numpy as np
import torch
from lab import Lab, resampled, table
from numpy.typing import NDArray
from proof import ROOT, Row, arguments, write

from genus import files
from genus.codecs.bpe import BpeConfig
from genus.data.dataset import Dataset
from genus.dialogue import Message
from genus.learned.judge import JudgeConfig
from genus.networks.transformer import TransformerConfig
from genus.recipes import find, with_settings
from genus.run import Run
from genus.train.budget import budget
from genus.train.stage import train
from genus.validate.rewarded import earned

TINY = ("training.precision=fp32", "training.compile=no", "source.window=96")
RLOO = ("training.batch=128", "training.rate=3e-4", "source.tokens=32", "source.group=4")
#: (thing, name) each.
Orders = Sequence[tuple[str, str]]
PLACES = (0, 1, 2, 4, 8, 16)  # where the policy is looked at, in sixteenths of --policy


class Point(NamedTuple):
    """Of a policy after so many steps: nats from its start, the judge's mean, the true mean; and the items' own."""

    steps: int
    far: float
    judge: float
    true: float
    items: list[float]


def clerks(lab: Lab, seed: int, pairs: int) -> list[tuple[str, str]]:
    """Collects clerks' answers, and pairs of them; gives the orders that neither holds."""
    orders, dice = courtesy.orders(seed), Random(seed)
    known, held = orders[:-100], orders[-100:]
    said = [{"question": courtesy.asked(o), "answer": courtesy.answered(o, dice)} for o in known for _ in range(8)]
    lab.dataset(f"clerks-{seed}", [table(lab.folder / f"clerks-{seed}.jsonl", said)], cleaned=False)
    rows = []
    for _ in range(pairs):
        order = dice.choice(known)
        better, worse = courtesy.preferred(order, dice)
        rows.append({"question": courtesy.asked(order), "chosen": better, "rejected": worse})
    lab.dataset(f"orders-{seed}", [table(lab.folder / f"orders-{seed}.jsonl", rows)], cleaned=False)
    return held


def clerk(lab: Lab, seed: int, steps: int) -> Run:
    """A small model of clerks' answers, begun anew."""
    path = lab.home / "runs" / f"clerk-{seed}"
    net = TransformerConfig(depth=2, width=64, head=32)
    phase = find("sft").phases[-1].but(start=None, codec=BpeConfig(vocab=400), nets={"net": net}, share=1.0)
    known = ("training.batch=64", "training.rate=3e-3", "training.muon_rate=0.02", f"training.seed={seed}")
    recipe = with_settings(find("sft").but(phases=(phase,)), [*TINY, *known])
    run = train(recipe, Dataset.open(lab.home / "datasets" / f"clerks-{seed}"), path, budget(f"{steps} steps"))
    lab.say(f"run {run.name}: {run.summary['seconds']:.0f} s")
    return run


def climbed(
    lab: Lab, name: str, start: Run, judge: Run, held: Orders, seed: int, at: Sequence[int], settings: Sequence[str]
) -> list[Point]:
    """What pleasing the judge does, looked at after these steps. settings: of `rloo`, beside the usual ones.

    Each stretch goes on from the one before; the reference is the start of all.
    """
    run, found = start, []
    for i, steps in enumerate(at):
        if steps:
            own = [*TINY, *RLOO, *settings, "source.phase=reference", f"training.seed={1000 * seed + i}"]
            own += ["training.warmup=0.0", "training.cooldown=0.0"]
            runs = {"start": str(run.path), "reference": str(start.path), "reward": str(judge.path)}
            more = f"{steps - at[i - 1]} steps"
            run = lab.tuned(f"{name}-{seed}-{steps}", f"orders-{seed}", "rloo", more, own, **runs)

        def looked(run: Run = run) -> NDArray[np.float64]:
            talks = [(Message("user", courtesy.asked(order)),) for order in held] * 4
            reward = JudgeConfig(place=str(judge.path))
            made = earned(run.model(), start.model(), reward, talks, [""] * len(talks), 32, seed, 100)
            true = [courtesy.good(order, said) for order, said in zip([*held] * 4, made.said, strict=True)]
            files.write_json(run.path / "kept" / "said.json", made.said)
            return np.array([made.far, made.worth, true])

        far, worth, true = lab.kept(run, f"curve {judge.name}", looked)
        found.append(Point(steps, float(far.mean()), float(worth.mean()), float(true.mean()), true.tolist()))
        lab.say(f"{name}, {steps} steps: {far.mean():.2f} nats, judge {worth.mean():.3f}, true {true.mean():.3f}")
    return found


def curve(lab: Lab, args: Any, seed: int) -> dict[str, list[Point]]:
    """With no price on distance, and within a budget."""
    held = clerks(lab, seed, args.pairs)
    start = clerk(lab, seed, 400)
    taught = ["training.rate=1e-3", "training.muon_rate=5e-3", f"training.seed={seed}", *TINY]
    judge = lab.tuned(f"clerks-judge-{seed}", f"orders-{seed}", "reward", "200 steps", taught, str(start.path))
    at = [args.policy * part // PLACES[-1] for part in PLACES]
    budgets = {"free": "null", "bound": f"{args.nats:g}"}
    return {
        name: climbed(lab, name, start, judge, held, seed, at, ["source.kl=0.0", f"source.budget={nats}"])
        for name, nats in budgets.items()
    }


def overdone(found: Sequence[dict[str, list[Point]]], nats: float) -> list[Row]:
    """The rows. Of several seeds the mean; intervals over seeds' answers together."""
    rows = []
    for name, how in (("free", "no price"), ("bound", f"budget {nats:g} nats")):
        for points in zip(*(one[name] for one in found), strict=True):
            far, judge = (float(np.mean([getattr(p, field) for p in points])) for field in ("far", "judge"))
            true = resampled(np.concatenate([p.items for p in points]))
            what = f"{how}: true worth after {points[0].steps} steps"
            rows.append(Row(what, *true, baseline=f"judge {judge:.3g}, {far:.3g} nats away", unit="of 3"))
    rose = [one["free"][-1].judge - one["free"][0].judge for one in found]
    rows.append(Row("no price: what the judge's word rose by", min(rose), bar=">= 0", unit="least of seeds"))
    lost = [max(p.true for p in one["free"]) - one["free"][-1].true for one in found]
    rows.append(Row("no price: true worth lost since its best", float(np.mean(lost)), unit="of 3"))
    kept = [max(p.true for p in one["bound"]) - one["bound"][-1].true for one in found]
    rows.append(Row("budget: true worth lost since its best", float(np.mean(kept)), unit="of 3"))
    away = max(p.far for one in found for p in one["bound"])
    rows.append(Row("budget: nats away at most, of the budget", away / nats, bar="<= 1.25", unit="times"))
    return rows


def drawn(points: Sequence[Point]) -> str:
    """The curve of one seed over the square root of the distance, in which Gao et al. 2022 draw it."""
    begun = points[0].judge
    across = [max(0.0, p.far) ** 0.5 for p in points]
    judge = ("judge, since its start", [(x, p.judge - begun) for x, p in zip(across, points, strict=True)])
    true = ("true worth", [(x, p.true) for x, p in zip(across, points, strict=True)])
    title = "A policy that pleases a judge: the judge's word and the true worth of its answers by distance"
    return courtesy.chart([judge, true], "distance from the start, square root of nats", title)


def main() -> None:
    """See the module."""
    wanted = {"--policy": (int, 160), "--pairs": (int, 1000), "--nats": (float, 3.0), "--keep": (Path, None)}
    args = arguments(__doc__, wanted)
    torch.set_num_threads(1)
    lab = Lab(args.keep)
    found = [curve(lab, args, args.seed + i) for i in range(args.seeds)]
    files.write(ROOT / "docs" / "images" / "overoptimisation.svg", drawn(found[0]["free"]))
    note = (
        f"Toy scale: 0.1 M weights, a judge of {args.pairs} pairs, {args.policy} steps of RLOO with 128 answers each; "
        f"{args.seeds} seeds. At each point 400 answers to 100 held-out orders, drawn at temperature 1; true worth by "
        "the rule of courtesy.py, its interval by bootstrap over answers; what the judge says is in its own units."
    )
    write(args, "overoptimisation", overdone(found, args.nats), lab.seconds, note, lab.kwh)


if __name__ == "__main__":
    main()
