"""Verbs of language models' abilities: evaluate."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from genus.cli.lines import show
from genus.cli.options import Home, Json, RunName, assigned
from genus.cli.work import opened, watched

WIDE = 110  # characters of a table that is piped


def evaluate(
    run: RunName,
    task: Annotated[
        str, typer.Option("--task", help="Names or files of your own, with commas between; list: which there are.")
    ],
    shots: Annotated[str | None, typer.Option(help="Examples before each question, e.g. 0,1,4.")] = None,
    limit: Annotated[int | None, typer.Option(help="So many items of a task at most.")] = None,
    chat: Annotated[
        bool | None, typer.Option("--chat/--plain", help="Ask in turns of a conversation, or as text.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(envvar="GENUS_DATA", help="Folder of public data sets, for named tasks.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="field=value of the tasks that have it, e.g. tokens=128.")
    ] = None,
    home: Home = None,
    json: Json = False,
) -> None:
    """Ask a language model questions with known answers; each figure with its interval, and beside chance.

    Example: genus evaluate smol --task facts,facts-choice --chat

    Example: genus evaluate smol --task gsm8k --shots 0,1,4 --limit 100

    Example: genus evaluate letters --task questions.jsonl
    """
    from genus.tasks import names
    from genus.tasks.stage import evaluate as run_evaluate

    if task == "list":
        show({"tasks": names()}) if json else print("\n".join(names()))
        return
    found = opened(run, home)

    def go(watch: Any) -> Any:
        watch.stage("evaluate", found.name)
        numbers = None if shots is None else whole(shots)
        names = [name.strip() for name in task.split(",") if name.strip()]
        settings = assigned(set_)
        return run_evaluate(found, names, numbers, limit, chat=chat, data=data, settings=settings, watch=watch)

    made = watched(go, json)
    show(made.json()) if json else table(made)


def whole(text: str) -> list[int]:
    """'0,1,4' as numbers."""
    from genus.errors import UsageError

    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--shots {text!r} is not understood; write whole numbers, e.g. 0,1,4") from None


def table(made: Any) -> None:
    """All figures for people."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from genus.tasks.page import span
    from genus.validate.charts import number

    heads = ["task", "shots", "items", "figure", "value", "95 % interval", "chance"]
    more = ["without contaminated"] if any(entry.clean for entry in made.entries) else []
    grid = Table(*heads, *more, box=box.SIMPLE_HEAD)
    for entry in made.entries:
        clean = {finding.name: number(finding.value, finding.unit) for finding in entry.clean}
        cells = [entry.task.name, str(entry.shots or 0), f"{len(entry.outcome.items):,}"]
        for score, finding in zip(entry.outcome.scores, entry.found, strict=True):
            chance = "" if score.chance is None else number(score.chance, finding.unit)
            left = [clean.get(finding.name, "")] if more else []
            grid.add_row(*cells, finding.name, number(finding.value, finding.unit), span(finding), chance, *left)
            cells = ["", "", ""]
        grid.add_section()
    Console(width=None if sys.stdout.isatty() else WIDE, highlight=False).print(grid)
    for entry in made.entries:
        if entry.dirty is not None:
            print(f"{entry.task.name}: {number(entry.dirty.value, 'share')} of {entry.judged:,} items contaminated")
    for note in made.notes:
        print(note)
    print(f"page    {made.page}")
