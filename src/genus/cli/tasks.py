"""Verbs of language models' abilities: evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from genus.cli.lines import show
from genus.cli.options import Home, Json, RunName, assigned
from genus.cli.work import opened, watched


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
    from rich.console import Console
    from rich.table import Table

    from genus.tasks.page import span
    from genus.validate.charts import number

    grid = Table("task", "shots", "items", "figure", "value", "95 % interval", "chance", "without dirty")
    for entry in made.entries:
        clean = {finding.name: finding for finding in entry.clean}
        for score, finding in zip(entry.outcome.scores, entry.found, strict=True):
            chance = "" if score.chance is None else number(score.chance, finding.unit)
            left = number(clean[finding.name].value, finding.unit) if finding.name in clean else ""
            first = finding is entry.found[0]
            head = (entry.task.name, str(entry.shots or 0), f"{len(entry.outcome.items):,}") if first else ("", "", "")
            value = number(finding.value, finding.unit)
            grid.add_row(
                *head, finding.name, value, span(finding), chance, left, end_section=finding is entry.found[-1]
            )
    console = Console()
    console.print(grid)
    for entry in made.entries:
        if entry.dirty is not None:
            said = number(entry.dirty.value, "share")
            console.print(f"{entry.task.name}: {said} of {entry.judged:,} items contaminated", highlight=False)
    for note in made.notes:
        console.print(note, highlight=False)
    print(f"page    {made.page}")
