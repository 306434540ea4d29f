"""What the model makes, unpicked: the first samples of seed 0, and held-out items beside them for the eye."""

from __future__ import annotations

from typing import Literal, final

from pydantic import Field

from genus.validate import show
from genus.validate.findings import Figure, Measure, Result
from genus.validate.subject import Subject


@final
class Samples(Measure):
    """pictures, texts: how many to show of either."""

    kind: Literal["validate.samples"] = "validate.samples"
    pictures: int = Field(60, ge=1)
    texts: int = Field(4, ge=1)

    def __call__(self, subject: Subject) -> Result:
        """Figures only."""
        held = subject.held_out(1)
        written = bool(held) and isinstance(held[0].media, str)
        made = subject.samples(self.texts if written else self.pictures)
        figures = [Figure("Samples", f"The first {len(made)} of seed {subject.seed}, none left out.", show.items(made))]
        if not written:
            # As many as fill one row or two: enough to see what the samples should look like.
            real = subject.seen(subject.held_out(24))
            caption = "What the model has never seen and should look like."
            figures.append(Figure("Held-out pictures", caption, show.items(real)))
        return Result(figures=tuple(figures))
