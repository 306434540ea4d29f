"""evaluate(run, tasks): every task at every number of examples; evaluation.json and evaluation.html in the run.

For scripts and for people; both whole or not there, the JSON last. Each call writes what it was asked for and nothing
of earlier ones. Which items training held is looked for in the run's own data, once for all tasks; weights from
elsewhere have none here, and that is said.
"""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from genus import files
from genus.errors import UsageError
from genus.rewards.arithmetic import Arithmetic
from genus.rewards.match import Match
from genus.run import Run
from genus.tasks import contamination, find, names, page
from genus.tasks.choice import Choice
from genus.tasks.contamination import RUN, Contamination
from genus.tasks.drawn import Drawn
from genus.tasks.examinee import Examinee
from genus.tasks.perplexity import Perplexity
from genus.tasks.recall import Recall
from genus.tasks.table import Table, tabular
from genus.tasks.task import Outcome, Score, Task
from genus.validate.findings import Finding
from genus.watch import Silent, Watch

MOST = 20  # items of evaluation.json that are shown in full
KINDS = ("perplexity", "choice", "drawn", "recall")


@final
@dataclass(frozen=True)
class Entry:
    """One task at one number of examples. clean: scores of the items that training did not hold; none: unknown, or all
    are. dirty: the share of items that it held, in runs of words; whole: of questions word for word.
    """

    task: Task
    shots: int | None
    outcome: Outcome
    seconds: float
    found: tuple[Finding, ...]
    clean: tuple[Finding, ...] = ()
    dirty: Finding | None = None
    whole: Finding | None = None
    judged: int = 0

    @property
    def main(self) -> Finding:
        """The figure that it is known by."""
        return self.found[self.outcome.scores.index(self.outcome.main)]

    def json(self) -> dict[str, Any]:
        """An object of evaluation.json."""
        outcome = self.outcome
        chances = {score.name: score.chance for score in outcome.scores if score.chance is not None}
        said = [*outcome.said, *[None] * (len(outcome.items) - len(outcome.said))]
        shown = zip(outcome.items[:MOST], said, strict=False)
        return {
            "task": self.task.name,
            "kind": self.task.kind,
            "shots": self.shots,
            "items": len(outcome.items),
            "main": self.main.name,
            "metrics": [{**f.json(), "chance": chances.get(f.name)} for f in self.found],
            "baselines": [f.json() for f in outcome.baselines],
            "contamination": None
            if self.dirty is None or self.whole is None
            else {
                "run_of_words": RUN,
                "judged": self.judged,
                "share": self.dirty.json(),
                "share_whole": self.whole.json(),
                "metrics_without": [f.json() for f in self.clean],
            },
            "curves": {name: list(points) for name, points in outcome.curves.items()},
            "notes": list(outcome.notes),
            "seconds": round(self.seconds, 2),
            "examples": [{"asked": i.asked, "right": i.answer or i.choices[i.right : i.right + 1], "said": s}
                         for i, s in shown],
            "settings": self.task.model_dump(mode="json"),
        }  # fmt: skip


@final
@dataclass(frozen=True)
class Evaluation:
    """All that was asked. chat: questions were turns of a conversation."""

    run: Path
    entries: tuple[Entry, ...]
    chat: bool
    notes: tuple[str, ...]
    facts: Mapping[str, Any]

    def json(self) -> dict[str, Any]:
        """What evaluation.json holds."""
        return {
            "run": self.run.name,
            "asked_as": "turns of a conversation" if self.chat else "text",
            "tasks": [entry.json() for entry in self.entries],
            **self.facts,
            "notes": list(self.notes),
        }

    @property
    def page(self) -> Path:
        """Of people."""
        return self.run / "evaluation.html"


def evaluate(
    run: Run,
    tasks: Sequence[str | Task],
    shots: Sequence[int] | None = None,
    limit: int | None = None,
    *,
    chat: bool | None = None,
    data: Path | None = None,
    settings: Mapping[str, Any] | None = None,
    watch: Watch | None = None,
) -> Evaluation:
    """Ask a finished run, and write evaluation.json and evaluation.html into its folder.

    tasks: names, files of one's own, or tasks. shots: examples before each question, every number in turn; None: as
    each task says. limit: items of a task. chat: as turns; None: if the run learned to answer last. data: folder of
    public data sets. settings: fields of the tasks that have them. Raises `UsageError` for what cannot be asked.
    """
    watch = watch or Silent()
    if limit is not None and limit < 1:
        raise UsageError(f"limit = {limit}: ask at least one item")
    if any(n < 0 for n in shots or ()):
        raise UsageError(f"shots = {min(shots or ())}: the number of examples starts at 0")
    asked = [chosen(task) if isinstance(task, str) else task for task in tasks]
    if not asked:
        raise UsageError(f"there is no task to ask; choose from: {', '.join(names())}; or name a file of your own")
    asked = with_settings(asked, {**(settings or {}), **({} if limit is None else {"limit": limit})})
    examinee, begun = Examinee.of(run, chat, data, watch), time.monotonic()
    found: list[tuple[Task, int | None, Outcome, float]] = []
    for task, number in every(asked, shots):
        asking = f"{task.name}{'' if number is None else f', {number} examples'}"
        watch.say(asking)
        start = time.monotonic()
        try:
            outcome = task(examinee)
        except UsageError as error:  # of several tasks, which one cannot be asked
            raise UsageError(f"{asking}: {error}") from error
        found.append((task, number, outcome, time.monotonic() - start))
    held, notes = contaminated(examinee, [outcome for _, _, outcome, _ in found])
    entries = tuple(
        entry(task, number, outcome, seconds, one)
        for (task, number, outcome, seconds), one in zip(found, held, strict=True)
    )
    facts = {
        "weights_sha256": files.sha256(run.path / "model.safetensors"),
        "data": {name: run.data.get(name) for name in ("path", "version", "digest")},
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "phonenumbers")},
        "seconds": round(time.monotonic() - begun, 2),
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    made = Evaluation(run.path, entries, examinee.chat, notes, facts)
    files.write(made.page, page.render(page.of(run, made)))
    files.write_json(run.path / "evaluation.json", made.json())
    return made


