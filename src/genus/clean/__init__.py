"""The second stage: duplicates, damage, low quality and personal data; each with a reason, and undone by its name."""

from __future__ import annotations

from genus.clean.stage import Cleaned, clean
from genus.clean.usual import usual

__all__ = ["Cleaned", "clean", "usual"]
