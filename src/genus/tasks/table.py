"""Questions from files: .jsonl, .json, .csv, .parquet, a text file, or a folder of texts. Nothing is fetched.

A path that is not absolute lies in the folder of public data sets (GENUS_DATA, `--data`). Columns are named in
templates, `{question}`, or found by their usual names; choices may be a list, or the form of a list of texts beside a
list of letters.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
from pydantic import Field

from genus.errors import UsageError
from genus.tasks.examinee import Examinee
from genus.tasks.task import Item, Items

TABLES = (".jsonl", ".json", ".csv", ".parquet")
#: Usual names of columns, the first that a row has counts.
ASKED = ("question", "prompt", "instruction", "query", "asked", "ctx", "goal", "text", "content")
CHOICES = ("choices", "options", "endings")
RIGHT = ("right", "label", "answerKey", "gold", "answer_index", "answer")
ANSWER = ("final", "answer", "completion", "output", "response", "target")
_FIELD = re.compile(r"\{(\w+)\}")
PIECE = 2000  # characters of a text, about: one item


@final
class Table(Items):
    """path: of what is asked; shown: of examples. asked, answer, worked: templates; empty: found by usual names.

    choices: templates, one a choice, the right one first; empty: the row's own list. among: so many answers of other
    rows stand beside the right one, where there are no choices. piece: long texts are cut at empty lines to about so
    many characters.
    """

    kind: Literal["tasks.table"] = "tasks.table"
    path: str
    shown: str | None = None
    asked: str = ""
    answer: str = ""
    worked: str = ""
    choices: tuple[str, ...] = ()
    among: int = Field(0, ge=0)
    piece: int = Field(PIECE, ge=1)

    def read(self, examinee: Examinee) -> list[Item]:
        """All rows."""
        return self.of_rows(placed(self.path, examinee.data))

    def examples(self, examinee: Examinee) -> list[Item]:
        """Of the other file, if there is one."""
        return [] if self.shown is None else self.of_rows(placed(self.shown, examinee.data))

    def of_rows(self, path: Path) -> list[Item]:
        """A file's."""
        if not tabular(path):
            return [Item(text) for text in texts(path, self.piece)]
        found = [self._item(row, i, path) for i, row in enumerate(rows(path))]
        found = [mixed(item, i) for i, item in enumerate(found)] if self.choices else found
        return among(found, self.among) if self.among else found

    def _item(self, row: Mapping[str, Any], i: int, path: Path) -> Item:
        def said(template: str, usual: Sequence[str]) -> str:
            if template:
                return filled(template, row, path)
            name = next((name for name in usual if isinstance(row.get(name), str | int | float)), None)
            return "" if name is None else str(row[name])

        asked = said(self.asked, ASKED)
        if not asked:
            raise UsageError(f"{path}, row {i}: no question in the columns {', '.join(row)}; call one 'question'")
        worked = filled(self.worked, row, path) if self.worked else ""
        if self.choices:
            return Item(asked, choices=tuple(filled(choice, row, path) for choice in self.choices), worked=worked)
        listed = next((row[name] for name in CHOICES if name in row), None)
        if listed is None:
            return Item(asked, said(self.answer, ANSWER), worked=worked, more=row)
        texts, letters = listed, []
        if isinstance(listed, Mapping):
            texts, letters = listed.get("text"), [str(letter) for letter in listed.get("label", ())]
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise UsageError(f"{path}, row {i}: choices are a list of texts, not {listed!r:.60}")
        right = which(row, texts, letters)
        if right is None:
            raise UsageError(
                f"{path}, row {i}: which of the choices is right is not told; say its number (from 0), letter or text "
                f"in a column such as {RIGHT[0]!r}"
            )
        return Item(asked, texts[right], tuple(texts), right, worked or texts[right], row)


def which(row: Mapping[str, Any], texts: Sequence[str], letters: Sequence[str]) -> int | None:
    """The number of the right choice, by number, letter or text."""
    for name in RIGHT:
        said = row.get(name)
        if isinstance(said, bool) or said is None:
            continue
        if isinstance(said, int) and 0 <= said < len(texts):
            return said
        text = str(said).strip()
        for known in (texts, letters, [chr(65 + i) for i in range(len(texts))], [str(i) for i in range(len(texts))]):
            if text in known:
                return list(known).index(text)
    return None


