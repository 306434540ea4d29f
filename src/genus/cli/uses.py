"""Verbs that put a run to use: generate, score, anomalies, serve, chat, reproduce."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from genus.cli.lines import logged, odd, scored, show
from genus.cli.options import (
    Biases,
    Files,
    Frequency,
    Grammar,
    Home,
    Json,
    Looks,
    MinP,
    Presence,
    Regex,
    Repetition,
    RunName,
    Schema,
    Temperature,
    TopK,
    TopP,
    TypicalP,
    assigned,
    biases,
    origin,
    told,
)
from genus.cli.work import opened, watched
from genus.errors import UsageError


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
    temperature: Temperature = None,
    top_p: TopP = None,
    top_k: TopK = None,
    min_p: MinP = None,
    typical_p: TypicalP = None,
    repetition_penalty: Repetition = None,
    presence_penalty: Presence = None,
    frequency_penalty: Frequency = None,
    logit_bias: Biases = None,
    stop: Annotated[list[str] | None, typer.Option(help="End a text before this. May be repeated.")] = None,
    suffix: Annotated[
        str | None, typer.Option(help="What follows, or @FILE with it: the gap is filled (recipe codegen).")
    ] = None,
    schema: Schema = None,
    regex: Regex = None,
    grammar: Grammar = None,
    thinking_budget: Annotated[int | None, typer.Option(help="Tokens of a thought before the answer, at most.")] = None,
    best_of: Annotated[int | None, typer.Option(help="Draw so many texts, keep the -n likeliest.")] = None,
    beams: Annotated[int | None, typer.Option(help="Search for the likeliest texts, so many at a time.")] = None,
    logprobs: Annotated[int | None, typer.Option(min=0, help="Tell log p of each id, and of so many others.")] = None,
    amateur: Annotated[str | None, typer.Option(help="A weaker run: less of what that one would say too.")] = None,
    contrast: Annotated[float | None, typer.Option(help="With --amateur: how much less; 0 is none.")] = None,
    draft: Annotated[str | None, typer.Option(help="A smaller run that guesses: faster, the same texts.")] = None,
    lookup: Annotated[int | None, typer.Option(help="Guess by the last so many ids: faster, the same texts.")] = None,
    ahead: Annotated[int | None, typer.Option(help="How many ids are guessed at once.")] = None,
    guidance: Annotated[float | None, typer.Option(help="How strongly the condition pulls; 1 is none.")] = None,
    classifier: Annotated[float | None, typer.Option(help="How strongly a classifier pulls; 0 is none.")] = None,
    likeness: Annotated[
        float | None, typer.Option(min=0, max=1, help="How near to what the prompt brings to mind (recipe rdm).")
    ] = None,
    image: Annotated[Path | None, typer.Option(help="A picture to start from.")] = None,
    mask: Annotated[Path | None, typer.Option(help="With --image: white where to draw anew, the rest is kept.")] = None,
    strength: Annotated[float | None, typer.Option(help="With --image: 0 to 1, how far from it to go.")] = None,
    between: Annotated[
        tuple[str, str] | None, typer.Option(help="Two files, or seeds (seed:3): -n items on the way between them.")
    ] = None,
    from_: Annotated[
        Path | None, typer.Option("--from", help="A file whose latent to begin with: -n items on the way from it.")
    ] = None,
    plus: Annotated[list[Path] | None, typer.Option(help="With --from: added; the mean, if repeated.")] = None,
    minus: Annotated[list[Path] | None, typer.Option(help="With --from: taken away; the mean, if repeated.")] = None,
    truncation: Annotated[float | None, typer.Option(help="What is kept of a style's own; 1 is all.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="bf16, fp32, int8 (transformers), int4 (decoders); else that of its training.")
    ] = None,
    home: Home = None,
    json: Json = False,
) -> None:
    """Samples of a run. Every file gets a manifest beside it, from which `genus reproduce` can make it again.

    Example: genus generate letters "Dear " -n 3 --temperature 0.8

    Example: genus generate letters "Dear " --schema @letter.json --stop "Yours"

    Example: genus generate letters "Dear " --draft letters-small --ahead 6

    Example: genus generate library "def mean(values):" --suffix "    return total / len(values)"

    Example: genus generate digits --between 3.png 8.png -n 8 -o strip/

    Example: genus generate faces --from me.png --plus smiling.png --minus serious.png
    """
    from genus.deploy import generate as run_generate

    asked = {"steps": steps, "tokens": tokens, "temperature": temperature, "top_p": top_p, "top_k": top_k}
    pulls = {"guidance": guidance, "classifier": classifier, "strength": strength, "truncation": truncation}
    pulls |= {"likeness": likeness}
    filters = {"min_p": min_p, "typical_p": typical_p, "repetition_penalty": repetition_penalty}
    penalties = {
        "presence_penalty": presence_penalty,
        "frequency_penalty": frequency_penalty,
        "logit_bias": biases(logit_bias),
    }
    keeps = {
        "suffix": told(suffix),
        "stop": stop or None,
        "schema": told(schema),
        "regex": regex,
        "grammar": told(grammar),
    }
    if contrast is not None and amateur is None:
        raise UsageError(f"--contrast {contrast:g} is to a weaker run; name it with --amateur RUN")
    weaker = None if amateur is None else str(opened(amateur, home).path)
    ways: dict[str, Any] = {
        "lookup": lookup,
        "ahead": ahead,
        "precision": precision,
        "beams": beams,
        "likeliest": logprobs,
        "thinking_budget": thinking_budget,
    }
    ways |= {"amateur": weaker, "contrast": contrast}
    every = {**asked, **filters, **penalties, **keeps, **pulls, **ways}
    knobs = {k: v for k, v in every.items() if v is not None}
    start = origin(image, mask, strength, between, from_, plus or (), minus or (), n, first)
    found = opened(run, home)

    def go(watch: Any) -> Any:
        watch.stage("generate", found.name)
        guesses = None if draft is None else opened(draft, home)
        return run_generate(found, prompt, n, seed, out, knobs, first, start, watch.tick, guesses, best_of)

    made = watched(go, json)
    if json:
        show(made.json())
        return
    for i, item in enumerate(made.items if not made.files else ()):
        print(item, end="\n\n" if n > 1 else "\n")
        if made.said:
            print("\n".join(logged(made.said[i])))
    for file in made.files:
        print(file)


def score(
    run: RunName,
    files: Files,
    set_: Looks = None,
    home: Home = None,
    json: Json = False,
) -> None:
    """How likely a run finds files: log p, exact, a bound or an estimate, in bits per byte or per dimension.

    Example: genus score digits 7.png noise.png

    Example: genus score digits scans/ --set probes=8
    """
    from genus.deploy import score as run_score

    found = opened(run, home)

    def go(watch: Any) -> Any:
        watch.stage("score", found.name)
        return run_score(found, files, assigned(set_), watch.tick)

    scores = watched(go, json)
    show(scores.json()) if json else print("\n".join(scored(scores.json())))


def anomalies(
    run: RunName,
    files: Files,
    normal: Annotated[
        list[Path] | None, typer.Option(help="Usual files or folders (default: held-out items). May be repeated.")
    ] = None,
    n: Annotated[int, typer.Option("-n", help="So many held-out items, where no --normal is given.")] = 100,
    set_: Looks = None,
    home: Home = None,
    json: Json = False,
) -> None:
    """Which files are odd for a run: by likelihood, typicality, complexity and reconstruction, beside usual items.

    AUROC says how well each score tells the files from usual ones; where likelihood fails at it, that is said.

    Example: genus anomalies digits scans/

    Example: genus anomalies letters spam/ --normal inbox/ --json
    """
    from genus.deploy import anomalies as run_anomalies

    found = opened(run, home)

    def go(watch: Any) -> Any:
        watch.stage("anomalies", found.name)
        return run_anomalies(found, files, normal or (), n, assigned(set_), watch.tick)

    told = watched(go, json)
    show(told.json()) if json else print("\n".join(odd(told.json())))


def serve(
    runs: Annotated[list[str], typer.Argument(metavar="RUN", help="One or several runs.")],
    host: Annotated[str, typer.Option(help="127.0.0.1 serves this machine alone.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: any free one.")] = 8000,
    api_key: Annotated[str | None, typer.Option(envvar="GENUS_API_KEY", help="Ask for this bearer token.")] = None,
    force: Annotated[bool, typer.Option(help="Serve runs that did not pass their gate.")] = False,
    draft: Annotated[str | None, typer.Option(help="A smaller run that guesses for all texts.")] = None,
    amateur: Annotated[
        str | None, typer.Option(help="A weaker run: all texts with less of what it would say; `contrast`: how much.")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="Of requests that name none: as of generate.")] = None,
    home: Home = None,
    json: Json = False,
) -> None:
    """OpenAI-compatible endpoints: /v1/models, /v1/completions, /v1/chat/completions, /v1/images/generations.

    Example: genus serve letters --port 8000

    Example: genus serve letters --draft letters-small

    Example: genus serve smol --precision int8
    """
    from genus.deploy import serve as run_serve

    found = [opened(run, home) for run in runs]

    def ready(address: str) -> None:
        show({"address": address, "runs": [r.name for r in found]}) if json else print(
            f"serving at {address}", flush=True
        )

    guesses, weaker = (None if name is None else opened(name, home) for name in (draft, amateur))
    run_serve(
        found, host, port, not force, api_key=api_key, ready=ready, draft=guesses, amateur=weaker, precision=precision
    )


def chat(
    run: RunName,
    system: Annotated[str | None, typer.Option(help="What the model is told before the first turn.")] = None,
    seed: Annotated[int, typer.Option(help="Turn t of a seed is its sample t.")] = 0,
    tokens: Annotated[int, typer.Option(help="At most so many new ones a turn.")] = 512,
    temperature: Temperature = None,
    top_p: TopP = None,
    top_k: TopK = None,
    min_p: MinP = None,
    typical_p: TypicalP = None,
    repetition_penalty: Repetition = None,
    presence_penalty: Presence = None,
    frequency_penalty: Frequency = None,
    logit_bias: Biases = None,
    stop: Annotated[list[str] | None, typer.Option(help="End a turn before this. May be repeated.")] = None,
    schema: Schema = None,
    regex: Regex = None,
    grammar: Grammar = None,
    thinking_budget: Annotated[int | None, typer.Option(help="Tokens of a thought a turn, at most.")] = None,
    precision: Annotated[str | None, typer.Option(help="bf16, fp32, or for decoders int8, int4.")] = None,
    home: Home = None,
) -> None:
    """Talk with a run, a line a turn, until the end of the input (Ctrl-D).

    A run without a chat template goes on with the text so far instead.

    Example: genus chat smol --system "Answer in one sentence." --precision int4
    """
    from genus.deploy.chat import Chat

    said = {
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "min_p": min_p,
        "typical_p": typical_p,
        "repetition_penalty": repetition_penalty,
        "presence_penalty": presence_penalty,
        "frequency_penalty": frequency_penalty,
        "logit_bias": biases(logit_bias),
        "stop": stop or None,
        "schema": told(schema),
        "regex": regex,
        "grammar": told(grammar),
        "precision": precision,
        "thinking_budget": thinking_budget,
    }
    knobs = {"tokens": tokens} | {k: v for k, v in said.items() if v is not None}
    talk = Chat(opened(run, home).model(), seed, knobs)
    if system is not None:
        talk.said.append({"role": "system", "content": system})
    prompt = "> " if sys.stdin.isatty() else ""
    while True:
        try:
            line = input(prompt)
        except EOFError:
            return
        for piece in talk.tell(line):
            print(piece, end="", flush=True)
        print(flush=True)


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
