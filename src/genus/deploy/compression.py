"""A run -> the same model with weights of 4 or 8 bits, as a run of its own that says what it lost.

Calibrated on what the run was trained on, or on texts that are given, and judged by the change of perplexity on what
neither it nor the calibration has seen. How weights are rounded: `networks.compression`.
"""

from __future__ import annotations

import math
import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast, final, get_args

from torch import nn

from genus import files
from genus import home as homes
from genus.core import Batch, Codec, Model, Noise
from genus.data.packed import PackedConfig
from genus.data.source import SourceConfig
from genus.deploy.release import objections, publish
from genus.errors import UsageError
from genus.networks.compression import Way, compressed
from genus.networks.decoder import Decoder
from genus.run import Run, in_memory, save
from genus.validate import page
from genus.validate.findings import Finding, Result, ratio
from genus.validate.report import Report, facts
from genus.validate.subject import HELD
from genus.watch import Silent, Watch

#: Per cent of perplexity that rounding may cost, for each number of bits.
WORSE = {8: 0.5, 4: 5.0}
CELLS, ITEMS = 256, 512  # of a window; items at most that windows are taken from
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@final
@dataclass(frozen=True)
class Compressed:
    """run: its folder. change: of perplexity, per cent. bytes: of its weights; before: of the run it was made of."""

    run: Path
    bits: int
    way: str
    perplexity: float
    before: float
    change: Finding
    bytes: int
    bytes_before: int
    reasons: tuple[str, ...]
    seconds: float

    def json(self) -> dict[str, Any]:
        """One object."""
        said = {"run": str(self.run), "name": self.run.name, "bits": self.bits, "way": self.way}
        said |= {"perplexity": {"before": self.before, "after": self.perplexity, "change": self.change.json()}}
        said |= {"bytes": {"before": self.bytes_before, "after": self.bytes}}
        return {**said, "deployed": not self.reasons, "reasons": list(self.reasons), "seconds": round(self.seconds, 2)}


def compress(
    run: Run,
    bits: int = 4,
    name: str | None = None,
    home: Path | None = None,
    texts: Sequence[Path] = (),
    way: str = "both",
    windows: int = 24,
    watch: Watch | None = None,
) -> Compressed:
    """Make a run of few bits. texts: to calibrate by and, their last third, to judge by; none: the run's own data.

    name: of the new run; None: RUN-intBITS. windows: of `CELLS` tokens for calibration, and as many to judge by. Raises
    `UsageError` for a run, a name or texts that will not do.
    """
    begun, watch = time.perf_counter(), watch or Silent()
    if bits not in WORSE:
        raise UsageError(f"--bits {bits}; choose one of {', '.join(map(str, WORSE))}")
    if way not in get_args(Way):
        raise UsageError(f"--way {way!r}; choose one of {', '.join(get_args(Way))}")
    called = name or f"{run.name}-int{bits}"
    if not NAME.fullmatch(called):
        raise UsageError(f"{called!r} is no name of a run; give one of letters, digits, '-', '_' and '.' with --name")
    place = homes.home(home) / "runs" / called
    if place.exists():
        raise UsageError(f"there is a run {called!r} already, in {place}; choose another --name")
    model = run.model()
    net = dict(model.nets.items()).get("net")
    if not isinstance(net, Decoder) or len(model.nets) != 1:
        kinds = ", ".join(config.kind for config in run.phase.nets.values())
        raise UsageError(f"run {run.name!r} is of {kinds}; weights of few bits are made of networks.decoder alone")
    seen, held, split = _data(run, texts, windows)
    watch.say(f"rounding to {bits} bits by {len(seen)} windows")
    small = compressed(
        net, [part.x[0, 0] for part in seen], bits, cast(Way, way), lambda i, n: watch.tick(i, n, "layers")
    )
    other = replace(model, nets=nn.ModuleDict({"net": small}))
    watch.say(f"comparing on {len(held)} windows")
    before, after, cells = _nats(model, held), _nats(other, held), [float(part.cells) for part in held]
    with files.beside(place) as made:
        _write(run, other, made, {"of": run.name, "bits": bits, "way": way, "texts": [str(path) for path in texts]})
    found = Run(place)
    lost = [b - a for a, b in zip(before, after, strict=True)]
    value, low, high = (100 * math.expm1(x) for x in ratio(lost, cells))
    change = Finding("perplexity_change", value, low, high, "%", split=split)
    span = ratio(after, cells)
    was, now = (math.exp(sum(nats) / sum(cells)) for nats in (before, after))
    sizes = [(place / "model.safetensors").stat().st_size, (run.path / "model.safetensors").stat().st_size]
    result = Result(
        metrics=(
            Finding("perplexity", now, math.exp(span[1]), math.exp(span[2]), split=split),
            change,
            Finding("bytes", float(sizes[0]), unit="bytes", split="weights"),
        ),
        baselines=(Finding(f"perplexity/{run.name}", was, split=split),),
        notes=(
            f"{bits}-bit weights made of run {run.name!r} ({way}), judged by what rounding changed alone: perplexity "
            f"on {len(held)} windows of {CELLS} tokens that calibration did not see",
        ),
    )
    reasons: tuple[str, ...] = (
        () if value <= WORSE[bits] else (f"perplexity is {value:.2f} % worse, more than {WORSE[bits]:g} %",)
    )
    reasons += () if (run.path / "deployed.json").is_file() else tuple(f"of {run.name}: {r}" for r in objections(run))
    report = Report(place, result, reasons, facts(found, time.perf_counter() - begun))
    try:
        files.write(place / "report.html", page.render(page.of(found, report)))
        files.write_json(place / "report.json", report.json())
        if not reasons:
            publish(found)
    except BaseException:  # without its report it is no run yet, and its name is free again
        shutil.rmtree(place, ignore_errors=True)
        raise
    seconds = time.perf_counter() - begun
    return Compressed(place, bits, way, now, was, change, sizes[0], sizes[1], reasons, seconds)


