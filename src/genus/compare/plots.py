"""Points and lines of several recipes as inline SVG, a colour each, over a logarithmic axis. No script, no image.

Colours are classes `s0` .. `s7` of the page's style. Not here: bars (`genus.validate.charts`), what is drawn (`page`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import final

from genus.validate.charts import number, ticks

WIDE, HIGH, LEFT, BELOW, RIGHT = 470, 290, 48, 34, 84
COLOURS = 8


@final
@dataclass(frozen=True, slots=True)
class Point:
    """x > 0; low and high bound a whisker of y, where there is one."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


@final
@dataclass(frozen=True, slots=True)
class Series:
    """One recipe's points; joined by a line where there are several. colour: a number. line, dots: whether drawn."""

    label: str
    points: Sequence[Point]
    colour: int
    line: bool = True
    dots: bool = True


def plot(series: Sequence[Series], across: str, up: str, steep: bool = False) -> str:
    """All series over one logarithmic axis; "" where there is no point. steep: the other is logarithmic too."""
    series = [s for s in series if s.points]
    if not series:
        return ""
    xs = [p.x for s in series for p in s.points]
    ys = [v for s in series for p in s.points for v in (p.y, p.low, p.high) if v is not None]
    x0, x1 = math.log10(min(xs)), math.log10(max(xs))
    x0, x1 = x0 - 0.08 * (x1 - x0) - 0.05, x1 + 0.04 * (x1 - x0) + 0.05
    y0, y1 = min(ys), max(ys)
    pad = 0.08 * (y1 - y0) or 0.1 * abs(y1) or 1.0
    y0, y1 = (max(0.0, y0 - pad) if y0 >= 0 else y0 - pad), y1 + pad

    def px(x: float) -> float:
        return LEFT + (math.log10(x) - x0) / (x1 - x0) * (WIDE - LEFT - RIGHT)

    if steep:
        y0 = max(y0, 0.9 * min(ys))

    def py(y: float) -> float:
        part = math.log(y / y0) / math.log(y1 / y0) if steep else (y - y0) / (y1 - y0)
        return HIGH - BELOW - part * (HIGH - BELOW - 12)

    parts = []
    for tick in ticks(y0, y1, 4):
        parts.append(f'<line class="rule" x1="{LEFT}" x2="{WIDE - RIGHT}" y1="{py(tick):.1f}" y2="{py(tick):.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{py(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for x in decades(10**x0, 10**x1):
        parts.append(f'<text x="{px(x):.1f}" y="{HIGH - 12}" text-anchor="middle">{x:,g}</text>')
        parts.append(f'<line class="rule" x1="{px(x):.1f}" x2="{px(x):.1f}" y1="12" y2="{HIGH - BELOW}"/>')
    ends = []
    for s in series:
        parts.append(_drawn(s, px, py))
        last = max(s.points, key=lambda p: p.x)
        ends.append((px(last.x) + 9, py(last.y), s))
    parts += [
        f'<text class="name s{s.colour % COLOURS}" x="{x:.1f}" y="{y + 4:.1f}">{escape(s.label)}</text>'
        for x, y, s in _parted(ends)
    ]
    title = escape(f"{up} over {across}")
    return (
        f'<svg viewBox="0 0 {WIDE} {HIGH}" role="img" aria-label="{title}">{"".join(parts)}</svg>'
        f'<p class="keys"><span>{title}</span></p>'
    )


def _drawn(s: Series, px: Callable[[float], float], py: Callable[[float], float]) -> str:
    colour = f"s{s.colour % COLOURS}"
    points = sorted(s.points, key=lambda p: p.x)
    out = []
    if s.line and len(points) > 1:
        way = " ".join(f"{px(p.x):.1f},{py(p.y):.1f}" for p in points)
        out.append(f'<polyline class="{colour}" points="{way}"/>')
    for p in points if s.dots else ():
        if p.low is not None and p.high is not None and p.high > p.low:
            at = f'x1="{px(p.x):.1f}" x2="{px(p.x):.1f}" y1="{py(p.low):.1f}" y2="{py(p.high):.1f}"'
            out.append(f'<line class="whisker {colour}" {at}/>')
        said = escape(f"{s.label}: {number(p.x)}, {number(p.y)}")
        out.append(
            f'<circle class="{colour}" cx="{px(p.x):.1f}" cy="{py(p.y):.1f}" r="4.5"><title>{said}</title></circle>'
        )
    return "".join(out)


def _parted(ends: Sequence[tuple[float, float, Series]]) -> list[tuple[float, float, Series]]:
    """Names moved down until none lies on another."""
    placed: list[tuple[float, float, Series]] = []
    for x, y, s in sorted(ends, key=lambda end: end[1]):
        while any(abs(y - b) < 14 and abs(x - a) < 90 for a, b, _ in placed):
            y += 2
        placed.append((x, y, s))
    return placed


def decades(low: float, high: float) -> list[float]:
    """1, 2, 5 of each power of ten between low and high; powers alone where that would be many."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    marks = (1, 2, 5) if last - first <= 3 else (1,)
    return [m * 10.0**e for e in range(first, last + 1) for m in marks if low <= m * 10.0**e <= high]
