"""From a budget to a plan: which size, batch and number format, whether to compile, what it will take.

Sizes are not guessed: each is built and takes a few real steps on the real data here and now (`genus.train.sizing`
has the rule that then decides). What was decided stands in plan.json, so that a resumed run decides nothing again.
"""

from __future__ import annotations

import copy
import math
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, final

import torch

from genus import files, graphs
from genus.core import Batch, Codec, Model, Objective, Roads
from genus.data.cache import Cache
from genus.data.source import SourceConfig
from genus.errors import GenusError, UsageError
from genus.networks import bytewise
from genus.networks.lora import LoraConfig
from genus.parts import restored
from genus.recipe import Phase
from genus.run import assemble, parameters
from genus.train.budget import Budget
from genus.train.loop import Loop, Loss
from genus.train.meter import Meter, peak_bytes, watts
from genus.train.pace import Pace
from genus.train.probe import fastest, free_bytes, precision, saved_bytes
from genus.train.sizing import SizingConfig
from genus.watch import Silent, Watch

COMPILE_PAYS_FROM = 900.0  # seconds still to train: a cold compile takes 12 .. 90 s and gained 0 .. 15 % where measured
PROBING = 0.08  # of the time asked: the most that looking for a size may take
AGAIN = 3  # times that the best size and its neighbours are timed again
BYTES_A_WEIGHT = 26  # live, master, gradients, two moments, average, the best copy


@final
@dataclass(frozen=True)
class Plan:
    """A phase as it will be trained."""

    phase: Phase
    precision: Literal["bf16", "fp32"] = "fp32"
    compiled: bool = False
    evaluation: int = 16  # held-out batches an evaluation
    forecast: dict[str, Any] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        """For plan.json."""
        return {**vars(self), "phase": self.phase.model_dump(mode="json")}

    @staticmethod
    def read(path: Path) -> Plan:
        """What `json` gave."""
        data = files.read_json(path)
        if not isinstance(data, dict) or set(data) != {f.name for f in fields(Plan)}:
            raise GenusError(f"{path} is no plan; remove {path.parent} to plan anew")
        return Plan(**{**data, "phase": restored(Phase, data["phase"], path)})


def allowed(asked: float, spent: float) -> float:
    """Seconds that a phase may take in all: what was asked, or a quarter beyond what preparing took if that used it up.

    Else a machine that was busy while it was probed would leave a model that never took a step.
    """
    return asked if spent <= 0.8 * asked else 1.25 * spent


def compiled(plan: Plan, objective: Objective) -> Loss:
    """The objective's loss, compiled if the plan says so."""
    return graphs.compiled(objective.loss) if plan.compiled else objective.loss


@final
@dataclass(frozen=True)
class Speed:
    """Seconds of a step of `counts` samples, measured; bytes kept a sample; weights. Between and beyond: a line."""

    counts: tuple[int, int]
    seconds: tuple[float, float]
    bytes_each: float
    weights: int

    @property
    def each(self) -> float:
        """Seconds of one more sample: at least a fifth of what a sample of the smaller step took."""
        (few, many), (one, more) = self.counts, self.seconds
        return max((more - one) / (many - few), 0.2 * one / few)

    def step(self, samples: int) -> float:
        """Seconds of a step of so many."""
        return max(0.0, self.seconds[1] - self.each * self.counts[1]) + self.each * samples

    def least(self, other: Speed) -> Speed:
        """The shorter of either's times."""
        one, two = (min(pair) for pair in zip(self.seconds, other.seconds, strict=True))
        return replace(self, seconds=(one, two))


