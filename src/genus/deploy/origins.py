"""What samples start from: a picture, a way between two, a sum of some. Given as files, which a manifest names.

Each says itself as text for a manifest (paths, and the sha256 of what they hold) and makes ready what a sampler is
given: known cells, or latents in place of those that a seed would draw.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, final

import torch
from torch import Tensor

from genus import files, latents
from genus.core import Known, Noise, Roads
from genus.errors import GenusError, UsageError
from genus.media import MEDIA, Damaged, Medium
from genus.run import Run

SEED = "seed:"


@final
@dataclass(frozen=True, slots=True)
class Given:
    """known: cells of x. latents: [n, ...], one a sample."""

    known: Known | None = None
    latents: Tensor | None = None


#: The samples of these indices -> what they are given.
Ready = Callable[[Sequence[int]], Given]


class Origin(Protocol):
    """Where samples come from, if not from a seed alone."""

    def json(self) -> dict[str, str]:
        """For a manifest; `origin` reads it back. Raises `UsageError` for a file that is not there."""

    def ready(self, run: Run, prompt: str | None) -> Ready:
        """Files read, latents found. Raises `UsageError` with the reason where the run cannot start from them."""


def medium(run: Run) -> Medium:
    """What the run makes. Raises `UsageError` for a medium that this version does not know."""
    if run.medium not in MEDIA:
        raise UsageError(f"run {run.name!r} makes {run.medium!r}, which this version of genus cannot write")
    return MEDIA[run.medium]


def read(run: Run, path: Path) -> Any:
    """A file as media of the run's kind. Raises `UsageError` that names it and says what is wrong with it."""
    if not path.is_file():
        raise UsageError(f"{path} is {'a folder' if path.is_dir() else 'no file'}; name a file of {run.medium}")
    try:
        return medium(run).read(path.read_bytes())
    except Damaged as error:
        raise UsageError(f"{path} cannot be read: {error}; give a whole file of {run.medium}") from error


@final
@dataclass(frozen=True, slots=True)
class Start:
    """An item, and for a picture a mask of its size, white where to draw anew; without one the item is a draft."""

    item: Path
    mask: Path | None = None

    def json(self) -> dict[str, str]:
        """item, mask."""
        return named({"item": self.item} | ({} if self.mask is None else {"mask": self.mask}))

    def ready(self, run: Run, prompt: str | None) -> Ready:
        """Known cells: the same for all samples."""
        codec = run.model().codec
        if codec.streams:
            raise UsageError(f"run {run.name!r} makes {run.medium}, which starts from a prompt, not from {self.item}")
        item, anew = read(run, self.item), None
        if self.mask is not None:
            mask = read(run, self.mask)
            if mask.shape[:-1] != item.shape[:-1]:
                raise UsageError(
                    f"{self.mask} is {sized(mask)} and {self.item} is {sized(item)}; a mask has its picture's size"
                )
            anew = torch.from_numpy(codec.like([mask])[0]).float().mean(-1) > 127
        return lambda indices: Given(known=run.model().begin(item, anew, len(indices)))


@final
@dataclass(frozen=True, slots=True)
class Between:
    """`of` samples on the way from one end to another, both among them. An end: a file, or a seed (its sample 0)."""

    first: Path | int
    last: Path | int
    of: int

    def json(self) -> dict[str, str]:
        """first, last, of."""
        return named({"first": self.first, "last": self.last}) | {"of": str(self.of)}

    def ready(self, run: Run, prompt: str | None) -> Ready:
        """Latents along a great circle."""
        at = latents.steps(self.of)
        a, b = (found(run, end, prompt) for end in (self.first, self.last))
        way = latents.between(a, b, at)
        return lambda indices: Given(latents=way[list(indices)])


@final
@dataclass(frozen=True, slots=True)
class Sum:
    """`of` samples on the way from a file to itself + the mean of some - the mean of others; one: the end alone."""

    base: Path
    plus: tuple[Path, ...]
    minus: tuple[Path, ...]
    of: int

    def json(self) -> dict[str, str]:
        """base, plus-0, plus-1, .., minus-0, .., of."""
        more = {f"{name}-{i}": p for name in ("plus", "minus") for i, p in enumerate(getattr(self, name))}
        return named({"base": self.base, **more}) | {"of": str(self.of)}

    def ready(self, run: Run, prompt: str | None) -> Ready:
        """Latents from the base to the sum."""
        base = found(run, self.base, prompt)

        def some(paths: tuple[Path, ...]) -> Tensor:
            return torch.stack([found(run, path, prompt) for path in paths]) if paths else base[None][:0]

        end = latents.summed(base, some(self.plus), some(self.minus))
        way = end[None] if self.of == 1 else latents.between(base, end, latents.steps(self.of))
        return lambda indices: Given(latents=way[list(indices)])


def found(run: Run, end: Path | int, prompt: str | None) -> Tensor:
    """The latent of a file, or the one that a seed draws for its sample 0."""
    if isinstance(end, Path):
        return run.invert([read(run, end)], prompt)[0]
    model = run.model()
    if prompt is None and model.conditioner is not None and model.conditioner.roads != Roads():
        raise UsageError(f"each seed of run {run.name!r} has a {model.prompt} of its own; give one as the prompt")
    return Noise(end).normal(0, model.sampler.latent(model.predictor()[0], model.space))[0]


def end(text: str) -> Path | int:
    """'seed:3' as 3, anything else as a path. Raises `UsageError` for a seed that is no number."""
    if not text.startswith(SEED):
        return Path(text)
    try:
        return int(text.removeprefix(SEED))
    except ValueError:
        raise UsageError(f"{text!r} is no seed; write e.g. {SEED}3, or name a file") from None


def named(ends: Mapping[str, Path | int]) -> dict[str, str]:
    """Paths and what they hold, or seeds. Raises `UsageError` if a file is not there."""
    said: dict[str, str] = {}
    for name, given in ends.items():
        if isinstance(given, int):
            said[name] = f"{SEED}{given}"
            continue
        if not given.is_file():
            raise UsageError(f"{given} is {'a folder' if given.is_dir() else 'no file'}; name a file to start from")
        said |= {name: str(given.resolve()), f"{name}_sha256": files.sha256(given)}
    return said


def origin(said: Mapping[str, str]) -> Origin:
    """From a manifest. Raises `GenusError` if a file is gone or has changed, or if it says none of these."""
    for name, path in said.items():
        sha256 = said.get(f"{name}_sha256")
        if sha256 is not None and not (Path(path).is_file() and files.sha256(Path(path)) == sha256):
            raise GenusError(f"{path}, from which this was made, is gone or has changed; put it back as it was")
    try:
        if "item" in said:
            return Start(Path(said["item"]), Path(said["mask"]) if "mask" in said else None)
        if "first" in said:
            return Between(end(said["first"]), end(said["last"]), int(said["of"]))
        some = [
            tuple(Path(path) for key, path in said.items() if key.startswith(f"{name}-") and "_" not in key)
            for name in ("plus", "minus")
        ]
        return Sum(Path(said["base"]), some[0], some[1], int(said["of"]))
    except (KeyError, ValueError):
        raise GenusError(f"this manifest is damaged: it starts from {', '.join(said) or 'nothing'}") from None


def sized(item: Any) -> str:
    """A picture's size as one says it, width first."""
    return " x ".join(map(str, reversed(item.shape[:-1])))
