"""scale(dataset, recipe, budget): a ladder of sizes, each with the data that suits it, and the law of their loss.

    L(C) = E + a / C^e,   C = 6 N D'      Hoffmann et al. 2022, arXiv 2203.15556; Kaplan et al. 2020, arXiv 2001.08361

N counts weights, D' tokens as new ones count (`train.law.effective`). Data grows with weights as the recipe's own law
(`train.sizing`) says is best, D ~ N^(alpha / beta), so the ladder is one line in (N, D) and the law has one variable;
it holds for that line and this data alone. The next size is foretold before it is
trained, with an interval from a bootstrap over runs (`train.law.forecast`); `check` trains it.

    home/scales/NAME/
      asked.json                what it stands on
      runs/DIAL-SEED/           a run as any other
      scale.json  scale.html    whole, after every call

Called again it goes on where it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from genus import files
from genus.data.dataset import Dataset
from genus.errors import UsageError
from genus.make import forecast as outlook
from genus.recipe import Recipe
from genus.run import Run
from genus.scale import page
from genus.train.budget import Budget
from genus.train.held import held_out
from genus.train.law import Forecast, effective, forecast
from genus.train.sizing import SizingConfig
from genus.train.stage import alone, train
from genus.watch import Silent, Watch

LEAST_STEPS = 60
LEAST_SIZES = 4
OVERHEAD = 1.06  # evaluations, checkpoints


@final
@dataclass(frozen=True)
class Rung:
    """A size of the ladder. seconds: of one run, foretold. tokens: it is to see, different or not."""

    dial: int
    parameters: int
    steps: int
    tokens: float
    seconds: float


@final
@dataclass(frozen=True)
class Point:
    """A finished run. compute: 6 N D', in floating-point operations as data counts."""

    dial: int
    seed: int
    parameters: int
    tokens: float
    epochs: float
    compute: float
    loss: float
    seconds: float


@final
@dataclass(frozen=True)
class Scaled:
    """path: its folder. said: what scale.json holds."""

    path: Path
    said: dict[str, Any]

    @property
    def page(self) -> Path:
        """scale.html."""
        return self.path / "scale.html"


def scale(
    dataset: Path,
    recipe: Recipe,
    budget: Budget,
    folder: Path,
    sizes: int = LEAST_SIZES,
    seeds: int = 1,
    check: bool = False,
    watch: Watch | None = None,
    confirm: Callable[[dict[str, Any]], bool] | None = None,
) -> Scaled:
    """Train `sizes` models `seeds` times within the budget together, fit the law, foretell the next size.

    budget: of the training of the ladder, in time; the check comes on top, and is foretold. Raises `UsageError` for a
    recipe whose size no dial sets, too few sizes, a budget that is too small, or a folder of another question.
    """
    watch = watch or Silent()
    sizing = sized(recipe)
    if sizes < LEAST_SIZES or not 1 <= seeds <= 100:
        raise UsageError(f"sizes = {sizes}, seeds = {seeds}: it takes {LEAST_SIZES} sizes at least, and 1 to 100 seeds")
    if len(sizing.dials) <= sizes:
        raise UsageError(
            f"recipe {recipe.name} has {len(sizing.dials)} sizes, and {sizes} with a larger one were asked for; say "
            "which with --set sizing.dials=[...]"
        )
    if budget.seconds is None:
        raise UsageError(f"budget {budget.asked!r}: the ladder shares out time; write e.g. 20m")
    with alone(folder):
        data = Dataset.open(dataset)
        ladder = planned(recipe, sizing, dataset, data, budget.seconds, folder, sizes, seeds, watch)
        rungs, last = ladder[:-1], ladder[-1]
        told = {
            "rungs": [asdict(rung) for rung in rungs],
            "held_out": asdict(last),
            "seconds": seeds * sum(rung.seconds for rung in rungs),
            "check_s": last.seconds,
        }
        if confirm is not None and not confirm(told):
            raise UsageError("not started, as you said; the dataset is kept")
        points = [trained(recipe, sizing, data, folder, rung, seed, watch) for rung in rungs for seed in range(seeds)]
        found = foretold(sizing, points, last)
        said = described(recipe, data, budget, told, points, found, last, sizing)
        write(folder, said)  # what is foretold is written down before it is tried
        if check:
            said["check"] = checked(found, trained(recipe, sizing, data, folder, last, 0, watch))
            write(folder, said)
    return Scaled(folder, said)


def sized(recipe: Recipe) -> SizingConfig:
    """How the recipe is sized. Raises `UsageError` if it is not, or has several phases."""
    phase = recipe.phases[-1]
    if len(recipe.phases) > 1 or not isinstance(phase.sizing, SizingConfig) or phase.objective.judged is None:
        raise UsageError(
            f"recipe {recipe.name} has no single phase with a dial for its size and a held-out loss; use one such as "
            "gpt, chargpt or flow, without settings of its network"
        )
    return phase.sizing


def at(recipe: Recipe, dial: int, seed: int = 0) -> Recipe:
    """The recipe at one size, as it will be trained: nothing of it is sized any more, nothing ends it early."""
    phase = recipe.phases[-1]
    nets = {name: net.sized(dial) for name, net in phase.nets.items()}
    training = phase.training.but(seed=seed, patience=phase.training.evaluations + 1, compile="no")
    return recipe.but(phases=(phase.but(nets=nets, sizing=None, training=training),))


