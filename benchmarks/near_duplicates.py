"""Near-duplicate detection on prose: genus beside datasketch used plainly, run in turn, with what each finds.

    python benchmarks/near_duplicates.py [--mb 50] [--rounds 3] [--json PATH]

Documents of about 1.2 KB are drawn, sentence by sentence, from scitldr and tinyshakespeare (the folder GENUS_DATA);
every fifth is an edited copy of an earlier one: a few words changed or left out, the beginning cut, case or spacing
changed, or several of these. Both sides get the same list of strings and answer which documents repeat an earlier
one. datasketch used plainly is its documentation's way: 5-word shingles, MinHash of 128 permutations
(`update_batch`), MinHashLSH at threshold 0.8, query before insert. Not measured: reading files, writing results.
"""

from __future__ import annotations

import json
import random
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from genus.clean.near import NearDuplicates
from genus.clean.rule import Pile
from genus.clean.twins import Shelf, Table, settle

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "proofs"))
from proof import Row, arguments, interval, shelf, write


def sentences(folder: Path) -> list[str]:
    """Of 25 to 400 characters, each once."""
    out = []
    for line in (folder / "scitldr" / "train.jsonl").open(encoding="utf-8"):
        row = json.loads(line)
        text = row["abstract"] if isinstance(row["abstract"], str) else " ".join(row["abstract"])
        out += re.split(r"(?<=[.!?])\s+", text)
    out += (folder / "tinyshakespeare" / "train.txt").read_text(encoding="utf-8").split("\n\n")
    return [s for s in dict.fromkeys(s.strip() for s in out) if 25 <= len(s) <= 400]


def edited(text: str, draw: random.Random, vocabulary: Sequence[str]) -> str:
    """A copy with some of: 1 to 6 % of words changed, 1 to 4 % left out, up to 12 % of the beginning cut, case,
    spacing.
    """
    words = text.split()
    kinds = draw.sample(("change", "drop", "cut", "case", "space"), draw.choice((1, 1, 2, 3)))
    if "cut" in kinds:
        words = words[draw.randint(1, max(1, len(words) * 12 // 100)) :]
    if "change" in kinds:
        for at in draw.sample(range(len(words)), max(1, int(len(words) * draw.uniform(0.01, 0.06)))):
            words[at] = draw.choice(vocabulary)
    if "drop" in kinds:
        share = draw.uniform(0.01, 0.04)
        words = [word for word in words if draw.random() > share]
    said = (draw.choice(("\n", "  ", "\t")) if "space" in kinds else " ").join(words)
    return draw.choice((said.upper(), said.lower(), said.title())) if "case" in kinds else said


def documents(folder: Path, size: float, seed: int = 0) -> tuple[list[str], set[int]]:
    """(texts of `size` MB together, which are copies)."""
    draw = random.Random(seed)
    pool = sentences(folder)
    vocabulary = sorted({word for s in pool[:2000] for word in s.split()})
    texts: list[str] = []
    copies: set[int] = set()
    originals: list[int] = []
    total = 0
    while total < size * 1e6:
        if len(texts) % 5 == 4:
            copies.add(len(texts))
            texts.append(edited(texts[draw.choice(originals)], draw, vocabulary))
        else:
            originals.append(len(texts))
            texts.append(" ".join(draw.sample(pool, draw.randint(4, 14))))
        total += len(texts[-1])
    return texts, copies


def ours(texts: Sequence[str]) -> set[int]:
    """By the rule of `genus clean`, as it stands: sketch, bands, counted Jaccard index where the estimate does not
    decide.
    """
    rule = NearDuplicates()
    shelf = Shelf(rule.width)
    places = []
    for at in range(0, len(texts), 256):
        records, fit = rule.record(Pile("text", texts[at : at + 256]))
        shelf.add(records[fit])
        places.append(at + np.flatnonzero(fit))
    place = np.concatenate(places)
    rank = np.arange(len(place))
    found = rule.pairs(Table(shelf, rank, lambda some: {i: texts[place[i]] for i in some}))
    gone = settle(found, rank, np.zeros(len(place), bool), lambda low, high: False)
    shelf.close()
    return {int(place[i]) for i in gone}


def theirs(texts: Sequence[str]) -> set[int]:
    """datasketch, as its documentation shows it."""
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=0.8, num_perm=128)
    gone = set()
    for i, text in enumerate(texts):
        words = text.lower().split()
        sketch = MinHash(num_perm=128)
        sketch.update_batch({" ".join(words[k : k + 5]).encode() for k in range(max(1, len(words) - 4))})
        if index.query(sketch):
            gone.add(i)
        else:
            index.insert(str(i), sketch)
    return gone


def timed(run: Callable[[Sequence[str]], set[int]], texts: Sequence[str]) -> tuple[float, set[int]]:
    start = time.perf_counter()
    found = run(texts)
    return time.perf_counter() - start, found


def main() -> None:
    given = arguments(__doc__, extra={"--mb": (float, 50.0), "--rounds": (int, 3)})
    folder = shelf(given, "scitldr").parent
    began = time.perf_counter()
    texts, copies = documents(folder, given.mb)
    size = sum(map(len, texts)) / 1e6
    print(f"{len(texts)} documents, {size:.1f} MB, {len(copies)} of them edited copies")
    timed(ours, texts[:2000])
    times: dict[str, list[float]] = {"genus": [], "datasketch": []}
    found: dict[str, set[int]] = {}
    for turn in range(given.rounds):
        for name, run in (("genus", ours), ("datasketch", theirs)):
            seconds, found[name] = timed(run, texts)
            times[name].append(seconds)
            print(f"round {turn + 1}: {name} {seconds:.2f} s, {size / seconds:.1f} MB/s")
    ratios = [b / a for a, b in zip(times["genus"], times["datasketch"], strict=True)]
    rows = [Row("throughput, datasketch's time over genus's", *interval(ratios), bar=">= 3", baseline="1")]
    rows += [Row(name, *interval([size / s for s in seconds]), unit="MB/s") for name, seconds in times.items()]
    for name, gone in found.items():
        right, bar = len(gone & copies), ">= 0.95" if name == "genus" else None
        rows.append(Row(f"{name}, recall", right / len(copies), bar=bar))
        rows.append(Row(f"{name}, precision", right / max(1, len(gone)), bar=bar))
    note = f"{given.rounds} rounds in turns: median, least and most; {size:.0f} MB, {len(copies)} planted copies"
    write(given, "near_duplicates", rows, time.perf_counter() - began, note)


if __name__ == "__main__":
    main()
