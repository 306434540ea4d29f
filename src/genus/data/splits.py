"""Which items are held out: a function of content alone, so no seed, order or machine can move an item.

Not here: what counts as the same item (`genus.clean` gives near-duplicates one group, whose id is then the key).
"""

from __future__ import annotations

import hashlib

SPLITS = ("train", "val", "test")


def split_of(key: str, val: float = 0.05, test: float = 0.05) -> str:
    """One of train, val and test, for the hash of an item's content, or the id of its near-duplicate group.

    val, test: expected shares, in [0, 1]. Raising one share only moves items out of train, never between the others'
    interiors: test grows from 0 upwards and val from 1 downwards.
    """
    word = int.from_bytes(hashlib.sha256(b"split\0" + key.encode()).digest()[:8], "big") / 2.0**64
    if word < test:
        return "test"
    return "val" if word >= 1.0 - val else "train"
