"""Verbs of one stage each: collect, clean, train, validate, deploy."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from genus.cli.lines import forecasted, show
from genus.cli.options import (
    Budget,
    CodecOf,
    Column,
    Consent,
    DatasetName,
    Given,
    Home,
    Json,
    Licence,
    Medium,
    Name,
    RecipeName,
    RunName,
    Settings,
    Sources,
    StartOf,
    Yes,
    columns,
    phases,
)
from genus.cli.work import asking, opened, placed, watched


def collect(
    source: Sources,
    name: Name = None,
    licence: Licence = None,
    consent: Consent = "unknown",
    medium: Medium = None,
    column: Column = None,
    home: Home = None,
    json: Json = False,
) -> None:
    """Sources into a dataset, every item with origin, licence and consent. Again on the same adds only what is new.

    Example: genus collect letters/ diary.zip --name letters
    """
    from genus import home as homes
    from genus.collect import collect as run_collect
    from genus.make import checked, collecting, named, told

    dataset = homes.home(home) / "datasets" / checked(name or named(source[0]))

    def go(watch: Any) -> Any:
        watch.stage("collect", ", ".join(map(str, source)))
        return run_collect(
            [str(s) for s in source],
            dataset,
            licence=licence,
            consent=consent,
            medium=medium,
            columns=columns(column),
            progress=collecting(watch),
        )

    collected = watched(go, json).json()
    show(collected) if json else print(f"{told(collected)}\ndataset {dataset} version {collected['version']}")


def clean(
    dataset: DatasetName,
    undo: Annotated[list[str] | None, typer.Option(help="Take back what this rule did. May be repeated.")] = None,
    set_: Settings = None,
    home: Home = None,
    json: Json = False,
) -> None:
    """Mark duplicates, damage and low quality, mask personal data. Nothing is deleted; each rule can be undone.

    Example: genus clean letters --undo near_duplicates
    """
    from genus import home as homes
    from genus.clean import clean as run_clean
    from genus.clean import usual
    from genus.make import largest, usual_recipe
    from genus.recipes import find, with_settings

    path = homes.dataset_path(dataset, homes.home(home))
    kind = largest(path)
    rules = with_settings(find(usual_recipe(kind)), set_ or ()).clean or usual(kind)

    def go(watch: Any) -> Any:
        watch.stage("clean", dataset)
        return run_clean(path, rules, undo=undo or (), progress=lambda done, total: watch.tick(done, total))

    cleaned = watched(go, json).json()
    if json:
        show(cleaned)
        return
    print(f"{cleaned['kept']} items kept, version {cleaned['version']}")
    for rule, what in cleaned["rules"].items():
        if what["count"]:
            print(f"  {rule:24}{what['count']:>8}   {'; '.join(map(str, what['examples'][:2]))[:90]}")


def train(
    dataset: DatasetName,
    recipe: RecipeName = None,
    budget: Budget = "10m",
    name: Name = None,
    set_: Settings = None,
    codec: CodecOf = None,
    from_: StartOf = None,
    given: Given = None,
    yes: Yes = False,
    dry_run: Annotated[bool, typer.Option(help="Print size, memory, time and energy; train nothing.")] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """A recipe on a dataset within a budget. The same command again resumes.

    Example: genus train letters --recipe gpt --budget 30m

    Example: genus train chats --recipe sft --from letters
    """
    from genus import home as homes
    from genus.data.dataset import Dataset
    from genus.make import checked, chosen_recipe, forecast, largest, usual_recipe
    from genus.train.budget import budget as parsed
    from genus.train.stage import train as run_train

    spend = parsed(budget)
    base = homes.home(home)
    path = homes.dataset_path(dataset, base)
    chosen = chosen_recipe(recipe or usual_recipe(largest(path)), set_ or (), codec, base, from_, phases(given))
    data = Dataset.open(path)
    if dry_run:
        said = watched(lambda watch: forecast(chosen, path, spend, watch), json)
        show(said) if json else print(forecasted(said))
        return
    folder = base / "runs" / checked(name or path.name)

    def go(watch: Any) -> Any:
        watch.stage("train", f"recipe {chosen.name}, budget {spend.asked}")
        return run_train(chosen, data, folder, spend, watch, confirm=asking(yes or json))

    run = watched(go, json)
    seconds = run.summary["seconds"]
    if json:
        report = str(run.path / "report.html")
        show({"run": str(run.path), "dataset": str(path), "report": report, "deployed": False, "seconds": seconds})
        return
    print(f"run     {run.path}\nnext    genus validate {run.name}{placed(home)}")


def validate(
    run: RunName,
    samples: Annotated[int, typer.Option(help="The most that any measure may draw.")] = 1000,
    home: Home = None,
    json: Json = False,
) -> None:
    """Measure a run on held-out data beside its baselines; write report.html and report.json.

    Example: genus validate letters
    """
    from genus.validate import validate as run_validate

    found = opened(run, home)

    def go(watch: Any) -> Any:
        watch.stage("validate", found.name)
        return run_validate(found, samples=samples, watch=watch)

    report = watched(go, json)
    if json:
        show(report.json())
        return
    for metric in report.json()["metrics"]:
        interval = "" if metric["low"] is None else f"  [{metric['low']:.4g}, {metric['high']:.4g}]"
        print(f"  {metric['name']:34}{metric['value']:>10.4g} {metric['unit']}{interval}")
    print(f"gate    {'passed' if report.passed else 'not passed: ' + '; '.join(report.reasons)}")
    print(f"report  {found.path / 'report.html'}")


def deploy(
    run: RunName,
    force: Annotated[bool, typer.Option(help="Although the gate did not pass; the card will say so.")] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """Publish a run that passed its gate: model card and evidence. Refuses else, saying why.

    Example: genus deploy letters
    """
    from genus.deploy import publish

    found = opened(run, home)
    published = publish(found, force=force)
    following = f"next    genus serve {found.name}{placed(home)}"
    show(published.json()) if json else print(f"card    {found.path / 'card.md'}\n{following}")
