"""How a model draws, measured: speed, passes through its networks, quality against steps, sharpness, a walk.

What a report does not say, because it takes a comparison to mean something. Each measure has a stated most that it may
draw or take. Knows the contracts of a model and never a family. Not here: distances and copies (`genus.validate`).
"""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from genus.core import Model, Noise
from genus.errors import UsageError
from genus.validate import distances
from genus.validate.features import NAME, flat
from genus.validate.fidelity import FEW
from genus.validate.subject import Subject

TOGETHER = 16  # samples drawn in one batch where speed is measured
ROUNDS, LONGEST = 3, 6.0  # batches timed at most, and the seconds after which no further one is begun
LADDER = (4, 10, 20, 50, 100)
RUNG = 200  # pictures of each rung: few, so its distances compare only with each other
PAIRS, POINTS = 6, 9
FRECHET = f"frechet_{NAME}"


@contextmanager
def passes(nets: nn.ModuleDict) -> Iterator[dict[str, int]]:
    """Inside, passes through each trained network are counted; conditioners do not count. Known at the end.

    A network that is entered by its parts (a decoder alone, a mapping and then a synthesis) was passed as often as most
    of the layers that it ran.
    """
    seen: dict[str, int] = {}
    wholes, layers = Counter[str](), {name: Counter[nn.Module]() for name in nets if name != "conditioner"}

    def counted(name: str) -> Any:
        def hook(*_: Any) -> None:
            wholes[name] += 1

        return hook

    def ran(name: str) -> Any:
        def hook(layer: nn.Module, *_: Any) -> None:
            layers[name][layer] += 1

        return hook

    hooks = [nets[name].register_forward_hook(counted(name)) for name in layers]
    for name in layers:
        parts = [part for part in nets[name].modules() if part._parameters]
        hooks += [part.register_forward_hook(ran(name)) for part in parts]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
        for name, own in layers.items():
            if number := wholes[name] or (statistics.mode(own.values()) if own else 0):
                seen[name] = number


def once(model: Model, noise: Any, fields: dict[str, list[Any]] | None, **knobs: Any) -> tuple[Tensor, float]:
    """x of one batch, and the seconds until it was media."""
    begun = time.perf_counter()
    x: Tensor | None = None
    for x in model.stream(noise, fields, **knobs):
        pass
    assert x is not None
    with torch.no_grad():
        model.codec.decode(x)
    return x, time.perf_counter() - begun


def speed(subject: Subject) -> dict[str, Any]:
    """Samples a second in batches of `TOGETHER`, seconds of one alone, passes and positions of a sample.

    passes: calls of the network that is called most. positions: places that a sample fills, streams beside each other
    counted once. tokens_per_second: of spaces with a vocabulary.
    """
    model, indices = subject.model, range(TOGETHER)
    noise, fields = Noise(subject.seed, tuple(indices)), subject.asked(indices)
    with passes(model.drawing()) as seen:
        x, first = once(model, noise, fields)
    times = [] if first < LONGEST else [first]
    while len(times) < ROUNDS and sum(times) < LONGEST:
        times.append(once(model, noise, fields)[1])
    batch = statistics.median(times)
    alone = once(model, noise.part(0, 1), subject.asked([0]))[1]
    positions = math.prod(x.shape[2:])
    said = {
        "samples_per_second": TOGETHER / batch,
        "seconds_per_sample": alone,
        "passes": float(max(seen.values())) if seen else None,
        "positions": float(positions),
    }
    if model.space.vocab is not None:
        said["tokens_per_second"] = TOGETHER * positions * x.shape[1] / batch
    return said


def ladder(subject: Subject, most: float, test: np.ndarray[Any, Any] | None) -> tuple[list[dict[str, Any]], str]:
    """Seconds a sample, and where `test` has features of pictures, the distance to it, at each number of steps.

    most: seconds; a rung that would exceed it is left out, and the sentence says so.
    """
    sampler = subject.model.sampler
    if "steps" not in type(sampler).model_fields:
        return [], f"{sampler.kind} takes no number of steps"
    rungs: list[dict[str, Any]] = []
    n = TOGETHER if test is None else len(test)
    used = 0.0
    for steps in LADDER:
        before = rungs[-1] if rungs else None
        if before is not None and used + before["seconds_per_sample"] * n * steps / before["steps"] > most:
            return rungs, f"{steps} steps and more were left out: they would have taken longer than {most:.0f} s"
        begun = time.perf_counter()
        made: list[Any] = []
        for start in range(0, n, subject.batch):
            made += subject.draw(range(start, min(start + subject.batch, n)), steps=steps)
        seconds = time.perf_counter() - begun
        distance = None if test is None else distances.frechet(subject.featured(made, f"{steps} steps"), test)
        used += time.perf_counter() - begun
        rungs.append({"steps": steps, "seconds_per_sample": seconds / n, FRECHET: distance})
    return rungs, f"{n} samples at each number of steps"


