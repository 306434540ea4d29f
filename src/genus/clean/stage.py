"""The stage: rules over a dataset, in one atomic commit; nothing is deleted, and every change names its rule.

Two passes. The first reads each content once: the item is judged, masked and noted, what the twins' rules need of it
goes to a shelf on disk, and its new values to an unnamed file. Then the pairs are found. The second reads that file
and writes the rows that differ from what the dataset has. All values follow from contents, rules and what was undone,
never from an earlier cleaning; so cleaning again changes nothing, and commits nothing.

A split is the hash of the near-duplicate group, unless the source declared one; of two that are alike the one in the
declared test split stays, so no duplicate crosses from train to test.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
import pyarrow as pa

from genus.clean.exact import ExactDuplicates
from genus.clean.rows import COLUMNS, PLACES, Rows, noted, piles, printed
from genus.clean.rule import Judge, Mask, Note, Pile, Rule, Span, Twins, apart, replaced
from genus.clean.twins import Found, Shelf, Table, groups, settle
from genus.clean.usual import usual
from genus.data.dataset import SCHEMA, Dataset
from genus.errors import UsageError
from genus.media import MEDIA, Damaged
from genus.parts import Part

__all__ = ["Cleaned", "clean"]

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
    ]
)


@final
@dataclass(frozen=True)
class Cleaned:
    """What became of a dataset. removed, masked: items by rule. examples: a few sentences by rule."""

    dataset: Path
    version: int
    kept: int
    counts: dict[str, int]
    examples: dict[str, list[str]]
    removed: dict[str, int]
    masked: dict[str, int]

    def json(self) -> dict[str, Any]:
        """The result object that `genus clean --json` prints."""
        return {
            "dataset": str(self.dataset),
            "version": self.version,
            "kept": self.kept,
            "rules": {rule: {"count": n, "examples": self.examples.get(rule, [])} for rule, n in self.counts.items()},
            "removed": self.removed,
            "masked": self.masked,
        }


@final
@dataclass
class _Work:
    """One cleaning while it runs."""

    data: Dataset
    rows: Rows
    rules: dict[str, list[Rule]]  # by medium
    names: list[str]
    undo: frozenset[str]
    prints: np.ndarray[Any, Any]
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


def clean(
    dataset: Path,
    rules: Sequence[Part] = (),
    *,
    progress: Callable[[int, int], None] | None = None,
    undo: Sequence[str] = (),
) -> Cleaned:
    """Apply rules (none: the usual ones of each medium) to the dataset at `dataset`, in order.

    undo: names of rules whose removals and masks are taken back, on the rows where they would act now; a later
    cleaning remembers. progress: called with (rows read, rows in all). Raises `UsageError` for a dataset that is not
    there, a part that is not a rule, or an unknown name to undo; `GenusError` for a full disk. A crash leaves the
    dataset as it was.
    """
    data = Dataset.open(dataset)
    rows = Rows.of(data)
    chosen = _chosen(rules, rows.media)
    names = list(dict.fromkeys(["broken", *(rule.name for some in chosen.values() for rule in some)]))
    unknown = sorted(set(undo) - set(names))
    if unknown:
        raise UsageError(f"no rule here is called {', '.join(map(repr, unknown))}; the rules are: {', '.join(names)}")
    n = len(rows)
    work = _Work(data, rows, chosen, names, frozenset(undo), np.zeros(n, np.uint64), np.zeros(n, bool))
    try:
        with tempfile.TemporaryFile(dir=data.path.parent) as file:
            _first(work, file, progress)
            twins, rank = _twins(work)
            group = groups(n, *_edges(twins, work.gone, rank))
            _second(work, file, twins, group, rank)
    finally:
        for shelf, _ in work.shelves.values():
            shelf.close()
    counts = {name: work.removed[name] + work.masked[name] + work.noted[name] for name in names}
    return Cleaned(
        dataset=data.path,
        version=data.version,
        kept=n - sum(work.removed.values()),
        counts=counts,
        examples={name: [said for _, said in sorted(told)[:EXAMPLES]] for name, told in sorted(work.told.items())},
        removed={name: work.removed[name] for name in names if work.removed[name]},
        masked={name: work.masked[name] for name in names if work.masked[name]},
    )


def _chosen(rules: Sequence[Part], media: Sequence[str]) -> dict[str, list[Rule]]:
    """The rules for each medium of the dataset."""
    for rule in rules:
        if not isinstance(rule, Rule):
            raise UsageError(f"{rule.kind} is not a rule of cleaning; kinds of rules begin with 'clean.'")
    chosen: dict[str, list[Rule]] = {}
    for medium in media:
        given = rules or usual(medium)
        chosen[medium] = [rule for rule in given if isinstance(rule, Rule) and rule.serves(medium)]
    return chosen


# --------------------------------------------------------------------------------------------------------- first pass


def _first(work: _Work, file: Any, progress: Callable[[int, int], None] | None) -> None:
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


def _pile(work: _Work, medium: str, places: list[int], given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Some rows of one medium through its rules."""
    out: list[dict[str, Any]] = []
    for place, row in zip(places, given, strict=True):
        work.prints[place] = printed([row[name] for name in COLUMNS])
        notes = noted(row["notes"])
        if notes.get("undone"):
            work.undone[place] = set(notes["undone"])
        kept = {key: value for key, value in notes.items() if key not in work.names and key != "undone"}
        out.append({"place": place, "reason": None, "detail": None, "cleaned": None, "language": None, "notes": kept})

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


