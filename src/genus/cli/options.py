"""The options and arguments that several verbs share, and how their text becomes values."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genus.errors import UsageError

Home = Annotated[Path | None, typer.Option(help="Where datasets/ and runs/ live (default: GENUS_HOME or ~/.genus).")]
Json = Annotated[bool, typer.Option("--json", help="Print one result object and nothing else.")]
Sources = Annotated[
    list[Path], typer.Argument(metavar="SOURCE", help="Files, folders, archives, tables or glob patterns.")
]
Name = Annotated[str | None, typer.Option(help="Of the dataset and the run (default: the source's).")]
Licence = Annotated[
    str | None, typer.Option(help="SPDX identifier that holds where the data says nothing, e.g. CC0-1.0.")
]
Consent = Annotated[str, typer.Option(help="granted or unknown; opt-outs are honoured either way.")]
Medium = Annotated[str | None, typer.Option(help="Take only this one: text, code or image.")]
Column = Annotated[list[str] | None, typer.Option(help="For tables: role=name, e.g. text=body. May be repeated.")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="part.field=value, e.g. training.rate=0.002.")]
RecipeName = Annotated[str | None, typer.Option("--recipe", help="See: genus recipes (default: by the medium).")]
CodecOf = Annotated[str | None, typer.Option("--codec", help="A run whose trained codec to use again.")]
Budget = Annotated[str, typer.Option(help="Of the training: 90s, 10m, 1h, 2kWh or '5000 steps'.")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run's name or folder.")]
DatasetName = Annotated[str, typer.Argument(metavar="DATASET", help="A dataset's name or folder.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before training.")]


def columns(pairs: list[str] | None) -> dict[str, str] | None:
    """['text=body'] as {'text': 'body'}."""
    for pair in pairs or ():
        if "=" not in pair:
            raise UsageError(f"--column {pair!r} is not understood; write role=name, e.g. text=body")
    return dict(pair.split("=", 1) for pair in pairs) if pairs else None
