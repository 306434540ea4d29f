"""Charts as inline markup: bars with intervals, curves as SVG. Colours come from the page's style, so dark works too.

No script, no image, no font of their own. Not here: what is drawn (`page`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import final

import numpy as np

WIDE, HIGH = 720, 260
LEFT, BELOW = 46, 26


@final
@dataclass(frozen=True, slots=True)
class Bar:
    """One row. kind: model, baseline or real; it chooses the colour."""

    label: str
    value: float
    low: float | None
    high: float | None
    kind: str = "baseline"
    unit: str = ""


@final
@dataclass(frozen=True, slots=True)
class Line:
    """Points of one curve. kind chooses the colour: train, val."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    kind: str


def number(value: float | None, unit: str = "") -> str:
    """Three or four digits that mean something, thousands set off; shares in percent, bytes whole."""
    if value is None or not math.isfinite(value):
        return "–"
    if unit.startswith("share"):
        return f"{value:.1%}"
    if unit == "bytes":
        return f"{value:,.0f}"
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    digits = 1 if size >= 100 else 2 if size >= 10 else 3
    return f"{value:.{digits}f}" if size >= 0.001 or size == 0 else f"{value:.1e}"


def bars(rows: Sequence[Bar]) -> str:
    """Horizontal bars from zero, the interval as a whisker, the number behind."""
    ends = [v for row in rows for v in (row.value, row.high) if v is not None and math.isfinite(v)]
    top = max([v for v in ends if v > 0], default=1.0) * 1.02

    def at(v: float) -> float:
        return 100 * min(1.0, max(0.0, v / top))

    out = []
    for row in rows:
        fill = at(row.value) if math.isfinite(row.value) else 0.0
        whisker = span = ""
        if row.low is not None and row.high is not None and math.isfinite(row.low) and math.isfinite(row.high):
            left = at(row.low)
            whisker = f'<i style="left:{left:.2f}%;width:{max(0.2, at(row.high) - left):.2f}%"></i>'
            span = f"<small>{number(row.low, row.unit)} … {number(row.high, row.unit)}</small>"
        out.append(
            f'<div class="bar {row.kind}"><span>{escape(row.label)}</span>'
            f'<div class="track"><b style="width:{fill:.2f}%"></b>{whisker}</div>'
            f"<em>{number(row.value, row.unit)}{span}</em></div>"
        )
    return f'<div class="bars">{"".join(out)}</div>'


def curves(lines: Sequence[Line], across: str, up: str) -> str:
    """Curves over a common axis; the vertical one leaves out the first extremes, which would flatten all else."""
    lines = [line for line in lines if len(line.x)]
    if not lines:
        return ""
    xs = np.concatenate([np.asarray(line.x, float) for line in lines])
    ys = np.concatenate([np.asarray(line.y, float)[len(line.y) // 20 :] for line in lines])
    x0, x1 = float(xs.min()), float(max(xs.max(), xs.min() + 1e-9))
    y0, y1 = float(ys.min()), float(np.quantile(ys, 0.995))
    y0, y1 = y0 - 0.06 * (y1 - y0), y1 + 0.06 * (y1 - y0) + 1e-9

    def px(x: float) -> float:
        return LEFT + (x - x0) / (x1 - x0) * (WIDE - LEFT - 8)

    def py(y: float) -> float:
        return HIGH - BELOW - (min(max(y, y0), y1) - y0) / (y1 - y0) * (HIGH - BELOW - 10)

    parts = []
    for tick in ticks(y0, y1):
        parts.append(f'<line class="rule" x1="{LEFT}" x2="{WIDE - 8}" y1="{py(tick):.1f}" y2="{py(tick):.1f}"/>')
        parts.append(f'<text x="{LEFT - 7}" y="{py(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
    parts += [f'<text x="{px(x):.1f}" y="{HIGH - 8}" text-anchor="middle">{x:,g}</text>' for x in ticks(x0, x1, 6)]
    for line in lines:
        points = " ".join(f"{px(x):.1f},{py(y):.1f}" for x, y in zip(line.x, line.y, strict=True))
        parts.append(f'<polyline class="{line.kind}" points="{points}"/>')
        if line.kind == "val":
            dots = zip(line.x, line.y, strict=True)
            parts.append("".join(f'<circle class="val" cx="{px(x):.1f}" cy="{py(y):.1f}" r="2.6"/>' for x, y in dots))
    key = "".join(f'<span class="key {line.kind}">{escape(line.label)}</span>' for line in lines)
    title = escape(f"{up} over {across}")
    return (
        f'<svg viewBox="0 0 {WIDE} {HIGH}" role="img" aria-label="{title}">{"".join(parts)}</svg>'
        f'<p class="keys">{key}<span>{title}</span></p>'
    )


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers between low and high: nearly so many, and two at least, as one would tell no scale."""
    raw = (high - low) / about
    ten = 10.0 ** math.floor(math.log10(raw))
    step = min((m * ten for m in (1, 2, 5, 10)), key=lambda step: abs(math.log(step / raw)))
    first = math.ceil(low / step)
    return [round(i * step, 12) for i in range(first, int(high / step) + 1)]
