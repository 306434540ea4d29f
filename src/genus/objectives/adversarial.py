"""Adversarial training: a critic learns to tell data from fakes, a generator to make fakes that it cannot tell.

Goodfellow et al. 2014 (arXiv 1406.2661). Three games: `relativistic` compares each fake with a real sample
(Jolicoeur-Martineau 2018, arXiv 1807.00734), which converges with both penalties (R3GAN: Huang et al. 2025, arXiv
2501.05441); `nonsaturating` is the logistic one of Goodfellow et al.; `hinge` that of BigGAN (Lim and Ye 2017, arXiv
1705.02894). The penalties are gamma / 2 E |d critic / d x|^2 on data (R1) and on fakes (R2) (Mescheder et al. 2018,
arXiv 1801.04406).
Draws in one pass; no density, no likelihood. Knows no network and no medium.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, final, runtime_checkable

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from genus.core import Batch, Cond, Draws, LogProb, Metrics, Nets, Noise, Objective, State, Turn
from genus.errors import NoLikelihood, UsageError
from genus.samplers.oneshot import OneShot

Game = Literal["relativistic", "nonsaturating", "hinge"]


@runtime_checkable
class Generator(Protocol):
    """What `nets["generator"]` must be: z [B, latent] -> style [B, S] -> x [B, C, *dims]."""

    latent: int

    def mapping(self, z: Tensor, cond: Cond) -> Tensor: ...

    def synthesis(self, w: Tensor) -> Tensor: ...


def generator(nets: Nets) -> Generator:
    """The generator among the nets. Raises `UsageError` if there is none, or another kind of network."""
    found: object = dict(nets.items()).get("generator")
    if not isinstance(found, Generator):
        said = f"{type(found).__name__!r}" if found is not None else "nothing"
        raise UsageError(
            f"adversarial training needs a generator that maps z to a style and a style to x, not {said}; give the "
            "phase nets = {'generator': ..., 'critic': ...}, e.g. of networks.style"
        )
    return found


@final
@dataclass(frozen=True)
class FromStyle:
    """The predictor: (z [B, latent], cond) -> x, float32; in two halves for those who change the style between."""

    generator: Generator

    @property
    def latent(self) -> tuple[int, ...]:
        """The shape of one z."""
        return (self.generator.latent,)

    def mapping(self, z: Tensor, cond: Cond) -> Tensor:
        """The style, [B, S]."""
        return self.generator.mapping(z, cond)

    def synthesis(self, w: Tensor) -> Tensor:
        """[B, C, *dims]."""
        return self.generator.synthesis(w).float()

    def __call__(self, x: Tensor, t: Tensor | None = None, cond: Cond = Cond(), state: State | None = None) -> Tensor:
        """See the class."""
        return self.synthesis(self.mapping(x, cond))

    def start(self, batch: int, cells: int) -> State | None:
        """None: it is one pass."""
        return None


def against(game: Game, real: Tensor, fake: Tensor) -> Tensor:
    """The critic's loss of each pair of scores, [B]."""
    if game == "relativistic":
        return F.softplus(fake - real)
    if game == "hinge":
        return F.relu(1 - real) + F.relu(1 + fake)
    return F.softplus(-real) + F.softplus(fake)


def towards(game: Game, fake: Tensor, real: Tensor | None) -> Tensor:
    """The generator's loss of each score, [B]; the relativistic game compares with those of real samples."""
    if game == "hinge":
        return -fake
    return F.softplus((0 if real is None else real) - fake)


def steepness(scores: Tensor, x: Tensor) -> Tensor:
    """Squared length of the gradient of each sample's score by the sample, [B]; can be differentiated."""
    (slope,) = torch.autograd.grad(scores.sum(), x, create_graph=True)
    return slope.flatten(1).square().sum(1)


