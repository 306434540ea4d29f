"""Any text comes back unchanged through every text codec, and what comes after the end mark does not."""

import subprocess
import sys

import pytest
import torch
import toys
from hypothesis import example, given, settings
from hypothesis import strategies as st

from genus.bytepairs import END
from genus.codecs.bpe import BpeConfig
from genus.codecs.bytes import BytesConfig
from genus.codecs.characters import CharactersConfig
from genus.core import Codec
from genus.errors import GenusError, UsageError

LEARNED = [*toys.texts(30), "naïve Grüße 日本 \U0001f30d", "3.14159, 2026\r\n\tx = {}\n\n\n    y", END]
CONFIGS = [BytesConfig(), CharactersConfig(), BpeConfig(vocab=300), BpeConfig()]
NAMES = ["bytes", "characters", "bpe300", "bpe"]


@pytest.fixture(scope="module", params=range(4), ids=NAMES)
def codec(request):
    return CONFIGS[request.param].fit(lambda: iter(LEARNED))


def again(codec, texts):
    return [codec.decode(codec.lift(x)[None])[0] for x in codec.encode(texts)]


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
@settings(max_examples=60, deadline=None)
@example(text="")
@example(text=END)
@example(text=f"{END}<|endoftext|>\x00\ufffd\ufeff\u2028")
@example(text="\U0010ffff\U00010000e\u0301\u200d\r\n\r \x7f")
@example(text="  12345  \n\n\t'll DON'T 'LL   ")
def test_any_text_comes_back(codec, text):
    assert again(codec, [text, f"x{text}"]) == [text, f"x{text}"]


def test_half_a_surrogate_is_replaced(codec):
    for text in ("\ud800", "a\udcffb", "\udc80\ud83d"):
        (back,) = again(codec, [text])
        back.encode()
        assert [c for c in back if c.isalpha()] == [c for c in text if c.isalpha()] and len(back) == len(text)


def test_the_end_mark_is_the_last_id_and_closes_each_item(codec):
    rows = codec.encode(["the cat", END, ""])
    last = codec.space.vocab - 1
    for row in rows + codec.encode(LEARNED):  # whatever was learned is no end mark
        assert row.dtype in (torch.int16, torch.int32) and row.shape[0] == 1
        assert row[0, -1] == last and (row[0, :-1] != last).all()
    assert rows[2].shape == (1, 1) and codec.streams and codec.space.channels == 1


def test_what_follows_the_end_mark_is_dropped(codec):
    (row,) = codec.encode(["the cat"])
    x = torch.cat([row, row], 1)[None]
    assert codec.decode(codec.lift(x)) == ["the cat"] and codec.lift(x).dtype == torch.long
    assert codec.decode(codec.lift(x[:, :, -1:])) == [""]


def test_saved_and_loaded_it_is_the_same(codec, tmp_path):
    config = codec.save(tmp_path)
    loaded = type(config).model_validate(config.model_dump(mode="json")).load(tmp_path)
    texts = [*LEARNED, "strange \x00 漢字"]
    for a, b in zip(codec.encode(texts), loaded.encode(texts), strict=True):
        assert torch.equal(a, b)
    assert loaded.space == codec.space and isinstance(loaded, Codec)
    assert loaded.save(tmp_path) == config


def test_ids_that_no_text_has_still_decode(codec):
    x = torch.randint(0, codec.space.vocab, (4, 1, 50), generator=torch.Generator().manual_seed(0))
    for text in codec.decode(x):
        text.encode()


def test_characters_learn_the_commonest():
    codec = CharactersConfig(most=2).fit(lambda: iter(["aaabbc", "c\ud800bb"]))
    assert codec.alphabet == "ab" and codec.space.vocab == 16 + 2 + 1
    (row,) = codec.encode(["ac"])
    assert row.tolist() == [[16, 6, 3, 18]]  # c is 0x63
    assert CharactersConfig(alphabet="xyz").fit(lambda: iter(["aaa"])).alphabet == "xyz"


def test_bpe_is_chosen_by_the_data_and_compresses():
    small, large = BpeConfig().fit(lambda: iter(["a"])), BpeConfig().fit(lambda: iter(toys.texts(200) * 200))
    assert small.space.vocab <= 512
    text = " ".join(toys.WORDS)
    assert len(large.encode([text])[0][0]) < len(text) / 3 < len(small.encode([text])[0][0])


def test_bpe_learns_the_same_in_every_process():
    """A resumed run may fit its codec again: hash seeds and threads must not show."""
    code = (
        "import sys, hashlib; sys.path.insert(0, 'tests'); import toys; from genus.codecs.bpe import BpeConfig;"
        "c = BpeConfig(vocab=340).fit(lambda: iter(toys.texts(60)));"
        "print(hashlib.sha256(c.definition.encode()).hexdigest())"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    import hashlib

    here = BpeConfig(vocab=340).fit(lambda: iter(toys.texts(60)))
    assert told.stdout.strip() == hashlib.sha256(here.definition.encode()).hexdigest()


@pytest.mark.parametrize("vocab", [-5, 0, 3, 256])
def test_bpe_needs_room_for_all_bytes(vocab):
    with pytest.raises(UsageError, match=r"vocab"):
        BpeConfig().but(vocab=vocab)


def test_a_damaged_or_missing_vocabulary(tmp_path):
    with pytest.raises(GenusError, match=r"tokenizer.json cannot be read"):
        BpeConfig().load(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"model": 3')
    with pytest.raises(GenusError, match=r"tokenizer.json is damaged"):
        BpeConfig().load(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(GenusError, match=r"tokenizer.json"):
        BpeConfig().load(tmp_path)


def test_nothing_but_empty_texts():
    for config in CONFIGS:
        codec = config.fit(lambda: iter([""]))
        assert again(codec, ["", "ü"]) == ["", "ü"]
