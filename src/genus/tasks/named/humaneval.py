"""humaneval: 164 functions to finish, judged by unit tests (Chen et al. 2021, arXiv 2107.03374)."""

from __future__ import annotations

from genus.tasks.problems import HumanEval
from genus.tasks.programs import Programs

TASK = Programs(name="humaneval", items=HumanEval())