@final
class Adversarial(Objective):
    """Mean over samples; nets "generator" and "critic".

    game: what is compared. r1, r2: weights of the penalties on data and on fakes; 0: none. every: steps between two
    penalties, which then count so many times as much and have a turn of their own (Karras et al. 2020, arXiv
    1912.04958); 1: they are part of the critic's loss.
    """

    kind: Literal["objectives.adversarial"] = "objectives.adversarial"
    family: ClassVar[str] = "adversarial"
    judged: ClassVar[str | None] = None  # each side's loss says how the other is doing
    game: Game = "relativistic"
    r1: float = Field(0.1, ge=0)
    r2: float = Field(0.1, ge=0)
    every: int = Field(1, ge=1)

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The critic's, its lazy penalty if there is one, the generator's."""
        lazy = self.every > 1 and (self.r1 > 0 or self.r2 > 0)
        penalty = (Turn("penalty", ("critic",), self.every),) if lazy else ()
        return (Turn("critic", ("critic",)), *penalty, Turn("generator", ("generator", "conditioner")))

    def draws(self, nets: Nets, batch: Batch, turn: str, noise: Noise) -> Draws:
        """z [B, latent], another in each turn."""
        return {"z": noise.child(turn).normal(0, (generator(nets).latent,))}

    def loss(self, nets: Nets, batch: Batch, draws: Draws, turn: str) -> tuple[Tensor, Metrics]:
        """Mean over samples, each times its weight; logs it, and in the game's turns the mean scores of both sides.

        Raises `UsageError` for nets that do not fit, and for a batch of which only some cells count.
        """
        if batch.mask is not None:
            raise UsageError(f"{self.kind} judges whole samples and cannot leave cells out; use a source without masks")
        predict = self.predictor(nets)
        # The condition is the generator's to learn: a critic that trained it would be told how to be deceived.
        cond = batch.cond.map(torch.Tensor.detach)

        def score(x: Tensor) -> Tensor:
            return judgement(nets, x, cond)

        with torch.set_grad_enabled(turn == "generator" and torch.is_grad_enabled()):
            fake = predict(draws["z"], cond=batch.cond)
        x = batch.x.detach().float()  # a penalty asks for its gradient; the batch is not to notice
        if turn == "generator":
            each, metrics = self._generators(score, x, fake)
        else:
            each, metrics = self._critics(score, x, fake, turn)
        loss = (each if batch.weight is None else each * batch.weight).mean()
        return loss, {"loss": loss.detach(), **metrics}

    def _generators(self, score: Callable[[Tensor], Tensor], x: Tensor, fake: Tensor) -> tuple[Tensor, Metrics]:
        said = score(fake)
        real = score(x) if self.game == "relativistic" else None
        return towards(self.game, said, real), {"fake": said.detach().mean()}

    def _critics(self, score: Callable[[Tensor], Tensor], x: Tensor, fake: Tensor, turn: str) -> tuple[Tensor, Metrics]:
        fined, lazy = self.every == 1 or turn == "penalty", turn == "penalty"
        fines, scores = torch.zeros(len(x), device=x.device), []
        for gamma, side in ((self.r1, x), (self.r2, fake)):
            if fined and gamma > 0:
                scores.append(score(side.requires_grad_()))
                fines = fines + 0.5 * gamma * steepness(scores[-1], side)
            elif not lazy:
                scores.append(score(side))
        if lazy:
            return self.every * fines, {}
        return fines + against(self.game, *scores), {
            "real": scores[0].detach().mean(),
            "fake": scores[1].detach().mean(),
        }

    def predictor(self, nets: Nets) -> FromStyle:
        """(z, cond) -> x. Raises `UsageError` where there is no such generator."""
        return FromStyle(generator(nets))

    def sampler(self) -> OneShot:
        """One pass."""
        return OneShot()

    def invert(self, nets: Nets, batch: Batch) -> Tensor:
        """None: see the message."""
        raise UsageError(
            f"{self.kind} learns no way from x back to its latent; go between two seeds instead, which need none "
            "(--between seed:1 seed:2)"
        )

    def log_prob(self, nets: Nets, batch: Batch, noise: Noise) -> LogProb:
        """None: see the message."""
        dimensions = generator(nets).latent
        raise NoLikelihood(
            f"{self.kind} has no density: its samples lie on a surface of {dimensions} dimensions, beside which any "
            "real item has probability zero"
        )


def judgement(nets: Nets, x: Tensor, cond: Cond) -> Tensor:
    """The critic's score of each sample, [B] float32. Raises `UsageError` if it is no critic."""
    critic = dict(nets.items()).get("critic")
    if not isinstance(critic, nn.Module):
        raise UsageError(
            "adversarial training needs a critic; give the phase nets = {'generator': ..., 'critic': ...}, e.g. of "
            "networks.style"
        )
    said: Tensor = critic(x, cond=cond)
    if said.shape != x.shape[:1]:
        raise UsageError(
            f"a critic gives one number a sample, but {type(critic).__name__!r} gave {tuple(said.shape[1:])} of them; "
            "choose e.g. networks.style.critic"
        )
    return said.float()
