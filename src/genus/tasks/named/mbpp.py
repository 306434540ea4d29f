"""mbpp: small programs from a sentence, judged by unit tests, behind three examples (Austin et al. 2021, arXiv
2108.07732).
"""

from __future__ import annotations

from genus.tasks.problems import Mbpp
from genus.tasks.programs import Programs

TASK = Programs(
    name="mbpp", items=Mbpp(), shots=3, tokens=256, stop=("\nassert ", "\nprint(", "\n#", '\n"""', "\n```", "\nif __")
)
