"""The options and arguments that several verbs share, and how their text becomes values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

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
StartOf = Annotated[str | None, typer.Option("--from", help="A run whose model to go on from: fine-tuning.")]
Given = Annotated[
    list[str] | None,
    typer.Option("--given", help="A run in place of an earlier phase: phase=RUN, e.g. reward=judge. May be repeated."),
]
Budget = Annotated[str, typer.Option(help="Of the training: 90s, 10m, 1h, 2kWh or '5000 steps'.")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run's name or folder.")]
DatasetName = Annotated[str, typer.Argument(metavar="DATASET", help="A dataset's name or folder.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before training.")]

Files = Annotated[
    list[Path], typer.Argument(metavar="FILE", help="Files or folders of the medium that the run learned.")
]
Looks = Annotated[
    list[str] | None,
    typer.Option("--set", help="How an estimate is made: probes=8 (flow, diffusion), looks=64 (autoencoding, masked)."),
]

# How texts are drawn.
Temperature = Annotated[float | None, typer.Option(help="0 is greedy.")]
TopP = Annotated[float | None, typer.Option(help="Keep the likeliest that sum to this.")]
TopK = Annotated[int | None, typer.Option(help="Keep so many of the likeliest.")]
MinP = Annotated[float | None, typer.Option(help="Keep those so likely beside the likeliest.")]
TypicalP = Annotated[float | None, typer.Option(help="Keep the most typical that sum to this.")]
Repetition = Annotated[float | None, typer.Option(help="Above 1: less of what is there already.")]
Presence = Annotated[float | None, typer.Option(help="Off the logit of what was drawn.")]
Frequency = Annotated[float | None, typer.Option(help="The same, for each time it was.")]
Biases = Annotated[list[str] | None, typer.Option(metavar="ID=B", help="Added to an id. Repeatable.")]
Schema = Annotated[str | None, typer.Option(help="A JSON schema, or @FILE with one, that texts keep to.")]
Regex = Annotated[str | None, typer.Option(help="A regular expression that texts keep to.")]
Grammar = Annotated[str | None, typer.Option(help="A grammar in Lark's notation, or @FILE with one.")]


def columns(pairs: list[str] | None) -> dict[str, str] | None:
    """['text=body'] as {'text': 'body'}."""
    for pair in pairs or ():
        if "=" not in pair:
            raise UsageError(f"--column {pair!r} is not understood; write role=name, e.g. text=body")
    return dict(pair.split("=", 1) for pair in pairs) if pairs else None


def phases(pairs: list[str] | None) -> dict[str, str | Path]:
    """['reward=judge'] as {'reward': 'judge'}."""
    found: dict[str, str | Path] = {}
    for pair in pairs or ():
        name, equals, run = pair.partition("=")
        if not (name and equals and run):
            raise UsageError(f"--given {pair!r} is not understood; write phase=RUN, e.g. reward=judge")
        found[name] = run
    return found


def assigned(pairs: list[str] | None) -> dict[str, Any]:
    """['probes=8'] as {'probes': 8}; values as JSON, or else as text."""
    found: dict[str, Any] = {}
    for pair in pairs or ():
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"--set {pair!r} is not understood; write name=value, e.g. probes=8")
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found


def told(text: str | None) -> str | None:
    """A text, or with @ in front what the file of that name holds. Raises `UsageError` if it cannot be read."""
    if text is None or not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(f"{text[1:]} cannot be read: {error}") from error


def biases(pairs: Sequence[str] | None) -> dict[int, float] | None:
    """['65=-2'] as {65: -2.0}."""
    found = {}
    for pair in pairs or ():
        try:
            name, value = pair.split("=")
            found[int(name)] = float(value)
        except ValueError:
            raise UsageError(f"--logit-bias {pair!r} is not understood; write ID=BIAS, e.g. 65=-2") from None
    return found or None


def origin(
    image: Path | None,
    mask: Path | None,
    strength: float | None,
    between: tuple[str, str] | None,
    base: Path | None,
    plus: Sequence[Path],
    minus: Sequence[Path],
    n: int,
    first: int,
) -> Any:
    """What the samples start from, or None. Raises `UsageError` for options that do not go together."""
    begun = {"--image": image, "--between": between, "--from": base}
    given = [name for name, value in begun.items() if value is not None]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)}: samples start from one of them; leave the others out")
    if image is None and mask is not None:
        raise UsageError(f"--mask {mask} says where to draw anew in a picture; give the picture with --image")
    if image is None and strength is not None:
        raise UsageError(f"--strength {strength:g} says how far to go from a picture; give the picture with --image")
    if base is None and (plus or minus):
        raise UsageError(f"{[*plus, *minus][0]} is added to or taken from a latent; say whose with --from")
    if first and given and image is None:
        raise UsageError(f"--first {first}: the items of {given[0]} are made together; leave --first out")
    if not given:
        return None
    from genus.deploy import Between, Start, Sum
    from genus.deploy.origins import end

    if image is not None:
        return Start(image, mask)
    if between is not None:
        return Between(end(between[0]), end(between[1]), n)
    assert base is not None
    return Sum(base, tuple(plus), tuple(minus), n)
