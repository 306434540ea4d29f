"""What the parts of a model promise: codecs, conditioners, networks. Abstract; the rooms hold the final ones.

How they learn and draw: `core.ways`.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from genus.core.noise import Noise
from genus.core.words import Batch, Cond, Roads, Space
from genus.errors import UsageError
from genus.parts import Part


@runtime_checkable
class Codec(Protocol):
    """Raw media <-> x. A byte-pair tokenizer, a mel filterbank and a trained autoencoder are all codecs.

    `streams`: true if items are cut from one endless sequence (text: encode adds the end mark, a source packs windows),
    false if each item fills `space` by itself. coded: true if x is a learned code, whose likelihood is not the item's.
    """

    space: Space
    streams: bool
    coded: bool

    def encode(self, media: Sequence[Any]) -> list[Tensor]:
        """Each item as [C, *dims_i], in whatever compact type a cache should hold (uint8 pixels, int32 tokens)."""

    def lift(self, stored: Tensor) -> Tensor:
        """What `encode` gave, as the network sees it: long where the space has a vocabulary, float32 else."""

    def decode(self, x: Tensor) -> list[Any]:
        """X [B, C, *dims] back to media. For a stream, cells from the end mark on are dropped."""

    def like(self, media: Sequence[Any]) -> list[Any]:
        """Each item in the form that `decode` gives (pictures: its size and mode), with nothing else lost."""

    def save(self, folder: Path) -> CodecConfig:
        """Write what a configuration cannot hold (a vocabulary, weights) and return the resolved configuration."""


class Borrowing(Part, ABC):
    """A part that may use the models of earlier phases. Most do not, and say nothing of it."""

    def after(self, earlier: Mapping[str, Path]) -> Self:
        """Told in which folders these models lie, by the names of their phases."""
        return self

    @property
    def borrowed(self) -> Mapping[str, Path]:
        """The folders of those that a run is to keep copies of, so that it is whole by itself."""
        return {}


class CodecConfig(Borrowing):
    """What a recipe says of a codec. One that is a model writes it itself (`Codec.save`)."""

    @abstractmethod
    def fit(self, media: Callable[[], Iterator[Any]]) -> Codec:
        """A codec for these training items: learns a vocabulary, finds the size. `media()` starts from the
        beginning.
        """

    @abstractmethod
    def load(self, folder: Path) -> Codec:
        """The codec that `save(folder)` returned this configuration for."""


class ConditionerConfig(Borrowing):
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

    def sized(self, dial: int) -> Self:
        """At the size of networks of this dial; most do not grow with them."""
        return self

    @abstractmethod
    def build(self, space: Space) -> Conditioner:
        """The module, its weights at their start. space: of the x that is conditioned."""


class Conditioner(nn.Module, ABC):
    """Record fields -> Cond. Owns the dropout that classifier-free guidance needs, and the null it leaves.

    sees: the field that is the item itself in training, for a condition that is made of it. cells: the field that is
    of the codec's medium: what is asked there is encoded as x is, without an end mark. knob: a number that may be asked
    of it when samples are drawn, the same for all of them; a field of that name.
    """

    dropout: float = 0.0
    roads: Roads
    sees: str | None = None
    cells: str | None = None
    knob: str | None = None

    @property
    def takes(self) -> bool:
        """Whether anything can be asked of it: data that tells no items apart gives nothing to ask for."""
        return self.roads != Roads()

    def kept(self, noise: Noise | None) -> Tensor | None:
        """[B] bool, the samples whose condition dropout leaves; None: all of them.

        The larger the dropout, the more samples, and all that a smaller one drops are among them.
        """
        if noise is None or self.dropout == 0:
            return None
        return noise.child("drop condition").uniform(0) >= self.dropout

    @abstractmethod
    def forward(self, fields: Mapping[str, Sequence[Any]], noise: Noise | None = None) -> Cond:
        """The condition of each sample. noise: of a training step, for dropout and all else that blurs; None: nothing
        is dropped or blurred.

        A value that is None gives the null; one never seen in training is a `UsageError` that lists the known.
        """

    @abstractmethod
    def null(self, batch: int) -> Cond:
        """What the network was shown where the condition was dropped; a road that is never dropped is left out."""

    def draw(self, noise: Noise, asked: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
        """What was asked, completed: where nothing was, as in the training data if that is known."""
        return dict(asked)

    def keep(self, items: Iterator[Batch]) -> None:
        """Before the first step: what it keeps of the training items themselves, in buffers."""


@runtime_checkable
class Choices(Protocol):
    """A conditioner of a few known values, which can be told apart."""

    def chosen(self, fields: Mapping[str, Sequence[Any]]) -> Tensor:
        """[B] long: which value each sample has, -1 for none."""

    def every(self) -> Cond:
        """All values in order, as one batch."""


class State(ABC):
    """What a predictor remembers of the cells it has read (a KV cache): a row a sample, each at a cell of its own.

    So rows may be given padding behind what is theirs and then be rewound, guesses may be read and taken back, and
    samples may come and go. Rows that have read nothing yet stand only beside others of their kind.
    wanted: the next call need say no more than its last so many cells; None: all of them. price: what one cell more
    costs in a call, beside a call of one cell; few bits are quickly fetched, so arithmetic tells sooner.
    """

    wanted: int | None = None
    price: float = 0.12

    @abstractmethod
    def __len__(self) -> int:
        """Rows."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Bytes in use."""

    @abstractmethod
    def rewind(self, cells: Sequence[int]) -> None:
        """Row i forgets all but the first cells[i] cells that it has read (the begin mark is one of them)."""

    @abstractmethod
    def take(self, rows: Sequence[int]) -> State:
        """A copy of these rows, in this order; one may be named more than once."""

    @abstractmethod
    def join(self, other: State) -> State:
        """A copy of both, these rows first. other: of the same predictor."""


