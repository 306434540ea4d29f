"""preference: the answer that people preferred beside the one that they did not; chance is a half."""

from __future__ import annotations

from genus.tasks.choice import Choice
from genus.tasks.table import Table

TASK = Choice(
    name="preference",
    items=Table(
        path="instruct_small/preference.jsonl", asked="{instruction}\n{input}", choices=("{chosen}", "{rejected}")
    ),
    by="token",
)
