"""The shared words. Read this file first.

One layout everywhere: x is [B, C, *dims], float or long. Text is [B, 1, T] long, a picture [B, 3, H, W] float, so
nothing below asks whether it holds a sequence or a picture.

    codec        raw media <-> x
    conditioner  a record's fields -> Cond
    network      f(x, t, cond); knows no loss
    objective    what is minimised, and how the trained nets are then read (the predictor); knows no loop
    sampler      predictor -> x; shared between objectives
    source       batches, for ever, resumable
    noise        every random draw, addressed by (key, sample, draw)

This file imports nothing of ours but the two torch-free roots (errors, parts) and knows no family, medium or stage.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self, final, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from genus.errors import NoLikelihood, UsageError
from genus.parts import Part

# ------------------------------------------------------------------------------------------------ what is modelled


@final
@dataclass(frozen=True, slots=True)
class Space:
    """What a network sees: the only thing that codec, network, objective and sampler must agree on.

    dims: () vector, (T,) text or audio, (H, W) image, (T, H, W) video, (D, H, W) solid; for a stream (text), the
    longest
        window. channels: features of a cell; for tokens, parallel streams (RVQ codebooks). vocab: None means
        continuous.
    """

    dims: tuple[int, ...]
    channels: int = 1
    vocab: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, *dims): one sample without the batch."""
        return (self.channels, *self.dims)

    @property
    def cells(self) -> int:
        """Cells of one sample, all channels counted: what a likelihood per cell is divided by."""
        return math.prod(self.shape)


@final
@dataclass(frozen=True, slots=True)
class Cond:
    """Three roads from a condition into a network, and no fourth.

    vector: [B, D] class, style, speaker -> time modulation, FiLM, style. tokens: [B, L, D] text, heard audio ->
    cross-attention (they carry their own positions). grid: [B, C, *dims] mask, depth, low resolution, first frame
    -> channel concatenation, ControlNet.
    """

    vector: Tensor | None = None
    tokens: Tensor | None = None
    grid: Tensor | None = None

    def map(self, f: Callable[[Tensor], Tensor]) -> Cond:
        """The same function on each road that is in use."""
        return Cond(*(None if v is None else f(v) for v in (self.vector, self.tokens, self.grid)))

    def join(self, other: Cond) -> Cond:
        """Two conditions as one batch, this one first: how guidance runs condition and null in one pass."""
        pairs = ((self.vector, other.vector), (self.tokens, other.tokens), (self.grid, other.grid))
        return Cond(*(None if a is None or b is None else torch.cat([a, b]) for a, b in pairs))


@final
@dataclass(frozen=True, slots=True)
class Roads:
    """How wide each road of a Cond is; None: not in use. A network is built for these."""

    vector: int | None = None
    tokens: int | None = None
    grid: int | None = None


@final
@dataclass(frozen=True, slots=True)
class Known:
    """Cells that are given, not drawn: a prompt is a known beginning of a text, inpainting known pixels.

    x: [B, C, *dims] (values where `mask` is false are ignored). mask: bool, the same shape, true where x is known.
    """

    x: Tensor
    mask: Tensor