def sharpness(pictures: Sequence[Any]) -> float:
    """Mean size of the discrete Laplacian, in units of the largest pixel value."""
    total = 0.0
    for picture in pictures:
        x = flat(picture).astype(np.float64) / 255
        inside = 4 * x[1:-1, 1:-1] - x[:-2, 1:-1] - x[2:, 1:-1] - x[1:-1, :-2] - x[1:-1, 2:]
        total += float(np.abs(inside).mean()) if inside.size else 0.0
    return total / len(pictures)


@final
@dataclass(frozen=True)
class Between:
    """Noise on the way from one sample's to another's: `turn` of each row, 0 .. 1, is a share of a quarter circle.

    Each row is standard normal, as its ends are. What is drawn otherwise has no way between two draws.
    """

    a: Noise
    b: Noise
    turn: tuple[float, ...]
    samples: tuple[int, ...] = field(default=())
    key: int = 0  # of no one stream

    def __len__(self) -> int:
        return len(self.turn)

    def child(self, name: str) -> Between:
        """The same way in another stream."""
        return Between(self.a.child(name), self.b.child(name), self.turn)

    def part(self, start: int, stop: int) -> Between:
        """These rows."""
        return Between(self.a, self.b, self.turn[start:stop])

    def normal(self, draw: int, shape: Sequence[int] = ()) -> Tensor:
        """[B, *shape] float32."""
        angle = torch.tensor(self.turn).view(-1, *(1,) * len(shape)) * (math.pi / 2)
        return torch.cos(angle) * self.a.normal(draw, shape) + torch.sin(angle) * self.b.normal(draw, shape)

    def uniform(self, draw: int, shape: Sequence[int] = ()) -> Tensor:
        """Nothing lies between."""
        raise UsageError("this sampler draws more than normal noise, so there is no way between two samples")

    chosen = gumbel = bits = of = uniform


def walk(subject: Subject) -> float:
    """How even a walk between two samples is: its largest step over the mean one, in features; the median of `PAIRS`.

    1: every step changes as much as any other. Path length in the features of a network: Karras et al. 2019, StyleGAN,
    arXiv 1812.04948. Raises `UsageError` where samples do not come from normal noise alone.
    """
    found = []
    turn = tuple(float(v) for v in np.linspace(0, 1, POINTS))
    for i in range(PAIRS):
        a, b = (Noise(subject.seed, (2 * i + k,)) for k in (0, 1))
        x, _ = once(subject.model, Between(a, b, turn), subject.asked([i] * POINTS))
        path = subject.featured(subject.model.codec.decode(x), "a walk").astype(np.float64)
        steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
        found.append(float(steps.max() / max(steps.mean(), 1e-12)))
        subject.watch.tick(i + 1, PAIRS, "walks between samples")
    return statistics.median(found)


def looked(subject: Subject, most: float) -> dict[str, Any]:
    """All of the above; what cannot be measured is null, with its reason. most: seconds of the ladder, 0: none."""
    said: dict[str, Any] = dict(speed(subject))
    notes: dict[str, str] = {}
    held = subject.held_out(RUNG)
    drawn = bool(held) and not isinstance(held[0].media, str)
    test = subject.item_features(subject.held, RUNG) if drawn and len(held) >= FEW else None
    rungs, notes["ladder"] = ladder(subject, most, test) if most else ([], "measured on the first seed alone")
    said["ladder"] = rungs
    if subject.model.space.vocab is None:
        notes["tokens_per_second"] = "its cells are continuous: there are no tokens"
    if test is None:
        why = f"pictures alone are judged by it, and it takes {FEW} held-out ones"
        notes |= dict.fromkeys(("sharpness", "walk"), why)
        return {**said, "reasons": notes}
    real = sharpness(subject.seen(held))
    said["sharpness"] = sharpness(subject.samples(len(held))) / real if real else None
    try:
        said["walk"] = walk(subject)
    except UsageError as error:
        notes["walk"] = str(error)
    return {**said, "reasons": notes}