def _mask(work: _Work, pile: Pile, left: Sequence[int], places: Any, given: Any, out: list[dict[str, Any]]) -> None:
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


def _shelve(work: _Work, rule: Twins, pile: Pile, stay: list[int], places: list[int]) -> None:
    """The records of the items that stay."""
    if rule not in work.shelves:
        work.shelves[rule] = (Shelf(rule.width, work.data.path.parent), [])
    shelf, where = work.shelves[rule]
    records, fit = rule.record(pile)
    some = np.array([at for at in stay if fit[at]], np.int64)
    shelf.add(records[some])
    where.append(np.array(places, np.int64)[some])


# -------------------------------------------------------------------------------------------------------------- twins


def _twins(work: _Work) -> tuple[list[tuple[Twins, Found]], Any]:
    """The pairs each rule finds, as places in the rows, and the rows' ranks."""
    rows = work.rows
    rank = rows.rank()
    out: list[tuple[Twins, Found]] = []
    for rule in dict.fromkeys(rule for some in work.rules.values() for rule in some if isinstance(rule, Twins)):
        if isinstance(rule, ExactDuplicates):
            served = np.array([rule in work.rules[medium] for medium in rows.media], bool)
            places = np.flatnonzero(served[rows.medium] & ~work.gone)
            shelf = Shelf(16)
            shelf.add(np.ascontiguousarray(rows.sha[places]).view(np.uint8).reshape(-1, 16))
            work.shelves[rule] = (shelf, [places])
        elif rule not in work.shelves:
            continue
        shelf, parts = work.shelves[rule]
        places = np.concatenate(parts)
        found = rule.pairs(Table(shelf, rank[places], _reader(work, places)))
        out.append((rule, Found(places[found.low], places[found.high], found.alike)))
    return out, rank


def _reader(work: _Work, places: Any) -> Callable[[Sequence[int]], dict[int, Any]]:
    """Decodes the items at some places of a table."""

    def read(some: Sequence[int]) -> dict[int, Any]:
        ids = {bytes(work.rows.id[places[i]]).ljust(16, b"\0").hex(): i for i in some}
        where = f"id IN ({', '.join(repr(i) for i in ids)})"
        out: dict[int, Any] = {}
        for batch in work.data.scan(["id", "medium", "content"], where, batch=16):
            for row in batch.to_pylist():
                out[ids[row["id"]]] = MEDIA[row["medium"]].read(row["content"])
        return out

    return read