def _data(run: Run, texts: Sequence[Path], windows: int) -> tuple[list[Batch], list[Batch], str]:
    """Windows to calibrate by, windows to judge by, and what these are. Raises `UsageError` where there are none."""
    codec = run.model().codec
    room = min(CELLS, run.model().space.dims[0])
    if texts:
        source: SourceConfig = PackedConfig(window=room)
        read = [_read(path) for path in texts]
        seen, held, split = [t[: 2 * len(t) // 3] for t in read], [t[2 * len(t) // 3 :] for t in read], "last third"
    else:
        if run.data["path"] is None:
            raise UsageError(f"run {run.name!r} was not trained here; give texts to calibrate by with --text FILE")
        data = run.dataset()
        split = next((s for s in (HELD, "val") if data.count(f"status = 'kept' AND split = '{s}'")), "")
        if not split:
            raise UsageError(f"{data.path} holds nothing out to judge by; give texts with --text FILE")
        own = run.source
        source = own.but(window=room) if "window" in type(own).model_fields else PackedConfig(window=room)
        seen, held = ([r.media for _, r in zip(range(ITEMS), data.media(s), strict=False)] for s in ("train", split))
    each = [_windows(codec, source, some, windows) for some in (seen, held)]
    if not all(each):
        raise UsageError("there is no text to calibrate and to judge by; give longer ones with --text FILE")
    return each[0], each[1], split


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as text: {error}") from error


def _windows(codec: Codec, source: SourceConfig, media: Sequence[Any], n: int) -> list[Batch]:
    """At most n windows, evenly spaced over all, each without padding."""
    rows = []
    for part in source.once(in_memory(codec, media, source), codec, 1):
        assert part.mask is not None
        counted = part.mask[0, 0].nonzero()
        if len(counted) > 1:
            stop = int(counted[-1]) + 1
            rows.append(replace(part, x=part.x[:, :, :stop], mask=part.mask[:, :, :stop], fields={}))
    return [rows[i * len(rows) // n] for i in range(n)] if len(rows) > n else rows


def _nats(model: Model, parts: Sequence[Batch]) -> list[float]:
    """-log p of what counts in each window."""
    model.nets.eval()
    return [-float(model.log_prob(part, Noise(0)).nats[0]) for part in parts]


def _write(run: Run, model: Model, folder: Path, said: dict[str, Any]) -> None:
    """The files of the new run, but for its report."""
    net = model.nets["net"]
    assert isinstance(net, Decoder)
    phase = save(model, run.phase.but(nets={"net": net.config}), folder)
    recipe = run.recipe.but(phases=(*run.recipe.phases[:-1], phase))
    files.write_json(folder / "recipe.json", recipe.model_dump(mode="json"))
    origin = {"name": run.name, "weights_sha256": files.sha256(run.path / "model.safetensors")}
    files.write_json(folder / "data.json", {**run.data, "compressed": {**said, **origin}})
    for file in ("environment.json", "summary.json"):
        shutil.copyfile(run.path / file, folder / file)
