"""Texts that keep to a JSON schema, a regular expression or a grammar: which ids may follow, worked out by llguidance.

One rule a sample. It follows the ids that were drawn, and goes back where guesses were wrong. Knows no sampler.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast, final

import torch
from torch import Tensor

from genus.core import Codec, Rule, Space, Spelled
from genus.errors import UsageError

#: How a constraint may be said, in place of which option.
Kind = Literal["schema", "regex", "grammar"]
KINDS: tuple[Kind, ...] = ("schema", "regex", "grammar")


@final
class Constraint:
    """said: a JSON schema (text or the object), a regular expression, or a grammar in Lark's notation.

    Raises `UsageError` for one that cannot be read, for a codec whose ids are no bytes, and without llguidance.
    """

    def __init__(self, codec: Codec, kind: Kind, said: str | Mapping[str, Any]) -> None:
        try:
            from llguidance import LLMatcher
        except ImportError:
            raise UsageError(
                f"{kind} needs the package llguidance, which is not installed: pip install 'genus[constraints]'"
            ) from None
        if not isinstance(codec, Spelled):
            raise UsageError(f"{kind}: this model draws no ids that stand for bytes of text, so none can be forbidden")
        self.space = codec.space
        try:
            if kind == "schema":
                self.grammar = LLMatcher.grammar_from_json_schema(said if isinstance(said, str) else json.dumps(said))
            else:
                read = LLMatcher.grammar_from_regex if kind == "regex" else LLMatcher.grammar_from_lark
                self.grammar = read(cast(str, said))
        except ValueError as error:
            raise UsageError(f"{kind} = {said!r:.80} cannot be read: {error}") from error
        self.tokens = _tokens(codec.space, codec.spelling)
        wrong, troubles = LLMatcher.validate_grammar_with_warnings(self.grammar, self.tokens)
        if wrong:
            raise UsageError(f"{kind} = {said!r:.80} cannot be read: {troubles[0].strip().splitlines()[0]}")

    def rule(self) -> Rule:
        """For one sample."""
        from llguidance import LLMatcher

        return Kept(LLMatcher(self.tokens, self.grammar, log_level=0), self.space)


@final
class Kept:
    """A rule: see `Rule`."""

    def __init__(self, matcher: Any, space: Space) -> None:
        self.matcher, self.space = matcher, space
        self.seen: list[int] = []
        self.words = torch.zeros(-(-(space.vocab or 0) // 32), dtype=torch.int32)

    def __call__(self, drawn: Sequence[int]) -> Tensor:
        """Bool [vocab]. An end mark may follow where the text is whole, and nothing else where it can only end."""
        same = next((i for i, (a, b) in enumerate(zip(self.seen, drawn, strict=False)) if a != b), None)
        keep = min(len(self.seen), len(drawn)) if same is None else same
        if keep < len(self.seen):
            self.matcher.rollback(len(self.seen) - keep)
        if keep < len(drawn):
            self.matcher.consume_tokens(list(drawn[keep:]))
        self.seen = list(drawn)
        if self.matcher.is_error():
            raise UsageError(f"the constraint cannot be followed: {self.matcher.get_error().strip().splitlines()[0]}")
        vocab = self.space.vocab or 0
        allowed = torch.zeros(vocab, dtype=torch.bool)
        if not self.matcher.is_stopped():
            self.matcher.unsafe_compute_mask_ptr(self.words.data_ptr(), 4 * len(self.words))
            bits = self.words[:, None] >> torch.arange(32, dtype=torch.int32)
            allowed = (bits & 1).flatten()[:vocab].bool()
        ends = torch.tensor(self.space.stops)
        allowed[ends] = bool(allowed[ends].any())
        if self.matcher.is_stopped() or not bool(allowed.any()):
            allowed[ends] = True
        return allowed


def _tokens(space: Space, spelling: Sequence[bytes]) -> Any:
    """The vocabulary as llguidance reads it: 0xff and a name for ids that are no text."""
    from llguidance import LLTokenizer, TokenizerWrapper

    tokens = [text or b"\xff<%d>" % i for i, text in enumerate(spelling)]
    longest = {text: i for i, text in reversed(list(enumerate(tokens)))}

    class Words:
        eos_token_id = space.stops[0]
        bos_token_id = None
        special_token_ids = [i for i, text in enumerate(spelling) if not text]  # noqa: RUF012

        def __init__(self) -> None:
            self.tokens = tokens

        def __call__(self, text: str | bytes) -> list[int]:
            data = text.encode() if isinstance(text, str) else text
            return [longest[bytes([b])] for b in data if bytes([b]) in longest]

    return LLTokenizer(TokenizerWrapper(Words()), n_vocab=space.vocab, eos_token=list(space.stops), slices=[])
