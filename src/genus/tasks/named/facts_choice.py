"""facts-choice: the same closed set as a choice among four; with calibration. Needs no file."""

from __future__ import annotations

from genus.tasks.choice import Choice
from genus.tasks.world import World

TASK = Choice(name="facts-choice", items=World(among=3), shots=4)
