"""gsm8k: school mathematics, the last number of a worked answer (Cobbe et al. 2021, arXiv 2110.14168)."""

from __future__ import annotations

from genus.rewards.arithmetic import Arithmetic
from genus.tasks.drawn import Drawn
from genus.tasks.table import Table

TASK = Drawn(
    name="gsm8k",
    items=Table(
        path="gsm8k/test.jsonl", shown="gsm8k/train.jsonl", asked="{question}", answer="{final}", worked="{answer}"
    ),
    shots=4,
    reward=Arithmetic(),
    tokens=256,
    stop=("\nQuestion:", "\n\n"),
)
