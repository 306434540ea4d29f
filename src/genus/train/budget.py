"""What a run may spend: time, energy or steps. Imports no torch, so that a bad budget is refused at once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import final

from genus.errors import UsageError
from genus.train.meter import watts

_UNITS = {"s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_FORM = re.compile(r"(\d+(?:\.\d+)?)\s*([a-zA-Z]+)")


@final
@dataclass(frozen=True, slots=True)
class Budget:
    """Either seconds of training or optimiser steps; `asked` is as the user wrote it."""

    asked: str
    seconds: float | None = None
    steps: int | None = None


def budget(text: str) -> Budget:
    """'90s', '10m', '1h', '1h30m', '2kWh', '300 Wh', '5000 steps'. Raises `UsageError` for anything else.

    Energy becomes time through the power this machine is taken to draw while it trains (see genus.train.meter).
    """
    said = f"budget {text!r} is not understood; write e.g. 90s, 10m, 1h30m, 2kWh or '5000 steps'"
    found = _FORM.findall(text)
    if not found or _FORM.sub("", text).strip():
        raise UsageError(said)
    units = {unit.lower() for _, unit in found}
    amount = float(found[0][0])
    if units <= {"steps", "step"}:
        if len(found) > 1 or amount < 1 or amount != int(amount):
            raise UsageError(said)
        return Budget(text, steps=int(amount))
    if units <= {"kwh", "wh"}:
        kwh = sum(float(n) / (1000 if unit.lower() == "wh" else 1) for n, unit in found)
        seconds = kwh * 3.6e6 / watts()[0]
    elif units <= set(_UNITS):
        seconds = sum(float(n) * _UNITS[unit.lower()] for n, unit in found)
    else:
        raise UsageError(said)
    if seconds < 5:
        raise UsageError(f"budget {text!r} is {seconds:.1f} s; a run needs at least 5 s to load, probe and train")
    return Budget(text, seconds=seconds)
