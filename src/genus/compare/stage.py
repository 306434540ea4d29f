"""compare: the same data, split, features and budget for several recipes; rows, claims and a page.

    home/comparisons/NAME/
      asked.json                         what it stands on: data at one version, budget, recipes as they were set
      runs/RECIPE-SEED/                  a run as any other, and measured.json: what it adds to the comparison
      forecast.json                      what it was expected to take
      comparison.json  comparison.html   after every run, whole or as before

Killed and called again it goes on where it was: finished runs are read, the one that was cut off resumes. A later call
may add recipes and seeds. A run that fails is a sentence in its recipe's row. Not here: what one run does (`work`),
what follows from the runs (`rows`, `claims`), how the page looks (`page`).
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, final

from genus import files
from genus import home as homes
from genus.compare import claims, page, rows
from genus.compare.work import Job, Runner, apart
from genus.errors import GenusError, UsageError
from genus.make import checked, cleaned, gathered, named
from genus.train.budget import Budget
from genus.train.budget import budget as parsed
from genus.watch import Silent, Watch

MOST_SEEDS = 100
LADDER = 0.25  # of a run's budget in time: the most that quality against steps may take, on the first seed
LADDER_LEAST = 30.0  # seconds
OWN = 20.0  # seconds a run takes beside training, drawing and features


@final
@dataclass(frozen=True)
class Compared:
    """said: what comparison.json holds. done: runs that were finished, of `asked`."""

    path: Path
    said: dict[str, Any]

    @property
    def page(self) -> Path:
        """comparison.html."""
        return self.path / "comparison.html"

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One a recipe."""
        found: list[dict[str, Any]] = self.said["rows"]
        return found

    @property
    def failed(self) -> bool:
        """No recipe has a finished run."""
        return not any(row["seeds"] for row in self.rows)

    def json(self) -> dict[str, Any]:
        """The result object of `genus compare --json`."""
        return self.said


def compare(
    source: str | Path | Sequence[str | Path],
    recipes: Sequence[str],
    budget: str = "20m",
    seeds: int = 3,
    name: str | None = None,
    *,
    home: str | Path | None = None,
    licence: str | None = None,
    consent: str = "unknown",
    medium: str | None = None,
    settings: Sequence[str] = (),
    columns: dict[str, str] | None = None,
    samples: int = 1000,
    watch: Watch | None = None,
    confirm: Callable[[dict[str, Any]], bool] | None = None,
    runner: Runner = apart,
) -> Compared:
    """Train and measure every recipe with every seed on `source`, each within `budget`.

    budget: of each run's training (`genus.train.budget`). settings: `part.field=value` for all recipes, or
    `RECIPE:part.field=value` for one. samples: the most that any measure may draw. confirm: asked with the forecast;
    False ends it there. runner: does one run (`genus.compare.work`), in a process of its own if nothing else is said.
    Raises `UsageError` for what was asked wrongly, with the recipes that do fit where one does not fit the medium.

        >>> made = genus.compare("digits/", ["flow", "edm"], budget="5m", seeds=2)          # doctest: +SKIP
        >>> made.rows[0]["recall"]["value"], made.page
    """
    from genus.train.stage import alone

    watch = watch or Silent()
    spend = parsed(budget)  # what can be refused is refused before anything is read
    if not 1 <= seeds <= MOST_SEEDS:
        raise UsageError(f"seeds = {seeds}: ask for 1 to {MOST_SEEDS}")
    if samples < 1:
        raise UsageError(f"samples = {samples}: it takes at least one")
    chosen = chosen_recipes(recipes, settings)
    base = homes.home(home)
    sources = [source] if isinstance(source, str | Path) else list(source)
    name = checked(name or named(sources[0]))
    dataset, folder = base / "datasets" / name, base / "comparisons" / name
    now: dict[str, Any] = {"seconds": spend.seconds, "steps": spend.steps, "samples": samples}
    now["recipes"] = {recipe.name: recipe.model_dump(mode="json") for recipe in chosen}
    agreed(folder, now)
    kind = gathered(sources, dataset, licence, consent, medium, columns, watch)
    fitting(chosen, kind)
    rules = chosen[0].clean
    if any(recipe.clean != rules for recipe in chosen):
        watch.say(f"the recipes clean differently; to share a split all take the rules usual for {kind}")
        rules = ()
    watch.stage("clean", f"{name}, once for all")
    cleaned(dataset, rules, kind, [kind], watch)
    with alone(folder):
        work = Work(folder, chosen, pinned(folder, dataset, kind, now), spend, seeds, watch, runner)
        return work.all(confirm)


