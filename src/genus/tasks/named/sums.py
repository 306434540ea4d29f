"""sums: sums and differences of numbers up to 99, the last number of the answer. Needs no file."""

from __future__ import annotations

from genus.rewards.arithmetic import Arithmetic
from genus.tasks.drawn import Drawn
from genus.tasks.world import World

TASK = Drawn(name="sums", items=World(about=("sums",)), shots=4, reward=Arithmetic(), tokens=16)
