"""The command line. Reads what was asked, calls one function of the library, prints its result; decides nothing itself.

Everything heavy is imported inside a verb, so that `genus --help` answers at once. Results go to standard output
(`--json`: one object), progress and errors to standard error. Exit codes: 0 done, 1 failed, 2 asked wrongly, 130
stopped.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from genus.console import asking, columns, forecasted, opened, outlook, placed, ranking, show, watched
from genus.errors import GenusError, UsageError

app = typer.Typer(
    name="genus",
    help="Generative models from your own data, on the machine you have, and proof of what they made.\n\n"
    "Example: genus make letters/ --budget 10m",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)

#: What the parser raises: its own exception class, whichever copy of click this version of typer stands on.
ASKED_WRONGLY: Any = typer.BadParameter.__mro__[2]

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


@app.command()
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
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before training.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Collect, clean and forecast; train nothing.")] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """All five stages: collect, clean, train, validate, deploy.

    Example: genus make photos/ --budget 20m --licence CC-BY-4.0
    """
    from genus.make import forecast, prepared
    from genus.make import make as run_make

    sources, settings, roles = [str(s) for s in source], set_ or (), columns(column)

    def plan(watch: Any) -> dict[str, Any]:
        ready = prepared(sources, recipe, budget, name, home, licence, consent, medium, settings, codec, roles, watch)
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
        _failed("not deployed: " + "; ".join(made.reasons))


@app.command()
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
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before training.")] = False,
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
        _failed("no recipe finished a run: " + "; ".join(why for row in compared.rows for why in row["reasons"]))


@app.command()
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


@app.command()
def clean(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="A dataset's name or folder.")],
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
    from genus.make import largest
    from genus.recipes import find, with_settings

    path = homes.dataset_path(dataset, homes.home(home))
    kind = largest(path)
    rules = with_settings(find(_usual(kind)), set_ or ()).clean or usual(kind)

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


@app.command()
def train(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="A dataset's name or folder.")],
    recipe: RecipeName = None,
    budget: Budget = "10m",
    name: Name = None,
    set_: Settings = None,
    codec: CodecOf = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before training.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Print size, memory, time and energy; train nothing.")] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """A recipe on a dataset within a budget. The same command again resumes.

    Example: genus train letters --recipe gpt --budget 30m
    """
    from genus import home as homes
    from genus.data.dataset import Dataset
    from genus.make import checked, chosen_recipe, forecast, largest
    from genus.train.budget import budget as parsed
    from genus.train.stage import train as run_train

    spend = parsed(budget)
    base = homes.home(home)
    path = homes.dataset_path(dataset, base)
    chosen = chosen_recipe(recipe or _usual(largest(path)), set_ or (), codec, base)
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


@app.command()
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


@app.command()
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


@app.command()
def generate(
    run: RunName,
    prompt: Annotated[
        str | None, typer.Argument(metavar="PROMPT", help="What to begin with, or what to ask for.")
    ] = None,
    n: Annotated[int, typer.Option("-n", help="How many.")] = 1,
    seed: Annotated[int, typer.Option(help="Sample i of a seed is the same however many are asked for.")] = 0,
    first: Annotated[int, typer.Option(help="Index of the first one.")] = 0,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="A folder, or with -n 1 a file.")] = None,
    steps: Annotated[int | None, typer.Option(help="Of the sampler, where it takes steps.")] = None,
    tokens: Annotated[int | None, typer.Option(help="At most so many new ones.")] = None,
    temperature: Annotated[float | None, typer.Option(help="0 is greedy.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Keep the likeliest that sum to this.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Keep so many of the likeliest.")] = None,
    guidance: Annotated[float | None, typer.Option(help="How strongly the condition pulls; 1 is none.")] = None,
    image: Annotated[Path | None, typer.Option(help="A picture to start from.")] = None,
    mask: Annotated[Path | None, typer.Option(help="With --image: white where to draw anew, the rest is kept.")] = None,
    strength: Annotated[float | None, typer.Option(help="With --image: 0 to 1, how far from it to go.")] = None,
    truncation: Annotated[float | None, typer.Option(help="What is kept of a style's own; 1 is all.")] = None,
    precision: Annotated[str | None, typer.Option(help="bf16 or fp32; else the one it was trained in.")] = None,
    home: Home = None,
    json: Json = False,
) -> None:
    """Samples of a run. Every file gets a manifest beside it, from which `genus reproduce` can make it again.

    Example: genus generate letters "Dear " -n 3 --temperature 0.8
    """
    from genus.deploy import Start
    from genus.deploy import generate as run_generate

    asked = {"steps": steps, "tokens": tokens, "temperature": temperature, "top_p": top_p, "top_k": top_k}
    own = {"guidance": guidance, "strength": strength, "truncation": truncation, "precision": precision}
    knobs = {k: v for k, v in {**asked, **own}.items() if v is not None}
    if image is None and mask is not None:
        raise UsageError("--mask says where to draw anew in a picture; give the picture with --image")
    start = None if image is None else Start(image, mask)
    found = opened(run, home)

    def go(watch: Any) -> Any:
        watch.stage("generate", found.name)
        return run_generate(found, prompt, n, seed, out, knobs, first, start, progress=watch.tick)

    made = watched(go, json)
    if json:
        show(made.json())
        return
    for item in made.items if not made.files else ():
        print(item, end="\n\n" if n > 1 else "\n")
    for file in made.files:
        print(file)


@app.command()
def score(
    run: RunName,
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Of the medium that the run learned.")],
    home: Home = None,
    json: Json = False,
) -> None:
    """How likely a run finds files: log p, exact or a bound, in bits per byte or per dimension.

    Example: genus score digits 7.png noise.png
    """
    from genus.deploy import score as run_score

    found = run_score(opened(run, home), files)
    if json:
        show(found.json())
        return
    for item in found.items:
        error = "" if item["error"] is None else f"  (standard error {item['error']:.1f} nats)"
        print(f"{item['bits']:10.4f} {item['per']}  {item['file']}{error}")
    print(found.says)


@app.command()
def serve(
    runs: Annotated[list[str], typer.Argument(metavar="RUN", help="One or several runs.")],
    host: Annotated[str, typer.Option(help="127.0.0.1 serves this machine alone.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: any free one.")] = 8000,
    api_key: Annotated[str | None, typer.Option(envvar="GENUS_API_KEY", help="Ask for this bearer token.")] = None,
    force: Annotated[bool, typer.Option(help="Serve runs that did not pass their gate.")] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """OpenAI-compatible endpoints: /v1/models, /v1/completions, /v1/images/generations.

    Example: genus serve letters --port 8000
    """
    from genus.deploy import serve as run_serve

    found = [opened(run, home) for run in runs]

    def ready(address: str) -> None:
        show({"address": address, "runs": [r.name for r in found]}) if json else print(
            f"serving at {address}", flush=True
        )

    run_serve(found, host, port, not force, api_key=api_key, ready=ready)


@app.command()
def reproduce(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that genus wrote.")],
    run: Annotated[str | None, typer.Option(help="Its run, if it moved.")] = None,
    home: Home = None,
    json: Json = False,
) -> None:
    """Make a file again from its manifest and compare. Exit code 1 if it differs.

    Example: genus reproduce digits-0-7.png
    """
    from genus import home as homes
    from genus.deploy import reproduce as run_reproduce

    base = homes.home(home)
    result = run_reproduce(file, None if run is None else homes.run_path(run, base), base)
    show(result.json()) if json else print(
        f"{file}: {result.how}{': ' + result.difference if result.difference else ''}"
    )
    if not result.same:
        raise typer.Exit(1)


@app.command()
def recipes(json: Json = False) -> None:
    """What genus can build.

    Example: genus recipes
    """
    from genus.recipes import describe, find, names

    found = [describe(find(name)) for name in names()]
    if json:
        show({"recipes": found})
        return
    for recipe in found:
        print(f"  {recipe['name']:18}{recipe['family']:16}{', '.join(recipe['media']):14}{recipe['about']}")


@app.command()
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


@app.command()
def doctor(home: Home = None, json: Json = False) -> None:
    """Whether this machine has what genus needs, and how fast it is.

    Example: genus doctor
    """
    from genus.about import examine, lines

    said = examine(home)
    show(said) if json else print("\n".join(lines(said)))
    if not said["healthy"]:
        _failed("something is missing: see above")


# ---------------------------------------------------------------------------------------------------------- plumbing


def _usual(medium: str) -> str:
    from genus.make import usual_recipe

    return usual_recipe(medium)


def _failed(message: str) -> NoReturn:
    """The result was shown and says that it failed."""
    print(f"genus: {message}", file=sys.stderr)
    raise typer.Exit(1)


def main() -> NoReturn:
    """The entry point: errors as one line, without a traceback."""
    wants_json = "--json" in sys.argv
    for stream in (sys.stdout, sys.stderr):  # a name that is not UTF-8 is shown with escapes, which JSON reads too
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app(standalone_mode=False)
        if code == 130:  # Ctrl-C, as typer tells it
            raise KeyboardInterrupt
        sys.exit(code if isinstance(code, int) else 0)
    except GenusError as error:
        _end(str(error), error.exit_code, wants_json)
    except (typer.Abort, KeyboardInterrupt):
        _end("stopped", 130, wants_json)
    except BrokenPipeError:  # whoever read us has gone: nothing more can be said
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:  # the disk, the rights, the network: not ours, and no traceback mends it
        _end(f"{error.filename or 'the system'}: {error.strerror or error}", 1, wants_json)
    except ASKED_WRONGLY as error:
        if wants_json:
            show({"error": error.format_message()})
        error.show()
        sys.exit(error.exit_code)


def _end(message: str, code: int, wants_json: bool) -> NoReturn:
    if wants_json:
        show({"error": message})
    print(f"genus: {message}", file=sys.stderr)
    sys.exit(code)
