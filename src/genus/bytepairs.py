"""Byte-level byte-pair encoding (Sennrich et al. 2016, arXiv 1508.07909): text to ids and back, for text and captions.

The merges come from the library `tokenizers`; what is ours: every text comes back unchanged, the end mark is the last
id, and the size follows the data when it is not given. A small root: knows no torch, no file and no model.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, final

from genus.errors import GenusError

END = "<|end|>"
#: Ids that tell a gap, where they are wanted: before what precedes it, what follows it, what fills it.
GAPS = ("<|before|>", "<|after|>", "<|middle|>")
# Digits one by one, words with their leading space, code-friendly runs of spaces: the pattern of cl100k without its
# possessive quantifiers, which `tokenizers` does not read.
WORDS = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"


def proper(text: str) -> str:
    """The text with surrogates, which UTF-8 cannot store, replaced."""
    return text.encode(errors="replace").decode()


@final
class BytePairs:
    """str <-> ids by a trained `tokenizers.Tokenizer`, kept as its JSON. Raises `GenusError` if that is damaged."""

    def __init__(self, definition: str) -> None:
        from tokenizers import Tokenizer

        try:
            self.tokenizer = Tokenizer.from_str(definition)
        except Exception as error:  # the library raises plain Exception
            raise GenusError(f"tokenizer.json is damaged ({error}); copy it from a good run") from error
        self.definition = definition
        self.end: int = self.tokenizer.get_vocab_size() - 1

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Each text's ids, the end mark last. The end mark's own spelling in a text is only text."""
        # encode_batch_fast skips offsets.
        rows = self.tokenizer.encode_batch_fast([proper(text) for text in texts], add_special_tokens=False)
        return [[*row.ids, self.end] for row in rows]

    def texts(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """Ids without end marks as texts; bytes that are no UTF-8 become the replacement character."""
        return list(self.tokenizer.decode_batch(rows, skip_special_tokens=False))


def spelled(tokenizer: Any, vocab: int, silent: Sequence[int]) -> list[bytes]:
    """The bytes that each id of a `tokenizers.Tokenizer` stands for; none for those that are silent or unused.

    Either byte-level, where each byte is spelt as one printable character, or by pieces of text in which a low line
    (U+2581) is a space and <0x0A> a byte.
    """
    from tokenizers import pre_tokenizers

    level = "ByteLevel" in json.dumps(json.loads(tokenizer.to_str())["decoder"])
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [i for i in range(256) if i not in plain]
    byte = {chr(i): i for i in plain} | {chr(256 + n): i for n, i in enumerate(others)}
    assert set(byte) == set(pre_tokenizers.ByteLevel.alphabet())
    found, mute = [], set(silent)
    for i in range(vocab):
        piece = None if i in mute else tokenizer.id_to_token(i)
        if piece is None:
            found.append(b"")
        elif level and all(c in byte for c in piece):
            found.append(bytes(byte[c] for c in piece))
        elif not level and len(piece) == 6 and piece.startswith("<0x"):
            found.append(bytes([int(piece[3:5], 16)]))
        else:
            found.append(proper(piece).replace("\u2581", " ").encode())
    return found


def learned(
    media: Callable[[], Iterator[str]],
    vocab: int | None = None,
    sample_bytes: int = 64 << 20,
    marks: Sequence[str] = (),
) -> BytePairs:
    """The merges of these texts. vocab: ids, the end mark and others among them, at least 257 and the others; None: 512
    at 64 KB .. 8192 from 16 MB on. sample_bytes: learn from at most so much. marks: further ids that no text can
    produce, right before the end mark.
    """
    from tokenizers import Regex as Pattern
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

    def texts() -> Iterator[str]:
        seen = 0
        for text in media():
            yield proper(text)
            seen += len(text)
            if seen >= sample_bytes:
                return

    if vocab is None:
        total = sum(len(text) for text in texts())
        # A vocabulary is only as good as the times each entry was seen: about one id per 2 KB, in powers of two.
        vocab = min(8192, max(512, 1 << max(0, (total // 2048).bit_length() - 1)))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Pattern(WORDS), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=vocab - 1 - len(marks), initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts(), trainer)
    # The end mark is an id that no text can produce: in the vocabulary, reachable by no merge, spelt by no bytes.
    state = json.loads(tokenizer.to_str())
    for mark in (*marks, END):
        state["model"]["vocab"][mark] = len(state["model"]["vocab"])
    return BytePairs(json.dumps(state, ensure_ascii=False))