def filled(template: str, row: Mapping[str, Any], path: Path) -> str:
    """`{column}` replaced; of a list its first. Raises `UsageError` for a column that is not there."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in row:
            raise UsageError(f"{path} has no column {match[1]!r}; it has: {', '.join(row)}")
        said = row[match[1]]
        return str(said[0] if isinstance(said, list) and said else said)

    return _FIELD.sub(value, template).strip()


def mixed(item: Item, i: int) -> Item:
    """The choices in an order of their own; the right one came first."""
    order = np.random.default_rng(i).permutation(len(item.choices)).tolist()
    right, choices = order.index(0), tuple(item.choices[j] for j in order)
    return Item(item.asked, choices[right], choices, right, item.worked, item.more)


def among(items: Sequence[Item], others: int) -> list[Item]:
    """Each answer among so many of other items', which differ from it. Raises `UsageError` if there are too few."""
    answers = list(dict.fromkeys(item.answer for item in items))
    if len(answers) <= others:
        raise UsageError(f"{len(answers)} different answers do not give {others} others beside each; ask for fewer")
    found = []
    for i, item in enumerate(items):
        drawn = np.random.default_rng([1, i]).choice(len(answers), others + 1, replace=False)
        wrong = [answers[j] for j in drawn if answers[j] != item.answer][:others]
        found.append(mixed(Item(item.asked, item.answer, (item.answer, *wrong), 0, item.worked, item.more), i))
    return found


def tabular(path: Path) -> bool:
    """Whether a file holds rows, and no plain text."""
    return path.is_file() and path.suffix.lower() in TABLES


def rows(path: Path) -> list[dict[str, Any]]:
    """Of a table. Raises `UsageError` if it cannot be read or holds something else."""
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            import pyarrow.parquet

            found: Any = pyarrow.parquet.read_table(path).to_pylist()
        elif suffix == ".csv":
            with path.open(encoding="utf-8", newline="") as file:
                found = list(csv.DictReader(file))
        elif suffix == ".json":
            found = json.loads(path.read_text(encoding="utf-8"))
        else:
            found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, list) or not found or not all(isinstance(row, dict) for row in found):
        raise UsageError(f"{path} holds no rows; a table has an object a row, such as {{'question', 'answer'}}")
    return found


def texts(path: Path, piece: int) -> list[str]:
    """A file, or the text files of a folder in order, cut. Raises `UsageError` if there is no text."""
    files = (
        [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
    )
    found: list[str] = []
    for file in files:
        try:
            found += cut(file.read_text(encoding="utf-8"), piece)
        except UnicodeDecodeError:
            continue
        except OSError as error:
            raise UsageError(f"{file} cannot be read: {error}") from error
    if not found:
        raise UsageError(f"{path} holds no text in UTF-8; name a text file, or a folder of some")
    return found


def cut(text: str, piece: int) -> Iterator[str]:
    """Pieces of about so many characters, that end at empty lines, or else at ends of lines."""
    start = 0
    while start < len(text):
        stop = start + piece
        if stop < len(text):
            ends = [text.find(mark, stop) for mark in ("\n\n", "\n")]
            near = next((end + len(mark) for end, mark in zip(ends, ("\n\n", "\n"), strict=True)
                         if 0 <= end < stop + piece), None)  # fmt: skip
            stop = stop if near is None else near
        if text[start:stop].strip():
            yield text[start:stop]
        start = stop


def placed(path: str, data: Path | None) -> Path:
    """Where a file lies. Raises `UsageError` that says where to put it."""
    found = Path(path).expanduser()
    if found.is_absolute() or (data is None and found.exists()):
        place = found
    elif data is None:
        raise UsageError(
            f"this task needs {path} in a folder of public data sets: name the folder with --data or GENUS_DATA "
            "(docs/evaluate.md says where the sets come from), or give a file of your own"
        )
    else:
        place = data / found
    if not place.exists():
        raise UsageError(f"there is no {place}; docs/evaluate.md says where public data sets come from")
    return place
