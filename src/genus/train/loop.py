"""The only loop. It trains whatever an objective and nets describe, and knows no family and no medium.

A step: the batch of (seed, step); for each turn of the objective its passes over micro-batches and one update. All
randomness is addressed by (seed, sample), so 2 x 4 accumulated equals 8, and N + kill + resume + N equals 2 N, bit
for bit.
"""

from __future__ import annotations

import hashlib
import json
import math
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any, final

import torch
from torch import Tensor, nn

from genus.core import Aside, Batch, Draws, Metrics, Model, Nets, Noise, Source, Turn, listening
from genus.errors import GenusError
from genus.recipe import Training
from genus.train import checkpoint
from genus.train.meter import Meter
from genus.train.optimisers import Flat
from genus.train.pace import Pace, rate_scale
from genus.watch import Watch

Loss = Callable[[Nets, Batch, Draws, str], tuple[Tensor, Metrics]]
CHECKPOINT_EVERY = 60.0  # seconds: what a kill may cost
LOG_POINTS = 400  # rows of training loss in metrics.jsonl, about


class Interrupted(GenusError):
    """Ctrl-C or SIGTERM; the state is saved."""

    exit_code = 130


@final
@dataclass
class Progress:
    """Where the loop stands; all of it goes into a checkpoint."""

    step: int = 0
    best: float = math.inf
    best_step: int = 0
    stale: int = 0  # evaluations since the best
    skipped: int = 0  # updates left out because a gradient was not finite
    evaluated: int = 0
    judged: int = -1  # the step of the last evaluation


