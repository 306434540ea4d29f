"""One command, five stages: a folder in; a measured, deployed model out. Each stage can be run by itself as well."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any, final

from genus import home as homes
from genus.errors import GenusError, UsageError
from genus.train.budget import Budget
from genus.train.budget import budget as parsed
from genus.watch import Silent, Watch


@final
@dataclass(frozen=True)
class Made:
    """run and dataset: their folders. report: report.html. deployed: the gate passed; else `reasons` says why not."""

    run: Path
    dataset: Path
    report: Path
    deployed: bool
    seconds: float
    reasons: tuple[str, ...] = ()

    def json(self) -> dict[str, Any]:
        """The result object of `genus make --json`."""
        said = {"run": str(self.run), "dataset": str(self.dataset), "report": str(self.report)}
        return {**said, "deployed": self.deployed, "seconds": round(self.seconds, 3), "reasons": list(self.reasons)}


def make(
    source: str | Path | Sequence[str | Path],
    recipe: str | None = None,
    budget: str = "10m",
    name: str | None = None,
    *,
    home: str | Path | None = None,
    licence: str | None = None,
    consent: str = "unknown",
    medium: str | None = None,
    settings: Sequence[str] = (),
    codec: str | Path | None = None,
    columns: dict[str, str] | None = None,
    start: str | Path | None = None,
    given: Mapping[str, str | Path] | None = None,
    watch: Watch | None = None,
    confirm: Callable[[dict[str, Any]], bool] | None = None,
) -> Made:
    """Collect, clean, train, validate and deploy `source`.

    recipe: a name of `genus recipes`; None chooses by what the source holds. budget: of the training
    (`genus.train.budget`). codec: a run whose trained codec to use again, for recipes that learn one.
    start: a run whose model to go on from, in place of the phases before the recipe's last. given: runs whose models
    to take in place of earlier phases, by the names of these.
    name: of the dataset and the run; None takes the source's. Killed and called again, it goes on where it was.
    Raises `UsageError` for what was asked wrongly, `GenusError` for what failed.

        >>> made = genus.make("letters/", budget="5m")          # doctest: +SKIP
        >>> genus.load(made.run).generate("Dear", n=2)
    """
    from genus.data.dataset import Dataset
    from genus.train.stage import train

    begun = time.monotonic()
    watch = watch or Silent()
    ready = prepared(
        source, recipe, budget, name, home, licence, consent, medium, settings, codec, columns, start, given, watch
    )
    watch.stage("train", f"recipe {ready.recipe.name}, budget {ready.budget.asked}")
    run = train(ready.recipe, Dataset.open(ready.dataset), ready.run, ready.budget, watch, confirm=confirm)
    deployed, reasons = judged(run, watch)
    return Made(run.path, ready.dataset, run.path / "report.html", deployed, time.monotonic() - begun, reasons)


@final
@dataclass(frozen=True)
class Ready:
    """Collected and cleaned: what is to be trained, on what, where, for how long."""

    recipe: Any
    dataset: Path
    run: Path
    budget: Budget


def prepared(
    source: str | Path | Sequence[str | Path],
    recipe: str | None,
    budget: str,
    name: str | None,
    home: str | Path | None,
    licence: str | None,
    consent: str,
    medium: str | None,
    settings: Sequence[str],
    codec: str | Path | None,
    columns: dict[str, str] | None,
    start: str | Path | None,
    given: Mapping[str, str | Path] | None,
    watch: Watch,
) -> Ready:
    """The first two stages of `make`."""
    spend = parsed(budget)  # a bad budget or setting is refused before anything is read
    base = homes.home(home)
    if recipe is not None:
        chosen_recipe(recipe, settings, codec, base, start, given)
    sources = [source] if isinstance(source, str | Path) else list(source)
    name = checked(name or named(sources[0]))
    dataset = base / "datasets" / name
    kind = gathered(sources, dataset, licence, consent, medium, columns, watch)
    chosen = chosen_recipe(recipe or usual_recipe(kind), settings, codec, base, start, given)
    watch.stage("clean", f"{name}, as recipe {chosen.name} says")
    cleaned(dataset, chosen.clean, kind, chosen.media, watch)
    return Ready(chosen, dataset, base / "runs" / name, spend)


def gathered(
    sources: Sequence[str | Path],
    dataset: Path,
    licence: str | None,
    consent: str,
    medium: str | None,
    columns: dict[str, str] | None,
    watch: Watch,
) -> str:
    """The first stage: collects `sources` into `dataset` and says which medium it holds."""
    from genus.collect import collect

    watch.stage("collect", ", ".join(map(str, sources)))
    collected = collect(
        sources, dataset, licence=licence, consent=consent, medium=medium, columns=columns, progress=collecting(watch)
    )
    watch.say(told(collected.json()))
    return medium or largest(dataset)


def cleaned(dataset: Path, rules: Sequence[Any], kind: str, media: Sequence[str], watch: Watch) -> None:
    """The second stage, by `rules` or else those usual for `kind`. Raises `UsageError` if nothing is held out."""
    from genus.clean import clean, usual
    from genus.data.dataset import Dataset

    done = clean(dataset, rules or usual(kind), progress=lambda done, total: watch.tick(done, total)).json()
    watch.say(f"{done['kept']} items kept; removed: {counts(done['removed'])}")
    if Dataset.open(dataset).only(media).count("status = 'kept' AND split != 'train'") == 0:
        raise UsageError(  # now, not when the budget is spent
            f"{dataset} holds nothing out, so a model of it could not be measured; collect more items, "
            f"or train without measuring: genus train {dataset.name}"
        )


def forecast(recipe: Any, dataset: Path, budget: Budget, watch: Watch | None = None) -> dict[str, Any]:
    """What training would take, and of what size; nothing of it stays but the encoded data."""
    from genus import files
    from genus.data.dataset import Dataset
    from genus.train.stage import train

    with TemporaryDirectory(prefix="genus-") as place:
        folder = Path(place) / "run"
        train(recipe, Dataset.open(dataset), folder, budget, watch, plan_only=True)
        said: dict[str, Any] = files.read_json(folder / "forecast.json")
    first = recipe.phases[0]  # the later ones are sized in their turn
    whole = sum(phase.share for phase in recipe.phases) / first.share
    return {**said, **{name: said[name] * whole for name in ("seconds", "kwh")}, "phase": first.name}


def judged(run: Any, watch: Watch) -> tuple[bool, tuple[str, ...]]:
    """Validate and deploy a trained run: (whether it is deployed, why not)."""
    from genus.deploy import publish
    from genus.validate import validate

    watch.stage("validate", f"{run.name} on held-out data")
    report = validate(run, watch=watch)
    watch.stage("deploy", run.name)
    if not report.passed:
        return False, tuple(report.reasons)
    publish(run)
    return True, ()


def chosen_recipe(
    name: str,
    settings: Sequence[str],
    codec: str | Path | None,
    base: Path,
    start: str | Path | None = None,
    given: Mapping[str, str | Path] | None = None,
) -> Any:
    """A recipe by its name, with settings, on the codec of a run or begun from its model if one is named; given: runs
    in place of earlier phases.
    """
    from genus.recipes import find, with_codec, with_given, with_settings, with_start

    found = find(name)
    if start is not None:
        found = with_start(found, homes.run_path(str(start), base))
    if codec is not None:
        found = with_codec(found, homes.run_path(str(codec), base))
    found = with_settings(found, settings)
    runs = {name: homes.run_path(str(run), base) for name, run in (given or {}).items()}
    return with_given(found, runs) if runs else found


def usual_recipe(medium: str) -> str:
    """What a medium is learned with when no recipe is named."""
    from genus.recipes import USUAL

    if medium not in USUAL:
        raise UsageError(f"no recipe is usual for {medium}; name one with --recipe (see: genus recipes)")
    return USUAL[medium]


def largest(dataset: Path) -> str:
    """The medium that most kept bytes of a dataset are of."""
    from genus.data.dataset import Dataset

    sizes: dict[str, int] = {}
    for batch in Dataset.open(dataset).scan(["medium", "size"], "status IN ('kept', 'removed')", batch=4096):
        for row in batch.to_pylist():
            sizes[row["medium"]] = sizes.get(row["medium"], 0) + row["size"]
    if not sizes:
        raise GenusError(f"{dataset} holds nothing that can be learned from; see: genus info {dataset.name}")
    return max(sizes, key=lambda medium: (sizes[medium], medium))


def named(source: str | Path) -> str:
    """A name from a path or a pattern: its last part that is no pattern, in plain letters."""
    parts = [p for p in Path(source).absolute().parts if not set(p) & set("*?[")]
    stem = parts[-1].split(".")[0] if len(parts) > 1 else ""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-") or "data"


def checked(name: str) -> str:
    """A name that is safe as a folder's. Raises `UsageError` else."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise UsageError(f"name {name!r}: use letters, digits, '.', '_' and '-', at most 100, a letter or digit first")
    return name


def collecting(watch: Watch) -> Callable[[int, int, int | None], None]:
    """Collect's progress as a watch hears it."""

    def heard(items: int, size: int, total: int | None) -> None:
        watch.tick(size, total, f"{items} items, {size / 1e6:.1f} MB")

    return heard


def counts(by: dict[str, int]) -> str:
    """{"a": 2, "b": 1} as 'a 2, b 1'."""
    return ", ".join(f"{name} {n}" for name, n in by.items() if n) or "nothing"


def told(collected: dict[str, Any]) -> str:
    """One line about a collect."""
    line = f"{collected['added']} items added, {collected['known']} known"
    for word in ("refused", "quarantined"):
        if collected[word]:
            line += f"; {word}: {counts(collected[word])}"
    return line


@final
class _Module(ModuleType):
    """`genus.make(...)` works although importing this file has put the module where the function belongs."""

    __call__ = staticmethod(make)


sys.modules[__name__].__class__ = _Module
