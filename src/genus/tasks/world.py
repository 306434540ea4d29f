"""Facts that Python and the libraries of this program carry, and sums: a closed set that needs no file.

    calendar   which month or weekday follows or precedes another                             Python's calendar
    letters    which letter of the Greek or Hebrew alphabet a character is                    Python's unicodedata
    names      what a country is called in German, French, Spanish, Italian                   phonenumbers
    codes      a country's international calling code                                         phonenumbers
    sums       sums and differences of numbers up to `top`                                    drawn here

They are few and plain, and most models have read them: they tell a model that recalls and abstains from one that
invents, and do not rank large models. Invented countries have no answer. Which facts there are may change with the
version of a library, so a score belongs to the versions that are recorded with it.
"""

from __future__ import annotations

import calendar
import unicodedata
from collections.abc import Callable, Iterator
from typing import Literal, final

import numpy as np
from pydantic import Field

from genus.tasks.examinee import Examinee
from genus.tasks.table import among
from genus.tasks.task import Item, Items

About = Literal["calendar", "letters", "names", "codes", "sums"]
LANGUAGES = {"German": "de", "French": "fr", "Spanish": "es", "Italian": "it"}
SHOWN = 8  # one in so many is kept as an example
_SYLLABLES = ("ve", "lor", "quin", "ta", "mar", "zu", "bel", "dro", "ki", "nas", "por", "wey")


@final
class World(Items):
    """about: kinds of facts; each: of a kind at most. among: so many other answers of its kind stand beside each; 0: no
    choices. invented: share of questions about countries that do not exist. sums: how many, of numbers up to `top`.
    """

    kind: Literal["tasks.world"] = "tasks.world"
    about: tuple[About, ...] = ("calendar", "letters", "names", "codes")
    each: int = Field(64, ge=1)
    among: int = Field(0, ge=0)
    invented: float = Field(0.0, ge=0, lt=1)
    sums: int = Field(200, ge=1)
    top: int = Field(99, ge=1)

    def read(self, examinee: Examinee) -> list[Item]:
        """All but the examples, kind after kind, then what is invented."""
        facts, unknown = self._split(False)
        return [*facts, *unknown]

    def examples(self, examinee: Examinee) -> list[Item]:
        """Others, in turns a fact and an invented thing."""
        facts, unknown = self._split(True)
        order = np.random.default_rng(0).permutation(len(facts))
        found = []
        for n, i in enumerate(order):
            found += [*unknown[n : n + 1], facts[i]]
        return found

    def _split(self, shown: bool) -> tuple[list[Item], list[Item]]:
        facts: list[Item] = []
        for about in self.about:
            some = list(KNOWN[about]() if about in KNOWN else totals(self.sums, self.top))
            some = among(some, self.among) if self.among else some
            picked = np.random.default_rng(4).permutation(len(some))[: self.each if about in KNOWN else None]
            facts += [some[i] for i in picked]
        number = round(len(facts) * self.invented / (1 - self.invented))
        unknown = list(nowhere(number))
        return [x for i, x in enumerate(facts) if (i % SHOWN == 0) == shown], [
            x for i, x in enumerate(unknown) if (i % SHOWN == 0) == shown
        ]


def days() -> Iterator[Item]:
    """38 questions."""
    for kind, all_ in (("month", list(calendar.month_name)[1:]), ("day of the week", list(calendar.day_name))):
        for i, name in enumerate(all_):
            yield Item(f"Which {kind} comes after {name}?", all_[(i + 1) % len(all_)])
            yield Item(f"Which {kind} comes before {name}?", all_[i - 1])


def letters() -> Iterator[Item]:
    """The small Greek letters and the Hebrew ones, without final forms."""
    for name, first, last in (("Greek", 0x3B1, 0x3C9), ("Hebrew", 0x5D0, 0x5EA)):
        for code in range(first, last + 1):
            said = unicodedata.name(chr(code), "").removeprefix("GREEK SMALL LETTER ").removeprefix("HEBREW LETTER ")
            if said and "FINAL" not in said:
                yield Item(f"Which letter of the {name} alphabet is {chr(code)}?", said.capitalize())


def country(region: str, language: str) -> str:
    """A country's name; empty if it has none here."""
    from phonenumbers.geodata.locale import LOCALE_DATA

    known = LOCALE_DATA.get(region, {})
    said = str(known.get(language, ""))
    return str(known.get(said[1:], "")) if said.startswith("*") else said


def names() -> Iterator[Item]:
    """Names that differ from the English one."""
    from phonenumbers.geodata.locale import LOCALE_DATA

    for region in sorted(LOCALE_DATA):
        english = country(region, "en")
        for language, code in LANGUAGES.items():
            said = country(region, code)
            if said and english and said != english and "(" not in english:
                yield Item(f"What is the {language} name of the country {english}?", said)


def codes() -> Iterator[Item]:
    """One country a code: the main one of those that share it."""
    from phonenumbers import COUNTRY_CODE_TO_REGION_CODE as REGIONS

    for code, regions in sorted(REGIONS.items()):
        name = country(regions[0], "en")
        if name:
            yield Item(f"What is the international telephone calling code of {name}?", f"+{code}")


#: Kinds that are listed, not drawn.
KNOWN: dict[str, Callable[[], Iterator[Item]]] = {"calendar": days, "letters": letters, "names": names, "codes": codes}


def nowhere(number: int) -> Iterator[Item]:
    """Questions about countries that do not exist."""
    there = {country(region, "en").casefold() for region in _regions()}
    languages, i, made = list(LANGUAGES), 0, 0
    while made < number:
        rng = np.random.default_rng([2, i])
        i += 1
        name = "".join(rng.choice(_SYLLABLES, 3)).capitalize() + rng.choice(("ia", "stan", "land"))
        if name.casefold() in there:
            continue
        there.add(name.casefold())
        made += 1
        if made % 2:
            yield Item(f"What is the {languages[made // 2 % 4]} name of the country {name}?")
        else:
            yield Item(f"What is the international telephone calling code of {name}?")


def _regions() -> list[str]:
    from phonenumbers.geodata.locale import LOCALE_DATA

    return sorted(LOCALE_DATA)


def totals(number: int, top: int) -> Iterator[Item]:
    """Sums and differences, none below zero, all different where there are enough."""
    rng, seen = np.random.default_rng(3), set[tuple[int, int, str]]()
    while len(seen) < min(number, (top + 1) ** 2 // 2):
        a, b = (int(v) for v in rng.integers(0, top + 1, 2))
        sign = "+" if rng.integers(2) else "-"
        a, b = (a, b) if sign == "+" or a >= b else (b, a)
        if (a, b, sign) not in seen:
            seen.add((a, b, sign))
            yield Item(f"What is {a} {sign} {b}?", str(a + b if sign == "+" else a - b))
