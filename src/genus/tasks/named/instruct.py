"""instruct: answers to instructions, in bits per byte of the answer."""

from __future__ import annotations

from genus.tasks.perplexity import Perplexity
from genus.tasks.table import Table

TASK = Perplexity(
    name="instruct",
    items=Table(
        path="instruct_small/test.jsonl",
        shown="instruct_small/train.jsonl",
        asked="{instruction}\n{input}",
        answer="{output}",
    ),
)
