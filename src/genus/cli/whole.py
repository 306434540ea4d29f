"""Verbs that go through all stages: make, and compare for several recipes."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from genus.cli.lines import forecasted, outlook, ranking, show
from genus.cli.options import (
    Budget,
    CodecOf,
    Column,
    Consent,
    Given,
    Home,
    Json,
    Licence,
    Medium,
    Name,
    RecipeName,
    Settings,
    Sources,
    StartOf,
    Yes,
    columns,
    phases,
)
from genus.cli.work import asking, failed, placed, watched


def make(
    source: Sources,
    recipe: RecipeName = None,
    budget: Budget = "10m",
    name: Name = None,
    licence: Licence = None,
    consent: Consent = "unknown",
    medium: Medium = None,
    column: Column = None,
    set_: Settings = None,
    codec: CodecOf = None,
    from_: StartOf = None,
    given: Given = None,
    yes: Yes = False,
    dry_run: Annotated[bool, typer.Option(help="Collect, clean and forecast; train nothing.")] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """All five stages: collect, clean, train, validate, deploy.

    Example: genus make photos/ --budget 20m --licence CC-BY-4.0

    Example: genus make chats.jsonl --recipe sft --from tales --budget 10m
    """
    from genus.make import forecast, prepared
    from genus.make import make as run_make

    sources, settings, roles = [str(s) for s in source], set_ or (), columns(column)
    earlier = phases(given)

    def plan(watch: Any) -> dict[str, Any]:
        asked = (recipe, budget, name, home, licence, consent, medium, settings, codec, roles, from_, earlier)
        ready = prepared(sources, *asked, watch)
        return forecast(ready.recipe, ready.dataset, ready.budget, watch)

    def go(watch: Any) -> Any:
        return run_make(
            sources,
            recipe,
            budget,
            name,
            home=home,
            licence=licence,
            consent=consent,
            medium=medium,
            settings=settings,
            codec=codec,
            columns=roles,
            start=from_,
            given=earlier,
            watch=watch,
            confirm=asking(yes or json),
        )

    if dry_run:
        said = watched(plan, json)
        show(said) if json else print(forecasted(said))
        return
    made = watched(go, json)
    if json:
        show(made.json())
    else:
        print(f"run     {made.run}\nreport  {made.report}")
        if made.deployed:
            at = f"{made.run.name}{placed(home)}"
            print(f"next    genus generate {at}    or    genus serve {at}")
    if not made.deployed:
        failed("not deployed: " + "; ".join(made.reasons))


def compare(
    source: Sources,
    recipes: Annotated[str, typer.Option(help="Names with commas between: see genus recipes.")],
    budget: Annotated[str, typer.Option(help="Of each run's training: 90s, 10m, 1h, 2kWh or '5000 steps'.")] = "20m",
    seeds: Annotated[int, typer.Option(help="Runs of each recipe.")] = 3,
    name: Annotated[str | None, typer.Option(help="Of the dataset and the comparison (default: the source's).")] = None,
    samples: Annotated[int, typer.Option(help="The most that any measure may draw.")] = 1000,
    licence: Licence = None,
    consent: Consent = "unknown",
    medium: Medium = None,
    column: Column = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="part.field=value for all, RECIPE:part.field=value for one.")
    ] = None,
    yes: Yes = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """The same data and budget for several recipes; a page that says which to use. The same command again resumes.

    Example: genus compare photos/ --recipes flow,edm --budget 20m --seeds 3
    """
    from genus.compare.stage import compare as run_compare

    def go(watch: Any) -> Any:
        return run_compare(
            [str(s) for s in source],
            recipes.split(","),
            budget,
            seeds,
            name,
            home=home,
            licence=licence,
            consent=consent,
            medium=medium,
            settings=set_ or (),
            columns=columns(column),
            samples=samples,
            watch=watch,
            confirm=asking(yes or json, outlook),
        )

    compared = watched(go, json)
    show(compared.json()) if json else print("\n".join(ranking(compared.json())))
    if compared.failed:
        failed("no recipe finished a run: " + "; ".join(why for row in compared.rows for why in row["reasons"]))
