"""Sources -> dataset: nothing lost, items with origin, licence, consent. Not here: judging quality (`genus.clean`)."""

from __future__ import annotations

from genus.collect.limits import Limits
from genus.collect.stage import Collected, collect

__all__ = ["Collected", "Limits", "collect"]
