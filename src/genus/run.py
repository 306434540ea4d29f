"""A run's folder: what training leaves, and what every later stage reads.

    runs/NAME/
      recipe.json  data.json  environment.json  forecast.json
      config.json  model.safetensors  (tokenizer.json)      the model: the last phase, resolved, and its weights
      adapter.safetensors                                   what an adapter added to them, if one was trained
      models/PHASE/                                         the same for earlier phases that the model uses
      phases/PHASE/                                         the same for all earlier phases
      checkpoints/step-N/                                   training state; the last two
      metrics.jsonl  summary.json  samples/  report.html  report.json  card.md  deployed.json

Configurations are JSON and weights safetensors: loading executes and unpickles nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from genus import files, latents
from genus.core import Batch, Codec, Embedder, LogProb, Model, Network, Noise, Precision, Roads
from genus.data.cache import Cache
from genus.data.dataset import Dataset
from genus.data.source import SourceConfig
from genus.errors import GenusError, UsageError
from genus.parts import restored
from genus.recipe import Phase, Recipe

MODELS = "models"  # of earlier phases, in a run's folder


def assemble(phase: Phase, codec: Codec, prompt: str = "none") -> Model:
    """The model that a resolved phase describes, its weights at their start (torch's global generator)."""
    source = phase.source
    if not isinstance(source, SourceConfig):
        raise UsageError(f"{source.kind} is no source of batches; phase {phase.name!r} needs one, e.g. data.packed")
    space = source.space(codec.space)
    nets: dict[str, nn.Module] = {}
    roads = Roads()
    if phase.conditioner is not None:
        conditioner = phase.conditioner.build(space)
        roads, nets["conditioner"] = conditioner.roads, conditioner
    nets |= {name: config.build(space, roads) for name, config in phase.nets.items()}
    sampler = phase.sampler or phase.objective.sampler()
    return Model(codec, space, nn.ModuleDict(nets), phase.objective, sampler, phase.wraps, prompt)


def save(model: Model, phase: Phase, folder: Path) -> Phase:
    """Write codec, configuration and weights atomically, the configuration last. Returns the resolved phase.

    What is trained is float32, whatever it was computed in; buffers keep their number format.
    """
    folder.mkdir(parents=True, exist_ok=True)
    phase = phase.but(codec=model.codec.save(folder))
    for name, place in phase.borrowed.items():
        if place != folder / MODELS / name:
            save(*load_model(place), folder / MODELS / name)
    trained = {k for k, _ in model.nets.named_parameters(remove_duplicate=False)}
    every = {k: v.detach().cpu() for k, v in model.nets.state_dict().items()}
    weights = {k: (v.float() if k in trained else v).contiguous() for k, v in every.items()}

    def fill(path: Path) -> None:
        try:
            save_file(weights, path, {"format": "pt"})
        except SafetensorError as error:  # how it reports a full disk
            raise OSError(str(error)) from error

    files.replace(folder / "model.safetensors", fill)
    config = {
        "phase": phase.model_dump(mode="json"),
        "space": asdict(model.space),
        "prompt": model.prompt,
        "precision": model.precision,
        **({} if model.drawn is None else {"drawn": model.drawn}),
    }
    files.write_json(folder / "config.json", config)
    return phase


def load_model(folder: Path) -> tuple[Model, Phase]:
    """What `save` wrote. Raises `UsageError` if it is not there, `GenusError` with the cause if it is damaged."""
    config = files.read_json(folder / "config.json")
    if not isinstance(config, dict) or not isinstance(config.get("prompt"), str):
        raise GenusError(f"{folder / 'config.json'} does not describe a model; copy it from a good run")
    phase = restored(Phase, config.get("phase"), folder / "config.json")
    phase = phase.after({place.name: place for place in folder.glob(f"{MODELS}/*")})
    precision: Precision = "bf16" if config.get("precision") == "bf16" else "fp32"
    drawn: Precision | None = "bf16" if config.get("drawn") == "bf16" else None
    with torch.random.fork_rng(devices=[]), _Unfilled():
        model = replace(assemble(phase, phase.codec.load(folder), config["prompt"]), precision=precision, drawn=drawn)
    fill(model, folder)
    model.nets.eval()
    return model, phase


@final
class _Unfilled(TorchFunctionMode):
    """Weights begin as they are: those of a file take their place. To draw them was most of what loading took."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        if getattr(func, "__module__", None) == nn.init.__name__:
            weight = args[0] if args else named.get("tensor")
            if isinstance(weight, nn.Parameter):
                return weight
        return func(*args, **named)


def fill(model: Model, folder: Path) -> None:
    """Give a model the weights that `save` wrote. Raises `GenusError` if they are damaged, or another's."""
    try:
        model.nets.load_state_dict(load_file(folder / "model.safetensors"))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise GenusError(f"{folder / 'model.safetensors'} does not fit its config.json: {error}") from error


@final
class Run:
    """A folder under `runs/`, read lazily. Raises `UsageError` if it holds no run."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not (self.path / "recipe.json").is_file():
            near = sorted(p.name for p in self.path.parent.glob("*/recipe.json") for p in [p.parent])
            known = f"; there are: {', '.join(near[:10])}" if near else ""
            raise UsageError(f"there is no run in {self.path}{known}; make one with: genus make SOURCE")

    @property
    def name(self) -> str:
        """Of the folder."""
        return self.path.resolve().name

    @cached_property
    def recipe(self) -> Recipe:
        """As it was given, overrides included."""
        return restored(Recipe, files.read_json(self.path / "recipe.json"), self.path / "recipe.json")

    @cached_property
    def data(self) -> dict[str, Any]:
        """path, version, digest, medium, items, bytes, licences of what it was trained on."""
        data: dict[str, Any] = files.read_json(self.path / "data.json")
        return data

    @property
    def medium(self) -> str:
        """Of the data: a name in genus.media."""
        return str(self.data["medium"])

    @property
    def summary(self) -> dict[str, Any]:
        """params, steps, seconds, asked_s, forecast_s, kwh, kwh_method, peak_bytes, phases. Empty while unfinished."""
        path = self.path / "summary.json"
        summary: dict[str, Any] = files.read_json(path) if path.exists() else {}
        return summary

    @property
    def finished(self) -> bool:
        """Training has ended and its weights are written."""
        return (self.path / "summary.json").exists()

    def metrics(self) -> list[dict[str, Any]]:
        """Rows of metrics.jsonl: {"phase", "step", "seconds", "split", "loss", ...}; torn lines are left out."""
        rows = []
        path = self.path / "metrics.jsonl"
        for line in path.read_text().splitlines() if path.exists() else ():
            try:
                rows.append(json.loads(line))
            except ValueError:
                continue
        return rows

    def dataset(self) -> Dataset:
        """At the version it was trained on, of the media it learned from.

        Raises `UsageError` if it was not trained here.
        """
        if self.data["path"] is None:
            raise UsageError(f"run {self.name!r} was not trained here, so there is no data of its own to judge it with")
        return Dataset.open(Path(self.data["path"]), self.data["version"]).only(self.recipe.media)

    @cached_property
    def _loaded(self) -> tuple[Model, Phase]:
        if not self.finished:
            raise UsageError(f"run {self.name!r} has not finished training; run the same `genus train` again to resume")
        return load_model(self.path)

    def model(self) -> Model:
        """The last phase's model, ready to generate."""
        return self._loaded[0]

    @property
    def phase(self) -> Phase:
        """The last phase as it was resolved."""
        return self._loaded[1]

    @property
    def source(self) -> SourceConfig:
        """How the last phase read its data; `once` scores held-out items."""
        source = self.phase.source
        assert isinstance(source, SourceConfig)
        return source

    def generate(
        self, prompt: str | None = None, n: int = 1, seed: int = 0, latents: Tensor | None = None, **knobs: Any
    ) -> list[Any]:
        """`n` items of media: str for text and code, uint8 [H, W, C] for images. Knobs are the sampler's own.

        latents: [n, ...], as `invert` gives them, in place of those that the seed would draw.
        """
        if n < 1:
            raise UsageError(f"n = {n}: ask for at least one sample")
        model = self.model()
        fields, known = model.ask(prompt, n)
        if latents is not None:
            fields = model.plain(prompt, n)
        return model.generate(Noise(seed, tuple(range(n)), latents), fields, known, **knobs)

    def invert(self, media: Sequence[Any], prompt: str | None = None) -> Tensor:
        """The latent [n, ...] of each item: `generate(latents=...)` makes it again, as well as the model can.

        Raises `UsageError` for families without one, and for text.
        """
        model = self.model()
        if model.codec.streams:
            raise UsageError(f"run {self.name!r} makes {self.medium}, which is drawn cell by cell from no latent")
        if model.conditioner is not None and model.conditioner.sees is not None:
            raise UsageError(f"run {self.name!r} draws in several phases, and one latent does not say all of them")
        with torch.no_grad():
            x = torch.stack([model.codec.lift(stored) for stored in model.codec.encode(media)])
            cond = model.condition(model.plain(prompt, len(x)), len(x))
            return model.objective.invert(model.nets, Batch(x, cond=cond))

    def between(self, first: Any, second: Any, n: int = 8, prompt: str | None = None, **knobs: Any) -> list[Any]:
        """`n` items on the way from one to another, both ends among them: their latents, turned into each other.

        Along a great circle, which keeps the length that the latents of a normal distribution have.
        """
        at = latents.steps(n)
        a, b = self.invert([first, second], prompt)
        return self.generate(prompt, n, latents=latents.between(a, b, at), **knobs)

    def score(self, media: Sequence[Any], batch: int = 16) -> list[float]:
        """log p(x) of each item in nats. Raises `NoLikelihood` where the family has none."""
        found: list[float] = self.log_prob(media, batch).nats.tolist()
        return found

    def log_prob(
        self,
        media: Sequence[Any],
        batch: int = 16,
        progress: Callable[[float, float | None], object] | None = None,
        **knobs: Any,
    ) -> LogProb:
        """The same with what it is worth: exact or not, and the error of an estimate. No record tells of the items.

        An item's figure does not depend on those beside it. progress: told (done, all of them). knobs: the objective's
        own, e.g. `probes` (flow, diffusion) or `looks` (autoencoding, masked): over how many draws a mean is taken.
        """
        model = self.model()
        model = replace(model, objective=model.objective.but(**knobs)) if knobs else model
        cache = in_memory(model.codec, media, self.source) if media else None
        nats, spread = torch.zeros(len(media), dtype=torch.float64), torch.zeros(len(media), dtype=torch.float64)
        parts: list[LogProb] = []
        with torch.no_grad():
            for part in self.source.once(cache, model.codec, batch) if cache is not None else ():
                noise = Noise(0, tuple(address(x) for x in part.x))
                found = model.log_prob(part, noise)
                at = torch.tensor([int(name) for name in part.ids])
                nats.index_add_(0, at, found.nats.double().cpu())
                if found.error is not None:
                    spread.index_add_(0, at, found.error.double().cpu().square())
                parts.append(found)
                if progress is not None:
                    progress(int(at[-1]) + 1, len(media))
        exact, bound = all(p.exact for p in parts), all(p.exact or p.bound for p in parts)
        return LogProb(nats, exact, spread.sqrt() if any(p.error is not None for p in parts) else None, bound)

    def embed(self, media: Sequence[Any], batch: int = 64) -> NDArray[np.float32]:
        """Unit vectors [n, D] of items; their products with those of `embed_texts` say what belongs to what.

        Raises `UsageError` if there are none, or if the run learned no such vectors.
        """
        model, (predict, groups) = self.model(), self._cut(media, batch)
        with torch.no_grad():
            rows = [predict.seen(model.codec.lift(torch.stack(model.codec.encode(group)))) for group in groups]
        return torch.cat(rows).numpy()

    def embed_texts(self, texts: Sequence[str], batch: int = 256) -> NDArray[np.float32]:
        """Unit vectors [n, D] of texts, known or not. Raises as `embed` does."""
        model, (predict, groups) = self.model(), self._cut(texts, batch)
        with torch.no_grad():
            rows = [predict.said(model.condition({model.prompt: group}, len(group))) for group in groups]
        return torch.cat(rows).numpy()

    def _cut(self, items: Sequence[Any], batch: int) -> tuple[Embedder, list[Sequence[Any]]]:
        predict, _ = self.model().predictor()
        if not isinstance(predict, Embedder):
            raise UsageError(
                f"run {self.name!r} learned no vectors to compare with text (recipe {self.recipe.name}); train one "
                "with a contrastive recipe, e.g. clip"
            )
        if not items:
            raise UsageError("there is nothing to embed; give at least one item")
        return predict, [items[i : i + batch] for i in range(0, len(items), batch)]


def in_memory(codec: Codec, media: Sequence[Any], source: SourceConfig | None = None) -> Cache:
    """Items encoded without a file: what a source can read. source: whose way of reading it is; None: the codec's."""
    found = codec.encode(media) if source is None else source.encode(codec, media)
    rows = [x.T if codec.streams else x[None] for x in found]
    starts = np.cumsum([0, *(row.shape[0] for row in rows)])
    cells: Any = torch.cat(rows).numpy()
    return Cache(cells, codec.streams, [str(i) for i in range(len(rows))], starts, {})


def address(x: Tensor) -> int:
    """63 bits that stand for a sample: the address of its noise, where the same x shall always have the same."""
    digest = hashlib.blake2b(x.contiguous().cpu().numpy().tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def load(path: Path | str) -> Run:
    """The run in this folder: `genus.load("runs/tales").generate("Once", n=2)`."""
    return Run(path)


def parameters(nets: nn.ModuleDict) -> int:
    """Numbers in networks, those inside a conditioner among them."""
    inside = {p for net in nets.modules() if isinstance(net, Network) for p in net.parameters()}
    return sum(p.numel() for p in inside)
