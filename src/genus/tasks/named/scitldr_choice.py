"""scitldr-choice: which of four summaries is that of the abstract; chance is a quarter."""

from __future__ import annotations

from genus.tasks.choice import Choice
from genus.tasks.table import Table
from genus.tasks.task import Form

TASK = Choice(
    name="scitldr-choice",
    items=Table(path="scitldr/test.jsonl", shown="scitldr/train.jsonl", asked="{abstract}", answer="{tldr}", among=3),
    form=Form(question="Abstract: {}\nIn one sentence:"),
)
