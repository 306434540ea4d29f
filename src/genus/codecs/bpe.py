"""Byte-level byte-pair encoding (Sennrich et al. 2016, arXiv 1508.07909), learned from the user's own text.

The merges come from the library `tokenizers`; what is ours is the contract: every text comes back unchanged, the end
mark is the last id, and the size follows the data when it is not given.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from genus import files
from genus.codecs.ending import until_end
from genus.core import Codec, CodecConfig, Space
from genus.errors import GenusError

END = "<|end|>"
# Digits one by one, words with their leading space, code-friendly runs of spaces: the pattern of cl100k without its
# possessive quantifiers, which `tokenizers` does not read.
WORDS = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"


@final
class Bpe:
    """str <-> [1, T] with a trained `tokenizers.Tokenizer` (its JSON is kept, and written beside the weights)."""

    streams = True

    def __init__(self, definition: str) -> None:
        from tokenizers import Tokenizer

        try:
            self.tokenizer = Tokenizer.from_str(definition)
        except Exception as error:  # the library raises plain Exception
            raise GenusError(f"tokenizer.json is damaged ({error}); copy it from a good run") from error
        self.definition = definition
        self.end = self.tokenizer.get_vocab_size() - 1
        self.space = Space((0,), 1, self.end + 1)

    def encode(self, media: Sequence[Any]) -> list[Tensor]:
        """Each text as int32 [1, T + 1], the end mark last. The end mark's own spelling in a text is only text."""
        # encode_batch_fast skips offsets; surrogates cannot be stored in UTF-8 and are replaced.
        clean = [text.encode(errors="replace").decode() for text in media]
        rows = self.tokenizer.encode_batch_fast(clean, add_special_tokens=False)
        return [torch.tensor([[*row.ids, self.end]], dtype=torch.int32) for row in rows]

    def lift(self, stored: Tensor) -> Tensor:
        """Ids as long."""
        return stored.long()

    def decode(self, x: Tensor) -> list[str]:
        """Ids [B, 1, T] as texts; bytes that are no UTF-8 become the replacement character."""
        return list(self.tokenizer.decode_batch(until_end(x, self.end), skip_special_tokens=False))

    def save(self, folder: Path) -> BpeConfig:
        """Write `tokenizer.json`, which other libraries read too."""
        files.write(folder / "tokenizer.json", self.definition)
        return BpeConfig(vocab=self.end + 1)


@final
class BpeConfig(CodecConfig):
    """vocab: ids, the end mark among them; None chooses from the bytes seen (512 at 64 KB .. 8192 from 16 MB on)."""

    kind: Literal["codecs.bpe"] = "codecs.bpe"
    vocab: int | None = Field(None, ge=257)  # all bytes and the end mark
    sample_bytes: int = Field(64 << 20, ge=1)  # learn from at most so much; more changes merges little and memory much

    def fit(self, media: Callable[[], Iterator[Any]]) -> Codec:
        """Learn the merges from the training texts."""
        from tokenizers import Regex as Pattern
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

        os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
        seen = 0

        def texts() -> Iterator[str]:
            nonlocal seen
            for text in media():
                yield text.encode(errors="replace").decode()
                seen += len(text)
                if seen >= self.sample_bytes:
                    return

        vocab = self.vocab
        if vocab is None:
            total = sum(len(text) for text in texts())
            # A vocabulary is only as good as the times each entry was seen: about one id per 2 KB, in powers of two.
            vocab = min(8192, max(512, 1 << max(0, (total // 2048).bit_length() - 1)))
            seen = 0
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Split(Pattern(WORDS), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
        )
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        trainer = trainers.BpeTrainer(vocab_size=vocab - 1, initial_alphabet=alphabet, show_progress=False)
        tokenizer.train_from_iterator(texts(), trainer)
        # The end mark is an id that no text can produce: in the vocabulary, reachable by no merge, spelt by no bytes.
        state = json.loads(tokenizer.to_str())
        state["model"]["vocab"][END] = len(state["model"]["vocab"])
        return Bpe(json.dumps(state, ensure_ascii=False))

    def load(self, folder: Path) -> Codec:
        """Read `tokenizer.json`."""
        try:
            return Bpe((folder / "tokenizer.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise GenusError(f"{folder / 'tokenizer.json'} cannot be read: {error}") from error
