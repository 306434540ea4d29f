"""A tokenizer that came with published weights: `tokenizer.json` of the library `tokenizers`, and its chat template.

A text is only text: where it spells a special token, it is read as the characters that it is. Special tokens come from
a template alone (`conversation`), and what people say in it cannot spell them either. Templates are Jinja in a sandbox
that lets them change nothing. Not here: how a file of another format becomes such a tokenizer (`genus.exchange`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from genus import files
from genus.bytepairs import proper, spelled
from genus.codecs.ending import until_end
from genus.core import Codec, CodecConfig, Gaps, Space
from genus.errors import GenusError, UsageError

TEMPLATE = "chat_template.jinja"
#: Stands inside what was said while a template is filled, wherever it would spell a special token. No text holds it.
GUARD = "\ufdd0"
#: How published models spell the marks of a gap: before what precedes it, what follows it, what fills it.
GAPS = (
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),  # StarCoder, Granite
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),  # Qwen-Coder, CodeGemma
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),  # SantaCoder
    ("<\uff5cfim\u2581begin\uff5c>", "<\uff5cfim\u2581hole\uff5c>", "<\uff5cfim\u2581end\uff5c>"),  # DeepSeek-Coder
    ("\u2581<PRE>", "\u2581<SUF>", "\u2581<MID>"),  # Code Llama
)


@final
class Published:
    """str <-> [1, T]. Writes `tokenizer.json` and, if there is one, the template."""

    streams = True
    coded = False

    def __init__(self, definition: str, template: str | None, config: PublishedConfig) -> None:
        from tokenizers import Tokenizer

        try:
            self.tokenizer = Tokenizer.from_str(definition)
        except Exception as error:  # the library raises plain Exception
            raise GenusError(f"tokenizer.json is damaged ({error}); copy it again") from error
        size = max(self.tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        if size > config.vocab:
            raise GenusError(
                f"tokenizer.json has {size} ids, but the network {config.vocab}; they are not of one model"
            )
        self.definition, self.template, self.config = definition, template, config
        self.space = Space((0,), 1, config.vocab, ends=config.ends)
        added = self.tokenizer.get_added_tokens_decoder()
        self.special = {token.content: i for i, token in added.items() if token.special}
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.tokenizer.encode_special_tokens = True

    @property
    def spelling(self) -> list[bytes]:
        """See `Spelled`: special ids have none."""
        return spelled(self.tokenizer, self.config.vocab, [*self.space.stops, *self.special.values()])

    @property
    def gaps(self) -> Gaps | None:
        """The marks of a gap, if the vocabulary spells them in one of the usual ways."""
        for names in GAPS:
            before, after, middle = (self.tokenizer.token_to_id(name) for name in names)
            if before is not None and after is not None and middle is not None:
                return Gaps(before, after, middle)
        return None

    def encode(self, media: Sequence[Any]) -> list[Tensor]:
        """Each text as int32 [1, T + 1], the end mark last. A special token's spelling in a text is only text."""
        return [torch.tensor([[*row, self.config.ends[0]]], dtype=torch.int32) for row in self.ids(media)]

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Texts as ids, none of them special."""
        rows = self.tokenizer.encode_batch_fast([proper(text) for text in texts], add_special_tokens=False)
        return [row.ids for row in rows]

    def like(self, media: Sequence[Any]) -> list[Any]:
        """Texts as they are."""
        return list(media)

    def lift(self, stored: Tensor) -> Tensor:
        """Ids as long."""
        return stored.long()

    def decode(self, x: Tensor) -> list[str]:
        """Ids [B, 1, T] as texts; bytes that are no UTF-8 become the replacement character."""
        rows = until_end(x, *self.config.ends)
        return list(self.tokenizer.decode_batch(rows, skip_special_tokens=False))

    def spelt(self, i: int | None) -> str:
        """How an id is spelt; nothing for None."""
        return "" if i is None else self.tokenizer.id_to_token(i) or ""

    def rendered(self, messages: Sequence[Mapping[str, Any]], reply: bool = True, **more: Any) -> str:
        """A conversation as the text that the template makes of it.

        messages: {"role", "content"} each. reply: with what begins an answer. more: what else the template knows
        (tools, enable_thinking). Raises `UsageError` if there is no template, or if it refuses the conversation.
        """
        return self._filled(messages, reply, more).replace(GUARD, "")

    @property
    def converses(self) -> bool:
        """Whether there is a template."""
        return self.template is not None

    def conversation(self, messages: Sequence[Mapping[str, Any]], reply: bool = True, **more: Any) -> list[int]:
        """The same as ids. The begin mark is left out: every network reads one by itself."""
        text, found = self._filled(messages, reply, more), []
        if GUARD not in text:
            found = self._marked.encode(proper(text), add_special_tokens=False).ids
        else:  # Its pieces by themselves, so that no guard parts a word.
            spelt = sorted(self.special, key=len, reverse=True)
            for piece in re.split(f"({'|'.join(map(re.escape, spelt))})", text):
                found += [self.special[piece]] if piece in self.special else self.ids([piece.replace(GUARD, "")])[0]
        return found[1:] if self.config.begin is not None and found[:1] == [self.config.begin] else found

    @cached_property
    def _marked(self) -> Any:
        """The tokenizer that reads special tokens where they are spelt."""
        from tokenizers import Tokenizer

        marked = Tokenizer.from_str(self.tokenizer.to_str())
        marked.encode_special_tokens = False
        return marked

    def _filled(self, messages: Sequence[Mapping[str, Any]], reply: bool, more: Mapping[str, Any]) -> str:
        """A template's text, with a guard inside every spelling of a special token that is not the template's own."""
        from genus.codecs.templates import filled

        if self.template is None:
            raise UsageError("this model has no chat template: it continues texts; give it a text to begin with")
        marks = {"bos_token": self.spelt(self.config.bos), "eos_token": self.spelt(self.config.eos)}
        known = {**marks, "tools": None, **more, "add_generation_prompt": reply}
        try:
            return filled(self.template, [self._guarded(message) for message in messages], known)
        except Exception as error:  # a template is a program of others, which may fail at anything
            raise UsageError(f"the chat template refuses this conversation: {error}") from error

    def _guarded(self, value: Any) -> Any:
        if isinstance(value, str):
            for token in self.special:
                value = value.replace(token, token[:1] + GUARD + token[1:])
            return value
        if isinstance(value, Mapping):
            return {key: self._guarded(inner) for key, inner in value.items()}
        return [self._guarded(inner) for inner in value] if isinstance(value, list | tuple) else value

    def save(self, folder: Path) -> PublishedConfig:
        """Write the tokenizer as it was read."""
        files.write(folder / "tokenizer.json", self.definition)
        if self.template is not None:
            files.write(folder / TEMPLATE, self.template)
        return self.config


@final
class PublishedConfig(CodecConfig):
    """vocab: ids of the network, which may have more than the tokenizer. ends: ids that end a text, first the one that
    closes an item. begin: the id as which the network reads the begin mark, if it stands in its texts. bos, eos: what a
    template calls bos_token and eos_token.
    """

    kind: Literal["codecs.published"] = "codecs.published"
    vocab: int = Field(ge=1)
    ends: tuple[int, ...] = Field(min_length=1)
    begin: int | None = None
    bos: int | None = None
    eos: int | None = None

    def fit(self, media: Callable[[], Iterator[Any]]) -> Codec:
        """Refuses: it is read, never learned."""
        raise UsageError(f"{self.kind} comes with weights (genus import) and is not learned; choose codecs.bpe")

    def load(self, folder: Path) -> Codec:
        """Read what `save(folder)` wrote."""
        try:
            definition = (folder / "tokenizer.json").read_text(encoding="utf-8")
            there = (folder / TEMPLATE).is_file()
            template = (folder / TEMPLATE).read_text(encoding="utf-8") if there else None
        except (OSError, ValueError) as error:
            raise GenusError(f"the tokenizer in {folder} cannot be read: {error}") from error
        return Published(definition, template, self)
