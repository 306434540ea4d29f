"""Which problems are solved by programs that a model writes: pass@k by unit tests in the sandbox, and after repairs.

pass@k is worked out without bias from the n programs that were drawn (Chen et al. 2021, arXiv 2107.03374). A repair
shows the model its program with the test that failed and what was said, and lets it try again (Chen et al. 2023, arXiv
2304.05128); a program that passed is kept. Every figure after repairs stands beside the one before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal, final

import numpy as np
from pydantic import Field

from genus import sandbox
from genus.dialogue import Message
from genus.parts import Any_
from genus.sandbox import Limits, Verdict, programs
from genus.tasks.examinee import Examinee
from genus.tasks.problems import job
from genus.tasks.task import Item, Items, Outcome, Prompt, Score, Task
from genus.validate.solved import passes

#: What begins at the left margin behind a function and is no part of it.
BEHIND = ("\ndef ", "\nclass ", "\nif ", "\nprint(", "\nassert ", "\n#", "\n@", '\n"""', "\n```")
EMPTY = "the answer is empty"


@final
class Programs(Task):
    """attempts: at each problem; ks: of pass@k. repairs: so many further tries of each program that fails. shots:
    solved examples before each problem. stop: ends a program that is asked as text. limits: of each run.
    """

    kind: Literal["tasks.programs"] = "tasks.programs"
    items: Any_[Items]
    shots: int = Field(0, ge=0)
    attempts: int = Field(1, ge=1)
    ks: tuple[int, ...] = (1, 10, 100)
    repairs: int = Field(0, ge=0, le=8)
    temperature: float = Field(0.0, ge=0)
    tokens: int = Field(384, ge=1)
    stop: tuple[str, ...] = BEHIND
    limits: Limits = Limits()

    def __call__(self, examinee: Examinee) -> Outcome:
        """pass@k, and pass@1 after each repair. Raises `UsageError` where no program can be run."""
        shelter = sandbox.shelter()
        every = self.items.read(examinee)
        order = np.random.default_rng(self.seed).permutation(len(every))
        asked, shown = [every[i] for i in order][: self.limit], self.items.examples(examinee)[: self.shots]
        n = self.attempts
        tries = [item for item in asked for _ in range(n)]
        told = [prompt(item, shown) for item in tries]
        said = self._said(examinee, told, range(len(tries)))
        written = [written_by(item, text, examinee.chat) for item, text in zip(tries, said, strict=True)]
        found = self._judged(tries, written)
        first, notes = said, [shelter, ended(found)]
        scores = self._scores(found)
        for turn in range(1, self.repairs + 1):
            wrong = [i for i, verdict in enumerate(found) if not verdict.passed]
            again = [repaired(told[i], tries[i], said[i], written[i], found[i]) for i in wrong]
            spoken = self._said(examinee, again, [turn * len(tries) + i for i in wrong])
            anew = [written_by(tries[i], text, examinee.chat) for i, text in zip(wrong, spoken, strict=True)]
            said, written, found = list(said), list(written), list(found)
            for i, text, code, verdict in zip(
                wrong, spoken, anew, self._judged([tries[i] for i in wrong], anew), strict=True
            ):
                said[i], written[i], found[i] = text, code, verdict
            hits = self._passed(found).mean(1)
            scores.append(Score(f"pass_at_1_after_{turn}_repair{'s' * (turn > 1)}", (hits,), chance=0.0))
        return Outcome(asked, tuple(scores), (), tuple(notes), first[::n])

    def _said(self, examinee: Examinee, told: Sequence[Prompt], indices: Sequence[int]) -> list[str]:
        stop = () if examinee.chat else self.stop
        drawn = examinee.draws(told, self.tokens, stop, self.seed, indices, temperature=self.temperature)
        return [one.text for one in drawn]

    def _judged(self, tries: Sequence[Item], written: Sequence[str]) -> list[Verdict]:
        jobs = [job(item, code) for item, code in zip(tries, written, strict=True)]
        return sandbox.run_all(jobs, self.limits)

    def _passed(self, found: Sequence[Verdict]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        return np.array([verdict.passed for verdict in found], np.float64).reshape(-1, self.attempts)

    def _scores(self, found: Sequence[Verdict]) -> list[Score]:
        hits, n = self._passed(found).sum(1), self.attempts
        each = [(k, np.array([passes(n, int(h), k) for h in hits])) for k in self.ks if k <= n]
        return [Score(f"pass_at_{k}", (values,), chance=0.0, main=i == 0) for i, (k, values) in enumerate(each)]


def prompt(item: Item, shown: Sequence[Item] = ()) -> Prompt:
    """A problem, as the beginning of a module and as a turn."""
    text = "\n\n\n".join([*(f"{posed(one)}{one.answer.strip()}" for one in shown), posed(item)])
    messages: list[Message] = []
    for one in shown:
        messages += [Message("user", asked(one)), Message("assistant", f"```python\n{one.answer.strip()}\n```")]
    return Prompt(text, (*messages, Message("user", asked(item))))


def posed(item: Item) -> str:
    """A problem as code: its head, or what is wanted as a docstring with the tests that are told."""
    head: str = item.more["head"]
    return head or '"""\n' + "\n".join(part for part in (item.asked, item.more["shows"]) if part) + '\n"""\n'


def asked(item: Item) -> str:
    """A problem as what a user says."""
    if item.more["head"]:
        return f"Complete this Python function. Answer with the whole function.\n```python\n{item.asked}\n```"
    tests = f"\nIt has to pass:\n```python\n{item.more['shows']}\n```" if item.more["shows"] else ""
    return f"{item.asked} Answer with Python code.{tests}"


def written_by(item: Item, said: str, chat: bool) -> str:
    """The program that an answer stands for: what follows the head, or what stands between fences."""
    head: str = item.more["head"]
    if not chat:
        return head + said
    code = programs.program(said)
    return code if not head or "def " in code else head + code


def repaired(before: Prompt, item: Item, said: str, code: str, verdict: Verdict) -> Prompt:
    """The problem again, behind a program of it and why that is wrong."""
    why = f"{verdict.outcome}: {verdict.text}".rstrip(": ") if said.strip() else EMPTY
    comment = "\n".join(f"# {line}" for line in f"This is wrong. {why}\nCorrected:".splitlines())
    shown = code if item.more["head"] else posed(item) + code.strip()
    text = f"{before.text[: len(before.text) - len(posed(item))]}{shown.rstrip()}\n\n{comment}\n{posed(item)}"
    turns = (Message("assistant", said), Message("user", f"That is wrong. {why}\nAnswer with the corrected program."))
    return Prompt(text, (*before.messages, *turns))


def ended(found: Sequence[Verdict]) -> str:
    """How programs ended, as a sentence."""
    counts = Counter(verdict.outcome for verdict in found)
    return f"Of {len(found):,} programs " + ", ".join(f"{n:,} {outcome}" for outcome, n in counts.most_common()) + "."
