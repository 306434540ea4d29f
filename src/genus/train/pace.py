"""How far a run is, from 0 to 1, and what the learning rate is there.

A budget in steps gives progress by steps: everything is a function of (seed, step). A budget in seconds gives progress
by the clock: the schedule stretches with the machine, and the run ends when it was said to end. A run that stops
learning shortens itself: what is left of the constant part is dropped, and the cooldown begins at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from genus.recipe import Training


@final
@dataclass
class Pace:
    """total: seconds or steps; `timed` says which. Mutable: `shorten` moves the end."""

    total: float
    timed: bool

    def progress(self, step: int, seconds: float) -> float:
        """0 at the start, 1 and more at the end."""
        return (seconds if self.timed else step) / self.total

    def shorten(self, progress: float, cooldown: float, begun: float = 0.0) -> None:
        """Begin the cooldown now: it then is the same part of the whole as it would have been. begun: where 0 lies."""
        if progress < 1 - cooldown:
            self.total = begun + (self.total - begun) * max(progress, 1e-9) / (1 - cooldown)
            self.total = max(1.0, round(self.total)) if not self.timed else self.total


def rate_scale(progress: float, training: Training) -> float:
    """Warm-up, constant, linear to zero (Hägele et al. 2024, arXiv 2405.18392): a factor on every peak rate."""
    up = progress / training.warmup if training.warmup > 0 else 1.0
    down = (1 - progress) / training.cooldown if training.cooldown > 0 else 1.0
    return max(0.0, min(1.0, up, down))
