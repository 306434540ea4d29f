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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import pyarrow as pa

from genus.clean.exact import ExactDuplicates
from genus.clean.rows import COLUMNS, PLACES, Rows, printed
from genus.clean.rule import Rule, Twins
from genus.clean.twins import Found, Shelf, Table, groups, settle
from genus.clean.usual import usual
from genus.clean.work import EXAMPLES, Work, first_pass
from genus.data.dataset import SCHEMA, Dataset
from genus.errors import UsageError
from genus.media import MEDIA
from genus.parts import Part

__all__ = ["Cleaned", "clean"]


#: Groups of a medium, at least, of which one is held out where chance holds out none.
LEAST = 4


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
    try:
        return _cleaned(data, rows, rules, progress, undo)
    finally:
        rows.marks.close()


def _cleaned(
    data: Dataset,
    rows: Rows,
    rules: Sequence[Part],
    progress: Callable[[int, int], None] | None,
    undo: Sequence[str],
) -> Cleaned:
    chosen = _chosen(rules, rows.media)
    names = list(dict.fromkeys(["broken", *(rule.name for some in chosen.values() for rule in some)]))
    unknown = sorted(set(undo) - set(names))
    if unknown:
        raise UsageError(f"no rule here is called {', '.join(map(repr, unknown))}; the rules are: {', '.join(names)}")
    n = len(rows)
    work = Work(data, rows, chosen, names, frozenset(undo), np.zeros(n, bool))
    try:
        with tempfile.TemporaryFile(dir=data.path.parent) as file:
            first_pass(work, file, progress)
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


# -------------------------------------------------------------------------------------------------------------- twins


def _twins(work: Work) -> tuple[list[tuple[Twins, Found]], Any]:
    """The pairs each rule finds, as places in the rows, and the rows' ranks."""
    rows = work.rows
    rank = rows.rank()
    out: list[tuple[Twins, Found]] = []
    for rule in dict.fromkeys(rule for some in work.rules.values() for rule in some if isinstance(rule, Twins)):
        if isinstance(rule, ExactDuplicates):
            served = np.array([rule in work.rules[medium] for medium in rows.media], bool)
            places = np.flatnonzero(served[rows.medium] & ~work.gone)
            shelf = Shelf(16, work.data.path.parent)
            for at in range(0, len(places), 1 << 16):
                shelf.add(rows.marks.at(places[at : at + (1 << 16)])[:, 16:32])
            work.shelves[rule] = (shelf, [places])
        elif rule not in work.shelves:
            continue
        shelf, parts = work.shelves[rule]
        places = np.concatenate(parts)
        found = rule.pairs(Table(shelf, rank[places], _reader(work, places)))
        out.append((rule, Found(places[found.low], places[found.high], found.alike)))
    return out, rank


def _reader(work: Work, places: Any) -> Callable[[Sequence[int]], dict[int, Any]]:
    """Decodes the items at some places of a table."""

    def read(some: Sequence[int]) -> dict[int, Any]:
        ids = dict(zip(work.rows.ids(places[np.asarray(some, np.int64)]), some, strict=True))
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


def _second(work: Work, file: Any, twins: Sequence[tuple[Twins, Found]], group: Any, rank: Any) -> None:
    """Settle who stays, then write the rows that differ."""
    rows, gone = work.rows, work.gone.copy()
    why: dict[int, tuple[str, int, float]] = {}
    for rule, found in twins:
        # Equal contents under different captions are two facts; but never one in train and one in a declared test.
        def spare(low: int, high: int) -> bool:
            return not rows.declared[low] > 1 and len(set(rows.keys([low, high]))) == 2

        for high, pair in sorted(settle(found, rank, gone, spare).items()):
            if not work.spared(high, rule.name):
                gone[high] = True
                why[high] = (rule.name, int(found.low[pair]), float(found.alike[pair]))
    first = np.full(len(rows), len(rows), np.int64)  # the row of lowest rank of each group
    order = np.argsort(-rank, kind="stable")
    first[group[order]] = order  # of several, the last one stays
    origins = _origins(work, why)
    for high, (rule_name, low, alike) in sorted(why.items()):
        work.removed[rule_name] += 1
        if len(work.told.setdefault(rule_name, [])) < EXAMPLES:
            work.tell(rule_name, high, f"{origins.get(high, '?')} is {alike:.2f} like {origins.get(low, '?')}")
    lead = first[group]
    drawn = np.where(rows.declared[lead] > 0, rows.declared[lead], rows.drawn[lead])
    _hold_out(rows, lead, drawn, ~gone)
    with pa.ipc.open_file(pa.PythonFile(file, "r")) as reader:
        work.data.update(_changed(work, reader, why, lead, drawn))


