"""What the verbs of the command line share: opening a run, watching, asking before a long one, showing a result."""

from __future__ import annotations

import json as jsons
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from genus.errors import UsageError


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


def asking(yes: bool) -> Callable[[dict[str, Any]], bool] | None:
    """Shows the forecast and asks, where there is somebody to ask."""
    if yes or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None

    def ask(forecast: dict[str, Any]) -> bool:
        print(forecasted(forecast), file=sys.stderr)
        return typer.confirm("train?", default=True, err=True)

    return ask


def forecasted(forecast: dict[str, Any]) -> str:
    """A forecast in a few lines."""
    return (
        f"model   {forecast['parameters'] / 1e6:.2f} M parameters, {forecast['precision']}\n"
        f"steps   about {forecast['steps']} of {forecast['batch']} samples, {forecast['epochs']:g} epochs\n"
        f"memory  {forecast['memory_bytes'] / 2**30:.2f} GiB\n"
        f"time    {forecast['seconds'] / 60:.1f} min of training\n"
        f"energy  {forecast['kwh'] * 1000:.1f} Wh ({forecast['kwh_method']})"
    )


def columns(pairs: list[str] | None) -> dict[str, str] | None:
    """['text=body'] as {'text': 'body'}."""
    for pair in pairs or ():
        if "=" not in pair:
            raise UsageError(f"--column {pair!r} is not understood; write role=name, e.g. text=body")
    return dict(pair.split("=", 1) for pair in pairs) if pairs else None


def show(result: Any) -> None:
    """One JSON object on standard output."""
    print(jsons.dumps(result, ensure_ascii=False, default=str), flush=True)
