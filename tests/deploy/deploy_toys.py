"""Two tiny runs on disk: a text model that speaks valid UTF-8 out of a few words, and a picture model of noise."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from genus import files, run
from genus.codecs.bytes import BytesConfig
from genus.codecs.pixels import PixelsConfig
from genus.conditions.label import LabelConfig
from genus.core import (
    Batch,
    Cond,
    Known,
    Nets,
    Network,
    NetworkConfig,
    Noise,
    Objective,
    Predictor,
    Roads,
    Sampler,
    Space,
)
from genus.data.packed import PackedConfig
from genus.data.stacked import StackedConfig
from genus.objectives.autoregression import Autoregression
from genus.parts import Part
from genus.recipe import Phase, Recipe
from genus.run import Run

WORDS = [word.encode() for word in ("Grüße ", "🌍", "日本 ", "naïve ", "STOP", "STEP ", "ab", "ab\n")]
END, BEGIN = 256, 257


class Speaker(Network):
    """Next byte: any that continues one of the words, else any that begins one, or the end mark."""

    delay = 0.0
    broken = False

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(-0.001 * torch.arange(257.0))  # no ties
        self.bias.data[END] = -1.0
        self.calls = 0

    def forward(self, x: Tensor, t: Tensor | None = None, cond: Cond = Cond(), state: Any = None) -> Tensor:
        self.calls += 1
        time.sleep(self.delay)
        assert not torch.is_grad_enabled()
        if self.broken:
            raise RuntimeError("weights on fire")
        logits = torch.full((*x.shape, 257), -torch.inf)
        for row in range(x.shape[0]):
            said = bytes(b for b in x[row, 0].tolist() if b < 256)
            logits[row, 0, -1, self.following(said)] = 0.0
        return logits + self.bias

    @staticmethod
    def following(said: bytes) -> list[int]:
        for back in range(min(len(said), 9), 0, -1):
            nexts = [w[back] for w in WORDS if len(w) > back and w.startswith(said[-back:])]
            if nexts:
                return nexts
        return [END, *(w[0] for w in WORDS)]


class SpeakerConfig(NetworkConfig):
    kind: Literal["networks.test_speaker"] = "networks.test_speaker"

    def build(self, space: Space, roads: Roads) -> Network:
        return Speaker()

    def sized(self, dial: int) -> Self:
        return self


class Grey(Network):
    delay = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.3))

    def forward(self, x: Tensor, t: Tensor | None = None, cond: Cond = Cond(), state: Any = None) -> Tensor:
        time.sleep(self.delay)
        shift = 0.0 if cond.vector is None else cond.vector.mean(1)[:, None, None, None]
        return x * self.scale + shift


class GreyConfig(NetworkConfig):
    kind: Literal["networks.test_grey"] = "networks.test_grey"

    def build(self, space: Space, roads: Roads) -> Network:
        return Grey()

    def sized(self, dial: int) -> Self:
        return self


class Steps(Sampler):
    """jitter: levels by which a pixel moves with the size of the batch, as sums in another order do."""

    kind: Literal["samplers.test_steps"] = "samplers.test_steps"
    steps: int = 2
    jitter: float = 0.0

    def stream(
        self, predict: Predictor, space: Space, cond: Cond, noise: Noise, known: Known | None = None
    ) -> Iterator[Tensor]:
        x = noise.normal(0, space.shape)
        for _ in range(self.steps):
            yield predict(x, None, cond) + self.jitter * (len(noise) - 1) / 127.5


class Plain(Objective):
    kind: Literal["objectives.test_plain"] = "objectives.test_plain"

    def draws(self, nets: Nets, batch: Batch, turn: str, noise: Noise) -> Mapping[str, Tensor]:
        return {}

    def loss(self, nets: Any, batch: Batch, draws: Any, turn: str) -> Any:
        raise AssertionError

    def predictor(self, nets: Any) -> Predictor:
        return nets["net"]

    def sampler(self) -> Sampler:
        return Steps()


class Gate(Part):
    kind: Literal["validate.test_gate"] = "validate.test_gate"


REPORT = {
    "metrics": [
        {
            "name": "bits per byte",
            "value": 1.25,
            "low": 1.2,
            "high": 1.3,
            "unit": "bits/byte",
            "better": "lower",
            "split": "test",
        }
    ],
    "baselines": [
        {"name": "xz", "value": 2.5, "low": None, "high": None, "unit": "bits/byte", "better": "lower", "split": "test"}
    ],
    "gate": {"passed": True, "reasons": []},
    "budget": {"asked_s": 60, "forecast_s": 55, "used_s": 57},
    "energy": {"kwh": 0.01, "method": "estimate"},
}


def write_run(path: Path, phase: Phase, family: str, medium: str, prompt: str) -> Run:
    about = f"A toy that makes {medium}."
    recipe = Recipe(
        name="toy",
        about=about,
        family=family,
        media=(medium,),
        prompt=prompt,
        phases=(phase,),
        measures=(),
        gate=Gate(),
    )
    files.write_json(path / "recipe.json", recipe.model_dump(mode="json"))
    data = {"path": "/data/toys", "version": 3, "digest": "d" * 64, "medium": medium, "items": 12, "bytes": 3456}
    files.write_json(path / "data.json", {**data, "licences": {"CC0-1.0": 10, "": 2}})
    torch.manual_seed(0)
    run.save(run.assemble(phase, phase.codec.load(path), prompt), phase, path)
    files.write_json(
        path / "summary.json", {"params": 257, "steps": 10, "seconds": 57.25, "kwh": 0.01, "kwh_method": "tdp"}
    )
    files.write_json(path / "report.json", REPORT)
    return Run(path)


def text_run(path: Path, medium: str = "text", prompt: str = "prefix") -> Run:
    phase = Phase(
        name="train",
        codec=BytesConfig(),
        nets={"net": SpeakerConfig()},
        conditioner=None
        if prompt in ("prefix", "none")
        else LabelConfig(field=prompt, labels=(("a cat", 1), ("a dog", 1))),
        objective=Autoregression(),
        source=PackedConfig(window=64),
    )
    return write_run(path, phase, "autoregression", medium, prompt)


def image_run(path: Path, labels: bool = False) -> Run:
    phase = Phase(
        name="train",
        codec=PixelsConfig(height=6, width=8, channels=3),
        nets={"net": GreyConfig()},
        conditioner=LabelConfig(labels=(("cat", 3), ("dog", 2)), width=4) if labels else None,
        objective=Plain(),
        source=StackedConfig(),
    )
    return write_run(path, phase, "flow", "image", "label" if labels else "none")


def gated(run: Run, passed: bool, *reasons: str) -> None:
    files.write_json(run.path / "report.json", {**REPORT, "gate": {"passed": passed, "reasons": list(reasons)}})


def read(path: Path) -> Any:
    return json.loads(path.read_text())
