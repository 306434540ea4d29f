"""What ways to learn and to draw promise: predictors, objectives, samplers, wraps, sources. Abstract."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, final, runtime_checkable

import torch
from torch import Tensor, nn

from genus.core.contracts import Borrowing, State
from genus.core.noise import Noise
from genus.core.words import Batch, Cond, Known, Space
from genus.errors import NoLikelihood, UsageError
from genus.parts import Part

if TYPE_CHECKING:
    from genus.core.model import Model

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
class Judge(Protocol):
    """A predictor that says what an answer is worth."""

    def worth(self, x: Tensor, said: Tensor) -> Tensor:
        """[B] of x [B, 1, T] whose answer is where `said` is true, the mark that ends it included."""


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
