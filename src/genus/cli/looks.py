"""Verbs that look: recipes, info, doctor."""

from __future__ import annotations

from typing import Annotated

import typer

from genus.cli.lines import show
from genus.cli.options import Home, Json
from genus.cli.work import failed


def recipes(json: Json = False) -> None:
    """What genus can build.

    Example: genus recipes
    """
    from genus.recipes import describe, find, names

    found = [describe(find(name)) for name in names()]
    if json:
        show({"recipes": found})
        return
    wide = max(len(recipe["name"]) for recipe in found) + 2
    for recipe in found:
        print(f"  {recipe['name']:{wide}}{recipe['family']:16}{', '.join(recipe['media']):14}{recipe['about']}")


def info(
    what: Annotated[str | None, typer.Argument(metavar="NAME", help="A run or a dataset; none: all there are.")] = None,
    home: Home = None,
    json: Json = False,
) -> None:
    """What a run or a dataset holds, or what there is.

    Example: genus info letters
    """
    from genus.about import about, everything, lines

    said = everything(home) if what is None else about(what, home)
    show(said) if json else print("\n".join(lines(said)))


def doctor(home: Home = None, json: Json = False) -> None:
    """Whether this machine has what genus needs, and how fast it is.

    Example: genus doctor
    """
    from genus.about import examine, lines

    said = examine(home)
    show(said) if json else print("\n".join(lines(said)))
    if not said["healthy"]:
        failed("something is missing: see above")
