"""How a verb works: it opens a run, watches what it called, asks before a long one, says that it failed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import typer

from genus.cli.lines import forecasted


def opened(name: str, home: Path | None) -> Any:
    """The run of this name."""
    from genus import home as homes
    from genus.run import Run

    return Run(homes.run_path(name, homes.home(home)))


def placed(home: Path | None) -> str:
    """What the next command needs to find the same home."""
    import shlex

    return "" if home is None else f" --home {shlex.quote(str(home))}"


def watched(work: Callable[[Any], Any], json: bool) -> Any:
    """`work(watch)` with progress on standard error; silent with --json."""
    from genus.screen import Screen

    with Screen(quiet=json) as watch:
        return work(watch)


def asking(yes: bool, said: Callable[[dict[str, Any]], str] | None = None) -> Callable[[dict[str, Any]], bool] | None:
    """Shows the forecast and asks, where there is somebody to ask."""
    if yes or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None

    def ask(forecast: dict[str, Any]) -> bool:
        print((said or forecasted)(forecast), file=sys.stderr)
        return typer.confirm("train?", default=True, err=True)

    return ask


def failed(message: str) -> NoReturn:
    """The result was shown and says that it failed."""
    print(f"genus: {message}", file=sys.stderr)
    raise typer.Exit(1)
