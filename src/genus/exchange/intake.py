"""Published weights -> a run, like one that was trained here: `genus generate`, `score`, `serve`, `export` take it.

Its record says where the weights come from, under which licence, and that nothing here judged them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, final

import torch

from genus import files
from genus import home as homes
from genus.data.packed import PackedConfig
from genus.deploy import samples
from genus.errors import UsageError
from genus.exchange.source import PART, Source, digests, opened
from genus.objectives.autoregression import Autoregression
from genus.recipe import Phase, Recipe
from genus.run import Run, assemble, parameters, save
from genus.samplers.tokens import Tokens
from genus.train.stage import environment
from genus.validate.gate import Gate
from genus.validate.likelihood import Likelihood
from genus.validate.samples import Samples

RECIPE = "open-weights"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@final
@dataclass(frozen=True)
class Brought:
    """run: its folder. origin: what is known of where it comes from."""

    run: Path
    parameters: int
    architecture: str
    licence: str | None
    origin: dict[str, Any]
    seconds: float

    def json(self) -> dict[str, Any]:
        """One object."""
        said = {"run": str(self.run), "name": self.run.name, "parameters": self.parameters}
        said |= {"architecture": self.architecture, "licence": self.licence, "origin": self.origin}
        return {**said, "seconds": round(self.seconds, 2)}


def bring(
    source: str | Path,
    name: str | None = None,
    home: Path | None = None,
    licence: str | None = None,
    say: Callable[[str], object] = lambda _: None,
) -> Brought:
    """Make a run of a folder, a GGUF file or a package of weights.

    name: of the run; None: the source's. licence: where the source does not say. Raises `UsageError` if there is such a
    run already or the source is not read, `GenusError` if it is damaged.
    """
    begun = time.perf_counter()
    path = Path(source)
    usual = Path(PART.sub(".gguf", path.name)).stem if path.is_file() else path.resolve().name
    called = name or re.sub(r"[^A-Za-z0-9._-]+", "-", usual).strip("-.")
    if not NAME.fullmatch(called):
        raise UsageError(f"{called!r} is no name of a run; give one of letters, digits, '-', '_' and '.' with --name")
    place = homes.home(home) / "runs" / called
    if place.exists():
        raise UsageError(f"there is a run {called!r} already, in {place}; choose another --name")
    say(f"reading {source}")
    found = opened(source)
    with files.beside(place) as made:
        told = _written(found, made, licence, say)
    seconds = time.perf_counter() - begun
    return Brought(place, told["parameters"], found.kind, licence or found.licence, told["origin"], seconds)


def phase(source: Source) -> Phase:
    """The one phase of such a run."""
    knobs = source.knobs or {"temperature": 0.7, "top_p": 0.95}
    return Phase(
        name="weights",
        codec=source.speech.codec.config,
        nets={"net": source.config},
        objective=Autoregression(),
        sampler=Tokens(tokens=256, **knobs),
        source=PackedConfig(window=source.window),
    )


def _written(source: Source, folder: Path, licence: str | None, say: Callable[[str], object]) -> dict[str, Any]:
    """The run's files; returns what is said of it."""
    described = phase(source)
    with torch.device("meta"):
        model = replace(assemble(described, source.speech.codec, "prefix"), drawn=source.drawn)
    say("reading the weights")
    model.nets["net"].load_state_dict(source.weights(), assign=True)
    say("writing the run")
    resolved = save(model, described, folder)
    recipe = Recipe(
        name=RECIPE,
        about=f"weights made elsewhere: {source.origin.get('name', 'unnamed')} ({source.kind})",
        family="autoregression",
        media=("text", "code"),
        prompt="prefix",
        phases=(resolved,),
        measures=(Likelihood(), Samples()),
        gate=Gate(),
    )
    when = datetime.now(UTC).isoformat(timespec="seconds")
    origin = {**source.origin, "files": digests(source), "imported": when}
    stated = licence or source.licence
    files.write_json(folder / "recipe.json", recipe.model_dump(mode="json"))
    files.write_json(folder / "environment.json", environment())
    data = {"path": None, "version": None, "digest": None, "medium": "text", "licences": {stated: None}}
    files.write_json(folder / "data.json", {**data, "origin": origin})
    number = parameters(model.nets)
    summary = {"parameters": number, "steps": 0, "seconds": 0.0, "kwh": 0.0, "kwh_method": "none: made elsewhere"}
    files.write_json(folder / "summary.json", {**summary, "phases": []})
    # Whoever imports a model chose it: it may be served, and this says that no gate of ours has passed it.
    by = samples.maker(Run(folder))
    evidence = {"run": folder.name, "genus": by.genus, "time": when, "weights_sha256": by.weights_sha256}
    gate = {"passed": None, "reasons": ["imported: it was made and published elsewhere, and not judged here"]}
    files.write_json(folder / "deployed.json", {**evidence, "forced": False, "gate": gate})
    return {"parameters": number, "origin": origin}