def every(tasks: Iterable[Task], shots: Sequence[int] | None) -> Iterator[tuple[Task, int | None]]:
    """Each task at each number of examples, where it shows any."""
    for task in tasks:
        own = getattr(task, "shots", None)
        if own is None:
            yield task, None
            continue
        for number in dict.fromkeys(shots if shots else [own]):
            yield task.but(shots=number), number


def with_settings(tasks: Sequence[Task], settings: Mapping[str, Any]) -> list[Task]:
    """The tasks with fields set in those that have them. Raises `UsageError` for a field that none has."""
    for name in settings:
        if not any(name in type(task).model_fields for task in tasks):
            raise UsageError(f"no task that is asked has {name!r}; leave it out")
    return [
        task.but(**{name: value for name, value in settings.items() if name in type(task).model_fields})
        for task in tasks
    ]


def chosen(said: str) -> Task:
    """A task by its name, or of a file: FILE, whose columns say what it is, or KIND:FILE. Raises `UsageError`."""
    kind, colon, rest = said.partition(":")
    path = Path(rest if colon and kind in KINDS else said).expanduser()
    if not path.exists():
        return find(said)
    items = Table(path=str(path.absolute()))
    name = "".join(c if c.isalnum() or c in "._-" else "-" for c in path.name).lstrip("._-") or "file"
    if not colon or kind not in KINDS:
        kind = guessed(path, items)
    if kind == "choice":
        return Choice(name=name, items=items)
    if kind == "recall":
        return Recall(name=name, items=items)
    if kind == "perplexity":
        return Perplexity(name=name, items=items)
    return Drawn(name=name, items=items, reward=Arithmetic() if numeric(items) else Match())


def guessed(path: Path, items: Table) -> str:
    """choice where rows have choices, drawn where they have answers, perplexity for texts."""
    if not tabular(path):
        return "perplexity"
    found = items.of_rows(path)
    return "choice" if found[0].choices else "drawn" if any(item.answer for item in found) else "perplexity"


def numeric(items: Table) -> bool:
    """Whether all answers are numbers."""
    answers = [item.answer for item in items.of_rows(Path(items.path))]
    try:
        return bool([float(answer.replace(",", "")) for answer in answers])
    except ValueError:
        return False


def contaminated(examinee: Examinee, outcomes: Sequence[Outcome]) -> tuple[list[Contamination | None], tuple[str, ...]]:
    """Of each outcome, which of its items training held; None where training is unknown."""
    data = examinee.dataset
    if data is None:
        note = "What these weights were trained on is not known here, so contamination cannot be looked for."
        return [None] * len(outcomes), (note,)
    texts = [text for outcome in outcomes for item in outcome.items for text in item.texts]
    examinee.watch.say("looking for the items in the training data")
    training = (str(record.media) for record in data.media("train"))
    found = contamination.found(texts, training)
    dirty, whole, judged = (hits.reshape(-1, 2) for hits in (found.dirty, found.whole, found.judged))
    ends = np.cumsum([len(outcome.items) for outcome in outcomes])[:-1]
    either = (np.split(hits, ends) for hits in (dirty.any(1), whole[:, 0], judged.any(1)))
    note = (
        f"Contaminated: the question or its answer has {RUN} words in a row with a training text (all its words, if "
        f"they are fewer; one of less than {contamination.LEAST} words is not judged)."
    )
    return [Contamination(*parts) for parts in zip(*either, strict=True)], (note,)


def entry(task: Task, shots: int | None, outcome: Outcome, seconds: float, held: Contamination | None) -> Entry:
    """With intervals, and without what training held."""
    found = tuple(score.finding(seed=task.seed) for score in outcome.scores)
    made = Entry(task, shots, outcome, seconds, found)
    if held is None or not held.judged.any():
        return made
    clean: tuple[Finding, ...] = ()
    if held.dirty.any():
        clean = tuple(score.finding(~held.dirty, seed=task.seed) for score in outcome.scores)
    dirty, whole = (_share(name, hits[held.judged]) for name, hits in (("dirty", held.dirty), ("whole", held.whole)))
    return replace(made, clean=clean, dirty=dirty, whole=whole, judged=int(held.judged.sum()))


def _share(name: str, hits: NDArray[np.bool_]) -> Finding:
    return Score(name, (hits.astype(np.float64),), better="lower").finding()
