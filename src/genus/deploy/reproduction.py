"""`genus reproduce FILE`: a file is made again from its manifest and the two are compared. Proof by repetition.

First the sample is drawn alone. Where that is not the file exactly, the batch in which it was first drawn is drawn
again, because a matrix product may round differently in another shape. Only a file that is still as it was written can
count as "equal within rounding": in any other the difference is a change.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal, final

import numpy as np

from genus.deploy import origins, samples
from genus.errors import GenusError, UsageError
from genus.media import Damaged, Medium
from genus.provenance import manifest
from genus.provenance.manifest import Maker, Manifest
from genus.run import Run

#: Levels of 255 by which a pixel may move when sums are taken in another order.
ROUNDING = 2


@final
@dataclass(frozen=True)
class Reproduced:
    """same: the file is what the manifest says. difference: in words, empty if there is none."""

    file: Path
    same: bool
    how: Literal["identical", "equal within rounding", "different"]
    difference: str
    sample: Manifest

    def json(self) -> dict[str, Any]:
        """One object, the manifest in it."""
        said = {"file": str(self.file), "same": self.same, "how": self.how, "difference": self.difference}
        return {**said, "manifest": self.sample.json()}


def reproduce(file: Path, run: Path | None = None, home: Path | None = None) -> Reproduced:
    """Make `file` again and compare.

    run: its run's folder, if it moved; home: where to look for it else (`home/runs/NAME`). Raises `UsageError` if the
    file, its manifest or the run is missing, `GenusError` if the run is no longer the one that made the file.
    """
    if not file.is_file():
        raise UsageError(f"{file} does not exist")
    sample = manifest.read(file)
    found = _find(sample.maker, run, home)
    now = samples.maker(found)
    _check(sample.maker, now, found)
    kind = origins.medium(found)
    content = file.read_bytes()
    ready = None if sample.start is None else origins.origin(sample.start).ready(found, sample.prompt)

    def again(batch: tuple[int, ...]) -> Any:
        items = samples.draw(found, sample.prompt, sample.seed, batch, sample.knobs, ready)
        return scaled(items[batch.index(sample.index)], sample.scale)

    untouched = manifest.digest(content) == sample.sha256
    media = again((sample.index,))
    difference, apart = compare(kind, content, media)
    if difference and len(sample.batch) > 1:
        other, distance = compare(kind, content, again(sample.batch))
        if distance < apart:
            difference, apart = other, distance
    if not difference:
        return Reproduced(file, True, "identical", "", sample)
    if untouched and apart <= ROUNDING:
        return Reproduced(file, True, "equal within rounding", difference, sample)
    if not untouched:
        difference += "; the file was changed after it was made"
    elif sample.maker.torch != now.torch:
        difference += f"; it was made with torch {sample.maker.torch}, and again with {now.torch}"
    return Reproduced(file, False, "different", difference, sample)


def scaled(media: Any, scale: int) -> Any:
    """A picture with each pixel repeated `scale` times along both sides: nearest neighbour, nothing invented."""
    return media if scale == 1 else np.ascontiguousarray(media.repeat(scale, 0).repeat(scale, 1))


def compare(kind: Medium, content: bytes, media: Any) -> tuple[str, float]:
    """(the difference in words, the largest in levels): ("", 0) if there is none, infinite where it has no measure."""
    if content == kind.write(media):
        return "", 0
    try:
        found = kind.read(content)
    except Damaged as error:
        return f"the file is damaged ({error})", float("inf")
    if isinstance(media, str):
        return _texts(found, media), float("inf")
    if found.shape != media.shape:
        return f"its shape is {_shape(found)}, made again {_shape(media)}", float("inf")
    off = np.abs(found.astype(np.int16) - media.astype(np.int16))
    if not off.any():  # another encoder, the same pixels
        return "", 0
    pixels, of = int(off.any(axis=-1).sum()), off[..., 0].size
    return f"{pixels} of {of} pixels, by at most {off.max()} of 255", float(off.max())


def _texts(found: str, media: str) -> str:
    head = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(found, media, strict=False)))
    shorter = min(len(found), len(media)) - head
    ends = zip(reversed(found), reversed(media), strict=False)
    tail = min(shorter, sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], ends)))
    changed = max(len(found), len(media)) - head - tail
    if not changed:  # a byte order mark, another encoding
        return "the same characters, stored as other bytes"
    return f"{changed} of {len(media)} characters, the first at {head}"


def _shape(x: Any) -> str:
    return " x ".join(map(str, x.shape))


def _find(maker: Maker, run: Path | None, home: Path | None) -> Run:
    places = [run] if run is not None else [Path(maker.run_path), *([home / "runs" / maker.run] if home else [])]
    for place in places:
        if (place / "recipe.json").is_file():
            return Run(place)
    looked = " or ".join(map(str, places))
    raise UsageError(f"the run {maker.run!r} that made this file is not in {looked}; say where it is with --run")


def _check(then: Maker, now: Maker, run: Run) -> None:
    for what in ("weights", "config", "vocabulary"):
        old, new = getattr(then, f"{what}_sha256"), getattr(now, f"{what}_sha256")
        if old != new:
            raise GenusError(
                f"{run.path} is not the run that made this file: the {what} differ (sha256 {str(old)[:12]} then, "
                f"{str(new)[:12]} now), so it was trained again or replaced; point --run at a copy of the old one"
            )