@final
@dataclass(frozen=True)
class Bench:
    """Times real steps of a phase on its real data, in a folder that is thrown away."""

    codec: Codec
    source: SourceConfig
    cache: Cache
    kind: torch.dtype

    def loop(self, phase: Phase, batch: int, loss: Loss | None = None) -> Loop:
        """A loop for `phase` that goes nowhere."""
        torch.manual_seed(phase.training.seed)
        training = phase.training.but(batch=batch, micro=None)
        model = assemble(phase, self.codec)
        adapt(phase, model, self.kind)

        def nothing() -> Iterator[Batch]:
            return iter(())

        return Loop(
            name="probe",
            model=model,
            training=training,
            source=self.source.over(self.cache, self.codec, training.seed, batch),
            evaluation=nothing,
            pace=Pace(1000, timed=False),
            precision=self.kind,
            folder=Path(os.devnull),  # a probe writes nothing
            meter=Meter(),
            watch=Silent(),
            loss=loss or phase.objective.loss,
        )

    def wider(self, loop: Loop, batch: int) -> Loop:
        """The same loop, its weights and all, with steps of another size."""
        made, training = copy.copy(loop), loop.training.but(batch=batch)
        source = self.source.over(self.cache, self.codec, training.seed, batch)
        made.training, made.source = training, source.of(loop.model)
        return made

    def speed(self, phase: Phase, few: int) -> Speed:
        """From steps of `few` samples and of those that it will have, or 2 x `few`: the quickest of three, in turns."""
        sizing = phase.sizing
        likely = sizing.batch[0] if isinstance(sizing, SizingConfig) else phase.training.batch
        counts = few, max(2 * few, min(likely, 8 * few))
        loops = [self.loop(phase, counts[0])]
        loops.append(self.wider(loops[0], counts[1]))
        kept = saved_bytes(lambda: loops[0].step())
        loops[1].step()
        turns = [[fastest(1, loop.step) for loop in loops] for _ in range(3)]
        one, two = (min(times) for times in zip(*turns, strict=True))
        return Speed(counts, (one, two), kept / few, parameters(loops[0].model.nets))

    def agrees(self, phase: Phase, few: int) -> float:
        """Relative difference of the first loss between this number format and fp32: whether the format may be used."""
        losses = [replace(self, kind=kind).loop(phase, few).step()[0] for kind in (torch.float32, self.kind)]
        return abs(losses[1] - losses[0]) / max(1e-9, abs(losses[0]))


def adapt(phase: Phase, model: Model, precision: torch.dtype) -> None:
    """Where the phase has an adapter, that is trained and nothing else. Raises `UsageError` if there is no start.

    Where its products are of bytes, linear layers are made so.
    """
    if phase.training.products == "bytes":
        bytewise.onto(model.nets)
    if phase.adapter is None:
        return
    if not isinstance(phase.adapter, LoraConfig) or phase.start is None:
        raise UsageError(
            f"phase {phase.name!r} has the adapter {phase.adapter.kind}, but an adapter is networks.lora and changes a "
            "model that is there: name it with start, or with --from"
        )
    phase.adapter.onto(model.nets, precision)