def _edges(twins: Sequence[tuple[Twins, Found]], gone: Any, rank: Any) -> tuple[Any, Any]:
    low = np.concatenate([np.empty(0, np.int64), *(found.low for _, found in twins)])
    high = np.concatenate([np.empty(0, np.int64), *(found.high for _, found in twins)])
    return low, high


# -------------------------------------------------------------------------------------------------------- second pass


def _second(work: _Work, file: Any, twins: Sequence[tuple[Twins, Found]], group: Any, rank: Any) -> None:
    """Settle who stays, then write the rows that differ."""
    rows, gone = work.rows, work.gone.copy()
    why: dict[int, tuple[str, int, float]] = {}
    for rule, found in twins:
        # Equal contents under different captions are two facts; but never one in train and one in a declared test.
        def spare(low: int, high: int) -> bool:
            return bool(rows.key[low] != rows.key[high] and not rows.declared[low] > 1)

        for high, pair in sorted(settle(found, rank, gone, spare).items()):
            if not work.spared(high, rule.name):
                gone[high] = True
                why[high] = (rule.name, int(found.low[pair]), float(found.alike[pair]))
    first = np.full(len(rows), len(rows), np.int64)  # the row of lowest rank of each group
    for place in np.argsort(-rank, kind="stable").tolist():
        first[group[place]] = place
    origins = _origins(work, why)
    for high, (rule_name, low, alike) in sorted(why.items()):
        work.removed[rule_name] += 1
        if len(work.told.setdefault(rule_name, [])) < EXAMPLES:
            work.tell(rule_name, high, f"{origins.get(high, '?')} is {alike:.2f} like {origins.get(low, '?')}")
    with pa.ipc.open_file(pa.PythonFile(file, "r")) as reader:
        work.data.update(_changed(work, reader, why, group, first))


def _origins(work: _Work, why: dict[int, tuple[str, int, float]]) -> dict[int, str]:
    """The names of the first few items that went, and of their twins."""
    wanted: dict[str, int] = {}
    seen: Counter[str] = Counter()
    for high, (rule, low, _) in sorted(why.items()):
        seen[rule] += 1
        if seen[rule] <= EXAMPLES:
            wanted |= {_hex(work.rows.id[place]): place for place in (low, high)}
    if not wanted:
        return {}
    where = f"id IN ({', '.join(map(repr, wanted))})"
    found = (row for batch in work.data.scan(["id", "origin"], where) for row in batch.to_pylist())
    return {wanted[row["id"]]: row["origin"] for row in found}


def _hex(value: Any) -> str:
    return bytes(value).ljust(16, b"\0").hex()  # numpy drops zeros at the end of S16


def _changed(work: _Work, reader: Any, why: Any, group: Any, first: Any) -> Iterator[pa.RecordBatch]:
    """The rows whose values in `COLUMNS` differ from what the dataset has."""
    rows = work.rows
    schema = pa.schema([SCHEMA.field(name) for name in ("id", *COLUMNS)])
    for number in range(reader.num_record_batches):
        out = []
        for waiting in reader.get_batch(number).to_pylist():
            place = waiting["place"]
            notes = json.loads(waiting["notes"])
            reason, detail = waiting["reason"], waiting["detail"]
            if place in why:
                reason, low, alike = why[place]
                detail = f"{alike:.2f} like {_hex(rows.id[low])}"
            if reason is not None:
                notes[reason] = detail
            if work.undone.get(place):
                notes["undone"] = sorted(work.undone[place])
            lead = int(first[group[place]])
            declared = PLACES[rows.declared[place]]
            row = {
                "id": _hex(rows.id[place]),
                "status": "kept" if reason is None else "removed",
                "reason": reason,
                "cleaned": waiting["cleaned"],
                "language": waiting["language"],
                "group": None if lead == place else _hex(rows.id[lead]),
                "split": declared or PLACES[rows.declared[lead] or rows.drawn[lead]],
                "notes": json.dumps(notes, sort_keys=True, ensure_ascii=False),
            }
            if printed([row[name] for name in COLUMNS]) != work.prints[place]:
                out.append(row)
        if out:
            yield pa.RecordBatch.from_pylist(out, schema=schema)
