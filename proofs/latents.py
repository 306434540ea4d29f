"""Latent against pixel: the work of a sample of `stable-diffusion` beside that of `flow`, at equal quality.

Both learn the same data within the same budget. Each draws the same number of pictures from the same noises with more
and more steps, in the ways that are named: its own, and other settings of sampler and guidance. Quality is the Fréchet
distance to held-out pictures in the features of EfficientNet-Lite0. Equal quality is what both reach: the worse of
their two best distances, and --within of it. Each takes the fewest operations that reach it. Operations are counted by
torch (`torch.utils.flop_counter`) while whole samples are made, the condition's encoder, guidance and the decoder of
the latents included: a multiplication and an addition are two.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from lab import Lab, Span, apart, distance, numbers, tables, words
from proof import Row, arguments, interval, shelf, write

from genus.core import Noise
from genus.run import Run
from genus.validate.features import Features
from genus.validate.subject import Subject

LADDER = (3, 4, 6, 8, 12, 18, 30, 50)
TOGETHER = 4  # samples that are counted at once


@final
@dataclass(frozen=True)
class Rung:
    """A number of steps in a way: operations a sample, its pictures' features, and their distance."""

    steps: int
    way: str
    operations: float
    looks: Features
    fd: Span


def main() -> None:
    args = arguments(
        __doc__,
        extra={
            "--set-name": (str, "mnist10k"),
            "--latent": (str, "stable-diffusion"),
            "--pixel": (str, "flow"),
            "--budget": (str, "20m"),
            "--samples": (int, 1000),
            "--steps": (numbers, [float(s) for s in LADDER]),
            "--ways": (words, ["own", "method=dpm+guidance=1"]),
            "--within": (float, 0.03),
            "--set": (words, []),
            "--keep": (Path, None),
        },
    )
    source = shelf(args, args.set_name)
    lab = Lab(args.keep, args.set)
    lab.dataset(args.set_name, tables(source))
    ratios, gained, quality, rows = [], [], [], []
    for seed in range(args.seeds):
        runs = [lab.run(args.set_name, recipe, args.budget, seed) for recipe in (args.latent, args.pixel)]
        subjects = [Subject.of(run, args.samples) for run in runs]
        n = min(args.samples, len(subjects[0].held_out(args.samples)))
        real = subjects[0].item_features(subjects[0].held, n)
        latent, pixel = (climbed(lab, args, *pair, real) for pair in zip(runs, subjects, strict=True))
        target = max(min(r.fd[0] for r in rungs) for rungs in (latent, pixel)) * (1 + args.within)
        one, other = (cheapest(rungs, target) for rungs in (latent, pixel))
        ratios.append(other.operations / one.operations)
        most = int(max(args.steps))
        gained.append(pixel[args.steps.index(most)].operations / latent[args.steps.index(most)].operations)
        quality.append(apart(one.looks, other.looks, real))
        lab.say(f"seed {seed}: {args.pixel} at {other.steps} steps over {args.latent} at {one.steps}: {ratios[-1]:.2f}")
        for name, rungs, chosen in ((args.latent, latent, one), (args.pixel, pixel, other)):
            best = min(rungs, key=lambda r: r.fd[0])
            rows.append(Row(f"seed {seed}, {name}: best Fréchet, at {best.steps} steps, {best.way}", *best.fd))
            rows.append(
                Row(f"seed {seed}, {name}: Fréchet at equal quality, {chosen.steps} steps, {chosen.way}", *chosen.fd)
            )
            rows.append(Row(f"seed {seed}, {name}: operations of it", chosen.operations / 1e9, unit="GFLOP/sample"))
    equal = Row("Fréchet, latent over pixel, at what is compared (last seed's interval)", *quality[-1], bar="<= 1.1")
    head = [
        Row("operations a sample at equal quality, pixel over latent", *interval(ratios), bar=">= 4"),
        equal,
        Row(f"operations at {int(max(args.steps))} steps each, {args.ways[0]}", *interval(gained)),
    ]
    note = (
        f"{args.latent} and {args.pixel}, {args.budget} each, {args.samples:,} samples; operations: median, least and "
        f"most of {args.seeds} seeds; Fréchet: jackknife over samples; equal: {args.within:.0%} from the worse best"
    )
    write(args, f"latents_{args.set_name}", [*head, *rows], lab.seconds, note, lab.kwh)


def climbed(lab: Lab, args: Any, run: Run, subject: Subject, real: Features) -> list[Rung]:
    """A run's ladder, judged by the features of as many held-out pictures."""
    found = []
    for way, steps in itertools.product(args.ways, (int(s) for s in args.steps)):
        knobs = {"steps": steps, **turned(way)}
        looks = lab.samples(subject, run, "ladder", len(real), **knobs)
        found.append(Rung(steps, way, operations(subject, knobs), looks, distance(looks, real)))
        said = f"{found[-1].operations / 1e9:.3g} GFLOP, Fréchet {found[-1].fd[0]:.1f}"
        lab.say(f"{run.name}, {way}, {steps} steps: {said}")
    return found


def turned(way: str) -> dict[str, Any]:
    """'method=dpm+guidance=1' as knobs; 'own' as none."""
    pairs = (part.partition("=") for part in way.split("+") if "=" in part)
    return {name: float(value) if value[0].isdigit() else value for name, _, value in pairs}


def operations(subject: Subject, knobs: Mapping[str, Any]) -> float:
    """Floating-point operations of one sample, from its condition to its picture."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        subject.model.generate(Noise(0, tuple(range(TOGETHER))), subject.asked(range(TOGETHER)), **knobs)
    return float(counter.get_total_flops()) / TOGETHER


def cheapest(rungs: list[Rung], target: float) -> Rung:
    """Of those that reach the target, the one of the fewest operations."""
    return min((r for r in rungs if r.fd[0] <= target), key=lambda r: r.operations)


if __name__ == "__main__":
    main()
