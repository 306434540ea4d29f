"""shakespeare: the last part of tinyshakespeare, in bits per byte."""

from __future__ import annotations

from genus.tasks.perplexity import Perplexity
from genus.tasks.table import Table

TASK = Perplexity(name="shakespeare", items=Table(path="tinyshakespeare/test.txt"))