def _hold_out(rows: Rows, lead: Any, drawn: Any, kept: Any) -> None:
    """Where chance left all that is kept of a medium in train, one group of at least `LEAST` becomes the test split.

    It is the one whose content has the smallest hash, so that again nothing but content decides.
    """
    for medium in range(len(rows.media)):
        mine = kept & (rows.medium == medium)
        free = np.unique(lead[mine & (rows.declared == 0) & (rows.declared[lead] == 0)])
        if (
            len(free) < LEAST
            or (np.where(rows.declared > 0, rows.declared, drawn)[mine] != PLACES.index("train")).any()
        ):
            continue
        hashes = [bytes(mark[16:32]) for mark in rows.marks.at(free)]
        drawn[lead == free[min(range(len(free)), key=hashes.__getitem__)]] = PLACES.index("test")


def _origins(work: Work, why: dict[int, tuple[str, int, float]]) -> dict[int, str]:
    """The names of the first few items that went, and of their twins."""
    wanted: dict[str, int] = {}
    seen: Counter[str] = Counter()
    for high, (rule, low, _) in sorted(why.items()):
        seen[rule] += 1
        if seen[rule] <= EXAMPLES:
            wanted |= dict(zip(work.rows.ids([low, high]), (low, high), strict=True))
    if not wanted:
        return {}
    where = f"id IN ({', '.join(map(repr, wanted))})"
    found = (row for batch in work.data.scan(["id", "origin"], where) for row in batch.to_pylist())
    return {wanted[row["id"]]: row["origin"] for row in found}


def _changed(work: Work, reader: Any, why: Any, lead_of: Any, drawn: Any) -> Iterator[pa.RecordBatch]:
    """The rows whose values in `COLUMNS` differ from what the dataset has. drawn: splits of rows that declare none."""
    rows = work.rows
    schema = pa.schema([SCHEMA.field(name) for name in ("id", *COLUMNS)])
    for number in range(reader.num_record_batches):
        out = []
        given = reader.get_batch(number).to_pylist()
        places = [waiting["place"] for waiting in given]
        leads = lead_of[places].tolist()
        ids, lead_ids = rows.ids(places), rows.ids(leads)
        for i, waiting in enumerate(given):
            place, lead = places[i], leads[i]
            notes = json.loads(waiting["notes"])
            reason, detail = waiting["reason"], waiting["detail"]
            if place in why:
                reason, low, alike = why[place]
                detail = f"{alike:.2f} like {rows.ids([low])[0]}"
            if reason is not None:
                notes[reason] = detail
            if work.undone.get(place):
                notes["undone"] = sorted(work.undone[place])
            declared = PLACES[rows.declared[place]]
            row = {
                "id": ids[i],
                "status": "kept" if reason is None else "removed",
                "reason": reason,
                "cleaned": waiting["cleaned"],
                "language": waiting["language"],
                "group": None if lead == place else lead_ids[i],
                "split": declared or PLACES[drawn[place]],
                "notes": json.dumps(notes, sort_keys=True, ensure_ascii=False),
            }
            if printed([row[name] for name in COLUMNS]) != waiting["before"]:
                out.append(row)
        if out:
            yield pa.RecordBatch.from_pylist(out, schema=schema)
