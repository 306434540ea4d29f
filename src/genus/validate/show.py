"""Items as markup for the page: pictures as inline PNG, text as text. Everything from data is escaped here.

Not here: files a person opens (`genus.media`), charts (`charts`).
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from PIL import Image

LONGEST = 900  # characters of a text


def png(media: Any) -> str:
    """A uint8 [H, W, C] picture as a PNG in base64, of at most 128 pixels a side."""
    x = np.asarray(media)
    image = Image.fromarray(x[:, :, 0] if x.ndim == 3 and x.shape[2] == 1 else x)
    if max(image.size) > 128:  # the page must stay small enough to send
        image.thumbnail((128, 128))
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode()


def picture(media: Any, hint: str = "") -> str:
    """A uint8 [H, W, C] picture as an <img>; small ones are scaled up without smoothing, by the page's style."""
    return f'<img alt="{escape(hint)}" title="{escape(hint)}" src="data:image/png;base64,{png(media)}">'


def text(media: str, marked: tuple[int, int] | None = None) -> str:
    """A text, cut to a readable length, with the characters marked[0] .. marked[1] set off."""
    start, stop = marked or (0, 0)
    left = max(0, start - LONGEST // 3) if stop > LONGEST else 0
    right = min(len(media), max(left + LONGEST, min(stop + 80, left + 2 * LONGEST)))
    a, b = max(start, left), min(stop, right)
    body = (
        escape(media[left:a])
        + (f"<mark>{escape(media[a:b])}</mark>" if b > a else "")
        + escape(media[max(a, b) : right])
    )
    return f"<pre>{'… ' if left else ''}{body}{' …' if right < len(media) else ''}</pre>"


def items(media: Sequence[Any]) -> str:
    """A grid of pictures, or texts below each other."""
    if media and isinstance(media[0], str):
        return f'<div class="texts">{"".join(text(m) for m in media)}</div>'
    return f'<div class="grid">{"".join(picture(m, f"sample {i}") for i, m in enumerate(media))}</div>'
