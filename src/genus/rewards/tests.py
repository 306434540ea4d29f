"""Unit tests: an answer is right if its program passes the asserts of the data's answer, in a sandbox.

Where the data's answer has no asserts (it may be a program), those of the question are meant. A program is what stands
between fences in the answer, or all of it. What holds it back, and what does not, is told in `genus.sandbox`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, final

from pydantic import Field

from genus.dialogue import Message
from genus.rewards.reward import Reward, question
from genus.rewards.reward import final as answer
from genus.sandbox import Job, Limits, run_all
from genus.sandbox.programs import asserts, each, program, shadowed


@final
class Tests(Reward):
    """graded: the share of asserts that hold, each tried by itself, instead of all or nothing. seconds: of processor
    time for a program. megabytes: of memory.
    """

    kind: Literal["rewards.tests"] = "rewards.tests"
    graded: bool = False
    seconds: float = Field(3.0, gt=0)
    megabytes: int = Field(512, ge=64)

    def __call__(self, asked: Sequence[Message], reference: str, said: str) -> float:
        """See the module; where nothing is tested, no answer is right."""
        return self.all([asked], [reference], [said])[0]

    def all(self, asked: Sequence[Sequence[Message]], references: Sequence[str], said: Sequence[str]) -> list[float]:
        """Of many, several at a time."""
        jobs: list[list[Job]] = []
        for messages, reference, text in zip(asked, references, said, strict=True):
            checks = asserts(answer(reference)) or asserts(question(messages))
            code, shadows = program(answer(text)), shadowed(checks)
            jobs.append([Job(code, check, shadows) for check in (each(checks) if self.graded else [checks]) if check])
        limits = Limits(seconds=self.seconds, wall=4 * self.seconds, memory=self.megabytes << 20)
        verdicts = iter(run_all([job for some in jobs for job in some], limits))
        held = [[next(verdicts).passed for _ in some] for some in jobs]
        return [sum(some) / len(some) if some else 0.0 for some in held]
