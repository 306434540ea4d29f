"""The whole: a codec, trained nets, and how to read them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, final, get_args

import torch
from torch import Tensor, nn

from genus import dialogue, heap
from genus.core.contracts import Codec, Conditioner, Network, halved
from genus.core.noise import Noise
from genus.core.texts import conversed, gapped
from genus.core.ways import LogProb, Objective, Predictor, Sampler, Wrap
from genus.core.words import Batch, Cond, Known, Rule, Space
from genus.errors import NoLikelihood, UsageError

Precision = Literal["bf16", "fp32", "int8", "int4"]
BITS = {"bf16": 16, "int8": 8, "int4": 4}


@final
@dataclass(frozen=True)
class Model:
    """A codec, trained nets, and how to read them. Made by a phase; used by validate and deploy, or as another's
    codec.

    precision: of the nets while they draw, where sampler or nets gain by it; what a sampler keeps, likelihoods and
    vectors are float32 always. It is the one that the nets were trained in, so they know its rounding. drawn: another
    one to draw in, that of weights which were published in it; None: `precision`.
    """

    codec: Codec
    space: Space  # the codec's, or for a stream the window that the network was trained on
    nets: nn.ModuleDict
    objective: Objective
    sampler: Sampler
    wraps: tuple[Wrap, ...] = ()
    prompt: Literal["none", "prefix", "turn"] | str = "none"  # where one goes: the first cells, what is asked, a field
    precision: Precision = "fp32"
    drawn: Precision | None = None

    @property
    def conditioner(self) -> Conditioner | None:
        """The conditioner, if there is one."""
        found = dict(self.nets.items()).get("conditioner")
        assert found is None or isinstance(found, Conditioner)
        return found

    def condition(
        self,
        fields: Mapping[str, Sequence[Any]],
        batch: int,
        x: Tensor | None = None,
        noise: Noise | None = None,
    ) -> Cond:
        """Record fields -> Cond; where no field is given, the null; unconditional models take none.

        x: the items, for a conditioner that sees them. noise: of a training step.
        """
        conditioner = self.conditioner
        if conditioner is None:
            return Cond()
        if conditioner.sees is not None and x is not None and conditioner.sees not in fields:
            fields = {**fields, conditioner.sees: self.codec.decode(x)}
        told = conditioner.cells
        if told is not None and told in fields:
            fields = {**fields, told: [self._begun(item) for item in fields[told]]}
        cond: Cond = conditioner(fields, noise) if fields else conditioner.null(batch)
        return cond

    def _begun(self, item: Any) -> Tensor | None:
        """An item as cells that others may follow: without a stream's end mark. Cells and None stay as they are."""
        if item is None or isinstance(item, Tensor):
            return item
        x = self.codec.encode([item])[0]
        return x[:, : x.shape[1] - 1] if self.codec.streams else x

    @property
    def _own(self) -> Precision:
        gains = self.sampler.wide or any(isinstance(net, Network) and net.brisk for net in self.nets.values())
        return (self.drawn or self.precision) if gains else "fp32"

    @property
    def settled(self) -> dict[str, Precision]:
        """The knob by which another processor draws as this one does: the precision, where that is a matter of both."""
        own = self.drawn or self.precision
        return {} if self.sampler.wide or own == "fp32" else {"precision": self._own}

    @cached_property
    def _packed(self) -> dict[int, nn.ModuleDict]:
        return {}

    def drawing(self, precision: str | None = None) -> nn.ModuleDict:
        """The nets that draw: in `precision`, else in the model's own, where sampler or nets gain by it.

        Those of fewer bits are made once, and weights that change later reach them in part or not at all. Conditioners
        stay as they are.
        """
        if precision is not None and precision not in get_args(Precision):
            raise UsageError(f"precision = {precision!r}; choose one of {', '.join(get_args(Precision))}")
        kind = precision or self._own
        if kind == "fp32":
            return self.nets
        bits = BITS[kind]
        if bits not in self._packed:
            made = {name: net.packed(bits) if isinstance(net, Network) else net for name, net in self.nets.items()}
            if bits == 16:
                made |= {k: halved(net) for k, net in self.nets.items() if not isinstance(net, Network | Conditioner)}
            self._packed[bits] = nn.ModuleDict(made)
        return self._packed[bits]

    def predictor(
        self,
        knobs: Mapping[str, Any] | None = None,
        fields: Mapping[str, Sequence[Any]] | None = None,
        nets: nn.ModuleDict | None = None,
    ) -> tuple[Predictor, dict[str, Any]]:
        """The objective's predictor inside its wraps, first wrap innermost; and the knobs that no wrap has.

        nets: which it reads; None: the model's own, in float32.
        """
        predict, rest = self.objective.predictor(self.nets if nets is None else nets), dict(knobs or {})
        for wrap in self.wraps:
            if wrap.knob is not None and wrap.knob[0] in rest:
                wrap = wrap.but(**{wrap.knob[1]: rest.pop(wrap.knob[0])})
            predict = wrap(predict, self.conditioner.null if self.conditioner is not None else None, fields)
        return predict, rest

    def log_prob(self, batch: Batch, noise: Noise) -> LogProb:
        """log p(x | fields of the batch). Raises `NoLikelihood` with the reason."""
        if self.conditioner is not None and self.conditioner.sees is not None:
            raise NoLikelihood("this model draws x from what an earlier phase drew, so it has no p(x) of its own")
        ready = replace(batch, cond=self.condition(batch.fields, len(batch)))
        return self.objective.log_prob(self.nets, ready, noise)

    @property
    def takes(self) -> bool:
        """Whether a field may be asked for."""
        told = self.conditioner is not None and self.conditioner.takes
        return told or any(self.prompt in wrap.reads for wrap in self.wraps)

    def ask(
        self, prompt: str | None, batch: int, suffix: str | None = None
    ) -> tuple[dict[str, list[Any]], Known | None]:
        """A prompt as (fields, known cells) for `batch` samples. Raises `UsageError` if the model takes none.

        Where it is a turn, it is what the user says, or a whole conversation as text (`genus.dialogue`). suffix: what
        follows the text to be drawn, where the model learned to fill gaps.
        """
        if suffix is not None:
            if self.prompt != "prefix":
                raise UsageError("a suffix is of a model that goes on with a text; this one is asked otherwise")
            x = self.codec.lift(gapped(self.codec, prompt or "", suffix))[None]
            x = x.expand(batch, *x.shape[1:])
            return {}, Known(x, torch.ones_like(x, dtype=torch.bool))
        if prompt is None:
            return {}, None
        if self.prompt == "none":
            raise UsageError(f"this model takes no prompt (given: {prompt!r}); leave it out")
        if self.prompt == "turn":
            x, _ = conversed(self.codec, dialogue.read(prompt) or (dialogue.Message("user", prompt),), answer=True)
            x = self.codec.lift(x)[None].expand(batch, *x.shape)
            return {}, Known(x, torch.ones_like(x, dtype=torch.bool))
        if self.prompt != "prefix":
            if not self.takes:
                raise UsageError(
                    f"the training data had no {self.prompt} to tell items apart, so nothing can be asked for "
                    f"(given: {prompt!r}); leave it out"
                )
            return {self.prompt: [prompt] * batch}, None
        begun = self._begun(prompt)
        assert begun is not None
        x = begun.expand(batch, *begun.shape)
        return {}, (Known(x, torch.ones_like(x, dtype=torch.bool)) if x.shape[2] else None)

    def plain(self, prompt: str | None, batch: int) -> dict[str, list[Any]]:
        """Fields that say the prompt, or that nothing is asked: unlike none at all, for which some would be drawn."""
        if prompt is None and self.conditioner is not None and self.conditioner.takes:
            return {self.prompt: [None] * batch}
        return self.ask(prompt, batch)[0]

    def begin(self, item: Any, anew: Tensor | None, batch: int) -> Known:
        """An item to start from, for `batch` samples. anew: [*size of the item] bool, where to draw; None: everywhere.

        A cell is drawn anew if any of the item under it is. Without `anew` all of the item is a draft.
        """
        x = self.codec.lift(self.codec.encode([item])[0][None])
        if anew is None:
            free = torch.ones_like(x, dtype=torch.bool)
        else:
            pools = (
                nn.functional.adaptive_max_pool1d,
                nn.functional.adaptive_max_pool2d,
                nn.functional.adaptive_max_pool3d,
            )
            dims = self.codec.space.dims
            if anew.dim() != len(dims):
                raise UsageError(f"a mask of {anew.dim()} axes does not fit this model's items of {len(dims)}")
            free = pools[len(dims) - 1](anew[None, None].float(), dims) > 0
            free = free.expand(x.shape)
        return Known(x.expand(batch, *x.shape[1:]), ~free.expand(batch, *x.shape[1:]))

    def stream(
        self, noise: Noise, fields: Mapping[str, Sequence[Any]] | None = None, known: Known | None = None, **knobs: Any
    ) -> Iterator[Tensor]:
        """x as it grows; knobs (steps, temperature, top_p, ...) are the sampler's own, an unknown one is a
        UsageError. One is the model's: `precision`, in place of its own.
        """
        heap.hold()
        with torch.no_grad():
            predict, draw, cond = self.ready(noise, fields, known, knobs)
            yield from draw.stream(predict, self.space, cond, noise, known)

    def ready(
        self, noise: Noise, fields: Mapping[str, Sequence[Any]] | None, known: Known | None, knobs: Mapping[str, Any]
    ) -> tuple[Predictor, Sampler, Cond]:
        """What draws these samples: predictor, sampler with its knobs turned, the condition."""
        self.nets.eval()
        knobs, fields, conditioner = dict(knobs), dict(fields or {}), self.conditioner
        if conditioner is not None and conditioner.knob in knobs:
            fields[str(conditioner.knob)] = [knobs.pop(conditioner.knob)] * len(noise)
        predict, rest = self.predictor(knobs, fields, self.drawing(knobs.pop("precision", None)))
        draw = self.sampler.but(**rest) if rest else self.sampler
        if conditioner is not None:
            if known is not None and conditioner.sees is not None and conditioner.sees not in fields:
                raise UsageError(
                    "this model draws x from what an earlier phase drew, and that one is not told what is given; "
                    f"say {conditioner.sees!r} too, or ask without an item to start from"
                )
            fields = conditioner.draw(noise.child("condition"), fields)
        return predict, draw, self.condition(fields, len(noise))

    def generate(
        self, noise: Noise, fields: Mapping[str, Sequence[Any]] | None = None, known: Known | None = None, **knobs: Any
    ) -> list[Any]:
        """One item of media per sample of `noise`: sample i of a key is the same however many are asked for."""
        x: Tensor | None = None
        for x in self.stream(noise, fields, known, **knobs):
            pass
        assert x is not None
        return self.codec.decode(x)

    def answers(
        self,
        noise: Noise,
        asked: Sequence[Sequence[dialogue.Message]],
        tokens: int,
        ruled: Callable[[Sequence[int]], Rule] | None = None,
        **knobs: Any,
    ) -> tuple[Tensor, Tensor]:
        """A conversation per sample with the answer drawn to it, of `tokens` cells at most: x and a mask, [B, C, T].

        The mask is true where the answer is, the mark that ends it included; behind it x is filled. ruled: gives the
        rule of an answer behind these ids.
        """
        rows = [conversed(self.codec, messages, answer=True)[0] for messages in asked]
        lengths = torch.tensor([row.shape[1] for row in rows])
        room = int(lengths.max())
        begun = torch.stack([nn.functional.pad(self.codec.lift(row), (0, room - row.shape[1])) for row in rows])
        given = (torch.arange(room) < lengths[:, None])[:, None].expand_as(begun)
        rules = () if ruled is None else tuple(ruled(row[0].tolist()) for row in rows)
        *_, x = self.stream(noise, {}, Known(begun, given, rules), tokens=tokens, **knobs)
        cells = torch.arange(x.shape[2])
        new = (cells >= lengths[:, None]) & (cells < lengths[:, None] + tokens)
        ended = torch.isin(x[:, 0], torch.tensor(self.space.stops)) & new
        return x, (new & (ended.cumsum(1) - ended.long() == 0))[:, None].expand_as(x)

    def said(self, x: Tensor, mask: Tensor) -> list[str]:
        """The answers that `answers` drew, as texts."""
        texts = [self.codec.decode(row[:, kept[0]][None])[0] for row, kept in zip(x, mask, strict=True)]
        return [str(text).rstrip("\ufffd") for text in texts]