@final
@dataclass(frozen=True, slots=True)
class Batch:
    """Some samples, and what is said of them.

    x: [B, C, *dims]. fields: raw values that the conditioner reads (label, caption, audio), one per sample. cond:
    filled in by the loop, once per turn. mask: [B, C, *dims] bool, cells that count in a loss; None: all. weight: [B]
    advantage, importance, curriculum. extra: old or reference log-probabilities, the rejected sample, ... ids: of the
    records, so provenance follows the data.
    """

    x: Tensor
    fields: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    cond: Cond = Cond()
    mask: Tensor | None = None
    weight: Tensor | None = None
    extra: Mapping[str, Tensor] = field(default_factory=dict)
    ids: Sequence[str] = ()

    def __len__(self) -> int:
        return self.x.shape[0]

    @property
    def cells(self) -> int:
        """Cells that count; the loop weighs accumulated micro-batches by it, so 2 x 4 equals 8."""
        return int(self.mask.sum()) if self.mask is not None else self.x.numel()

    def part(self, start: int, stop: int) -> Batch:
        """Samples start..stop as a batch of their own."""

        def cut(v: Any) -> Any:
            return v[start:stop]

        return Batch(
            x=cut(self.x),
            fields={k: cut(v) for k, v in self.fields.items()},
            cond=self.cond.map(cut),
            mask=None if self.mask is None else cut(self.mask),
            weight=None if self.weight is None else cut(self.weight),
            extra={k: cut(v) for k, v in self.extra.items()},
            ids=cut(self.ids),
        )

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with its tensors on `device`."""

        def move(v: Tensor) -> Tensor:
            return v.to(device, non_blocking=True)

        return replace(
            self,
            x=move(self.x),
            cond=self.cond.map(move),
            mask=None if self.mask is None else move(self.mask),
            weight=None if self.weight is None else move(self.weight),
            extra={k: move(v) for k, v in self.extra.items()},
        )


# ------------------------------------------------------------------------------------------------------ randomness


@final
@dataclass(frozen=True, slots=True)
class Noise:
    """Counter-based randomness: draw `t` of sample `i` depends on (key, i, t) alone.

    Never on the size of the batch, the position in it, the device or the worker; so sample 7 of key 1 is the same alone
    and among 64, and whoever knows (key, i) can make an output again. The seam of the watermark too: another class
    with this shape may draw from the same distribution under a secret key.

    The bits are Philox4x64-10 (Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3), as in numpy; values
    follow from them by fixed, monotone maps in float64, so they do not move with a library's sampling algorithms.
    """

    key: int
    samples: tuple[int, ...] = (0,)

    def __len__(self) -> int:
        return len(self.samples)

    def child(self, name: str) -> Noise:
        """An independent stream for another use ('dropout', 'phase 2')."""
        digest = hashlib.blake2b(f"{self.key}/{name}".encode(), digest_size=8).digest()
        return Noise(int.from_bytes(digest, "little"), self.samples)

    def of(self, samples: Iterable[int]) -> Noise:
        """The same stream read for other samples."""
        return Noise(self.key, tuple(int(i) for i in samples))

    def part(self, start: int, stop: int) -> Noise:
        """Samples start..stop of this one."""
        return Noise(self.key, self.samples[start:stop])

    def bits(self, draw: int, shape: Sequence[int] = ()) -> np.ndarray[Any, np.dtype[np.uint64]]:
        """[B, *shape] raw 64-bit words; draw in 0 .. 2^63."""
        n = math.prod(shape)
        words = np.empty((len(self.samples), n), np.uint64)
        for row, i in enumerate(self.samples):
            # Key = (stream, sample); counter word 1 = draw, word 0 counts blocks inside the draw: no two ever meet.
            key = np.array([self.key & 0xFFFFFFFFFFFFFFFF, i & 0xFFFFFFFFFFFFFFFF], np.uint64)
            words[row] = np.random.Philox(key=key, counter=np.array([0, draw, 0, 0], np.uint64)).random_raw(n)
        return words.reshape(len(self.samples), *shape)

    def uniform(self, draw: int, shape: Sequence[int] = ()) -> Tensor:
        """[B, *shape] float64 in the open interval (0, 1)."""
        # 52 bits: with one more, the half that is added would round the largest word up to 1.
        return torch.from_numpy(((self.bits(draw, shape) >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52)

    def normal(self, draw: int, shape: Sequence[int] = ()) -> Tensor:
        """[B, *shape] float32, standard normal. The top bit of the word is the sign."""
        z: Tensor = torch.special.ndtri(self.uniform(draw, shape))
        return z.float()

    def gumbel(self, draw: int, shape: Sequence[int] = ()) -> Tensor:
        """[B, *shape] float64, standard Gumbel; argmax(logits + gumbel) is a draw from softmax(logits)."""
        return -torch.log(-torch.log(self.uniform(draw, shape)))


# ------------------------------------------------------------------------------------------------- parts of a model


@runtime_checkable
class Codec(Protocol):
    """Raw media <-> x. A byte-pair tokenizer, a mel filterbank and a trained autoencoder are all codecs.

    `streams`: true if items are cut from one endless sequence (text: encode adds the end mark, a source packs windows),
    false if each item fills `space` by itself.
    """

    space: Space
    streams: bool

    def encode(self, media: Sequence[Any]) -> list[Tensor]:
        """Each item as [C, *dims_i], in whatever compact type a cache should hold (uint8 pixels, int32 tokens)."""

    def lift(self, stored: Tensor) -> Tensor:
        """What `encode` gave, as the network sees it: long where the space has a vocabulary, float32 else."""

    def decode(self, x: Tensor) -> list[Any]:
        """X [B, C, *dims] back to media. For a stream, cells from the end mark on are dropped."""

    def save(self, folder: Path) -> CodecConfig:
        """Write what a configuration cannot hold (a vocabulary, weights) and return the resolved configuration."""


class CodecConfig(Part, ABC):
    """What a recipe says of a codec."""

    @abstractmethod
    def fit(self, media: Callable[[], Iterator[Any]]) -> Codec:
        """A codec for these training items: learns a vocabulary, finds the size. `media()` starts from the
        beginning.
        """

    @abstractmethod
    def load(self, folder: Path) -> Codec:
        """The codec that `save(folder)` returned this configuration for."""


class ConditionerConfig(Part, ABC):
    """What a recipe says of a conditioner."""

    @property
    @abstractmethod
    def reads(self) -> tuple[str, ...]:
        """The fields of a record that it needs."""

    @abstractmethod
    def fit(self, fields: Callable[[], Iterator[Mapping[str, Any]]]) -> Self:
        """Resolved against the training records (which labels exist)."""

    def admit(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Fields of a held-out record, less the values that training never saw: those are as good as none."""
        return dict(fields)

    @abstractmethod
    def build(self) -> Conditioner:
        """The module, its weights at their start."""