class Network(nn.Module, ABC):
    """f(x, t, cond). Knows no loss. `t` is None outside diffusion and flow; LoRA and ControlNet are Network -> Network.

    x long [B, C, *dims] -> logits [B, C, *dims, vocab]; x float [B, C, *dims] -> float [B, C, *dims], or [B, D] where a
    whole x is judged or embedded.
    What it asks for besides the loss of its answer it says in passing (`asides`).
    space: what it was built for. exact: names of weights that stay float32 where the rest is cast to fewer bits to draw
    with: those that write x, whose rounding would shift all of it the same way.
    """

    space: Space
    exact: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def forward(self, x: Tensor, t: Tensor | None = None, cond: Cond = Cond(), state: State | None = None) -> Tensor:
        """t: [B] in [0, 1]. state: from `start`; x then holds only the cells that follow those already seen."""

    def start(self, batch: int, cells: int) -> State | None:
        """A fresh state for `cells` cells along the first axis, or None: this network keeps none."""
        return None

    @property
    def brisk(self) -> bool:
        """Whether `packed(16)` is quicker even where cells are read one by one."""
        return False

    def packed(self, bits: int) -> Network:
        """The same network to draw with, its weights in so many bits: 16, which every one has, 8 or 4.

        Raises `UsageError` for bits that it has not.
        """
        if bits == 16:
            return halved(self)
        raise UsageError(f"{type(self).__name__} has no weights of {bits} bits; choose the precision bf16 or fp32")


Net = TypeVar("Net", bound=nn.Module)


def halved(net: Net) -> Net:
    """A copy to draw with: its weights in bfloat16, but for what is `exact` in it."""
    net = copy.deepcopy(net).requires_grad_(False)
    exact = net.exact if isinstance(net, Network) else ()
    for name, weight in net.named_parameters():
        if name.split(".")[0] not in exact:
            weight.data = weight.data.to(torch.bfloat16)
    return net.eval()


@runtime_checkable
class Several(Protocol):
    """A network that reads several texts in one row, each as if it stood alone."""

    def several(self, x: Tensor, starts: Tensor, cond: Cond = Cond()) -> Tensor:
        """As `forward`; no text sees another, and places begin anew. starts: [B, N] bool, cells that begin a text; the
        first cell of a row does.
        """


@runtime_checkable
class Scoring(Protocol):
    """A network that says by itself how likely ids are, so that it need not write down the logits of all others."""

    def scored(
        self, x: Tensor, ids: Tensor, counts: Tensor | None = None, starts: Tensor | None = None, cond: Cond = Cond()
    ) -> tuple[Tensor, Tensor]:
        """-log p of ids [B, C, *dims] by the logits that `forward` says of x, and log Z of these; float32.

        counts: bool, as ids: where it is false both may be any number. starts: see `Several`.
        """


@runtime_checkable
class Stacked(Protocol):
    """A module some of whose weights are many matrices along their first axis, each a product of its own (experts).

    stacked: their names in it. An optimiser that takes matrices takes each of these by itself.
    """

    stacked: ClassVar[tuple[str, ...]]


class NetworkConfig(Part, ABC):
    """What a recipe says of a network."""

    @abstractmethod
    def build(self, space: Space, roads: Roads) -> Network:
        """The module, its weights at their start (from torch's global generator: the loop seeds it)."""

    @abstractmethod
    def sized(self, dial: int) -> Self:
        """The same architecture at another size: one dial, all else follows. Autosizing turns it."""
