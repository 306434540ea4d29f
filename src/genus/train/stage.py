"""The stage: from a recipe, a dataset and a budget to a run's folder with a trained model in it.

Each phase is prepared (codec fitted, data encoded, size and batch found), its plan is written down, and the loop runs
it. Whatever was decided by measuring stands in the plan, so that a resumed run decides nothing again.
"""

from __future__ import annotations

import fcntl
import math
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from genus import files
from genus.core import Batch, Codec
from genus.data.dataset import Dataset
from genus.data.source import SourceConfig
from genus.errors import GenusError, UsageError
from genus.networks.lora import ADAPTER, LoraConfig
from genus.recipe import Phase, Recipe
from genus.run import Run, assemble, fill, load_model, parameters, save
from genus.train.budget import Budget
from genus.train.corpus import Corpus
from genus.train.loop import Loop
from genus.train.meter import Meter, peak_bytes, watts
from genus.train.pace import Pace
from genus.train.plan import Plan, adapt, allowed, compiled, planned
from genus.watch import Silent, Watch


def train(
    recipe: Recipe,
    dataset: Dataset,
    folder: Path,
    budget: Budget,
    watch: Watch | None = None,
    *,
    plan_only: bool = False,
    confirm: Callable[[dict[str, Any]], bool] | None = None,
) -> Run:
    """Train every phase of `recipe` on `dataset` into `folder`; the same call again resumes, or returns what is done.

    plan_only: size and forecast the first phase, then stop. confirm: asked with the forecast of a new plan of it; False
    ends it there.
    Raises `UsageError` if the folder holds a run of another recipe or dataset, `Interrupted` on Ctrl-C (state saved).
    """
    with alone(folder):
        return _train(recipe, dataset, folder, budget, watch or Silent(), plan_only, confirm)