class Conditioner(nn.Module, ABC):
    """Record fields -> Cond. Owns the dropout that classifier-free guidance needs, and the null it leaves."""

    dropout: float = 0.0
    roads: Roads

    @abstractmethod
    def forward(self, fields: Mapping[str, Sequence[Any]], keep: Tensor | None = None) -> Cond:
        """The condition of each sample; where `keep` ([B] bool) is false, the null. None keeps all.

        A field that is absent gives the null; a value never seen in training is a `UsageError` that lists the known.
        """

    @abstractmethod
    def null(self, batch: int) -> Cond:
        """What the network was shown where the condition was dropped."""

    def draw(self, noise: Noise) -> dict[str, list[Any]]:
        """Fields for samples of which nothing was asked: drawn as in the training data where that is known, else
        none.
        """
        return {}


class State(ABC):  # noqa: B024  (opaque: it has no method that a sampler may call)
    """What a predictor remembers of the cells it has seen (a KV cache). Opaque to samplers."""


class Network(nn.Module, ABC):
    """f(x, t, cond). Knows no loss. `t` is None outside diffusion and flow; LoRA and ControlNet are Network -> Network.

    x long [B, C, *dims] -> logits [B, C, *dims, vocab]; x float [B, C, *dims] -> float [B, C, *dims].
    space: what it was built for.
    """

    space: Space

    @abstractmethod
    def forward(self, x: Tensor, t: Tensor | None = None, cond: Cond = Cond(), state: State | None = None) -> Tensor:
        """t: [B] in [0, 1]. state: from `start`; x then holds only the cells that follow those already seen."""

    def start(self, batch: int, cells: int) -> State | None:
        """A fresh state for `cells` cells along the first axis, or None: this network keeps none."""
        return None


class NetworkConfig(Part, ABC):
    """What a recipe says of a network."""

    @abstractmethod
    def build(self, space: Space, roads: Roads) -> Network:
        """The module, its weights at their start (from torch's global generator: the loop seeds it)."""

    @abstractmethod
    def sized(self, dial: int) -> Self:
        """The same architecture at another size: one dial, all else follows. Autosizing turns it."""


