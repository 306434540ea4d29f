"""scitldr: the summary of an abstract in a sentence, in bits per byte (Cachola et al. 2020, arXiv 2004.15011)."""

from __future__ import annotations

from genus.tasks.perplexity import Perplexity
from genus.tasks.table import Table
from genus.tasks.task import Form

TASK = Perplexity(
    name="scitldr",
    items=Table(path="scitldr/test.jsonl", shown="scitldr/train.jsonl", asked="{abstract}", answer="{tldr}"),
    form=Form(question="Abstract: {}\nIn one sentence:"),
)
