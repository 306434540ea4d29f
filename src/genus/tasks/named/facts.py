"""facts: a closed set with room to abstain, and invented countries that have no answer. Needs no file."""

from __future__ import annotations

from genus.tasks.recall import Recall
from genus.tasks.world import World

TASK = Recall(name="facts", items=World(invented=0.25), shots=4)
