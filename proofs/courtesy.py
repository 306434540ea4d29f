"""A toy in which what is truly wanted is known: clerks who answer orders, and a rule that says how good an answer is.

Asked "tea for ann", a clerk says that it is there, at times of something else or to somebody else, and is courteous
now and then. The rule wants the right thing and the right name, and two different courtesies; each further one, and
each word that is out of place, costs. Clerks are seldom too courteous, so who learns from pairs of their answers alone
what is better learns that more courtesy is better: true where it was taught, and wrong beyond. Plain Python, nothing
of genus.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from random import Random

THINGS = (
    "tea", "coffee", "bread", "soup", "rice", "beans", "jam", "milk", "salt", "honey", "plums", "fish", "cake",
    "toast", "corn", "figs", "peas", "nuts", "ham", "eggs",
)  # fmt: skip
NAMES = (
    "ann", "bob", "cora", "dan", "eve", "finn", "gus", "hana", "ivo", "jane", "kurt", "lena", "max", "nora",
    "otto", "pia", "rosa", "sam", "tina", "uma",
)  # fmt: skip
COURTESIES = ("please", "thanks", "kindly", "gladly", "cheers", "welcome")
OFTEN = (0.35, 0.3, 0.2, 0.1, 0.05)  # how often a clerk says none, one .. four courtesies
WRONG = 0.15  # how often it is another thing, and how often another name
WANTED = 2  # different courtesies
COST = 0.25  # of a courtesy too many, and of a word out of place
SURE = 4.0  # how surely the better of two answers is said to be: the slope of a logistic curve


def orders(seed: int) -> list[tuple[str, str]]:
    """All things for all names, mixed."""
    found = list(product(THINGS, NAMES))
    Random(seed).shuffle(found)
    return found


def asked(order: tuple[str, str]) -> str:
    """An order as it is asked."""
    return f"{order[0]} for {order[1]}"


def answered(order: tuple[str, str], dice: Random) -> str:
    """A clerk's answer."""
    thing, name = order
    if dice.random() < WRONG:
        thing = dice.choice(THINGS)
    if dice.random() < WRONG:
        name = dice.choice(NAMES)
    polite = dice.choices(COURTESIES, k=dice.choices(range(len(OFTEN)), OFTEN)[0])
    before = dice.randint(0, len(polite))
    return " ".join([*polite[:before], "the", thing, "is", "here", name, *polite[before:]])


def good(order: tuple[str, str], said: str) -> float:
    """What an answer is truly worth: at most 3."""
    words, (thing, name) = said.split(), order
    polite = [word for word in words if word in COURTESIES]
    rest = [word for word in words if word not in COURTESIES]
    once = ["the", thing, "is", "here", name]
    odd = sum(rest.count(word) - (word in once) for word in set(rest))
    right = (thing in rest) + (name in rest)
    kinds = min(len(set(polite)), WANTED)
    return right + kinds / WANTED - COST * (max(0, len(polite) - WANTED) + odd)


def preferred(order: tuple[str, str], dice: Random) -> tuple[str, str]:
    """Two answers, the one that was said to be better first: mostly the one that is."""
    one, other = answered(order, dice), answered(order, dice)
    while one == other:
        other = answered(order, dice)
    sure = 1 / (1 + math.exp(-SURE * (good(order, one) - good(order, other))))
    return (one, other) if dice.random() < sure else (other, one)


WIDE, HIGH, LEFT, RIGHT, BELOW = 560, 300, 48, 150, 44
COLOURS = ("#dc2626", "#2563eb", "#9333ea", "#059669")
#: A curve's name, and its points (x, y).
Curve = tuple[str, Sequence[tuple[float, float]]]


def chart(curves: Sequence[Curve], across: str, title: str) -> str:
    """A small drawing of curves that shows on light and dark ground."""
    xs, ys = ([point[axis] for _, points in curves for point in points] for axis in (0, 1))
    x0, x1, y0, y1 = min(xs), max(xs), math.floor(min(ys)), math.ceil(max(ys))

    def px(x: float) -> float:
        return LEFT + (x - x0) / (x1 - x0) * (WIDE - LEFT - RIGHT)

    def py(y: float) -> float:
        return 14 + (y1 - y) / (y1 - y0) * (HIGH - BELOW - 14)

    text = 'font-family="sans-serif" font-size="12"'
    grey, middle = f'fill="#808080" {text}', 'text-anchor="middle"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {HIGH}" role="img">']
    parts.append(f"<title>{title}</title>")
    for y in range(y0, y1 + 1, max(1, (y1 - y0) // 6)):
        parts.append(f'<path d="M{LEFT} {py(y):.1f}H{WIDE - RIGHT}" stroke="#80808055"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{py(y) + 4:.1f}" text-anchor="end" {grey}>{y}</text>')
    marks = range(math.ceil(x0), math.floor(x1) + 1, max(1, math.floor(x1 - x0) // 7))
    parts += [f'<text x="{px(x):.1f}" y="{HIGH - 26}" {middle} {grey}>{x}</text>' for x in marks]
    parts.append(f'<text x="{(LEFT + WIDE - RIGHT) / 2:.0f}" y="{HIGH - 6}" {middle} {grey}>{across}</text>')
    taken: list[float] = []
    for (name, points), colour in sorted(zip(curves, COLOURS, strict=False), key=lambda one: one[0][1][-1][1]):
        way = " ".join(f"{px(x):.1f},{py(y):.1f}" for x, y in points)
        at = min([py(points[-1][1]) + 4, *(t - 14 for t in taken)])
        taken.append(at)
        parts.append(f'<polyline points="{way}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{px(x):.1f}" cy="{py(y):.1f}" r="3" fill="{colour}"/>' for x, y in points]
        parts.append(f'<text x="{WIDE - RIGHT + 6}" y="{at:.1f}" fill="{colour}" {text}>{name}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
