"""How a file came to be: a sidecar `FILE.json` beside every file that is written, enough to make the file again.

A sample is a function of (weights, configuration, seed, index, prompt, knobs) alone, so these are what a manifest
holds, with the data that the weights came from and the sha256 of what was made. It says what the maker claims and
proves nothing by itself: signatures and watermarks are other parts, and `genus.deploy.reproduce` is the check.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, final

from genus import files
from genus.errors import GenusError, UsageError

FORMAT = "genus manifest 1"


@final
@dataclass(frozen=True, slots=True)
class Maker:
    """What made it: the same for all samples of a run.

    run, run_path: name and folder of the run. weights_sha256, config_sha256: of model.safetensors and config.json;
    vocabulary_sha256: of what was learned beside these (tokenizer.json, a codec, earlier phases' models), of the one
    file or of the digests of several. data: path, version and digest of what was trained on.
    """

    genus: str
    torch: str
    run: str
    run_path: str
    recipe: str
    medium: str
    weights_sha256: str
    config_sha256: str
    vocabulary_sha256: str | None
    data: Mapping[str, Any]


@final
@dataclass(frozen=True, slots=True)
class Manifest:
    """One sample.

    seed, index: the address of its randomness. batch: the indices that were drawn together, which matters to rounding
    alone. knobs: of the sampler, where they differ from the recipe's. scale: pixels were repeated so often along each
    side. start: the files it was started from, with their sha256. sha256: of the content as it was made. created: UTC,
    ISO 8601.
    """

    maker: Maker
    seed: int
    index: int
    batch: tuple[int, ...]
    sha256: str
    prompt: str | None = None
    knobs: Mapping[str, Any] = field(default_factory=dict)
    scale: int = 1
    start: Mapping[str, str] | None = None
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def json(self) -> dict[str, Any]:
        """One flat object."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "maker"}
        return {"format": FORMAT, **asdict(self.maker), **own, "batch": list(self.batch), "knobs": dict(self.knobs)}

    @classmethod
    def parse(cls, data: Any) -> Self:
        """What `json` gave. Raises `GenusError` that names what is wrong with it."""
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            said = data.get("format") if isinstance(data, dict) else data
            raise GenusError(f"this is not a manifest of genus: format is {said!r}, expected {FORMAT!r}")
        theirs = {f.name for f in fields(Maker)}
        ours = {f.name for f in fields(cls)} - {"maker"}
        missing = sorted((theirs | ours) - set(data))
        if missing:
            raise GenusError(f"this manifest is damaged: it has no {', '.join(missing)}")
        own = {name: data[name] for name in ours}
        whole = [own["seed"], own["index"], own["scale"], *(own["batch"] if isinstance(own["batch"], list) else [None])]
        if any(type(i) is not int for i in whole) or own["scale"] < 1 or own["index"] not in own["batch"]:
            raise GenusError("this manifest is damaged: seed, index, scale or batch are not the numbers they should be")
        if not isinstance(own["knobs"], dict) or not isinstance(own["prompt"], str | None):
            raise GenusError("this manifest is damaged: knobs is no object, or prompt no text")
        start = own["start"]
        if start is not None and not (isinstance(start, dict) and all(isinstance(v, str) for v in start.values())):
            raise GenusError("this manifest is damaged: start names no files")
        return cls(Maker(**{name: data[name] for name in theirs}), **{**own, "batch": tuple(own["batch"])})


def digest(content: bytes) -> str:
    """sha256, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def sidecar(path: Path) -> Path:
    """Where the manifest of a file stands: `moon.png` -> `moon.png.json`."""
    return path.with_name(path.name + ".json")


def write(path: Path, content: bytes, manifest: Manifest) -> Path:
    """Write a file and its manifest; the manifest first, so that at no moment a file stands there without one."""
    files.write_json(sidecar(path), manifest.json())
    return files.write(path, content)


def read(path: Path) -> Manifest:
    """The manifest of a file. Raises `UsageError` if it has none, `GenusError` if it is damaged."""
    beside = sidecar(path)
    if not beside.is_file():
        raise UsageError(f"{path} has no manifest: {beside.name} is not beside it; keep the two together")
    try:
        return Manifest.parse(files.read_json(beside))
    except GenusError as error:
        raise GenusError(f"{beside}: {error}") from None
