"""The language of a text, noted as an ISO 639-1 code; nothing is removed for it. Not here: languages of programming.

English is told by its function words, counted on hashes for many texts at once; the rest by py3langid (after Lui and
Baldwin 2012, langid.py) from the first characters, because it reads a thousand times slower.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, final

import numpy as np
from pydantic import Field

from genus.clean.rule import Note, Pile
from genus.clean.words import hashed

__all__ = ["Language"]

#: Frequent in English, and in no other language of Latin letters.
_ENGLISH_WORDS = """
the of and that with this is are which for was from they have been their would there what when your you it its
were has had by to she his we our these those than into other could should about who not but an as be or on at
if
"""
_ENGLISH = hashed(_ENGLISH_WORDS.split())


@final
class Language(Note):
    """ISO 639-1, for texts of at least `least` letters. first: characters that are looked at. english: share of words
    that are English function words from which a text counts as English without a closer look.
    """

    kind: Literal["clean.language.language"] = "clean.language.language"
    least: int = Field(20, ge=1)
    first: int = Field(300, ge=20)
    english: float = Field(0.15, gt=0, le=1)
    usual: ClassVar[tuple[str, ...]] = ("text",)

    def note(self, pile: Pile) -> Sequence[str | None]:
        """A code a text; None where there is too little to tell from."""
        known = pile.words.text[np.isin(pile.words.hash, _ENGLISH)]
        share = np.bincount(known, minlength=len(pile)) / np.maximum(pile.words.counts, 1)
        out: list[str | None] = []
        for i, text in enumerate(pile.items):
            if share[i] >= self.english and pile.words.counts[i] >= 8:
                out.append("en")
                continue
            head = " ".join(text[: 4 * self.first].split())[: self.first]
            if sum(map(str.isalpha, head)) < self.least:
                out.append(None)
                continue
            from py3langid import classify  # 0.5 s to load

            out.append(str(classify(head)[0]))
        return out
