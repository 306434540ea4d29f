"""How near the distribution of samples comes to that of held-out pictures, in the features of a fixed network.

Every distance stands beside two others of the same number of items: a Gaussian fit of each pixel by itself, which has
the right colours and no shape (0 of the gap), and training pictures, which a perfect model would equal (1 of it).
Definitions: `distances`; network: `features`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, final

import numpy as np
from pydantic import Field

from genus.validate import distances
from genus.validate.features import NAME, Features
from genus.validate.findings import Finding, Keep, Measure, Result, around, left_out, share
from genus.validate.subject import Subject

FRECHET = f"frechet_{NAME}"
KERNEL = f"kernel_{NAME}"
FEW = 10  # of each set: below, an interval that leaves a tenth out in turn says nothing


@final
class Fidelity(Measure):
    """samples: of each set, if there are so many held-out and training ones. fit: pictures the Gaussian is fitted to.

    near, dense: neighbours that make a ball, for precision and recall, for density and coverage.
    """

    kind: Literal["validate.fidelity"] = "validate.fidelity"
    samples: int = Field(1000, ge=FEW)
    fit: int = Field(10_000, ge=2)
    near: int = Field(3, ge=1)
    dense: int = Field(5, ge=1)

    def __call__(self, subject: Subject) -> Result:
        """Fréchet and kernel distance, gap closed, precision, recall, density, coverage."""
        held = subject.held_out(self.samples)
        fit = subject.seen(subject.trained(self.fit))
        n = min(len(held), len(fit), self.samples, subject.most)
        if n < FEW:
            return Result(notes=(f"No fidelity: {n} held-out pictures are too few to compare; it takes {FEW}.",))
        test = subject.item_features(subject.held, n)
        real = subject.item_features("train", n)
        made = subject.sample_features(n)
        noise = subject.featured(gaussian(fit, n), "a Gaussian fit")
        sets = {"": made, "/gaussian": noise, "/real": real}
        # Each distance with one tenth left out in turn; the gap's interval follows from the same thirty distances.
        left = {name: left_out(partial(_thinned, distances.frechet, x, test)) for name, x in sets.items()}
        value = {name: distances.frechet(x, test) for name, x in sets.items()}
        gap = distances.gap_closed(value["/gaussian"], value[""], value["/real"])
        gaps = zip(left["/gaussian"], left[""], left["/real"], strict=True)
        around_gap = around(gap, np.array([distances.gap_closed(*three) for three in gaps]))
        first = Finding("gap_closed", *around_gap, "of Gaussian fit to real", "higher", subject.held)
        found = {
            name: (
                Finding(FRECHET + name, *around(value[name], left[name]), "", "lower", subject.held),
                *self._compare(test, x, name, subject.held),
            )
            for name, x in sets.items()
        }
        said = f"Fidelity from {n:,} pictures each: samples, held-out, training, and a Gaussian fit of {len(fit):,}."
        return Result((first, *found[""]), (*found["/gaussian"], *found["/real"]), notes=(said,))

    def _compare(self, test: Features, made: Features, name: str, split: str) -> list[Finding]:
        left = left_out(partial(_thinned, distances.kernel, made, test))
        kernel = around(distances.kernel(made, test), left)
        ball = distances.support(test, made, self.near, self.dense)
        return [
            Finding(KERNEL + name, *kernel, "", "lower", split),
            Finding(f"precision{name}", *share(ball.precision), "share of samples", "higher", split),
            Finding(f"recall{name}", *share(ball.recall), "share of held-out", "higher", split),
            Finding(f"density{name}", *share(ball.density), "", "higher", split),
            Finding(f"coverage{name}", *share(ball.coverage), "share of held-out", "higher", split),
        ]


def _thinned(f: Callable[[Features, Features], float], made: Features, test: Features, keep: Keep) -> float:
    return f(made[keep(len(made))], test[keep(len(test))])


def gaussian(pictures: list[Any], n: int, seed: int = 0) -> list[Any]:
    """`n` pictures whose every pixel and channel is drawn by itself from a normal fitted to it, clipped to 0 .. 255."""
    total = np.zeros(pictures[0].shape, np.float64)
    square = np.zeros_like(total)
    for picture in pictures:
        total += picture
        square += picture.astype(np.float64) ** 2
    mean = total / len(pictures)
    std = np.sqrt((square / len(pictures) - mean**2).clip(0))
    rng = np.random.default_rng(seed)
    return [(mean + std * rng.standard_normal(mean.shape)).round().clip(0, 255).astype(np.uint8) for _ in range(n)]