def _train(
    recipe: Recipe,
    dataset: Dataset,
    folder: Path,
    budget: Budget,
    watch: Watch,
    plan_only: bool,
    confirm: Callable[[dict[str, Any]], bool] | None,
) -> Run:
    corpus = _open(recipe, dataset, folder)
    run = Run(folder)
    if run.finished:
        changed = "" if dataset.digest() == run.data["digest"] else "; its data has changed since"
        watch.say(f"run {run.name!r} is already trained{changed}; choose another --name to train anew")
        return run
    meter = Meter()
    reports: list[dict[str, Any]] = []
    shares = sum(phase.share for phase in recipe.phases)
    earlier = {name: Path(place) for name, place in recipe.given.items()}
    for i, phase in enumerate(recipe.phases):
        last = i == len(recipe.phases) - 1
        place = folder if last else folder / "phases" / phase.name
        if not last and (place / "summary.json").exists():
            reports.append(files.read_json(place / "summary.json"))
            earlier[phase.name] = place
            continue
        asked = confirm if i == 0 and confirm is not None else lambda _: True  # once, not in the middle
        report = _phase(
            recipe, phase, corpus, folder, place, earlier, budget, phase.share / shares,
            meter if i == 0 else Meter(), watch, None if plan_only else asked,
        )  # fmt: skip
        reports.append(report)
        if plan_only:
            break
        if not last:
            files.write_json(place / "summary.json", report)
            earlier[phase.name] = place
    if not plan_only:
        _finish(folder, budget, reports)
    return run


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """The right to write this folder, which ends with the process whatever becomes of it."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = (folder.parent / f".{folder.name}.lock").open("w")
    except OSError as error:
        raise GenusError(f"cannot write in {folder.parent}: {error.strerror}; choose another --home") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise GenusError(f"another process trains {folder}; wait for it, or choose another --name") from None
        yield


def _open(recipe: Recipe, dataset: Dataset, folder: Path) -> Corpus:
    """Write what the run stands on, or check that it is the same as before."""
    said = recipe.model_dump(mode="json")
    path = str(dataset.path.absolute())
    begun = any(folder.glob("plans/*/plan.json"))  # a run that was only thought of may still be another
    if (folder / "recipe.json").exists() and begun:
        if files.read_json(folder / "recipe.json") != said:
            raise UsageError(f"{folder} holds a run of another recipe or other settings; choose another --name")
        data = files.read_json(folder / "data.json")
        if data["path"] == path and data["version"] <= dataset.version:
            return Corpus(Dataset.open(dataset.path, data["version"]).only(recipe.media), data["digest"])
        raise UsageError(f"{folder} was trained on {data['path']} version {data['version']}; choose another --name")
    digest, dataset = dataset.digest(), dataset.only(recipe.media)
    if dataset.count("status = 'kept' AND split = 'train'") == 0:
        raise UsageError(
            f"{dataset.path} has no {' or '.join(recipe.media)} to train on; collect more, loosen the rules of clean, "
            "or choose another recipe (see: genus recipes)"
        )
    corpus = Corpus(dataset, digest)
    files.write_json(folder / "data.json", _facts(recipe, corpus))
    files.write_json(folder / "environment.json", environment())
    files.write_json(folder / "recipe.json", said)
    return corpus


def _facts(recipe: Recipe, corpus: Corpus) -> dict[str, Any]:
    dataset = corpus.dataset
    media: dict[str, int] = {}
    licences: dict[str, int] = {}
    size = 0
    for batch in dataset.scan(["medium", "licence", "size"], "status = 'kept'", batch=4096):
        for row in batch.to_pylist():
            media[row["medium"]] = media.get(row["medium"], 0) + 1
            licences[row["licence"] or "unknown"] = licences.get(row["licence"] or "unknown", 0) + 1
            size += row["size"]
    return {
        "path": str(dataset.path.absolute()),
        "version": dataset.version,
        "digest": corpus.digest,
        "medium": max(media, key=lambda name: (media[name], name)),
        "media": media,
        "items": sum(media.values()),
        "bytes": size,
        "licences": licences,
        "splits": {s: dataset.count(f"status = 'kept' AND split = '{s}'") for s in ("train", "val", "test")},
    }


def environment() -> dict[str, Any]:
    """What a run was made with."""
    import importlib.metadata as metadata

    wanted = ("genus", "torch", "numpy", "tokenizers", "safetensors", "pylance", "pillow", "pydantic")
    versions = {}
    for name in wanted:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "versions": versions,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _phase(
    recipe: Recipe,
    phase: Phase,
    corpus: Corpus,
    folder: Path,
    place: Path,
    earlier: Mapping[str, Path],
    budget: Budget,
    share: float,
    meter: Meter,
    watch: Watch,
    confirm: Callable[[dict[str, Any]], bool] | None,
) -> dict[str, Any]:
    assert isinstance(phase.source, SourceConfig), f"{phase.source.kind} is no source"
    source = phase.source.after(earlier)
    begun = None if phase.start is None else _begun(phase, earlier)  # without its weights: those are large
    prompt = recipe.prompt if place == folder else "none"
    plans = folder / "plans"
    stored = plans / phase.name / "plan.json"
    if stored.exists():
        plan = Plan.read(stored)
        codec = plan.phase.codec.load(stored.parent)
    else:
        watch.say("reading the data: codec, sizes, encoding")
        if begun is not None:
            codec, conditioner, phase = begun[0], begun[1].conditioner, phase.but(nets=begun[1].nets, sizing=None)
        else:
            codec = phase.codec.after(earlier).fit(corpus.media)
            conditioner = None if phase.conditioner is None else phase.conditioner.fit(corpus.fields)
        phase = phase.but(codec=codec.save(stored.parent), conditioner=conditioner).after(earlier)
        plan = Plan(phase)
    train = corpus.cache("train", codec, plan.phase.codec, plan.phase.conditioner, source)
    split = "val" if corpus.dataset.count("status = 'kept' AND split = 'val'") else "train"
    held = corpus.cache(split, codec, plan.phase.codec, plan.phase.conditioner, source)
    if not stored.exists():
        plan = planned(plan, codec, source, train, budget, share, meter, watch)
        files.write_json(folder / "forecast.json", plan.forecast)
        if confirm is not None and not confirm(plan.forecast):
            raise UsageError("not started, as you said; the dataset is kept")
        if confirm is not None:
            files.write_json(stored, plan.json())
    if confirm is None:
        return plan.forecast
    phase, precision = plan.phase.after(earlier), torch.bfloat16 if plan.precision == "bf16" else torch.float32
    torch.manual_seed(phase.training.seed)
    model = assemble(phase, codec, prompt)
    if phase.start is not None:
        fill(model, earlier[phase.start])
    adapt(phase, model, precision)
    if model.conditioner is not None:
        model.conditioner.keep(source.once(train, codec, 64))
    size = phase.training.micro or phase.training.batch

    judged = spread(source.judged(held, codec, size), plan.evaluation)

    seconds = None if budget.seconds is None else budget.seconds * share
    if seconds is not None and (longer := allowed(seconds, meter.seconds)) > seconds:
        watch.say(f"preparing took {meter.seconds:.0f} s: the run goes on beyond its budget for a quarter of that")
        seconds = longer
    pace = Pace(seconds if seconds is not None else max(1, round((budget.steps or 1) * share)), seconds is not None)
    loop = Loop(
        name=phase.name,
        model=model,
        training=phase.training,
        source=source.over(train, codec, phase.training.seed, phase.training.batch),
        evaluation=lambda: iter(judged),
        pace=pace,
        precision=precision,
        folder=folder,
        meter=meter,
        watch=watch,
        loss=compiled(plan, model.objective),
        begun=meter.seconds,
    )
    weights = loop.run()
    at, used = loop.at, loop.meter
    del loop, model  # what training needed is gone before the kept model is made
    torch.manual_seed(phase.training.seed)  # what no turn trains keeps the value it started with
    kept = replace(assemble(phase, codec, prompt), precision=plan.precision)
    if phase.start is not None and isinstance(phase.adapter, LoraConfig):
        trained = {name: value.float().contiguous() for name, value in weights.items()}
        files.replace(place / ADAPTER, lambda path: save_file(trained, path, {"format": "pt"}))
        weights = phase.adapter.merged(load_model(earlier[phase.start])[0].nets.state_dict(), weights)
    kept.nets.load_state_dict(weights, strict=False)
    save(kept, phase, place)
    return {
        "phase": phase.name,
        "parameters": parameters(kept.nets),
        "steps": at.step,
        "best_step": at.best_step,
        "val_loss": at.best if math.isfinite(at.best) else None,
        "samples": at.step * phase.training.batch,
        "epochs": at.step * phase.training.batch / source.samples(train),
        "seconds": used.seconds,
        "forecast_s": plan.forecast["seconds"],
        "kwh": used.kwh,
        "kwh_method": used.method,
        "precision": plan.precision,
        "products": phase.training.products,
        "compiled": plan.compiled,
    }


def _begun(phase: Phase, earlier: Mapping[str, Path]) -> tuple[Codec, Phase]:
    """Codec and configuration of the model that a phase starts from. Raises `UsageError` if there is no such phase."""
    if phase.start is None or phase.start not in earlier:
        known = ", ".join(earlier) or "none"
        raise UsageError(f"phase {phase.name!r} starts from {phase.start!r}; phases before it: {known}")
    model, resolved = load_model(earlier[phase.start])
    return model.codec, resolved


def spread(batches: Iterable[Batch], n: int) -> list[Batch]:
    """At most n of them, evenly spaced over all: held-out items may stand in the order of their folders."""
    kept: list[Batch] = []
    stride = 1
    for i, batch in enumerate(batches):
        if i % stride == 0:
            kept.append(batch)
        if len(kept) == 2 * n:
            kept, stride = kept[::2], 2 * stride
    return [kept[i * len(kept) // n] for i in range(n)] if len(kept) > n else kept


def _finish(folder: Path, budget: Budget, reports: list[dict[str, Any]]) -> None:
    forecast, used = (sum(r[name] for r in reports) for name in ("forecast_s", "seconds"))
    summary = {
        "parameters": reports[-1]["parameters"],
        "steps": reports[-1]["steps"],
        "seconds": used,
        "asked": budget.asked,
        "asked_s": budget.seconds,
        "forecast_s": forecast,
        "forecast_error": used / forecast - 1 if forecast else None,
        "kwh": sum(r["kwh"] for r in reports),
        "kwh_method": reports[-1]["kwh_method"],
        "peak_bytes": peak_bytes(),
        "watts_assumed": watts()[0],
        "phases": reports,
    }
    files.write_json(folder / "summary.json", summary)
