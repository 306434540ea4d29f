"""Did training hold the test? Runs of 13 words that both have, as in GPT-3, and items that training holds whole.

Words are compared in small letters without punctuation (Brown et al. 2020, arXiv 2005.14165, appendix C). An item is
dirty if any 13 words in a row stand in the training data; one of fewer words, if all of them do in a row, but one of
less than `LEAST` words says nothing and is never dirty. Quoting, set phrases and tables of contents meet too, so dirty
is no proof that the answer was learned; a paraphrase or a translation is not found. Streams past training once.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

RUN = 13  # words
LEAST = 5
_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")


@final
@dataclass(frozen=True)
class Contamination:
    """Of each item: a run of words is in training; all of it is, word for word. judged: it has words enough."""

    dirty: NDArray[np.bool_]
    whole: NDArray[np.bool_]
    judged: NDArray[np.bool_]


def words(text: str) -> list[str]:
    """In small letters, without punctuation."""
    return _WORD.findall(text.casefold())


def found(items: Sequence[str], training: Iterable[str], run: int = RUN) -> Contamination:
    """Which items stand in training texts."""
    said = [words(text) for text in items]
    parts: dict[int, dict[str, list[tuple[int, int]]]] = defaultdict(lambda: defaultdict(list))
    for i, own in enumerate(said):
        if len(own) < LEAST:
            continue
        size = min(run, len(own))
        for at in range(len(own) - size + 1):
            parts[size][" ".join(own[at : at + size])].append((i, at))
    dirty, whole = np.zeros(len(items), bool), np.zeros(len(items), bool)
    for text in training:
        theirs = words(text)
        for size, known in parts.items():
            for at in range(len(theirs) - size + 1):
                hits = known.get(" ".join(theirs[at : at + size]))
                for i, begun in hits or ():
                    dirty[i] = True
                    own = said[i]
                    whole[i] |= begun == 0 and theirs[at : at + len(own)] == own
    return Contamination(dirty, whole, np.array([len(own) >= LEAST for own in said], bool))
