"""The codec of an earlier phase's model, so that a later one reads the same ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self, final

from pydantic import Field

from genus.core import Codec, CodecConfig
from genus.errors import UsageError
from genus.learned.borrowed import lent, told


@final
class SameConfig(CodecConfig):
    """phase: whose. Saved as what it is there."""

    kind: Literal["learned.same"] = "learned.same"
    phase: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    place: str | None = None

    def after(self, earlier: Mapping[str, Path]) -> Self:
        """Told where the models of earlier phases lie. Raises `UsageError` if its own is not among them."""
        return self.but(place=told(self.kind, self.phase, earlier))

    def fit(self, media: Callable[[], Iterator[Any]]) -> Codec:
        """Nothing is learned again."""
        if self.place is None:
            raise UsageError(f"{self.kind} was not told where the model of phase {self.phase!r} lies")
        return lent(self.place)[0].codec

    def load(self, folder: Path) -> Codec:
        """Never asked: a codec writes its own configuration."""
        raise UsageError(f"{self.kind} names the codec of another phase and has no files of its own in {folder}")
