"""Small classifiers that proofs train on real pictures alone, to judge what models draw. Plain torch, nothing of genus.

Two convolutions of 3 x 3 and a halving, twice, then two linear layers; pictures are shifted while it learns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn


@final
class Judge:
    """classes: how many. side: of its pictures. The weights' start and the order of the data follow from `seed`."""

    def __init__(self, classes: int, side: int, seed: int, width: int = 24) -> None:
        self.seed, quarter = seed, side // 4
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = nn.Sequential(
                *_block(1, width),
                *_block(width, 2 * width),
                nn.Flatten(),
                nn.Dropout(0.4),
                nn.Linear(2 * width * quarter * quarter, 128),
                nn.ReLU(),
                nn.Dropout(0.2),
                nn.Linear(128, classes),
            )

    def learn(
        self, pictures: NDArray[Any], labels: NDArray[Any], epochs: int, shift: int, say: Callable[[str], None]
    ) -> None:
        """pictures: [n, H, W] in 0 .. 1. Each is moved by at most `shift` pixels, another way every time."""
        dice = torch.Generator().manual_seed(self.seed)
        x, y = torch.from_numpy(np.ascontiguousarray(pictures, np.float32))[:, None], torch.from_numpy(labels).long()
        batch, steps = 64, epochs * (len(x) // 64)
        optimiser = torch.optim.AdamW(self.net.parameters(), lr=2e-3, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=max(steps, 2))
        self.net.train()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            for step in range(steps):
                at = torch.randint(len(x), (batch,), generator=dice)
                loss = F.cross_entropy(self.net(_moved(x[at], shift, dice)), y[at], label_smoothing=0.05)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                if (step + 1) % 500 == 0:
                    say(f"judge: step {step + 1} of {steps}, loss {float(loss.detach()):.3f}")
        self.net.eval()

    def says(self, pictures: NDArray[Any]) -> NDArray[Any]:
        """The class of each picture [n, H, W] in 0 .. 1."""
        self.net.eval()
        x = torch.from_numpy(np.ascontiguousarray(pictures, np.float32))[:, None]
        with torch.no_grad():
            return torch.cat([self.net(part).argmax(1) for part in x.split(250)]).numpy()


def _block(inside: int, out: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inside, out, 3, padding=1),
        nn.BatchNorm2d(out),
        nn.ReLU(),
        nn.Conv2d(out, out, 3, padding=1),
        nn.BatchNorm2d(out),
        nn.ReLU(),
        nn.MaxPool2d(2),
    ]


def _moved(x: Tensor, shift: int, dice: torch.Generator) -> Tensor:
    """Each picture moved by its own whole numbers of pixels; what comes in is the nearest border."""
    size = x.shape[-1]
    wide = F.pad(x, (shift,) * 4, mode="replicate")
    by = torch.randint(0, 2 * shift + 1, (2, len(x)), generator=dice)
    rows = (by[0][:, None] + torch.arange(size))[:, None, :, None]
    across = (by[1][:, None] + torch.arange(size))[:, None, None, :]
    return wide[torch.arange(len(x))[:, None, None, None], 0, rows, across]
