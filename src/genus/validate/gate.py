"""Whether a model may be deployed: it must beat the plainest opponents, and must not hand out its training data.

A model that loses to counting bytes, or that is no nearer to real pictures than coloured noise, is not worth serving,
and one that repeats training items must not be. What was not measured is not held against a family that cannot measure
it, but some comparison must have been made; a number that is not finite fails. Values are compared, not intervals: both
sides are measured on the same items, so their errors move together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, final

from pydantic import Field

from genus.parts import Part
from genus.validate.answers import ANSWERS
from genus.validate.findings import Finding
from genus.validate.memorisation import COPIES
from genus.validate.preferences import PREFERRED
from genus.validate.retrieval import CLASSIFIED, RETRIEVED
from genus.validate.rewarded import EARNED
from genus.validate.solved import PASSED


@final
class Gate(Part):
    """opponents: the baselines of likelihood that must be beaten. gap: the least gap closed.

    copies: the share of samples that may be copies, or `beyond` times the share of held-out items, if that is more.
    chance: how many times chance the caption's own picture must come first. Chance is known exactly, so here it is the
    lower end of the interval that counts: an encoder that guesses passes once in forty times if it has to beat chance,
    and practically never if it has to double it.
    """

    kind: Literal["validate.gate"] = "validate.gate"
    opponents: tuple[str, ...] = ("ngram5", "gzip", "xz")
    gap: float = Field(0.0, ge=-1, le=1)
    copies: float = Field(0.05, ge=0, le=1)
    beyond: float = Field(2.0, ge=1)
    chance: float = Field(2.0, ge=1)

    def __call__(self, metrics: Sequence[Finding], baselines: Sequence[Finding]) -> tuple[str, ...]:
        """Why not, one sentence a reason; empty: it may."""
        found = {f.name: f for f in metrics}
        base = {f.name: f for f in baselines}
        reasons = [
            f"{f.name} is not a finite number, so nothing can be said of it"
            for f in metrics
            if not math.isfinite(f.value)
        ]
        judged = False
        if "bits_per_byte" in found:
            judged = True
            value = found["bits_per_byte"].value
            for name in self.opponents:
                other = base.get(f"bits_per_byte/{name}")
                if other is not None and not value < other.value:
                    opponent = f"{SAID.get(name, name)} {other.value:.3f}"
                    reasons.append(f"it needs {value:.3f} bits per byte of held-out text, {opponent}")
        for name, said in RAISED.items():
            if name in found and f"{name}/before" in base:
                judged = True
                if not better(found[name], base[f"{name}/before"]):
                    values = f"{found[name].value:.3f}, before {base[f'{name}/before'].value:.3f}"
                    reasons.append(f"{said}: {values}")
                break
        if "gap_closed" in found:
            judged = True
            gap = found["gap_closed"].value
            if not gap > self.gap:
                reasons.append(
                    f"gap closed is {gap:.3f}, not above {self.gap:g}: too little of the way from a "
                    "Gaussian fit of the pixels to real pictures"
                )
        if "bits_per_dimension" in found or "nats_per_dimension" in found:
            judged = True
        if RETRIEVED in found:
            judged = True
            reasons += self._retrieval(found[RETRIEVED], base[f"{RETRIEVED}/chance"])
        elif CLASSIFIED in found:
            judged = True
            reasons += self._classified(found[CLASSIFIED], base[f"{CLASSIFIED}/majority"])
        if not judged:
            reasons.append("nothing could be compared with a baseline: too little is held out; collect more items")
        reasons += self._copies(found.get(COPIES), base.get(f"{COPIES}/held_out"))
        return tuple(reasons)

    def _retrieval(self, found: Finding, chance: Finding) -> list[str]:
        low = found.value if found.low is None else found.low
        if low > self.chance * chance.value:
            return []
        return [
            f"{found.value:.1%} of held-out captions find their own item first (at least {low:.1%}), not surely above "
            f"{self.chance:g} times chance ({chance.value:.1%})"
        ]

    def _classified(self, found: Finding, majority: Finding) -> list[str]:
        low = found.value if found.low is None else found.low
        if low > majority.value:
            return []
        return [
            f"it names the label of {found.value:.1%} of held-out items (at least {low:.1%}), not surely more than "
            f"always saying the commonest ({majority.value:.1%})"
        ]

    def _copies(self, found: Finding | None, held: Finding | None) -> list[str]:
        if found is None or not math.isfinite(found.value):
            return []
        usual = held.value if held is not None and math.isfinite(held.value) else 0.0
        most = max(self.copies, self.beyond * usual)
        if found.value <= most:
            return []
        return [f"{found.value:.1%} of its samples copy training items; at most {most:.1%} may (held-out: {usual:.1%})"]


#: Opponents as a sentence names them.
SAID = {"ngram5": "counting five bytes (n-gram)", "gzip": "gzip", "xz": "xz", "xz_primed": "xz shown the training text"}
#: What fine-tuning is for, by the finding that tells, and what is said where it did not help; the first counts.
RAISED = {
    EARNED: "its answers earn no more by the reward that it learned from",
    PREFERRED: "it prefers the better answer no more often",
    PASSED: "it solves no more questions",
    ANSWERS: "fine-tuning has not taught it to answer, in bits per byte",
}


def better(one: Finding, other: Finding) -> bool:
    """Whether the first is the better of two findings of a kind."""
    return one.value < other.value if one.better == "lower" else one.value > other.value
