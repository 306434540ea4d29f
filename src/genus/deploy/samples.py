"""A trained run -> media, in memory or as files, each with its manifest. Not here: serving, judging.

Sample `index` of `seed` is the same whatever is drawn beside it, so drawing in pieces (flat memory), from the middle
(`first`) or one alone (`reproduction`) gives the same items.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, final

import torch

import genus
from genus import files
from genus.core import Known, Noise
from genus.errors import GenusError, UsageError
from genus.media import MEDIA, Damaged, Medium
from genus.provenance import manifest
from genus.provenance.manifest import Maker, Manifest
from genus.run import Run

#: So many at a time: a stream's memory grows with its length, an item that fills its space by itself is small.
STREAMS, ITEMS = 8, 16


@final
@dataclass(frozen=True)
class Generated:
    """files: written, in order; empty where text went to the caller alone. items: str, or facts about the rest."""

    files: list[Path]
    items: list[Any]

    def json(self) -> dict[str, Any]:
        """{"files": [...], "items": [...]}."""
        return {"files": [str(path) for path in self.files], "items": self.items}


def maker(run: Run) -> Maker:
    """The facts that all samples of this run share; reads the weights once, for their digest."""
    beside = [run.path / name for name in ("tokenizer.json", "codec/model.safetensors")]  # by a codec, if it learned
    beside += sorted(run.path.glob("models/**/model.safetensors"))
    digests = [files.sha256(path) for path in beside if path.is_file()]
    if len(digests) > 1:
        digests = [hashlib.sha256("".join(digests).encode()).hexdigest()]
    return Maker(
        genus=genus.__version__,
        torch=version("torch"),
        run=run.name,
        run_path=str(run.path.resolve()),
        recipe=run.recipe.name,
        medium=run.medium,
        weights_sha256=files.sha256(run.path / "model.safetensors"),
        config_sha256=files.sha256(run.path / "config.json"),
        vocabulary_sha256=digests[0] if digests else None,
        data={name: run.data.get(name) for name in ("path", "version", "digest")},
    )


def medium(run: Run) -> Medium:
    """What the run makes. Raises `UsageError` for a medium that this version does not know."""
    if run.medium not in MEDIA:
        raise UsageError(f"run {run.name!r} makes {run.medium!r}, which this version of genus cannot write")
    return MEDIA[run.medium]


def noise(seed: int, indices: Sequence[int]) -> Noise:
    """The randomness of these samples: the one place where a sample's address becomes its draws."""
    return Noise(seed, tuple(indices))


def pieces(indices: Sequence[int], streams: bool) -> Iterator[tuple[int, ...]]:
    """The indices, so many at a time as are drawn together."""
    size = STREAMS if streams else ITEMS
    for start in range(0, len(indices), size):
        yield tuple(indices[start : start + size])


@final
@dataclass(frozen=True, slots=True)
class Start:
    """Files to start from: an item, and for a picture a mask of its size, white where to draw anew; none: a draft."""

    item: Path
    mask: Path | None = None

    def json(self) -> dict[str, str]:
        """Paths and what they hold, for a manifest. Raises `UsageError` if one is not there."""
        given = {"item": self.item, "mask": self.mask}
        there = {name: path for name, path in given.items() if path is not None}
        for path in there.values():
            if not path.is_file():
                raise UsageError(f"{path} is no file; name one to start from")
        paths = {name: str(path.resolve()) for name, path in there.items()}
        return paths | {f"{name}_sha256": files.sha256(path) for name, path in there.items()}

    @staticmethod
    def of(said: Mapping[str, str]) -> Start:
        """From a manifest. Raises `GenusError` if a file is gone or has changed."""
        for name in ("item", "mask"):
            if name not in said:
                continue
            path = Path(said[name])
            if not path.is_file() or files.sha256(path) != said[f"{name}_sha256"]:
                raise GenusError(f"{path}, from which this was made, is gone or has changed; put it back as it was")
        return Start(Path(said["item"]), Path(said["mask"]) if "mask" in said else None)

    def known(self, run: Run, batch: int) -> Known:
        """What a sampler is given. Raises `UsageError` for files that the run's medium does not read."""
        kind, codec = medium(run), run.model().codec
        if codec.streams:
            raise UsageError(f"run {run.name!r} makes {run.medium}, which starts from a prompt, not from {self.item}")
        item, mask = (None if path is None else self._read(kind, path) for path in (self.item, self.mask))
        anew = None if mask is None else torch.from_numpy(codec.like([mask])[0]).float().mean(-1) > 127
        return run.model().begin(item, anew, batch)

    def _read(self, kind: Medium, path: Path) -> Any:
        try:
            return kind.read(path.read_bytes())
        except Damaged as error:
            raise UsageError(f"{path} cannot be read: {error}; give a whole file of the kind the run makes") from error


