"""What each id spells: the pieces of a text are its bytes."""

import pytest

from genus.codecs.bpe import BpeConfig
from genus.codecs.bytes import Bytes
from genus.codecs.characters import CharactersConfig
from genus.core import Spelled

TEXTS = ["The cat sat. Größe 日本 🌍\n\ttwo  spaces", "def f(x):\n    return x", "naïve café 123"]


@pytest.mark.parametrize("codec", [Bytes(), BpeConfig(vocab=300).fit(lambda: iter(TEXTS * 3))], ids=["bytes", "bpe"])
def test_the_pieces_of_a_text_are_its_bytes(codec):
    assert isinstance(codec, Spelled)
    spelling = codec.spelling
    assert len(spelling) == codec.space.vocab and spelling[codec.space.stops[0]] == b""
    for text in [*TEXTS, "ünseen ✓"]:
        ids = codec.encode([text])[0][0].tolist()
        assert b"".join(spelling[i] for i in ids) == text.encode()


def test_characters_are_spelt_whole():
    codec = CharactersConfig().fit(lambda: iter(TEXTS * 3))
    spelling = codec.spelling
    assert len(spelling) == codec.space.vocab
    known = "".join(c for c in TEXTS[0] if c.encode() in spelling)
    assert b"".join(spelling[i] for i in codec.encode([known])[0][0].tolist()) == known.encode()
    assert set(spelling[:16]) == {b""}, "half a byte is nothing by itself"
