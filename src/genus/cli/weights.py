"""Verbs for weights: import, export, compress."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from genus.cli.lines import compressed, exported, show
from genus.cli.options import Home, Json, RunName
from genus.cli.work import opened, watched


def import_(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A folder of Hugging Face, a .gguf file, or a package: smollm2.")
    ],
    name: Annotated[str | None, typer.Option(help="Of the run (default: the source's).")] = None,
    licence: Annotated[str | None, typer.Option(help="SPDX identifier, where the source does not say.")] = None,
    home: Home = None,
    json: Json = False,
) -> None:
    """Make a run of published weights: Llama, SmolLM2, Mistral, Qwen, GPT-2, Mixtral, OLMoE. Nothing is unpickled.

    Example: genus import smollm2 --name smol

    Example: genus import models/Qwen2.5-0.5B-Instruct

    Example: genus import llama.Q8_0.gguf --name llama --licence llama3.2
    """
    from genus.exchange import bring

    def go(watch: Any) -> Any:
        watch.stage("import", source)
        return bring(source, name, home, licence, watch.say)

    brought = watched(go, json)
    show(brought.json()) if json else print(
        f"run     {brought.run}\n"
        f"model   {brought.architecture}, {brought.parameters / 1e6:.1f} M parameters\n"
        f"licence {brought.licence or 'not stated: say it with --licence'}"
    )


def export(
    run: RunName,
    format_: Annotated[str, typer.Option("--format", help="hf (a folder), gguf (a file) or peft (an adapter).")] = "hf",
    type_: Annotated[
        str, typer.Option("--type", help="Numbers: f32, f16, bf16; of a gguf also q8_0, q4_0, q4_k; peft: f32.")
    ] = "f32",
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Where (default: RUN-TYPE in this folder).")] = None,
    home: Home = None,
    json: Json = False,
) -> None:
    """Write a run's model as other programs read it, read it back and compare. Exit code 1 if it behaves differently.

    Example: genus export smol --format gguf --type q8_0 -o smol.gguf

    Example: genus export smol --format hf --type bf16 -o smol-hf/

    Example: genus export chats --format peft -o chats-adapter/
    """
    from genus.exchange import give, give_adapter

    found = opened(run, home)
    if format_ == "peft":
        adapter = give_adapter(found, out, type_).json()
        show(adapter) if json else print(
            f"wrote   {adapter['path']}  (rank {adapter['rank']}, {adapter['bytes'] / 2**20:.2f} MiB)\n"
            f"base    {adapter['base']}: with the adapter the run's weights, to {adapter['off']:.2g}"
        )
        return

    def go(watch: Any) -> Any:
        watch.stage("export", found.name)
        return give(found, format_, type_, out, watch.say)

    given = watched(go, json)
    show(given.json()) if json else print("\n".join(exported(given.json())))


def compress(
    run: RunName,
    bits: Annotated[int, typer.Option(help="Of a weight: 4 or 8.")] = 4,
    name: Annotated[str | None, typer.Option(help="Of the new run (default: RUN-int4).")] = None,
    text: Annotated[
        list[Path] | None,
        typer.Option(help="A text to calibrate by, its last third to judge by (default: the run's data). Repeatable."),
    ] = None,
    way: Annotated[str, typer.Option(help="How weights are rounded: nearest, awq, gptq, or both of these.")] = "both",
    windows: Annotated[int, typer.Option(min=1, help="Of 256 tokens, to calibrate by; as many to judge by.")] = 24,
    home: Home = None,
    json: Json = False,
) -> None:
    """A run of the same model with weights of 4 or 8 bits, and what perplexity that costs. Drawn from like any run.

    Example: genus compress letters --bits 4

    Example: genus compress smol --bits 8 --text book.txt --name smol-int8
    """
    from genus.deploy import compress as run_compress

    found = opened(run, home)

    def go(watch: Any) -> Any:
        watch.stage("compress", found.name)
        return run_compress(found, bits, name, home, tuple(text or ()), way, windows, watch)

    made = watched(go, json)
    show(made.json()) if json else print("\n".join(compressed(made.json())))
    if made.reasons and not json:
        print("not deployed: " + "; ".join(made.reasons))