def planned(
    plan: Plan,
    codec: Codec,
    source: SourceConfig,
    cache: Cache,
    budget: Budget,
    share: float,
    meter: Meter,
    watch: Watch,
) -> Plan:
    """Decide size, batch, format and compilation for the time that is left, and forecast what it takes."""
    phase = plan.phase
    cells = source.space(codec.space).cells
    kind = precision(phase.training.precision)
    few = max(4, min(16, 8192 // max(1, cells)))
    bench = Bench(codec, source, cache, kind)
    if kind is not torch.float32 and (off := bench.agrees(_multiplied(phase, kind), few)) > 0.03:
        watch.say(f"bf16 changes the first loss by {off:.1%}: training in fp32")
        bench = replace(bench, kind=torch.float32)
    phase = _multiplied(phase, bench.kind)
    asked = None if budget.seconds is None else budget.seconds * share
    tried: list[dict[str, Any]] = []
    if asked is not None and isinstance(phase.sizing, SizingConfig) and phase.sizing.dials:
        phase, speed = _sized(phase, bench, cells, asked - meter.seconds, few, asked, tried, watch)
    else:
        speed = bench.speed(phase, few)
    batch = phase.training.batch
    memory = 0.4 * free_bytes()
    micro = phase.training.micro
    while micro is None and speed.bytes_each * batch > memory and batch > 1:
        batch //= 2
    if batch < phase.training.batch:
        smaller = {"batch": batch} if phase.objective.whole else {"micro": batch}
        phase = phase.but(training=phase.training.but(**smaller))
    size, seconds = phase.training.batch, speed.step(phase.training.batch)
    whole = None if asked is None else allowed(asked, meter.seconds)
    left = (whole - meter.seconds) if whole is not None else (budget.steps or 1) * share * seconds
    use = False
    if _may_compile(phase, left):
        quick = _compiled_seconds(phase, bench, watch)
        use = quick < 0.95 * seconds
        seconds = min(seconds, quick)
        whole = None if asked is None else allowed(asked, meter.seconds)
        left = (whole - meter.seconds) if whole is not None else left
    steps = max(1, int(left / seconds) if whole is not None else round((budget.steps or 1) * share))
    forward = 0.35 * speed.each * (micro or size)
    evaluation = max(1, int(0.06 * left / phase.training.evaluations / max(forward, 1e-6))) if asked else 16
    if whole is None:
        evaluations = min(steps, phase.training.evaluations) * evaluation * forward
        whole = 1.06 * (steps * seconds + evaluations)
    epochs = round(steps * size / source.samples(cache), 2)
    energy = whole * watts()[0] / 3.6e6
    kept = int(peak_bytes() + speed.weights * BYTES_A_WEIGHT + speed.bytes_each * min(size, micro or size))
    forecast: dict[str, Any] = {
        "seconds": whole,
        "parameters": speed.weights,
        "batch": size,
        "steps": steps,
        "samples": steps * size,
        "epochs": epochs,
        "seconds_a_step": seconds,
        "memory_bytes": kept,
        "kwh": energy,
        "kwh_method": watts()[1],
        "precision": "bf16" if bench.kind is torch.bfloat16 else "fp32",
        "products": phase.training.products,
        "compiled": use,
        "tried": tried,
    }
    watch.say(
        f"{speed.weights / 1e6:.2f} M parameters, batch {size}, about {steps} steps ({epochs:g} epochs), "
        f"{forecast['precision']}{' by bytes' if phase.training.products == 'bytes' else ''}"
        f"{', compiled' if use else ''}; {kept / 2**30:.1f} GiB, {energy * 1000:.1f} Wh"
    )
    return Plan(phase, "bf16" if bench.kind is torch.bfloat16 else "fp32", use, evaluation, forecast)


def _multiplied(phase: Phase, kind: torch.dtype) -> Phase:
    """The phase with `products` decided: bytes where there is a kernel for them and they were measured to do."""
    products = phase.training.products
    if products == "bytes" and kind is torch.float32:
        raise UsageError("training.products = bytes is for passes in bf16, and this run trains in fp32; leave it out")
    if products == "auto":
        do = kind is torch.bfloat16 and phase.objective.coarse and phase.start is None and bytewise.kernel() is not None
        products = "bytes" if do else "own"
    return phase.but(training=phase.training.but(products=products))


def _sized(
    phase: Phase,
    bench: Bench,
    cells: int,
    left: float,
    few: int,
    asked: float,
    tried: list[dict[str, Any]],
    watch: Watch,
) -> tuple[Phase, Speed]:
    """The dial that the law takes.

    Climbs until two were worse in a row, or probing costs too much; then times the best and its neighbours again, as
    long as half of that lasts: where the law is flat, a moment in which the machine was busy would decide.
    """
    sizing = phase.sizing
    assert isinstance(sizing, SizingConfig)
    clock = Meter()
    each = sizing.sample or float(cells)
    different = bench.cache.total * (1.0 if bench.codec.streams else each)
    speeds: list[Speed] = []

    def best() -> int:
        seconds = 0.93 * max(1.0, left - clock.seconds)  # evaluations and checkpoints take their part
        known = zip(sizing.dials, undisturbed(speeds), strict=False)
        tried[:] = [_outlook(sizing, dial, speed, seconds, each, different) for dial, speed in known]
        return sizing.best([float(one["law"]) for one in tried])

    for dial in sizing.dials:
        before = clock.seconds
        speeds.append(bench.speed(_at(phase, dial), few))
        last = clock.seconds - before
        chosen = best()
        watch.tick(len(tried), len(sizing.dials), f"size {dial}: {speeds[-1].weights / 1e6:.2f} M")
        if len(tried) > chosen + 2 or clock.seconds + 1.5 * last > PROBING * asked:
            break
    for _ in range(AGAIN if len(speeds) > 1 else 0):
        if clock.seconds > PROBING / 2 * asked:
            break
        for i in range(max(0, chosen - 1), min(len(speeds), chosen + 2)):
            speeds[i] = speeds[i].least(bench.speed(_at(phase, sizing.dials[i]), few))
        chosen = best()
    sized = _at(phase, sizing.dials[chosen])
    return sized.but(training=sized.training.but(batch=tried[chosen]["batch"])), undisturbed(speeds)[chosen]


def _at(phase: Phase, dial: int) -> Phase:
    conditioner = None if phase.conditioner is None else phase.conditioner.sized(dial)
    return phase.but(nets={name: net.sized(dial) for name, net in phase.nets.items()}, conditioner=conditioner)


def sizes(phase: Phase, model: Model) -> list[int]:
    """Weights at each dial of a phase of which `model` was made."""
    sizing = phase.sizing
    roads = model.conditioner.roads if model.conditioner is not None else Roads()
    dials = sizing.dials if isinstance(sizing, SizingConfig) else ()
    with torch.device("meta"):
        built = [{name: net.build(model.space, roads) for name, net in _at(phase, dial).nets.items()} for dial in dials]
    return [parameters(torch.nn.ModuleDict(nets)) for nets in built]


def _outlook(
    sizing: SizingConfig, dial: int, speed: Speed, seconds: float, each: float, different: float
) -> dict[str, Any]:
    """What a size would see in the time left, and the loss that the law then gives it. each: tokens a sample."""
    batch, seen = 32, 0.0
    for _ in range(4):  # the batch depends on what it allows to be seen
        seen = seconds / speed.step(batch) * batch
        batch = sizing.samples(speed.weights, seen * each, each)
    law = sizing.loss(speed.weights, seen * each, different)
    return {"dial": dial, "parameters": speed.weights, "batch": batch, "samples": int(seen), "law": law}


def undisturbed(speeds: list[Speed]) -> list[Speed]:
    """No size is slower than a larger one: where it was measured so, something else was using the machine."""
    out: list[Speed] = []
    for speed in reversed(speeds):
        out.append(speed.least(out[-1]) if out else speed)
    return out[::-1]


def _may_compile(phase: Phase, left: float) -> bool:
    if phase.training.compile != "auto":
        return phase.training.compile == "yes"
    return left > COMPILE_PAYS_FROM and any(map(shutil.which, ("c++", "g++", "clang++")))


def _compiled_seconds(phase: Phase, bench: Bench, watch: Watch) -> float:
    """Seconds of a compiled step; infinite where compiling fails."""
    watch.say("compiling")
    try:
        loss = graphs.compiled(phase.objective.loss)
        loop = bench.loop(phase, phase.training.batch, loss)
        loop.step()
        loop.step()
        return fastest(2, loop.step)
    except Exception as error:  # a compiler may fail in any way; the plain code is always there
        watch.say(f"compiling failed ({type(error).__name__}); training without")
        return math.inf
