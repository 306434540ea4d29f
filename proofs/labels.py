"""Digits of a class: how often an independent classifier sees the label that was asked for, and what guidance trades.

The classifier learns from real training digits alone and is judged on real held-out ones first. Then a recipe draws the
ten digits in turn, at its own guidance (the bar) and along a sweep from the same noises: the more it is guided, the
surer the label and the less of the variety of real digits is reached (recall, Kynkäänniemi et al. 2019, arXiv
1904.06991, in the features of EfficientNet-Lite0). At guidance 0 nothing is asked: agreement must be chance, else the
judge or the proof is wrong. Draws docs/images/guidance.svg.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
from judges import Judge
from lab import Lab, numbers, resampled, tables, words
from numpy.typing import NDArray
from proof import ROOT, Row, arguments, interval, shelf, write

from genus.run import Run
from genus.validate import distances
from genus.validate.subject import Subject

SWEEP = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0)
#: Between which scales accuracy must rise and recall fall: from less than asked for to well guided.
WEAK, STRONG = 0.5, 3.0
SIZE = 28


def main() -> None:
    args = arguments(
        __doc__,
        extra={
            "--recipe": (str, "flow"),
            "--budget": (str, "10m"),
            "--samples": (int, 1000),
            "--epochs": (int, 25),
            "--scales": (numbers, list(SWEEP)),
            "--picture": (int, 1),
            "--set": (words, []),
            "--keep": (Path, None),
        },
    )
    source = shelf(args, "mnist10k")
    lab = Lab(args.keep, args.set)
    lab.dataset("mnist10k", tables(source))
    runs = [lab.run("mnist10k", args.recipe, args.budget, seed) for seed in range(args.seeds)]
    judge, rows = judged(lab, runs[0], args.epochs)
    own = runs[0].phase.wraps
    default = float(getattr(own[0], "scale", 1.0)) if own else 1.0
    scales = sorted({*args.scales, default, WEAK, STRONG})
    hits: dict[float, NDArray[Any]] = {}
    found: dict[str, dict[float, list[float]]] = {"precision": {}, "recall": {}}
    for run, scale in itertools.product(runs, scales):
        right, ball = looked(lab, run, judge, scale, args.samples)
        hits[scale] = np.concatenate([hits.get(scale, np.zeros(0)), right])
        found["precision"].setdefault(scale, []).append(float(ball.precision.mean()))
        found["recall"].setdefault(scale, []).append(float(ball.recall.mean()))
        lab.say(f"{run.name}, guidance {scale:g}: {right.mean():.3f} as asked, recall {ball.recall.mean():.3f}")
    rows.append(Row(f"agreement at the recipe's guidance, {default:g}", *resampled(hits[default]), bar=">= 0.98"))
    if 0.0 in hits:
        rows.append(Row("control: agreement at guidance 0", *resampled(hits[0.0]), bar="<= 0.2", baseline="chance 0.1"))
    rise = resampled(hits[STRONG] - hits[WEAK])
    fall = interval([b - a for a, b in zip(found["recall"][WEAK], found["recall"][STRONG], strict=True)])
    rows.append(Row(f"agreement, guidance {STRONG:g} less {WEAK:g}", *rise, bar=">= 0.001"))
    rows.append(Row(f"recall, guidance {STRONG:g} less {WEAK:g}", *fall, bar="<= -0.001"))
    for scale in scales:
        rows.append(Row(f"agreement at guidance {scale:g}", *resampled(hits[scale])))
        rows += [Row(f"{name} at guidance {scale:g}", *interval(by[scale])) for name, by in found.items()]
    if args.picture:
        lines = {"agreement": [float(hits[s].mean()) for s in scales]}
        lines |= {name: [interval(by[s])[0] for s in scales] for name, by in found.items()}
        (ROOT / "docs" / "images" / "guidance.svg").write_text(chart(scales, lines))
    note = (
        f"recipe {args.recipe}, {args.budget}, {args.seeds} seeds of {args.samples:,} samples; agreement: bootstrap "
        "over samples; precision and recall: median, least and most of seeds"
    )
    write(args, "labels", rows, lab.seconds, note, lab.kwh)


def judged(lab: Lab, run: Run, epochs: int) -> tuple[Judge, list[Row]]:
    """A classifier of real digits, and what it is worth on those that neither it nor a model has seen."""
    records = {split: list(run.dataset().media(split)) for split in ("train", "test")}
    x = {split: np.stack([r.media for r in rs])[..., 0] / 255 for split, rs in records.items()}
    y = {split: np.array([int(r.fields["label"]) for r in rs]) for split, rs in records.items()}
    judge = Judge(10, SIZE, seed=1000)
    answers = lab.kept(run, f"judge {epochs}", lambda: _answers(judge, x, y, epochs, lab))
    _restored(judge, answers)
    right = judge.says(x["test"]) == y["test"]
    row = Row(f"the judge on {len(right):,} real held-out digits", *resampled(right), bar=">= 0.985")
    lab.say(f"judge: {right.mean():.4f} of held-out digits")
    return judge, [row]


def _answers(
    judge: Judge, x: dict[str, NDArray[Any]], y: dict[str, NDArray[Any]], epochs: int, lab: Lab
) -> NDArray[Any]:
    """Its weights, in one row."""
    judge.learn(x["train"], y["train"], epochs, 2, lab.say)
    return np.concatenate([v.double().numpy().ravel() for v in judge.net.state_dict().values()])


def _restored(judge: Judge, row: NDArray[Any]) -> None:
    """The weights of `_answers`, put back."""
    at = 0
    for value in judge.net.state_dict().values():
        value.copy_(value.new_tensor(row[at : at + value.numel()]).view(value.shape))
        at += value.numel()


def looked(lab: Lab, run: Run, judge: Judge, scale: float, n: int) -> tuple[NDArray[Any], distances.Support]:
    """Whether each sample is the digit that was asked for, and how their set lies to held-out digits."""
    subject = Subject.of(run, n)
    held = subject.held_out(n)
    saying = {str(r.fields["label"]): r.fields for r in held}  # label -> what a record of it says, caption included
    field = run.recipe.prompt

    def draw(at: range) -> list[Any]:
        if scale == 0:  # outside the interval of times in which it acts, guidance of 0 would still ask
            return subject.model.generate(_noise(run, at), {field: [None for _ in at]}, guidance=1.0)
        return subject.model.generate(
            _noise(run, at), {field: [saying[str(i % 10)][field] for i in at]}, guidance=scale
        )

    key = f"digits in turn, guidance {scale:g}"
    made = lab.drawn(run, key, n, draw)
    right = judge.says(made[..., 0] / 255) == np.arange(n) % 10
    real = subject.item_features(subject.held, min(n, len(held)))
    return right, distances.support(real, lab.looks(run, key, n, draw)[: len(real)])


def _noise(run: Run, at: range) -> Any:
    from genus.core import Noise

    return Noise(run.phase.training.seed, tuple(at))


WIDE, HIGH, LEFT, BELOW = 560, 300, 48, 44
COLOURS = {"agreement": "#2563eb", "precision": "#9333ea", "recall": "#dc2626"}


def chart(scales: list[float], lines: dict[str, list[float]]) -> str:
    """A small drawing that shows on light and dark ground."""

    def px(scale: float) -> float:
        return LEFT + (scale - scales[0]) / (scales[-1] - scales[0]) * (WIDE - LEFT - 96)

    def py(share: float) -> float:
        return 14 + (1 - share) * (HIGH - BELOW - 14)

    grey = 'fill="#808080" font-family="sans-serif" font-size="12"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {HIGH}" role="img">']
    parts.append("<title>What guidance trades: agreement with the label, precision and recall by its scale</title>")
    for share in (0, 0.25, 0.5, 0.75, 1):
        parts.append(f'<path d="M{LEFT} {py(share):.1f}H{WIDE - 96}" stroke="#80808055"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{py(share) + 4:.1f}" text-anchor="end" {grey}>{share:g}</text>')
    parts += [f'<text x="{px(s):.1f}" y="{HIGH - 26}" text-anchor="middle" {grey}>{s:g}</text>' for s in scales]
    parts.append(f'<text x="{(LEFT + WIDE - 96) / 2:.0f}" y="{HIGH - 6}" text-anchor="middle" {grey}>guidance</text>')
    taken: list[float] = []
    for name, values in sorted(lines.items(), key=lambda line: line[1][-1]):
        points = " ".join(f"{px(s):.1f},{py(v):.1f}" for s, v in zip(scales, values, strict=True))
        at = py(values[-1]) + 4
        at = min([at, *(t - 14 for t in taken)])
        taken.append(at)
        colour = COLOURS[name]
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [
            f'<circle cx="{px(s):.1f}" cy="{py(v):.1f}" r="3" fill="{colour}"/>'
            for s, v in zip(scales, values, strict=True)
        ]
        parts.append(
            f'<text x="{WIDE - 90}" y="{at:.1f}" fill="{colour}" font-family="sans-serif" font-size="12">{name}</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    main()