def chosen_recipes(names: Sequence[str], settings: Sequence[str]) -> list[Any]:
    """The recipes of these names with their settings. Raises `UsageError` for none, one twice, or one unknown."""
    from genus.recipes import find, with_settings

    asked = [n.strip() for n in names if n.strip()]
    if not asked:
        raise UsageError("no recipe was named; write e.g. --recipes flow,edm (see: genus recipes)")
    twice = sorted({n for n in asked if asked.count(n) > 1})
    if twice:
        raise UsageError(f"recipe {twice[0]!r} was named twice; name each once, and use --seeds to repeat it")
    found = [find(n) for n in asked]
    own: dict[str, list[str]] = {n: [] for n in asked}
    for setting in settings:
        head, colon, rest = setting.partition(":")
        if colon and "=" not in head:
            if head not in own:
                raise UsageError(f"--set {setting!r}: {head!r} is none of the recipes compared ({', '.join(asked)})")
            own[head].append(rest)
        else:
            for n in asked:
                own[n].append(setting)
    out = []
    for recipe in found:
        try:
            out.append(with_settings(recipe, own[recipe.name]))
        except UsageError as error:
            raise UsageError(
                f"recipe {recipe.name}: {error}; for one recipe alone write RECIPE:part.field=value"
            ) from None
    return out


def fitting(recipes: Sequence[Any], kind: str) -> None:
    """Raises `UsageError` if one of these draws nothing, or cannot learn this medium: it names those that can."""
    from genus.recipes import find, names
    from genus.samplers.undrawn import Undrawn

    mute = [r.name for r in recipes if isinstance(r.phases[-1].sampler or r.phases[-1].objective.sampler(), Undrawn)]
    if mute:
        raise UsageError(f"{', '.join(mute)} draws nothing, so its samples cannot be compared; name recipes that draw")
    unfit = [recipe.name for recipe in recipes if kind not in recipe.media]
    if unfit:
        fit = [n for n in names() if kind in find(n).media]
        raise UsageError(f"{', '.join(unfit)} cannot learn from {kind}; these can: {', '.join(fit) or 'none yet'}")


def agreed(folder: Path, now: dict[str, Any]) -> dict[str, Any]:
    """What the comparison has stood on so far. Raises `UsageError` where `now` says otherwise."""
    path = folder / "asked.json"
    before: dict[str, Any] = files.read_json(path) if path.exists() else {"recipes": {}}
    differ = [key for key, value in now.items() if key != "recipes" and before.get(key, value) != value]
    recipes = now.get("recipes", {})
    differ += [f"recipe {n}" for n, recipe in recipes.items() if before["recipes"].get(n, recipe) != recipe]
    if differ:
        what = {"digest": "the data", "seconds": "the budget", "steps": "the budget", "path": "the dataset"}
        changed = ", ".join(dict.fromkeys(what.get(key, key) for key in differ))
        raise UsageError(f"{folder} was begun with another state of: {changed}; choose another --name")
    return before


def pinned(folder: Path, dataset: Path, kind: str, now: dict[str, Any]) -> dict[str, Any]:
    """What the comparison stands on: the data at the version of the first call, and `now`; written down."""
    from genus.data.dataset import Dataset

    data = Dataset.open(dataset)
    now = {**now, "path": str(dataset.absolute()), "digest": data.digest(), "medium": kind}
    before = agreed(folder, now)
    data = data.only([kind])
    splits = {s: data.count(f"status = 'kept' AND split = '{s}'") for s in ("train", "val", "test")}
    recipes = {**before["recipes"], **now["recipes"]}
    said = {**now, "version": data.version, "splits": splits, **before, "recipes": recipes}
    files.write_json(folder / "asked.json", said)
    return said


