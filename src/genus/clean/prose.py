"""Rules of the field for prose, kept to what they were made for: pages from the web.

Gopher (Rae et al. 2021, arXiv 2112.11446, A1.1), C4 (Raffel et al. 2020, arXiv 1910.10683, 2.2) and FineWeb (Penedo
et al. 2024, arXiv 2406.17557, 3.5) cut billions of web pages, where a wrong cut costs nothing. A collection of one's
own is small and may be dialogue, verse, tables, notes, molecules or a chat: so every rule starts from a number of
words, rules about the shape of lines only judge what shows signs of a web page, and where the paper's threshold would
cut verse with a refrain or chats with times in them, ours is wider and says so. Not here: judging by a trained
classifier.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Literal, final

import numpy as np
from pydantic import Field

from genus.clean.rule import Judge, Pile
from genus.clean.words import hashed, shingles

__all__ = ["Boilerplate", "LineShape", "Repetition", "WordShape"]

#: Frequent function words of nine languages: a text that has some of them is sentences, one that has none is
#: something else.
_FUNCTION = """
the of and to in is that for it with as was on be by this are or from at which not have an but he his her they
you der die und das ist nicht mit von den ein eine zu auf des dem le les des est une dans que pour pas qui sur
du au el los las una por con para del como más il che di per non sono della um uma não com het een van niet och
att det som är på и не на что в он как это
"""
FUNCTION = hashed(_FUNCTION.split())
#: What stands on web pages around their text.
_PHRASES = """
privacy policy|terms of use|terms of service|cookie|sign in|sign up|log in|login|all rights reserved|click here|
read more|subscribe|newsletter|contact us|add to cart|skip to content|skip to main|javascript|©|http://|https://|www.|
share this|share on|menu|sitemap|next page|leave a reply|leave a comment|related posts|related articles|powered by
"""
SIGNS = tuple(phrase.strip() for phrase in _PHRASES.split("|"))
_POLICY = re.compile(
    r"(?i)enable javascript|javascript (?:is|must be) |requires javascript|terms of use|privacy policy|cookie policy|"
    r"uses? (?:of )?cookies|all rights reserved"
)
_NOTICES = ("javascript", "cookie", "privacy policy", "terms of use", "all rights reserved")
_BULLETS = ("•", "‣", "▪", "●", "- ", "* ")
_ENDS = tuple(".!?\"'”’)]:;…。！？」』")


def webby(low: str) -> int:
    """How many different signs of a web page a text in lower case shows."""
    return sum(sign in low for sign in SIGNS)


def shares(flags: Any, pile: Pile) -> Any:
    """Of each text, the share of its words that are flagged: float64 [texts]."""
    counts = pile.words.counts
    return np.bincount(pile.words.text[flags], minlength=len(pile)) / np.maximum(counts, 1)


@final
class Repetition(Judge):
    """Text that mostly repeats itself (after Gopher).

    least: words from which it is judged. repeated: largest share of its five-word sequences that it had already said;
    Gopher's 0.15 of characters would cut songs and litanies. top: largest share of one two-word sequence, as in Gopher.
    """

    kind: Literal["clean.prose.repetition"] = "clean.prose.repetition"
    least: int = Field(100, ge=10)
    repeated: float = Field(0.75, gt=0, le=1)
    top: float = Field(0.2, gt=0, le=1)
    usual: ClassVar[tuple[str, ...]] = ("text",)

    def judge(self, pile: Pile) -> Mapping[int, str]:
        """Five-word sequences of all texts at once; pairs only where those already repeat."""
        long: Any = np.flatnonzero(pile.words.counts >= self.least)
        if not len(long):
            return {}
        share = repeats(pile, 5)
        out = {}
        for i in long[share[long] > min(0.1, self.repeated)].tolist():
            if share[i] > self.repeated:
                out[i] = f"{share[i]:.0%} of its five-word sequences repeat"
                continue
            said = pile.items[i].lower().split()
            pair, times = Counter(pairwise(said)).most_common(1)[0]
            if 2 * times > self.top * len(said):
                out[i] = f"{' '.join(pair)!r} is {times / len(said):.0%} of it"
        return out


def repeats(pile: Pile, n: int) -> Any:
    """Of each text, the share of n-word sequences that stood in it before: float64 [texts]."""
    hashes, text = shingles(pile.words, n)
    total = np.bincount(text, minlength=len(pile))
    # The text's number in the highest bits: one sort puts equal sequences of one text side by side.
    bits = np.uint64(64 - max(1, len(pile)).bit_length())
    key = np.sort((text.astype(np.uint64) << bits) | (hashes >> (np.uint64(64) - bits)))
    again = key[1:][key[1:] == key[:-1]] >> bits
    return np.bincount(again.astype(np.int64), minlength=len(pile)) / np.maximum(total, 1)


@final
class WordShape(Judge):
    """Sentences whose words are not those of sentences (after Gopher).

    Judged from `least` words on, where `function` of them are function words, so tables, molecules, tunes and other
    languages of symbols are left alone. mean: shortest and longest mean length of a word. symbols: most # and … a word.
    letters: smallest share of words with a letter; Gopher's 0.8 would cut worked arithmetic and chats with times.
    bullets, ellipses: largest share of lines that begin with a bullet, that end in dots.
    """

    kind: Literal["clean.prose.word_shape"] = "clean.prose.word_shape"
    least: int = Field(200, ge=10)
    function: float = Field(0.02, ge=0, le=1)
    mean: tuple[float, float] = (2.5, 10.0)
    symbols: float = Field(0.1, gt=0)
    letters: float = Field(0.5, ge=0, le=1)
    bullets: float = Field(0.9, ge=0, le=1)
    ellipses: float = Field(0.3, ge=0, le=1)
    usual: ClassVar[tuple[str, ...]] = ("text",)

    def judge(self, pile: Pile) -> Mapping[int, str]:
        """The first test that a text fails."""
        function = shares(np.isin(pile.words.hash, FUNCTION), pile)
        some = np.flatnonzero((pile.words.counts >= self.least) & (function >= self.function))
        said = ((i, self._fails(pile.items[i])) for i in some.tolist())
        return {i: why for i, why in said if why is not None}

    def _fails(self, text: str) -> str | None:
        said = text.split()
        mean = (len(text) - text.count(" ") - text.count("\n")) / max(1, len(said))
        if not self.mean[0] <= mean <= self.mean[1]:
            return f"mean word of {mean:.1f} characters"
        symbols = text.count("#") + text.count("…") + text.count("...")
        if symbols > self.symbols * len(said):
            return f"{symbols / len(said):.2f} symbols a word"
        letters = sum(map(str.isalpha, said)) / len(said)
        if letters < self.letters and (letters := sum(map(_lettered, said)) / len(said)) < self.letters:
            return f"{letters:.0%} of words have a letter"
        lines = [s for line in text.split("\n") if (s := line.strip())]
        if len(lines) >= 20:
            bullets = sum(line.startswith(_BULLETS) for line in lines) / len(lines)
            if bullets > self.bullets:
                return f"{bullets:.0%} of lines are bullets"
            dots = sum(line.endswith(("...", "…")) for line in lines) / len(lines)
            if dots > self.ellipses:
                return f"{dots:.0%} of lines end in dots"
        return None


def _lettered(word: str) -> bool:
    return any(map(str.isalpha, word))


@final
class Boilerplate(Judge):
    """Placeholder text, and pages that are mostly notices (after C4, which cuts every page with one such line).

    notices: largest share of lines that speak of cookies, policies or JavaScript.
    """

    kind: Literal["clean.prose.boilerplate"] = "clean.prose.boilerplate"
    notices: float = Field(0.3, gt=0, le=1)
    usual: ClassVar[tuple[str, ...]] = ("text",)

    def judge(self, pile: Pile) -> Mapping[int, str]:
        """Lorem ipsum counts where it is the text, not where it is spoken of."""
        out = {}
        for i, text in enumerate(pile.items):
            low = pile.low[i]
            if "lorem ipsum" in low and _latin(low) > 0.3:
                out[i] = "lorem ipsum"
            elif any(word in low for word in _NOTICES):
                lines = [s for line in text.split("\n") if (s := line.strip())]
                found = sum(bool(_POLICY.search(line)) for line in lines if len(line) < 300)
                if found >= 2 and found > self.notices * len(lines):
                    out[i] = f"{found} of {len(lines)} lines are notices"
        return out


_PLACEHOLDER = """
lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor incididunt ut labore et dolore
magna aliqua enim ad minim veniam quis nostrud exercitation ullamco laboris nisi aliquip ex ea commodo consequat
duis aute irure in reprehenderit voluptate velit esse cillum eu fugiat nulla pariatur excepteur sint occaecat
cupidatat non proident sunt culpa qui officia deserunt mollit anim id est laborum
"""
_LOREM = frozenset(_PLACEHOLDER.split())


def _latin(text: str) -> float:
    said = re.findall(r"[a-z]+", text)
    return sum(word in _LOREM for word in said) / max(1, len(said))


@final
class LineShape(Judge):
    """Web pages that are menus and lists rather than text (after FineWeb).

    Judged from `least` lines on that show `signs` different signs of a web page, so verse, dialogue and chats stay.
    ended: smallest share of lines that end in punctuation. short: largest share of lines under 30 characters. repeated:
    largest share of characters in lines said before.
    """

    kind: Literal["clean.prose.line_shape"] = "clean.prose.line_shape"
    least: int = Field(20, ge=5)
    signs: int = Field(3, ge=0)
    ended: float = Field(0.12, ge=0, le=1)
    short: float = Field(0.67, ge=0, le=1)
    repeated: float = Field(0.1, ge=0, le=1)
    usual: ClassVar[tuple[str, ...]] = ("text",)

    def judge(self, pile: Pile) -> Mapping[int, str]:
        """Signs are only sought where the lines already look like a page's."""
        out = {}
        for i, text in enumerate(pile.items):
            if text.count("\n") + 1 < self.least:
                continue
            why = self._fails([s for line in text.split("\n") if (s := line.strip())])
            if why is not None and webby(pile.low[i]) >= self.signs:
                out[i] = why
        return out

    def _fails(self, lines: Sequence[str]) -> str | None:
        n = len(lines)
        if n < self.least:
            return None
        ended = sum(line.endswith(_ENDS) for line in lines) / n
        short = sum(len(line) < 30 for line in lines) / n
        if ended <= self.ended:
            return f"{ended:.0%} of lines end in punctuation"
        if short >= self.short:
            return f"{short:.0%} of lines are short"
        size = sum(map(len, lines))
        again = size - sum(map(len, set(lines)))
        return f"{again / size:.0%} of it in repeated lines" if again >= self.repeated * size else None
