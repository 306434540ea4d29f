"""What the parts of a model promise each other. Abstract; the rooms hold the final ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, final, runtime_checkable

import torch
from torch import Tensor, nn

from genus.core.noise import Noise
from genus.core.words import Batch, Cond, Known, Roads, Space
from genus.errors import NoLikelihood, UsageError
from genus.parts import Part

if TYPE_CHECKING:
    from genus.core.model import Model


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


@runtime_checkable
class Judge(Protocol):
    """A predictor that says what an answer is worth."""

    def worth(self, x: Tensor, said: Tensor) -> Tensor:
        """[B] of x [B, 1, T] whose answer is where `said` is true, the mark that ends it included."""


class State(ABC):
    """What a predictor remembers of the cells it has read (a KV cache): a row a sample, each at a cell of its own.

    So rows may be given padding behind what is theirs and then be rewound, guesses may be read and taken back, and
    samples may come and go. Rows that have read nothing yet stand only beside others of their kind.
    wanted: the next call need say no more than its last so many cells; None: all of them.
    """

    wanted: int | None = None

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

    def packed(self, bits: int) -> Network:
        """The same network to draw with, its weights in so many bits (4 or 8). Raises `UsageError` if it has none."""
        raise UsageError(f"{type(self).__name__} has no weights of {bits} bits; choose the precision bf16 or fp32")


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


Nets = (
    Mapping[str, nn.Module] | nn.ModuleDict
)  # {"net", "conditioner"}, {"generator", "critic"}, {"encoder", "decoder"}, ...
Metrics = dict[str, Tensor]
Draws = Mapping[str, Tensor]


@runtime_checkable
class Predictor(Protocol):
    """One callable with one meaning per family, which wrappers compose and samplers consume.

    Autoregression: (x, cond) -> logits of the next cells. Diffusion and flow: (x, t, cond) -> clean x, in coordinates
    x_t = (1 - t) x + t e. GAN, VAE: (z, cond) -> x. Contrastive: (x, cond) -> logits of pairs (`Embedder`). Guidance,
    watermark, thresholding: Predictor -> Predictor.
    """

    def __call__(
        self, x: Tensor, t: Tensor | None = None, cond: Cond = Cond(), state: State | None = None
    ) -> Tensor: ...

    def start(self, batch: int, cells: int) -> State | None: ...


@runtime_checkable
class Embedder(Predictor, Protocol):
    """A predictor (x, cond) -> logits [B, B'] of each x with each condition, by unit vectors of either."""

    def seen(self, x: Tensor) -> Tensor:
        """[B, C, *dims] -> unit vectors [B, D]."""

    def said(self, cond: Cond) -> Tensor:
        """Unit vectors [B, D] of conditions."""


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
    """log p(x) of each sample in nats, [B]; `exact`, or else an estimate, with its standard error if known.

    bound: it is at most log p, in the mean over what is random in it. Of a space with a vocabulary or a grain it is a
    probability, so its bits can be counted; else a density.
    """

    nats: Tensor
    exact: bool
    error: Tensor | None = None
    bound: bool = False

    @property
    def kind(self) -> Literal["exact", "bound", "estimate"]:
        """What it is, in a word."""
        return "exact" if self.exact else "bound" if self.bound else "estimate"


class Objective(Part, ABC):
    """What is minimised, and how the trained nets are then to be read. Holds knobs, no weights.

    judged: the turn whose loss on held-out data tells progress, so that the best weights are kept and a run that
    learns nothing ends; None where no loss does (a GAN's): the last weights are kept. coarse: a network that starts
    from nothing was measured to learn it as well where the products of its linear layers are rounded to bytes.
    """

    family: ClassVar[str]
    judged: ClassVar[str | None] = "main"
    coarse: ClassVar[bool] = False

    @property
    def whole(self) -> bool:
        """Whether the samples of a batch are compared: a step's batch is then never cut into micro-batches."""
        return False

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The turns of a step, in order. Knobs may add some: a penalty of weight 0 has no turn and costs nothing."""
        return (Turn(),)

    def at(self, progress: float) -> Self:
        """This objective at a part of the run, 0 .. 1, for its `draws`; few change on the way. Held-out loss: at 1."""
        return self

    def number(self, batch: Batch) -> int:
        """How many the loss of a batch is a mean over; the loop weighs micro-batches by it, so 2 x 4 equals 8."""
        return batch.cells

    @abstractmethod
    def draws(self, nets: Nets, batch: Batch, turn: str, noise: Noise) -> Draws:
        """All the randomness that `loss` will use, so that `loss` itself is a pure function and may be compiled.

        nets: read for the shapes of their latents alone.
        """

    @abstractmethod
    def loss(self, nets: Nets, batch: Batch, draws: Draws, turn: str) -> tuple[Tensor, Metrics]:
        """Mean over the cells that count, and named scalars to log."""

    def settle(self, nets: Nets, noise: Noise) -> None:
        """After a step: what no gradient moves (a codebook that follows its codes), in buffers of the nets."""

    @abstractmethod
    def predictor(self, nets: Nets) -> Predictor:
        """The trained nets as the one callable of this family."""

    @abstractmethod
    def sampler(self) -> Sampler:
        """The natural sampler: it knows this objective's order of cells. A recipe turns its knobs or names another."""

    def log_prob(self, nets: Nets, batch: Batch, noise: Noise) -> LogProb:
        """Log p(x | cond) over the cells that `batch.mask` counts. Raises `NoLikelihood` with the reason."""
        raise NoLikelihood(f"{self.kind} defines no likelihood: it learns to draw samples, not to score them")

    @property
    def singly(self) -> Mapping[str, Any]:
        """Knobs of `log_prob` where a few items are asked about, not a mean: so many draws that its error is told."""
        return {}

    def invert(self, nets: Nets, batch: Batch) -> Tensor:
        """The latent [B, ...] from which the natural sampler draws x. Raises `UsageError` with the reason."""
        raise UsageError(f"{self.kind} draws x from no latent that could be found again")


class Sampler(Part, ABC):
    """Predictor -> x. A sample never depends on the batch it was drawn in: its randomness is `noise`, row by row.

    wide: looks at many cells, many times: then large products are what a draw takes, and fewer bits make it faster.
    """

    wide: ClassVar[bool] = False

    @abstractmethod
    def stream(
        self, predict: Predictor, space: Space, cond: Cond, noise: Noise, known: Known | None = None
    ) -> Iterator[Tensor]:
        """x as it grows: longer texts, clearer pictures; the last one is the sample. [B, C, *dims], B = len(noise)."""

    def latent(self, predict: Predictor, space: Space) -> tuple[int, ...]:
        """The shape of the latent, which is normal draw 0 of the noise. Raises `UsageError` where there is none."""
        raise UsageError(f"{self.kind} draws x from no latent, so nothing lies between two of them")

    @torch.no_grad()
    def __call__(
        self, predict: Predictor, space: Space, cond: Cond, noise: Noise, known: Known | None = None
    ) -> Tensor:
        x: Tensor | None = None
        for x in self.stream(predict, space, cond, noise, known):
            pass
        assert x is not None, f"{self.kind} yielded nothing"
        return x


class Wrap(Borrowing):
    """Predictor -> Predictor: guidance, thresholding, a watermark on logits."""

    #: (name, field): what a user turns by name when generating, and the field it sets.
    knob: ClassVar[tuple[str, str] | None] = None

    @property
    def reads(self) -> tuple[str, ...]:
        """The fields that it can be asked by."""
        return ()

    @abstractmethod
    def __call__(
        self,
        predict: Predictor,
        null: Callable[[int], Cond] | None,
        fields: Mapping[str, Sequence[Any]] | None = None,
    ) -> Predictor:
        """`null(batch)` gives the conditioner's null, or is None where nothing is conditioned. fields: asked of the
        samples that will be drawn, if any are.
        """


class Source(ABC):
    """Batches, for ever, resumable. A corpus is one; so are a model's own rollouts."""

    @abstractmethod
    def batch(self, step: int) -> Batch:
        """The batch of this step: a function of (data, seed, step), so resuming needs no state.

        Of a source that is told a model, it is also a function of that model's weights as they stand at this step.
        """

    def of(self, model: Model) -> Source:
        """Told the model that is being trained, whose weights move; most do not ask."""
        return self