@final
@dataclass
class Work:
    """A comparison under way. failures: (recipe, seed) -> why."""

    folder: Path
    recipes: list[Any]
    asked: dict[str, Any]
    spend: Budget
    seeds: int
    watch: Watch
    runner: Runner
    failures: dict[tuple[str, int], str] = field(default_factory=dict)
    forecast: dict[str, Any] = field(default_factory=dict)

    def all(self, confirm: Callable[[dict[str, Any]], bool] | None) -> Compared:
        """Every run that is not there yet, one seed of each recipe after another."""
        waiting = [(r, seed) for seed in range(self.seeds) for r in self.recipes if self.found(r.name, seed) is None]
        if waiting:
            self.forecast = self.expected(waiting)
            if confirm is not None and not confirm(self.forecast):
                raise UsageError("not started, as you said; the dataset is kept")
            files.write_json(self.folder / "forecast.json", self.forecast)
        elif (self.folder / "forecast.json").exists():
            self.forecast = files.read_json(self.folder / "forecast.json")
        for recipe, seed in waiting:
            if (recipe.name, seed) in self.failures:
                continue
            self.run(recipe, seed)
            self.written()
        return self.written()

    def place(self, name: str, seed: int) -> Path:
        """Of a run."""
        return self.folder / "runs" / f"{name}-{seed}"

    def found(self, name: str, seed: int) -> dict[str, Any] | None:
        """What a finished run adds, or None."""
        path = self.place(name, seed) / "measured.json"
        return files.read_json(path) if path.exists() else None

    def job(self, recipe: Any, seed: int, folder: Path, trial: bool = False) -> Job:
        """A run, or a trial of it."""
        return Job(
            recipe=recipe.model_dump(mode="json"),
            seed=seed,
            budget=self.spend.asked,
            dataset=self.asked["path"],
            version=self.asked["version"],
            folder=str(folder),
            samples=self.asked["samples"],
            ladder=self.ladder() if seed == 0 else 0.0,
            trial=trial,
        )

    def ladder(self) -> float:
        """Seconds that quality against steps may take."""
        return max(LADDER_LEAST, LADDER * (self.spend.seconds or 0.0))

    def run(self, recipe: Any, seed: int) -> None:
        """One run; a failure is noted and ends nothing else."""
        job = self.job(recipe, seed, self.place(recipe.name, seed))
        try:
            found = self.runner(job, self.watch)
            files.write_json(Path(job.folder) / "measured.json", found)
        except Exception as error:
            self.note(error, recipe.name, seed)

    def note(self, error: Exception, name: str, seed: int) -> None:
        """Why a run failed, in its row. Raises `error` again if it says that somebody stopped us."""
        if isinstance(error, GenusError) and error.exit_code == 130:
            raise error
        said = str(error) if isinstance(error, GenusError) else f"{type(error).__name__}: {error}"
        self.failures[name, seed] = said
        self.watch.say(f"{name}, seed {seed}, failed: {said}")

    def expected(self, waiting: Sequence[tuple[Any, int]]) -> dict[str, Any]:
        """Seconds and energy of the runs that wait, from a step and a few samples of each recipe, tried here and now.

        A recipe whose trial fails has failed: it is not run.
        """
        from genus.train.meter import watts

        for left in self.folder.glob("try-*"):  # of a call that was killed
            shutil.rmtree(left, ignore_errors=True)
        each: dict[str, Any] = {}
        train = measure = 0.0
        runs = 0
        for recipe in {r.name: r for r, _ in waiting}.values():
            seeds = [seed for r, seed in waiting if r.name == recipe.name]
            with TemporaryDirectory(prefix="try-", dir=self.folder) as place:
                try:
                    tried = self.runner(self.job(recipe, 0, Path(place) / "run", trial=True), self.watch)
                except Exception as error:
                    for seed in seeds:
                        self.note(error, recipe.name, seed)
                    continue
            draws = min(self.asked["samples"], max((getattr(m, "samples", 0) for m in recipe.measures), default=0))
            one = self.spend.seconds or (self.spend.steps or 0) * 1.06 * tried["seconds_a_step"]
            # Twice: the samples' features, and those of the Gaussian fit that the report puts beside them.
            after = OWN + draws * (tried["seconds_per_sample"] + 2 * tried["seconds_per_look"])
            ladder = self.ladder() if 0 in seeds else 0.0
            each[recipe.name] = {**tried, "training_s": one, "measuring_s": after, "runs": len(seeds)}
            train, measure, runs = train + one * len(seeds), measure + after * len(seeds) + ladder, runs + len(seeds)
        total = train + measure
        said = {
            "seconds": total,
            "training_s": train,
            "measuring_s": measure,
            "runs": runs,
            "kwh": total * watts()[0] / 3.6e6,
            "kwh_method": watts()[1],
            "recipes": each,
        }
        self.watch.say(f"{runs} runs: about {total / 60:.0f} min, of which training {train / 60:.0f} min")
        return said

    def runs(self) -> Iterator[dict[str, Any]]:
        """What is finished of what was asked, in the order of recipes, then seeds."""
        for recipe in self.recipes:
            for seed in range(self.seeds):
                if (found := self.found(recipe.name, seed)) is not None:
                    yield found

    def written(self) -> Compared:
        """Rows, claims and page from what is finished now."""
        runs = list(self.runs())
        table = []
        for recipe in self.recipes:
            about = {"recipe": recipe.name, "family": recipe.family, "about": recipe.about}
            own = [run for run in runs if run["recipe"] == recipe.name]
            failures = {seed: why for (name, seed), why in self.failures.items() if name == recipe.name}
            table.append(rows.row(about, own, failures, self.seeds))
        base = rows.baselines(runs)
        asked = len(self.recipes) * self.seeds
        said: dict[str, Any] = {
            "name": self.folder.name,
            "comparison": str(self.folder),
            "page": str(self.folder / "comparison.html"),
            "finished": len(runs) + len(self.failures) == asked,
            "runs_asked": asked,
            "runs_done": len(runs),
            "seeds": self.seeds,
            "budget": {"asked": self.spend.asked, "seconds": self.spend.seconds, "steps": self.spend.steps},
            "dataset": {key: self.asked[key] for key in ("path", "version", "digest", "medium", "splits")},
            "judged_by": rows.judged_by(table),
            "rows": table,
            "baselines": base,
            "claims": [claim.json() for claim in claims.judge(table, base)],
            "forecast": self.forecast,
            "seconds": sum(run["wall_s"] for run in runs),
            "notes": notes(runs),
            "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        said = finite(said)
        files.write(self.folder / "comparison.html", page.rendered(said, runs))
        files.write_json(self.folder / "comparison.json", said)
        return Compared(self.folder, said)


def notes(runs: Sequence[dict[str, Any]]) -> list[str]:
    """What a reader must know to read the numbers."""
    out = [
        "Every run had the same items of the same version, the same split and the same budget; seeds change weights, "
        "order of data and noise of training. Ranges are the least and the most over seeds.",
        "Samples are drawn with the same noise and asked for with the same fields of held-out items in all runs.",
    ]
    sizes = {str(run["makes"]): run["recipe"] for run in runs}
    if len(sizes) > 1:
        said = ", ".join(f"{recipe} {size}" for size, recipe in sizes.items())
        out.append(
            f"The recipes make pictures of different sizes ({said}): each is compared with real ones of its own size, "
            "so distances compare only between equal sizes; gap closed does so more."
        )
    out += dict.fromkeys(f"{run['recipe']}: {note}" for run in runs for note in run["notes"] if "No " in note[:4])
    out += dict.fromkeys(
        f"{run['recipe']}, quality against steps: {run['drawing']['reasons']['ladder']}."
        for run in runs
        if run["drawing"]["ladder"]
    )
    out += dict.fromkeys(run["notes"][0] for run in runs[:1] if run["notes"] and "No " not in run["notes"][0][:4])
    out += dict.fromkeys(f"Energy {run['cost']['kwh_method']}." for run in runs[:1])
    return out


def finite(value: Any) -> Any:
    """The same with null for what is not finite, as JSON has no other word for it."""
    if isinstance(value, dict):
        return {key: finite(v) for key, v in value.items()}
    if isinstance(value, list):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
