"""A long text as a stream of items, cut where it pauses. The pieces laid end to end are the text, in UTF-8.

Memory is one read and one piece, whatever the size of the file. Not here: documents inside a file, which only their
format could tell.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import IO

from genus.media import text

READ = 1 << 20
#: Where to cut, best first: after a blank line, then after a line.
PAUSES = (b"\n\n", b"\n\r\n", b"\n")


def pieces(file: IO[bytes], encoding: str, size: int) -> Iterator[bytes]:
    """At most `size` bytes each, every piece whole characters. Wide encodings come as UTF-8; others as they are.

    Raises `UnicodeDecodeError` for a wide encoding that breaks off.
    """
    held = b""
    for more in _bytes(file, encoding):
        held += more
        start = 0
        while len(held) - start > size:
            stop = _pause(held, start, size)
            yield held[start:stop]
            start = stop
        held = held[start:]
    if held:
        yield held


def _pause(held: bytes, start: int, size: int) -> int:
    """The end of the piece that begins at `start`; not in its first quarter, so that pieces are of a size."""
    for pause in PAUSES:
        at = held.rfind(pause, start + size // 4, start + size)
        if at >= 0:
            return at + len(pause)
    stop = start + size
    # No line ends here at all: step back to where a UTF-8 character begins (its other bytes are 10xxxxxx).
    for back in range(4):
        if held[stop - back] & 0xC0 != 0x80:
            return stop - back
    return stop


def _bytes(file: IO[bytes], encoding: str) -> Iterator[bytes]:
    if encoding in ("utf-8", "cp1252"):
        mark = codecs.BOM_UTF8
        first = file.read(READ)
        yield first.removeprefix(mark) if encoding == "utf-8" else first
        while more := file.read(READ):
            yield more
        return
    decoder = codecs.getincrementaldecoder(encoding)()
    skip = len(next((mark for mark, name in text.MARKS if name == encoding), b""))
    file.read(skip)
    while more := file.read(READ):
        yield decoder.decode(more).encode("utf-8", "surrogatepass")
    yield decoder.decode(b"", True).encode("utf-8", "surrogatepass")
