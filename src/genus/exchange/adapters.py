"""A run that was trained by an adapter -> the folder that PEFT reads: the correction alone, a few megabytes.

The model that it corrects is named by where it came from and is not written. Where ours is one matrix and the published
ones are several (queries, keys and values), each gets the same A and its own rows of B and of the lengths. Read back
and added to the model that training began from, the correction gives the run's weights; else nothing is left of it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast, final

from safetensors.torch import load_file, save_file
from torch import Tensor, cat, split

from genus import files
from genus.errors import GenusError, UsageError
from genus.exchange import layout
from genus.exchange.outlet import Content, content_of, vacant
from genus.exchange.parity import Parity, behaved, spoken
from genus.networks.decoder import Decoder
from genus.networks.lora import ADAPTER, LoraConfig
from genus.run import Run, load_model

BEFORE = "base_model.model."  # how PEFT calls the model inside its own
TYPE = "f32"
TOLERANCE = 1e-5  # of the largest weight


@final
@dataclass(frozen=True)
class GivenAdapter:
    """path: what was written. base: the model that it corrects. weights: of the adapter. off: the largest difference
    between base and adapter together and the run, over the largest weight. parity: how the two behave.
    """

    path: str
    base: str
    rank: int
    weights: int
    bytes: int
    off: float
    parity: Parity
    seconds: float

    def json(self) -> dict[str, Any]:
        """One object."""
        return {"format": "peft", "type": TYPE, **asdict(self), "parity": self.parity.json()}


def give_adapter(run: Run, out: Path | None = None, kind: str = TYPE) -> GivenAdapter:
    """out: None: RUN-peft in this folder. kind: the number format, of which there is one.

    Raises `UsageError` for a run without an adapter, `GenusError` if what was written does not give the run.
    """
    begun = time.perf_counter()
    if kind != TYPE:
        raise UsageError(f"--type {kind!r} is not written as peft; choose {TYPE}, or leave it out")
    config, place = run.phase.adapter, run.path / ADAPTER
    if not isinstance(config, LoraConfig) or not place.is_file():
        raise UsageError(
            f"run {run.name!r} was not trained by an adapter, so it has none to export; train one with --set "
            'PHASE.adapter=\'{"kind": "networks.lora"}\', or choose --format hf'
        )
    content = content_of(run)
    if content.config.mixture is not None:
        raise UsageError(f"run {run.name!r} has experts, which PEFT does not adapt as genus does; choose --format hf")
    start = run.phase.start or ""
    base = Run(run.recipe.given[start]) if start in run.recipe.given else None
    origin = (base.data.get("origin") or {}) if base is not None else {}
    name = str(origin.get("name") or (base.name if base is not None else start))
    path = out if out is not None else Path(f"{run.name}-peft")
    trained = load_file(place)
    tensors, modules = published(content, trained)
    said = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": name,
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "use_dora": config.lengths,
        "fan_in_fan_out": layout.hf(content.kind).flipped,
        "target_modules": modules,
        "inference_mode": True,
    }
    with vacant(path) as made:
        made.mkdir(parents=True)
        save_file(tensors, made / "adapter_model.safetensors", {"format": "pt"})
        files.write_json(made / "adapter_config.json", said)
        again = ours(content, load_file(made / "adapter_model.safetensors"))
        began = load_model(base.path if base is not None else run.path / "phases" / start)[0]
        now = run.model().nets.state_dict()
        whole = config.merged(began.nets.state_dict(), again)
        off = max(float((whole[k] - now[k]).abs().max() / now[k].abs().max().clamp(min=1e-9)) for k in now)
        if off > TOLERANCE:
            raise GenusError(f"base and adapter together differ from the run by {off:.2g} of a weight; nothing written")
        began.nets.load_state_dict(whole)
        other = cast(Decoder, began.nets["net"]).eval()
        room = min(content.net.space.dims[0], other.space.dims[0])
        parity = behaved(content.net, other, content.codec, room, TYPE, spoken(content.codec, began.codec))
        if parity.failed:
            wrong = "; ".join(parity.failed)
            raise GenusError(f"base and adapter together do not behave as the run: {wrong}; nothing was written")
        files.write_json(made / "parity.json", parity.json())
    size, weights = sum(p.stat().st_size for p in path.iterdir()), sum(x.numel() for x in tensors.values())
    return GivenAdapter(str(path), name, config.rank, weights, size, off, parity, round(time.perf_counter() - begun, 2))


def _layers(content: Content) -> dict[str, tuple[list[str], list[int]]]:
    """Of each layer of ours: the published modules that it is made of, and the rows of each."""
    found = {}
    for weight in layout.weights(content.config, content.vocab, layout.hf(content.kind)):
        layer, _, last = weight.name.rpartition(".")
        if last == "weight":
            rows = [piece.size[0] for piece in weight.pieces]
            found[f"net.{layer}"] = ([piece.name.removesuffix(".weight") for piece in weight.pieces], rows)
    return found


def published(content: Content, trained: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """The weights of our adapter by PEFT's names, and the modules that they correct."""
    tensors: dict[str, Tensor] = {}
    found: list[str] = []
    for layer, (modules, rows) in _layers(content).items():
        if f"{layer}.a" not in trained:
            continue
        found += modules
        for name, x in zip(modules, split(trained[f"{layer}.b"], rows), strict=True):
            tensors[f"{BEFORE}{name}.lora_A.weight"] = trained[f"{layer}.a"].clone()
            tensors[f"{BEFORE}{name}.lora_B.weight"] = x.clone()
        if f"{layer}.m" in trained:
            for name, x in zip(modules, split(trained[f"{layer}.m"], rows), strict=True):
                tensors[f"{BEFORE}{name}.lora_magnitude_vector"] = x.clone()
    return tensors, found


def ours(content: Content, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """And back."""
    found: dict[str, Tensor] = {}
    for layer, (modules, _) in _layers(content).items():
        if f"{BEFORE}{modules[0]}.lora_A.weight" in tensors:
            found[f"{layer}.a"] = tensors[f"{BEFORE}{modules[0]}.lora_A.weight"]
            found[f"{layer}.b"] = cat([tensors[f"{BEFORE}{name}.lora_B.weight"] for name in modules])
        if f"{BEFORE}{modules[0]}.lora_magnitude_vector" in tensors:
            found[f"{layer}.m"] = cat([tensors[f"{BEFORE}{name}.lora_magnitude_vector"] for name in modules])
    return found