Nets = (
    Mapping[str, nn.Module] | nn.ModuleDict
)  # {"net", "conditioner"}, {"generator", "critic"}, {"encoder", "decoder"}, ...
Metrics = dict[str, Tensor]
Draws = Mapping[str, Tensor]


@runtime_checkable
class Predictor(Protocol):
    """One callable with one meaning per family, which wrappers compose and samplers consume.

    Autoregression: (x, cond) -> logits of the next cells. Diffusion and flow: (x, t, cond) -> clean x, in coordinates
    x_t = (1 - t) x + t e. GAN, VAE: (z, cond) -> x. Guidance, watermark, thresholding: Predictor -> Predictor.
    """

    def __call__(
        self, x: Tensor, t: Tensor | None = None, cond: Cond = Cond(), state: State | None = None
    ) -> Tensor: ...

    def start(self, batch: int, cells: int) -> State | None: ...


@final
@dataclass(frozen=True, slots=True)
class Turn:
    """One optimiser's turn. A GAN has two, lazy regularisers run every n steps, all else has one."""

    name: str = "main"
    trains: tuple[str, ...] = ()  # names in Nets; empty: all that is not frozen
    every: int = 1


@final
@dataclass(frozen=True, slots=True)
class LogProb:
    """log p(x) of each sample in nats, [B]; `exact`, or else a lower bound."""

    nats: Tensor
    exact: bool


class Objective(Part, ABC):
    """What is minimised, and how the trained nets are then to be read. Holds knobs, no weights."""

    family: ClassVar[str]
    turns: ClassVar[tuple[Turn, ...]] = (Turn(),)

    @abstractmethod
    def draws(self, batch: Batch, turn: str, noise: Noise) -> Draws:
        """All the randomness that `loss` will use, so that `loss` itself is a pure function and may be compiled."""

    @abstractmethod
    def loss(self, nets: Nets, batch: Batch, draws: Draws, turn: str) -> tuple[Tensor, Metrics]:
        """Mean over the cells that count, and named scalars to log."""

    @abstractmethod
    def predictor(self, nets: Nets) -> Predictor:
        """The trained nets as the one callable of this family."""

    @abstractmethod
    def sampler(self) -> Sampler:
        """The natural sampler: it knows this objective's order of cells. A recipe turns its knobs or names another."""

    def log_prob(self, nets: Nets, batch: Batch, noise: Noise) -> LogProb:
        """Log p(x | cond) over the cells that `batch.mask` counts. Raises `NoLikelihood` with the reason."""
        raise NoLikelihood(f"{self.kind} defines no likelihood: it learns to draw samples, not to score them")


class Sampler(Part, ABC):
    """Predictor -> x. A sample never depends on the batch it was drawn in: its randomness is `noise`, row by row."""

    @abstractmethod
    def stream(
        self, predict: Predictor, space: Space, cond: Cond, noise: Noise, known: Known | None = None
    ) -> Iterator[Tensor]:
        """x as it grows: longer texts, clearer pictures; the last one is the sample. [B, C, *dims], B = len(noise)."""

    @torch.no_grad()
    def __call__(
        self, predict: Predictor, space: Space, cond: Cond, noise: Noise, known: Known | None = None
    ) -> Tensor:
        x: Tensor | None = None
        for x in self.stream(predict, space, cond, noise, known):
            pass
        assert x is not None, f"{self.kind} yielded nothing"
        return x


class Wrap(Part, ABC):
    """Predictor -> Predictor: guidance, thresholding, a watermark on logits."""

    #: (name, field): what a user turns by name when generating, and the field it sets.
    knob: ClassVar[tuple[str, str] | None] = None

    @abstractmethod
    def __call__(self, predict: Predictor, null: Callable[[int], Cond] | None) -> Predictor:
        """`null(batch)` gives the conditioner's null, or is None where nothing is conditioned."""


