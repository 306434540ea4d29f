"""Programming problems with unit tests: HumanEval (Chen et al. 2021, arXiv 2107.03374) and MBPP (Austin et al. 2021,
arXiv 2108.07732), read from the folder of public data sets. Nothing is fetched.

What an item's `more` holds: `head`, the code that every solution begins with (a signature); `tests`; `shows`, a test
that the question tells; `shadows`, builtins that the tests are of.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, final

from genus.errors import UsageError
from genus.sandbox import Job
from genus.sandbox.programs import shadowed
from genus.tasks.examinee import Examinee
from genus.tasks.task import Item, Items


@final
class HumanEval(Items):
    """164 functions to finish, each told by its signature and docstring."""

    kind: Literal["tasks.problems.human_eval"] = "tasks.problems.human_eval"
    path: str = "humaneval/test.jsonl"

    def read(self, examinee: Examinee) -> list[Item]:
        """All of them."""
        return [self._item(row) for row in rows(self.path, examinee.data)]

    def _item(self, row: Mapping[str, Any]) -> Item:
        tests = f"{row['test']}\ncheck({row['entry_point']})\n"
        more = {"head": row["prompt"], "tests": tests, "shows": "", "shadows": ()}
        return Item(row["prompt"].strip(), row["canonical_solution"], more=more)


@final
class Mbpp(Items):
    """Tasks in a sentence or two. split: test (500), val (90) or train (374); ten others are examples."""

    kind: Literal["tasks.problems.mbpp"] = "tasks.problems.mbpp"
    split: Literal["test", "val", "train"] = "test"

    def read(self, examinee: Examinee) -> list[Item]:
        """All of the split."""
        return [self._item(row) for row in rows(f"mbpp/{self.split}.jsonl", examinee.data)]

    def examples(self, examinee: Examinee) -> list[Item]:
        """The ten that the data set keeps for this."""
        return [self._item(row) for row in rows("mbpp/prompt.jsonl", examinee.data)]

    def _item(self, row: Mapping[str, Any]) -> Item:
        code = row["code"].replace("\r\n", "\n")
        checks = "\n".join(row["test_list"])
        more = {
            "head": "",
            "tests": f"{row['test_setup_code']}\n{checks}".strip(),
            "shows": checks,
            "shadows": shadowed(checks),
        }
        return Item(row["text"].strip(), code, more=more)


def job(item: Item, program: str) -> Job:
    """The tests of a problem on a program."""
    return Job(program, item.more["tests"], item.more["shadows"])


def rows(path: str, data: Path | None) -> list[dict[str, Any]]:
    """Of a file of JSON lines. Raises `UsageError` that says where to put it."""
    if data is None:
        raise UsageError(f"this task needs {path} in a folder of public data sets: name it with --data or GENUS_DATA")
    try:
        return [json.loads(line) for line in (data / path).read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise UsageError(f"{data / path} cannot be read: {error}; see docs/code.md for where it comes from") from error
