"""What a cleaning rule is. Four kinds, all frozen parts whose thresholds stand in the recipe:

    Judge   looks at items one by one and says which to remove, and why
    Mask    says which stretches of a text to replace, and by what
    Note    says something of an item and changes nothing
    Twins   compares items with each other: duplicates

A rule is a pure function of contents: it sees neither other rules' verdicts nor earlier runs, so that cleaning twice is
cleaning once. Nothing here reads or writes a dataset (`genus.clean.stage` does).
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, final

import numpy as np

from genus.clean.words import Words, words
from genus.parts import Part

if TYPE_CHECKING:
    from genus.clean.twins import Found, Table

_RUN = re.compile(r"\d(?:[ ().\u00a0/-]{0,2}\d){6}")

__all__ = ["Judge", "Mask", "Note", "Pile", "Rule", "Span", "Twins", "apart", "replaced"]


@final
class Pile:
    """Some items of one medium, decoded, and what several rules need of them, worked out once.

    items: str (text, code) or uint8 [H, W, C] (image). names: where each came from, the file name last.
    """

    def __init__(self, medium: str, items: Sequence[Any], names: Sequence[str] = ()) -> None:
        self.medium = medium
        self.items = items
        self.names = names or [""] * len(items)

    def __len__(self) -> int:
        return len(self.items)

    @cached_property
    def words(self) -> Words:
        """Of all texts, punctuation left out."""
        return words(self.items)

    @cached_property
    def tokens(self) -> Words:
        """Of all texts, each punctuation mark a word of its own, as code needs it."""
        return words(self.items, marks=True)

    @cached_property
    def low(self) -> list[str]:
        """Each text in lower case: what plain words are sought in, many times faster than by patterns."""
        return [text.lower() for text in self.items]

    @cached_property
    def numbered(self) -> list[int]:
        """The texts with seven digits nearly in a row: only they can hold the number of a phone, a card or an
        account.
        """
        return [i for i, text in enumerate(self.items) if _RUN.search(text)]


class Span(NamedTuple):
    """text[start:stop] becomes `mark`."""

    start: int
    stop: int
    mark: str


class Rule(Part, ABC):
    """One rule. Its name is the last word of its kind: what a row's `reason` and the report say."""

    usual: ClassVar[tuple[str, ...]]  # the media it is for unless the recipe says otherwise

    @property
    def name(self) -> str:
        """`clean.near.near_duplicates` is called near_duplicates."""
        return self.kind.rsplit(".", 1)[-1]

    def serves(self, medium: str) -> bool:
        """Whether it looks at items of this medium."""
        return medium in self.usual


class Judge(Rule, ABC):
    """Says which items to remove."""

    @abstractmethod
    def judge(self, pile: Pile) -> Mapping[int, str]:
        """Index of each item to remove -> why, with the number that decided, in a few words."""


class Mask(Rule, ABC):
    """Says which stretches of a text to replace."""

    @abstractmethod
    def spans(self, text: str) -> list[Span]:
        """Where to replace; spans may overlap, the earlier and then the longer one holds."""

    def among(self, pile: Pile) -> Iterable[int]:
        """The texts that can have spans at all, cheaply told."""
        return range(len(pile))


class Note(Rule, ABC):
    """Says something of each item."""

    @abstractmethod
    def note(self, pile: Pile) -> Sequence[str | None]:
        """One word an item, or None."""


class Twins(Rule, ABC):
    """Compares items with each other. First a short record of each, then all pairs that are alike."""

    width: ClassVar[int] = 0  # bytes of a record; 0: content's sha256, which the table already has

    @abstractmethod
    def record(self, pile: Pile) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], np.ndarray[Any, np.dtype[np.bool_]]]:
        """(uint8 [items, width], bool [items]: false where an item is too small to be compared)."""

    @abstractmethod
    def pairs(self, table: Table) -> Found:
        """Pairs of items that are alike."""


def replaced(text: str, spans: Iterable[Span]) -> str:
    """The text with its spans replaced; where two overlap, the earlier, then the longer one holds."""
    out: list[str] = []
    at = 0
    for start, stop, mark in sorted(spans, key=lambda s: (s.start, -s.stop)):
        if start < at:
            continue
        out += text[at:start], mark
        at = stop
    return "".join((*out, text[at:])) if out else text


def apart(spans: Sequence[Span], others: Sequence[Span]) -> list[Span]:
    """The spans that overlap none of the others: what an earlier rule masked, a later one does not."""
    if not others:
        return list(spans)
    taken = sorted(others)
    starts = [other.start for other in taken]
    reach = list(accumulate((other.stop for other in taken), max))
    ends = [bisect_left(starts, span.stop) for span in spans]
    return [span for span, end in zip(spans, ends, strict=True) if end == 0 or reach[end - 1] <= span.start]