def draw(
    run: Run,
    prompt: str | None,
    seed: int,
    indices: Sequence[int],
    knobs: Mapping[str, Any],
    start: Start | None = None,
) -> list[Any]:
    """These samples, drawn as one batch. A text that was cut inside a character ends before it."""
    model = run.model()
    fields, known = model.ask(prompt, len(indices))
    if start is not None:
        known = start.known(run, len(indices))
    items = model.generate(noise(seed, indices), fields, known, **knobs)
    return [item.rstrip("\ufffd") if isinstance(item, str) else item for item in items]


def generate(
    run: Run,
    prompt: str | None,
    n: int,
    seed: int,
    out: Path | None,
    knobs: Mapping[str, Any],
    first: int = 0,
    start: Start | None = None,
    progress: Callable[[float, float | None], object] | None = None,
) -> Generated:
    """Samples first .. first + n - 1 of `seed`.

    out: a folder (files are called RUN-SEED-INDEX.suffix, and never replace one with another content), or with n = 1
    a file of the medium's suffix (which is replaced). None: text goes to the caller alone, all else to the run's
    `samples/`. knobs: the sampler's own. start: files to start from. progress: told (done, n) after each piece. Raises
    `UsageError` for an `n`, a prompt, a knob or a file that will not do.
    """
    if n < 1:
        raise UsageError(f"n = {n}: ask for at least one sample")
    if first < 0:
        raise UsageError(f"first = {first}: samples are counted from 0")
    if prompt is not None and prompt != prompt.encode(errors="replace").decode():
        raise UsageError(f"the prompt {prompt!r} is not text: it holds bytes that are no UTF-8")
    kind = medium(run)
    single = _single(out, n, kind)
    by = maker(run)
    said = None if start is None else start.json()
    made = Generated([], [])
    for batch in pieces(range(first, first + n), run.model().codec.streams):
        for index, media in zip(batch, draw(run, prompt, seed, batch, knobs, start), strict=True):
            content = kind.write(media)
            sample = Manifest(by, seed, index, batch, manifest.digest(content), prompt, dict(knobs), start=said)
            if isinstance(media, str) and out is None:
                made.items.append(media)
                continue
            folder = out if out is not None else run.path / "samples"
            path = single or _free(folder, f"{run.name}-{seed}-{index}", kind.suffix, sample.sha256)
            made.files.append(manifest.write(path, content, sample))
            made.items.append(media if isinstance(media, str) else about(media, sample))
        if progress is not None:
            progress(batch[-1] + 1 - first, n)
    return made


def about(media: Any, sample: Manifest) -> dict[str, Any]:
    """What is said of an item that is no text."""
    return {"seed": sample.seed, "index": sample.index, "shape": list(media.shape), "sha256": sample.sha256}


def _single(out: Path | None, n: int, kind: Medium) -> Path | None:
    """`out` if it names one file; None if it names a folder."""
    if out is None or out.is_dir() or not out.suffix:
        return None
    if out.suffix.lower() != kind.suffix:
        raise UsageError(f"{out}: {kind.name} is written as {kind.suffix}; name such a file, or a folder")
    if n > 1:
        raise UsageError(f"{out} is one file, and {n} samples were asked for; name a folder")
    return out


def _free(folder: Path, stem: str, suffix: str, sha256: str) -> Path:
    """A path that holds nothing, or this very content: other knobs under the same seed shall not eat earlier work."""
    path, turn = folder / f"{stem}{suffix}", 2
    while path.exists() and files.sha256(path) != sha256:
        path, turn = folder / f"{stem}-{turn}{suffix}", turn + 1
    return path
