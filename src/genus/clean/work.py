"""The first pass of a cleaning: each content read once; judged, masked, noted, and put on the twins' shelves.

Not here: which rules, what the twins find, and what is written to the dataset (`genus.clean.stage`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import pyarrow as pa

from genus.clean.rows import COLUMNS, Rows, noted, piles, printed
from genus.clean.rule import Judge, Mask, Note, Pile, Rule, Span, Twins, apart, replaced
from genus.clean.twins import Shelf
from genus.data.dataset import Dataset
from genus.media import MEDIA, Damaged

__all__ = ["EXAMPLES", "Work", "first_pass"]

EXAMPLES = 5
#: What a row of the file between the passes holds.
_WAITING = pa.schema(
    [
        pa.field("place", pa.int64()),
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
        pa.field("cleaned", pa.large_binary()),
        pa.field("language", pa.string()),
        pa.field("notes", pa.string()),
        pa.field("before", pa.uint64()),  # `printed` of what the dataset has
    ]
)


@final
@dataclass
class Work:
    """One cleaning while it runs."""

    data: Dataset
    rows: Rows
    rules: dict[str, list[Rule]]  # by medium
    names: list[str]
    undo: frozenset[str]
    gone: np.ndarray[Any, Any]  # bool: removed by a judge
    undone: dict[int, set[str]] = field(default_factory=dict)
    shelves: dict[Twins, tuple[Shelf, list[Any]]] = field(default_factory=dict)
    removed: Counter[str] = field(default_factory=Counter)
    masked: Counter[str] = field(default_factory=Counter)
    noted: Counter[str] = field(default_factory=Counter)
    told: dict[str, list[tuple[int, str]]] = field(default_factory=dict)

    def spared(self, place: int, rule: str) -> bool:
        """Whether this rule leaves the row alone because someone undid it, now or earlier."""
        if rule in self.undo:
            self.undone.setdefault(place, set()).add(rule)
        return rule in self.undone.get(place, ())

    def tell(self, rule: str, place: int, said: str) -> None:
        """Keep an example; in the end the first few of the dataset's order remain."""
        told = self.told.setdefault(rule, [])
        told.append((place, said))
        if len(told) > 8 * EXAMPLES:
            told.sort()
            del told[EXAMPLES:]


def first_pass(work: Work, file: Any, progress: Callable[[int, int], None] | None) -> None:
    """Each content once: judged, masked, noted, shelved."""
    done = 0
    columns = ["id", "medium", "content", "origin", *COLUMNS]
    with pa.ipc.new_file(pa.PythonFile(file, "w"), _WAITING) as writer:
        for places, batch in piles(work.data, work.rows, columns):
            given = batch.to_pylist()
            out: list[dict[str, Any]] = []
            for medium in dict.fromkeys(row["medium"] for row in given):
                some = [i for i, row in enumerate(given) if row["medium"] == medium]
                out += _pile(work, medium, [int(places[i]) for i in some], [given[i] for i in some])
            writer.write_batch(pa.RecordBatch.from_pylist(out, schema=_WAITING))
            done += len(given)
            if progress is not None:
                progress(done, len(work.rows))


def _pile(work: Work, medium: str, places: list[int], given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Some rows of one medium through its rules."""
    out: list[dict[str, Any]] = []
    for place, row in zip(places, given, strict=True):
        before = printed([row[name] for name in COLUMNS])
        notes = noted(row["notes"])
        if notes.get("undone"):
            work.undone[place] = set(notes["undone"])
        kept = {key: value for key, value in notes.items() if key not in work.names and key != "undone"}
        out.append(dict.fromkeys(_WAITING.names) | {"place": place, "notes": kept, "before": before})

    def remove(i: int, rule: str, why: str) -> None:
        out[i].update(reason=rule, detail=why)
        work.gone[places[i]] = True
        work.removed[rule] += 1
        work.tell(rule, places[i], f"{given[i]['origin']}: {why}")

    items: list[Any] = []
    left: list[int] = []
    for i, row in enumerate(given):
        try:
            items.append(MEDIA[medium].read(row["content"]))
            left.append(i)
        except Damaged as error:
            remove(i, "broken", str(error))
    pile = Pile(medium, items, [given[i]["origin"] for i in left])
    for rule in work.rules[medium]:
        if isinstance(rule, Judge):
            for at, why in sorted(rule.judge(pile).items()):
                i = left[at]
                if out[i]["reason"] is None and not work.spared(places[i], rule.name):
                    remove(i, rule.name, why)
        elif isinstance(rule, Note):
            for i, word in zip(left, rule.note(pile), strict=True):
                if word is not None and rule.name not in work.undone.get(places[i], ()):
                    out[i]["language"] = word
                    work.noted[rule.name] += 1
    _mask(work, pile, left, places, given, out)
    stay = [at for at, i in enumerate(left) if out[i]["reason"] is None]
    for rule in work.rules[medium]:
        if isinstance(rule, Twins) and rule.width:
            _shelve(work, rule, pile, stay, [places[i] for i in left])
    for row in out:
        row["notes"] = json.dumps(row["notes"], sort_keys=True, ensure_ascii=False)
    return out


def _mask(work: Work, pile: Pile, left: Sequence[int], places: Any, given: Any, out: list[dict[str, Any]]) -> None:
    """Replace what the masks find in the items that stay."""
    spans: dict[int, list[Span]] = {}
    marks: dict[int, dict[str, str]] = {}
    for rule in work.rules[pile.medium]:
        if not isinstance(rule, Mask):
            continue
        for at in rule.among(pile):
            i = left[at]
            if out[i]["reason"] is not None:
                continue
            found = apart(rule.spans(pile.items[at]), spans.get(at, ()))
            if found and not work.spared(places[i], rule.name):
                spans.setdefault(at, []).extend(found)
                marks.setdefault(at, {})[rule.name] = found[0].mark
                out[i]["notes"][rule.name] = len(found)
                work.masked[rule.name] += 1
    for at, some in spans.items():
        i = left[at]
        said = replaced(pile.items[at], some)
        out[i]["cleaned"] = MEDIA[pile.medium].write(said)
        for name, mark in marks[at].items():
            where = said.find(mark)  # in the masked text: an example must not repeat what was masked
            if where >= 0:
                shown = " ".join(said[max(0, where - 24) : where + len(mark) + 16].split())
                work.tell(name, places[i], f"{given[i]['origin']}: …{shown}…")


def _shelve(work: Work, rule: Twins, pile: Pile, stay: list[int], places: list[int]) -> None:
    """The records of the items that stay."""
    if rule not in work.shelves:
        work.shelves[rule] = (Shelf(rule.width, work.data.path.parent), [])
    shelf, where = work.shelves[rule]
    records, fit = rule.record(pile)
    some = np.array([at for at in stay if fit[at]], np.int64)
    shelf.add(records[some])
    where.append(np.array(places, np.int64)[some])
