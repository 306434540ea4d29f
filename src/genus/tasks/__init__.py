"""evaluate(run, tasks): what a finished language model can do, by questions with known answers.

A task is a part: it asks, and gives a number for each item; intervals, the chance level and what is left without
contaminated items are worked out for all tasks alike. A named one is a file in `named/` that says `TASK = Choice(...)`.

    task        what a task is, and what it hands back
    examinee    a model that is asked: likelihoods and drawn answers, each beginning read once
    table world where questions come from: files, and what Python and its libraries know
    perplexity choice drawn recall      the kinds
    calibration contamination           what may be said of any of them
    stage page                          all tasks asked for; evaluation.json and evaluation.html

validate judges a run by what its own data holds out; here it is asked by other people's questions.
"""

from __future__ import annotations

import pkgutil
from difflib import get_close_matches
from importlib import import_module

from genus.errors import UsageError
from genus.tasks import named
from genus.tasks.task import Task


def names() -> list[str]:
    """Of all named tasks, in order."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(named.__path__))


def find(name: str) -> Task:
    """The task of this name. Raises `UsageError` that lists what there is."""
    if name not in names():
        if "/" in name or "." in name:
            raise UsageError(f"there is no file {name}; name one of your own, or one of: {', '.join(names())}")
        close = get_close_matches(name, names(), 1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise UsageError(
            f"there is no task {name!r}{hint}; there are: {', '.join(names())}; or name a .jsonl, .json, .csv or .txt "
            "file of your own"
        )
    task: Task = import_module(f"genus.tasks.named.{name.replace('-', '_')}").TASK
    return task