class Source(ABC):
    """Batches, for ever, resumable. A corpus is one; so are a model's own rollouts."""

    @abstractmethod
    def batch(self, step: int) -> Batch:
        """The batch of this step: a function of (data, seed, step), so resuming needs no state."""


# --------------------------------------------------------------------------------------------------------- the whole


@final
@dataclass(frozen=True)
class Model:
    """A codec, trained nets, and how to read them. Made by a phase; used by validate and deploy, or as another's
    codec.
    """

    codec: Codec
    space: Space  # the codec's, or for a stream the window that the network was trained on
    nets: nn.ModuleDict
    objective: Objective
    sampler: Sampler
    wraps: tuple[Wrap, ...] = ()
    prompt: Literal["none", "prefix"] | str = "none"  # where a prompt goes: the first cells, or the field of that name

    @property
    def conditioner(self) -> Conditioner | None:
        """The conditioner, if there is one."""
        found = dict(self.nets.items()).get("conditioner")
        assert found is None or isinstance(found, Conditioner)
        return found

    def condition(self, fields: Mapping[str, Sequence[Any]], batch: int) -> Cond:
        """Record fields -> Cond; where no field is given, the null; unconditional models take none."""
        if self.conditioner is None:
            return Cond()
        cond: Cond = self.conditioner(fields) if fields else self.conditioner.null(batch)
        return cond

    def predictor(self, knobs: Mapping[str, Any] | None = None) -> tuple[Predictor, dict[str, Any]]:
        """The objective's predictor inside its wraps, first wrap innermost; and the knobs that no wrap has."""
        predict, rest = self.objective.predictor(self.nets), dict(knobs or {})
        for wrap in self.wraps:
            if wrap.knob is not None and wrap.knob[0] in rest:
                wrap = wrap.but(**{wrap.knob[1]: rest.pop(wrap.knob[0])})
            predict = wrap(predict, self.conditioner.null if self.conditioner is not None else None)
        return predict, rest

    def ask(self, prompt: str | None, batch: int) -> tuple[dict[str, list[Any]], Known | None]:
        """A prompt as (fields, known cells) for `batch` samples. Raises `UsageError` if the model takes none."""
        if prompt is None:
            return {}, None
        if self.prompt == "none":
            raise UsageError(f"this model takes no prompt (given: {prompt!r}); leave it out")
        if self.prompt != "prefix":
            if self.conditioner is None or self.conditioner.roads == Roads():
                raise UsageError(
                    f"the training data had no {self.prompt} to tell items apart, so nothing can be asked for "
                    f"(given: {prompt!r}); leave it out"
                )
            return {self.prompt: [prompt] * batch}, None
        x = self.codec.encode([prompt])[0]
        x = x[:, : x.shape[1] - 1] if self.codec.streams else x  # without the end mark, which would end the text
        x = x[None].expand(batch, *x.shape)
        return {}, (Known(x, torch.ones_like(x, dtype=torch.bool)) if x.shape[2] else None)

    def stream(
        self, noise: Noise, fields: Mapping[str, Sequence[Any]] | None = None, known: Known | None = None, **knobs: Any
    ) -> Iterator[Tensor]:
        """x as it grows; knobs (steps, temperature, top_p, ...) are the sampler's own, an unknown one is a
        UsageError.
        """
        self.nets.eval()
        predict, rest = self.predictor(knobs)
        draw = self.sampler.but(**rest) if rest else self.sampler
        if not fields and self.conditioner is not None:
            fields = self.conditioner.draw(noise.child("condition"))
        with torch.no_grad():
            cond = self.condition(fields or {}, len(noise))
            yield from draw.stream(predict, self.space, cond, noise, known)

    def generate(
        self, noise: Noise, fields: Mapping[str, Sequence[Any]] | None = None, known: Known | None = None, **knobs: Any
    ) -> list[Any]:
        """One item of media per sample of `noise`: sample i of a key is the same however many are asked for."""
        x: Tensor | None = None
        for x in self.stream(noise, fields, known, **knobs):
            pass
        assert x is not None
        return self.codec.decode(x)