@final
@dataclass
class Loop:
    """One phase. `evaluation` yields held-out batches, the same ones each time."""

    name: str
    model: Model
    training: Training
    source: Source
    evaluation: Callable[[], Iterator[Batch]]
    pace: Pace
    precision: torch.dtype
    folder: Path  # of the run
    meter: Meter
    watch: Watch
    loss: Loss
    begun: float = 0.0  # seconds that were used before the first step
    checkpoint_every: float = CHECKPOINT_EVERY
    at: Progress = field(default_factory=Progress)

    def __post_init__(self) -> None:
        self.source = self.source.of(self.model)
        self.flats: dict[str, Flat] = {}
        for turn in self.model.objective.turns:
            if self.owner(turn) == turn.name:
                self.flats[turn.name] = Flat(self._trained(turn), self.training, self.precision)
        self.best: dict[str, Tensor] = {}
        self.losses: dict[str, float] = {}  # of each turn in the last step
        self.told: dict[str, float] = {}  # what else its losses had to say
        self.noise = Noise(self.training.seed).child(f"train {self.name}")
        self.device = next(self.model.nets.parameters()).device

    def owner(self, turn: Turn) -> str:
        """The first turn that trains the same nets: they share one optimiser."""
        return next(t.name for t in self.model.objective.turns if t.trains == turn.trains)

    def _trained(self, turn: Turn) -> nn.ModuleDict:
        nets = self.model.nets
        return nn.ModuleDict({name: nets[name] for name in turn.trains or nets.keys() if name in nets})

    # ------------------------------------------------------------------------------------------------------- a step

    def pass_(self, batch: Batch, turn: str, noise: Noise, progress: float) -> tuple[Tensor, Metrics]:
        """Loss of one micro-batch at this part of the run, its condition computed once."""
        told = noise if self.model.nets.training else None
        batch = replace(batch, cond=self.model.condition(batch.fields, len(batch), batch.x, told))
        draws = self.model.objective.at(progress).draws(self.model.nets, batch, turn, noise)
        moved = {name: value.to(self.device) for name, value in draws.items()}
        # What the loss does not read stays outside: compiled code must not depend on ids or labels.
        return self.loss(self.model.nets, replace(batch, fields={}, ids=()), moved, turn)

    def step(self) -> tuple[float, float]:
        """One optimiser step of each turn that is due. Returns (loss of the last one, norm of its gradient)."""
        step, size = self.at.step, self.training.batch
        batch = self.source.batch(step).to(self.device)
        noise = self.noise.of(range(step * size, step * size + len(batch)))
        progress = min(1.0, self.progress)
        scale, number = rate_scale(progress, self.training), self.model.objective.number
        micro = self.training.micro or len(batch)
        loss, norm = 0.0, 0.0
        self.losses, self.told = {}, {}
        self.model.nets.train()
        torch.manual_seed(seed_of(self.training.seed, step))  # dropout inside networks
        for turn in self.model.objective.turns:
            if step % turn.every:
                continue
            flat, loss, about = self.flats[self.owner(turn)], 0.0, dict[str, float]()
            self.only(turn)
            flat.zero()
            for start in range(0, len(batch), micro):
                part = batch.part(start, start + micro) if micro < len(batch) else batch
                with listening() as asides:
                    value, said = self.pass_(part, turn.name, noise.part(start, start + micro), progress)
                share = number(part) / number(batch) if micro < len(batch) else 1.0
                besides, figures = summed(asides)
                torch.autograd.backward(value * share + besides * (len(part) / len(batch)))
                if micro < len(batch):
                    flat.gather()
                loss += float(value.detach()) * share
                for name, told in said.items():
                    about[name] = about.get(name, 0.0) + float(told) * share
                for name, mean in figures.items():
                    about[name] = about.get(name, 0.0) + mean * len(part) / len(batch)
            norm = float(flat.step(scale, step))
            self.losses[turn.name] = loss
            self.told |= about
        with torch.no_grad():
            self.model.objective.settle(self.model.nets, noise)
        self.at.skipped = 0 if math.isfinite(norm) else self.at.skipped + 1
        if self.at.skipped >= 20:
            raise GenusError(
                f"the loss is not finite since step {step - 19}; lower the rates, e.g. --set "
                f"training.rate={self.training.rate / 3:.1g} --set training.muon_rate={self.training.muon_rate / 3:.1g}"
            )
        self.at.step += 1
        return loss, norm

    def only(self, turn: Turn) -> None:
        """Gradients go to the weights of this turn alone."""
        if len(self.flats) > 1:
            for name, flat in self.flats.items():
                for weight in flat.weights:
                    weight.requires_grad_(name == self.owner(turn))

    @property
    def progress(self) -> float:
        """0 .. 1 and beyond; the time before the first step is left out."""
        if not self.pace.timed:
            return self.pace.progress(self.at.step, 0.0)
        return (self.meter.seconds - self.begun) / max(1e-9, self.pace.total - self.begun)

    # -------------------------------------------------------------------------------------------------- evaluation

    @torch.no_grad()
    def evaluate(self) -> float:
        """Mean held-out loss of the averaged weights, over the same items with the same draws each time."""
        total, cells, first = 0.0, 0, 0
        self.model.nets.eval()
        noise = Noise(self.training.seed).child(f"evaluate {self.name}")
        turn = self.model.objective.judged
        assert turn is not None, "this objective has no loss that tells progress"
        with self.averaged():
            for batch in self.evaluation():
                value, _ = self.pass_(batch.to(self.device), turn, noise.of(range(first, first + len(batch))), 1.0)
                n = self.model.objective.number(batch)
                total, cells, first = total + float(value) * n, cells + n, first + len(batch)
        return total / max(1, cells)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, every net computes with its average."""
        flats = list(self.flats.values())

        @contextmanager
        def nested(i: int) -> Iterator[None]:
            if i == len(flats):
                yield
            else:
                with flats[i].swap_ema(), nested(i + 1):
                    yield

        with nested(0):
            yield

    def weights(self) -> dict[str, Tensor]:
        """The averaged weights of all turns and what the nets hold beside weights, by their name in `nets`, copied."""
        found = {k: v for flat in self.flats.values() for k, v in flat.averaged().items()}
        return found | {k: v.detach().clone() for k, v in self.buffers().items()}

    def buffers(self) -> dict[str, Tensor]:
        """What the nets hold beside weights and is kept, by name."""
        weights = dict(self.model.nets.named_parameters())
        return {k: v for k, v in self.model.nets.state_dict().items() if k not in weights}

    # ------------------------------------------------------------------------------------------------------ the run

    def run(self) -> dict[str, Tensor]:
        """Train to the end of the pace, or until nothing is learned any more. Returns the weights to keep, by name."""
        self.resume()
        saved = self.meter.seconds
        progress = self.progress
        judged = self.model.objective.judged is not None
        with caught() as stopped:
            while progress < 1:
                before = progress
                loss, norm = self.step()
                progress = self.progress
                if int(progress * LOG_POINTS) > int(before * LOG_POINTS) or self.at.step == 1:
                    rate = rate_scale(progress, self.training)
                    named = {**self.told, **(self.losses if len(self.losses) > 1 else {})}
                    self.log("train", **{**named, "loss": loss, "norm": norm, "rate": rate})
                    self.watch.tick(min(1.0, progress), 1.0, f"step {self.at.step}  loss {loss:.3f}")
                # Judge before saving: a checkpoint then never stands between a step and its evaluation.
                due = judged and progress >= (self.at.evaluated + 1) / self.training.evaluations
                if due and not self._judge(progress):
                    break
                if stopped or self.meter.seconds - saved > self.checkpoint_every:
                    whole = self.save()
                    saved = self.meter.seconds
                    if stopped:
                        said = "all is saved" if whole else "this step could not be saved, an earlier one may be"
                        raise Interrupted(f"stopped at step {self.at.step}; {said}: the same command goes on")
            if judged and self.at.judged != self.at.step:
                self._judge(1.0)
        self.save()
        return self.best or self.weights()

    def _judge(self, progress: float) -> bool:
        """Evaluate; keep the best weights; False if the run should end."""
        loss = self.evaluate()
        self.at.judged = self.at.step
        self.at.evaluated = max(self.at.evaluated + 1, int(progress * self.training.evaluations))
        self.log("val", loss=loss)
        better = loss < self.at.best - 1e-4 * abs(self.at.best) if math.isfinite(self.at.best) else math.isfinite(loss)
        if better:
            self.at.best, self.at.best_step, self.at.stale = loss, self.at.step, 0
            self.best = self.weights()
            return True
        self.at.stale += 1
        if self.at.stale < self.training.patience:
            return True
        if progress < 1 - self.training.cooldown:
            self.watch.say(f"no progress since step {self.at.best_step}: cooling down early")
            self.pace.shorten(progress, self.training.cooldown, self.begun)
            self.at.stale = 0
            return True
        self.watch.say(f"no progress since step {self.at.best_step}: ending early with the best weights")
        return False

    def log(self, split: str, **values: float) -> None:
        """A row in metrics.jsonl."""
        row = {"phase": self.name, "step": self.at.step, "seconds": round(self.meter.seconds, 3), "split": split}
        line = json.dumps({**row, **{k: v if math.isfinite(v) else None for k, v in values.items()}}) + "\n"
        try:
            with (self.folder / "metrics.jsonl").open("a") as file:
                file.write(line)
        except OSError as error:
            self.watch.say(f"cannot write metrics.jsonl: {error.strerror}; training goes on")

    # ----------------------------------------------------------------------------------------------------- its state

    @property
    def place(self) -> Path:
        """Where this phase keeps its checkpoints."""
        return self.folder / "checkpoints" / self.name

    def save(self) -> bool:
        """A checkpoint; a full disk is said and does not end the run: the last one stays, the next may fit."""
        tensors = {f"turn.{name}.{k}": v for name, flat in self.flats.items() for k, v in flat.state_dict().items()}
        tensors |= {f"best.{k}": v for k, v in self.best.items()}
        tensors |= {f"buffer.{k}": v for k, v in self.buffers().items()}
        facts = {
            "at": vars(self.at) | {"best": self.at.best if math.isfinite(self.at.best) else None},
            "total": self.pace.total,
            "timed": self.pace.timed,
            "begun": self.begun,
            "seconds": self.meter.seconds,
            "kwh": self.meter.kwh,
        }
        try:
            checkpoint.save(self.place, self.at.step, tensors, facts)
        except GenusError as error:
            self.watch.say(f"{error}; training goes on")
            return False
        return True

    def resume(self) -> None:
        """From the newest whole checkpoint, if there is one; later rows of metrics.jsonl are dropped."""
        found = checkpoint.latest(self.place)
        if found is None:
            trim(self.folder / "metrics.jsonl", self.name, -1)  # of a run that was killed before it had saved anything
            return
        tensors, facts = found
        for name, flat in self.flats.items():
            prefix = f"turn.{name}."
            flat.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
        self.best = {k.removeprefix("best."): v for k, v in tensors.items() if k.startswith("best.")}
        for name, held in self.buffers().items():
            held.copy_(tensors[f"buffer.{name}"])
        self.at = Progress(**{**facts["at"], "best": math.inf if facts["at"]["best"] is None else facts["at"]["best"]})
        # The budget it began with: its schedule is half run.
        self.pace.total, self.pace.timed, self.begun = facts["total"], facts["timed"], facts["begun"]
        self.meter = Meter(facts["seconds"], facts["kwh"])
        self.watch.say(f"resuming at step {self.at.step}")
        trim(self.folder / "metrics.jsonl", self.name, self.at.step)


def summed(asides: Sequence[Aside]) -> tuple[Tensor | float, dict[str, float]]:
    """What networks said in a pass: what the loss gets besides, and of each name the mean over all who said it."""
    besides: Tensor | float = 0.0
    found: dict[str, list[float]] = {}
    for said in asides:
        mean = said.each.mean()
        besides = besides + said.weight * mean if said.weight else besides
        found.setdefault(said.name, []).append(float(mean.detach()))
    return besides, {name: sum(values) / len(values) for name, values in found.items()}


def trim(path: Path, phase: str, step: int) -> None:
    """Drop the rows of `phase` after `step`, and torn lines."""
    from genus import files

    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            row: Mapping[str, Any] = json.loads(line)
        except ValueError:
            continue
        if row["phase"] != phase or row["step"] <= step:
            kept.append(line + "\n")
    files.write(path, "".join(kept))


def seed_of(seed: int, step: int) -> int:
    """A seed of its own for each step."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{step}".encode(), digest_size=7).digest(), "little")


@contextmanager
def caught() -> Iterator[list[int]]:
    """Inside, Ctrl-C and SIGTERM fill the list instead of ending the process; a second one ends it."""
    heard: list[int] = []

    def hear(number: int, frame: FrameType | None) -> None:
        if heard:
            raise KeyboardInterrupt
        heard.append(number)

    try:
        before = {s: signal.signal(s, hear) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: whoever owns it hears the signals
        yield heard
        return
    try:
        yield heard
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
