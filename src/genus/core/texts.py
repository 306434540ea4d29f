"""What some codecs of text can tell besides: the bytes of an id, a gap between texts, the turns of a conversation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, final, runtime_checkable

import torch
from torch import Tensor

from genus.core.contracts import Codec
from genus.dialogue import Message
from genus.dialogue import pieces as pieces_of
from genus.errors import UsageError


@runtime_checkable
class Spelled(Protocol):
    """A codec whose ids each stand for bytes of text."""

    @property
    def spelling(self) -> Sequence[bytes]:
        """Of every id of the space; empty for end marks and others that are no text by themselves."""


@final
class Gaps(NamedTuple):
    """Ids that tell a gap: they stand before what precedes it, before what follows it, and before what fills it.

    turned: what follows is told first, so that what fills the gap stands right behind what precedes it.
    """

    before: int
    after: int
    middle: int
    turned: bool = False

    @property
    def ids(self) -> tuple[int, int, int]:
        """Those alone."""
        return self[:3]


@runtime_checkable
class Gapped(Protocol):
    """A codec of text that may have ids which tell a gap. A filled gap is closed by the end mark."""

    @property
    def gaps(self) -> Gaps | None: ...


def gapped(codec: Codec, before: str, after: str) -> Tensor:
    """Ids [1, T] as `encode` gives them, up to where a gap between two texts begins to be filled.

    Bavarian et al. 2022, arXiv 2207.14255: PSM, and where the codec's marks say `turned` SPM in its second variant.
    Raises `UsageError` for a codec without such ids.
    """
    gaps = codec.gaps if isinstance(codec, Gapped) else None
    if gaps is None:
        raise UsageError(
            "this model learned to fill no gaps, so nothing can be given that follows (suffix); leave it out, or use a "
            "model of the recipe codegen, or published weights with such marks (StarCoder, Qwen-Coder)"
        )
    first, last = (x[:, :-1] for x in codec.encode([before, after]))

    def mark(i: int) -> Tensor:
        return torch.tensor([[i]], dtype=first.dtype)

    if gaps.turned:
        return torch.cat([mark(gaps.before), mark(gaps.after), last, mark(gaps.middle), first], 1)
    return torch.cat([mark(gaps.before), first, mark(gaps.after), last, mark(gaps.middle)], 1)


@runtime_checkable
class Conversing(Protocol):
    """A codec that may know how the model was taught to read a conversation (`converses`)."""

    @property
    def converses(self) -> bool: ...

    def conversation(self, messages: Sequence[Mapping[str, Any]], reply: bool = True, **more: Any) -> list[int]:
        """{"role", "content"} each -> ids, with what begins an answer. Raises `UsageError` if it has no template."""


def conversed(codec: Codec, messages: Sequence[Message], answer: bool = False) -> tuple[Tensor, Tensor]:
    """Ids [C, T] of a conversation as `encode` gives them, and [T] bool: what the assistant says, end marks included.

    answer: one is asked for, so the ids end where it begins. By the codec's own template where it has one; else as
    `dialogue.pieces` says, each piece encoded by itself, so that no id lies on both sides of what counts. Raises
    `UsageError` for a template that writes earlier turns anew when later ones come.
    """
    if isinstance(codec, Conversing) and codec.converses:
        return _templated(codec, codec.space.stops, messages, answer)
    pieces = pieces_of(messages, answer)
    rows = codec.encode([text for text, _ in pieces])
    parts = [x if said else x[:, :-1] for x, (_, said) in zip(rows, pieces, strict=True)]
    marks = [torch.full((x.shape[1],), said) for x, (_, said) in zip(parts, pieces, strict=True)]
    return torch.cat(parts, dim=1), torch.cat(marks)


def _templated(
    codec: Conversing, stops: Sequence[int], messages: Sequence[Message], answer: bool
) -> tuple[Tensor, Tensor]:
    told = [{"role": role, "content": text} for role, text in messages]
    ids = codec.conversation(told, reply=answer)
    said = torch.zeros(len(ids), dtype=torch.bool)
    for i, message in enumerate(messages):
        if message.role == "assistant":
            before, after = codec.conversation(told[:i]), codec.conversation(told[: i + 1], reply=False)
            if after[: len(before)] != before or ids[: len(after)] != after:
                raise UsageError(
                    "the template of this model writes earlier turns anew when later ones come, so what an assistant "
                    "says cannot be told apart; use conversations of one answer, or a model with a plainer template"
                )
            ends = [at for at in range(len(before), len(after)) if after[at] in stops]
            said[len(before) : (ends[0] + 1 if ends else len(after))] = True
    return torch.tensor([ids], dtype=torch.int32), said