def planned(
    recipe: Recipe,
    sizing: SizingConfig,
    path: Path,
    data: Dataset,
    seconds: float,
    folder: Path,
    sizes: int,
    seeds: int,
    watch: Watch,
) -> list[Rung]:
    """The ladder and the size above it, timed here; what was decided before holds."""
    asked = {
        "recipe": recipe.model_dump(mode="json"),
        "digest": data.digest(),
        "seconds": seconds,
        "sizes": sizes,
        "seeds": seeds,
    }
    stored = folder / "asked.json"
    if stored.exists():
        before = files.read_json(stored)
        if before["asked"] != asked:
            raise UsageError(f"{folder} holds a scale of other data, sizes or settings; choose another --name")
        return [Rung(**rung) for rung in before["ladder"]]
    speeds = []
    for dial in sizing.dials[: sizes + 1]:
        watch.say(f"timing size {dial}")
        speeds.append((dial, outlook(at(recipe, dial), path, Budget("1 steps", steps=1))))
    each = tokens_of(sizing, recipe)
    batch = int(speeds[0][1]["batch"])
    # Steps in proportion to N^(alpha / beta), so many that they spend the budget.
    shares = [told["parameters"] ** (sizing.alpha / sizing.beta) for _, told in speeds]
    costs = [share * told["seconds_a_step"] * OVERHEAD for share, (_, told) in zip(shares, speeds, strict=True)]
    k = seconds / (seeds * sum(costs[:-1]))
    ladder = [
        Rung(dial, told["parameters"], (n := round(k * share)), n * batch * each, k * cost)
        for (dial, told), share, cost in zip(speeds, shares, costs, strict=True)
    ]
    if ladder[0].steps < LEAST_STEPS:
        needed = seconds * LEAST_STEPS / max(1, ladder[0].steps) / 60
        raise UsageError(
            f"in this budget the smallest size would take {ladder[0].steps} steps; give {needed:.0f}m or more, or "
            "smaller or closer sizes with --set sizing.dials=[...]"
        )
    files.write_json(stored, {"asked": asked, "ladder": [asdict(rung) for rung in ladder]})
    return ladder


def tokens_of(sizing: SizingConfig, recipe: Recipe) -> float:
    """Tokens that a sample counts as."""
    if sizing.sample is not None:
        return sizing.sample
    window = getattr(recipe.phases[-1].source, "window", None)
    if window is None:
        raise UsageError(f"recipe {recipe.name} does not say what a sample counts as; set sizing.sample")
    return float(window)


def trained(
    recipe: Recipe, sizing: SizingConfig, data: Dataset, folder: Path, rung: Rung, seed: int, watch: Watch
) -> Point:
    """One run, or what it was."""
    place = folder / "runs" / f"{rung.dial}-{seed}"
    kept = place / "point.json"
    if kept.exists():
        return Point(**files.read_json(kept))
    watch.stage("train", f"size {rung.dial}, {rung.parameters / 1e6:.2f} M, seed {seed}, {rung.steps:,} steps")
    run = train(at(recipe, rung.dial, seed), data, place, Budget(f"{rung.steps} steps", steps=rung.steps), watch)
    last = run.summary["phases"][-1]
    epochs = max(1e-9, float(last["epochs"]))
    counted = effective(rung.tokens, rung.tokens / epochs, sizing.repeat)
    compute = 6.0 * rung.parameters * counted
    loss = held_out(Run(place))
    if not math.isfinite(loss):
        raise UsageError(f"size {rung.dial} did not learn (held-out loss {loss}); set a lower training.rate")
    made = Point(rung.dial, seed, rung.parameters, rung.tokens, epochs, compute, loss, float(last["seconds"]))
    files.write_json(kept, asdict(made))
    return made


def foretold(sizing: SizingConfig, points: Sequence[Point], last: Rung) -> Forecast:
    """The law of the ladder, and the loss of the size above it."""
    x = np.array([[point.compute] for point in points])
    loss = np.array([point.loss for point in points])
    return forecast(x, loss, [compute_of(sizing, points, last)], [point.dial for point in points])


def compute_of(sizing: SizingConfig, points: Sequence[Point], rung: Rung) -> float:
    """6 N D' of a run that was not trained: the different tokens there are, the others tell."""
    different = points[-1].tokens / points[-1].epochs
    return 6.0 * rung.parameters * effective(rung.tokens, different, sizing.repeat)


def checked(found: Forecast, point: Point) -> dict[str, Any]:
    """Whether the run lies in the interval that was written down before it."""
    return {**asdict(point), "inside": found.low <= point.loss <= found.high, "off": point.loss / found.value - 1}


def described(
    recipe: Recipe,
    data: Dataset,
    budget: Budget,
    told: dict[str, Any],
    points: Sequence[Point],
    found: Forecast,
    last: Rung,
    sizing: SizingConfig,
) -> dict[str, Any]:
    """What scale.json holds."""
    ((a, e),) = found.law.terms
    means = {p.dial: float(np.mean([q.loss for q in points if q.dial == p.dial])) for p in points}
    return {
        "recipe": recipe.name,
        "dataset": {"path": str(data.path), "version": data.version},
        "budget": {"asked": budget.asked, "asked_s": budget.seconds, "used_s": sum(p.seconds for p in points)},
        "law": {"floor": found.law.floor, "a": a, "exponent": e, "variable": "6 N D'", "spread": found.spread},
        "points": [asdict(point) for point in points],
        "losses": {str(dial): loss for dial, loss in means.items()},
        "foretold": {
            **told["held_out"],
            "compute": compute_of(sizing, points, last),
            "loss": found.value,
            "low": found.low,
            "high": found.high,
        },
        "check": None,
    }


def write(folder: Path, said: dict[str, Any]) -> None:
    """Both files."""
    files.write(folder / "scale.html", page.rendered(folder.name, said))
    files.write_json(folder / "scale.json", said)
