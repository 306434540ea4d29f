"""Autoencoding: x through a narrow code and back. As a generator (VAE) or as the first stage of one (KL, VQ, FSQ).

Kingma and Welling 2013 (arXiv 1312.6114); beta: Higgins et al. 2017; bounds of several codes: `objectives.importance`.
The decoder's x is the centre of a logistic distribution whose spread is learned, one a channel (as Rybkin et al. 2020,
arXiv 2006.13202, do for Gaussians), so that errors and the code's cost are weighed in one unit, nats; where x has a
grain it is the probability of the grain (Salimans et al. 2017, arXiv 1701.05517).

Two more terms sharpen what likelihood leaves blurred (Esser et al. 2020, arXiv 2012.09841), with a critic that has a
turn of its own: `adversarial`, whether it takes a reconstruction for data, and `perceptual`, how far what it sees in a
reconstruction is from what it sees in x (Larsen et al. 2016, arXiv 1512.09300). No network trained on other data is
asked: one that also judges samples would be graded by itself. `objectives.balance` weighs them. Knows no network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, final, runtime_checkable

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from genus.core import Batch, Cond, Draws, LogProb, Metrics, Nets, Noise, Objective, Space, State, Turn
from genus.errors import NoLikelihood, UsageError
from genus.objectives.adversarial import Game, against, steepness, towards
from genus.objectives.balance import Term, balanced
from genus.objectives.importance import at, divergence, log_mean, log_ratio
from genus.samplers.oneshot import OneShot


class Narrow(Protocol):
    """What lies between encoder and decoder: `networks.bottlenecks`."""

    def __call__(self, h: Tensor, e: Tensor) -> tuple[Tensor, Tensor]: ...
    def code(self, h: Tensor) -> Tensor: ...
    def read(self, code: Tensor) -> Tensor: ...
    def posterior(self, h: Tensor) -> tuple[Tensor, Tensor] | None: ...


@runtime_checkable
class Coder(Protocol):
    """What this objective asks of nets["net"]. latent: shape of z, channels first. codes: what `code` gives.

    spread: log spread of what the decoder says, one a channel, learned.
    """

    space: Space
    codes: Space
    latent: tuple[int, ...]
    spread: Tensor
    bottleneck: Narrow

    def encode(self, x: Tensor) -> Tensor: ...
    def decode(self, z: Tensor) -> Tensor: ...
    def settle(self, noise: Noise) -> None: ...


@runtime_checkable
class Critic(Protocol):
    """What the two terms of a critic ask of nets["critic"]: a score [B], and what it saw on the way, [B, ...] each."""

    def regard(self, x: Tensor) -> tuple[Tensor, Sequence[Tensor]]: ...


def coder(nets: Nets) -> Coder:
    """nets["net"]. Raises `UsageError` for a network that is no autoencoder."""
    net = nets["net"]
    if not isinstance(net, Coder):
        raise UsageError(f"{type(net).__name__} has no code; autoencoding needs e.g. networks.autoencoder")
    return net


def critic(nets: Nets) -> Critic:
    """nets["critic"]. Raises `UsageError` where there is none."""
    found: object = dict(nets.items()).get("critic")
    if not isinstance(found, Critic):
        raise UsageError(
            "the adversarial and the perceptual term need a critic; give the phase nets = {'net': ..., 'critic': ...}, "
            "e.g. networks.style.critic, or set both terms to 0"
        )
    return found


def unlike(seen: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
    """[B]: squared distance of what was seen to what x shows, over the squared length of the latter; mean of scales."""
    each = []
    for a, b in zip(seen, real, strict=True):
        a, b = a.float().flatten(1), b.float().flatten(1)
        each.append((a - b).square().sum(1) / b.square().sum(1).clamp(min=1e-6))
    return torch.stack(each).mean(0)


def nats_of(x: Tensor, centre: Tensor, logs: Tensor, grain: float | None) -> Tensor:
    """-log p of each cell of x [B, C, *dims] under a logistic around `centre`; logs [C]: of its spread.

    grain: x takes the values -1, -1 + grain, .. 1, and p is the probability of one; None: a density.
    """
    spread = torch.exp(-logs.float()).view(-1, *(1,) * (x.dim() - 2))
    off = (x - centre) * spread
    if grain is None:
        return off + 2 * F.softplus(-off) - torch.log(spread)
    wide = grain * spread
    below, above = off - 0.5 * wide, off + 0.5 * wide
    inside = F.softplus(-above) + F.softplus(below) - torch.log(-torch.expm1(-wide))  # log(sigmoid - sigmoid), stably
    edge = 1 - 0.5 * grain
    return torch.where(x < -edge, F.softplus(-above), torch.where(x > edge, F.softplus(below), inside))


@final
class Autoencoding(Objective):
    """Nats a cell: of x given its code, and beta times the code's cost.

    codes: drawn for a sample in training; with more than one the loss is the importance-weighted bound, for Gaussian
    codes. What beta and free nats change of the cost, they change of that too. looks: codes drawn in `log_prob`.
    adversarial, perceptual: how hard these terms pull at a reconstruction, in parts of the pull of x's nats; 0: none,
    and without both no critic. drawn: they also pull at what the prior draws (Larsen et al.), which its score then
    shapes. game, r1, every: of the critic (`objectives.adversarial`). The loss that is told is that of the bound: the
    two terms are in no unit that could be added to it.
    """

    kind: Literal["objectives.autoencoding"] = "objectives.autoencoding"
    family: ClassVar[str] = "autoencoding"
    beta: float = Field(1.0, ge=0)
    codes: int = Field(1, ge=1)
    looks: int = Field(16, ge=1)
    adversarial: float = Field(0.0, ge=0)
    perceptual: float = Field(0.0, ge=0)
    drawn: bool = False
    game: Game = "hinge"
    r1: float = Field(0.0, ge=0)
    every: int = Field(16, ge=1)

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The autoencoder's; before it, where a term asks for them, the critic's and its penalty."""
        own = Turn(trains=("net",))
        if not self._judged:
            return (own,)
        lazy = (Turn("penalty", ("critic",), self.every),) if self.r1 > 0 else ()
        return (Turn("critic", ("critic",)), *lazy, own)

    @property
    def _judged(self) -> bool:
        return self.adversarial > 0 or self.perceptual > 0

    def draws(self, nets: Nets, batch: Batch, turn: str, noise: Noise) -> Draws:
        """e: standard normal, of the latent's shape; z: the same, where the prior is drawn from; others [B, N, ...]."""
        net = coder(nets)
        if turn == "penalty":
            return {}
        noise = noise if turn == "main" else noise.child(turn)
        draws = {"e": noise.normal(0, net.latent)}
        if self.drawn and self._judged:
            draws["z"] = noise.normal(1, Decoded(net).latent)
        if self.codes > 1 and turn == "main":
            draws["others"] = noise.child("codes").normal(0, (self.codes - 1, *net.latent))
        return draws

    def loss(self, nets: Nets, batch: Batch, draws: Draws, turn: str) -> tuple[Tensor, Metrics]:
        """Mean over cells; logs what x and what the code cost, the error of x, and what the terms say.

        The critic's turns: mean over samples.
        """
        net, x = coder(nets), batch.x.float()
        if turn != "main":
            each, metrics = self._critics(critic(nets), net, x, draws, turn)
            loss = (each if batch.weight is None else each * batch.weight).mean()
            return loss, {"loss": loss.detach(), **metrics}
        h = net.encode(x)
        z, cost = net.bottleneck(h, last(draws["e"]))
        terms: list[Term] = []
        if self._judged and torch.is_grad_enabled():
            made = outputs(net, z, draws)
            said = made[:, : x.shape[1]]
            terms = self._terms(critic(nets), x, torch.split(shown(net, made), x.shape[1], dim=1))
        else:
            made = said = net.decode(z)
        nats = nats_of(x, said, net.spread, net.space.grain).flatten(1).mean(1)
        weight = torch.ones_like(nats) if batch.weight is None else batch.weight
        cost = cost / net.space.cells
        bound = nats + self.beta * cost if self.codes == 1 else self._tighter(net, x, h, nats, cost, draws)
        loss = (balanced(made, bound, terms) * weight).mean()
        error = (shown(net, said) - x).square().mean()
        return loss, {
            "loss": loss.detach(),
            "x": nats.mean().detach(),
            "code": cost.mean().detach(),
            "error": error.detach(),
            **{term.name: term.each.mean().detach() for term in terms},
        }

    def _tighter(self, net: Coder, x: Tensor, h: Tensor, nats: Tensor, cost: Tensor, draws: Draws) -> Tensor:
        """The importance-weighted bound a cell, [B]. nats, cost: of the first code, a cell."""
        found = net.bottleneck.posterior(h)
        if found is None:
            raise UsageError(f"codes = {self.codes}: ids have no weights of importance; leave codes at 1")
        first = log_ratio(found, last(draws["e"])) - nats * x[0].numel()
        weights = [first, *(self._log_weight(net, x, found, last(e)) for e in draws["others"].unbind(1))]
        # The weights hold the divergence, in the mean: what beta and free nats make of it comes on top.
        return self.beta * cost - (log_mean(weights) + divergence(found)) / net.space.cells

    def _log_weight(self, net: Coder, x: Tensor, found: tuple[Tensor, Tensor], e: Tensor) -> Tensor:
        """Of the code of e, [B]; see `objectives.importance`."""
        nats = nats_of(x, net.decode(at(found, e.to(found[0]))), net.spread, net.space.grain)
        return log_ratio(found, e.to(found[0])) - nats.flatten(1).sum(1)

    def _terms(self, judge: Critic, x: Tensor, fakes: Sequence[Tensor]) -> list[Term]:
        """What the critic asks of the reconstructions, which come first, and of what was drawn."""
        with torch.no_grad():
            real, seen = judge.regard(x)
        said = [judge.regard(fake) for fake in fakes]
        terms = []
        if self.adversarial > 0:
            each = torch.stack([towards(self.game, score, real) for score, _ in said]).mean(0)
            terms.append(Term("adversarial", each, self.adversarial))
        if self.perceptual > 0:
            terms.append(Term("perceptual", unlike(said[0][1], seen), self.perceptual))
        return terms

    def _critics(self, judge: Critic, net: Coder, x: Tensor, draws: Draws, turn: str) -> tuple[Tensor, Metrics]:
        """The loss of each sample, [B]."""
        if turn == "penalty":
            x = x.detach().requires_grad_()
            return 0.5 * self.every * self.r1 * steepness(judge.regard(x)[0], x), {}
        with torch.no_grad():
            made = shown(net, outputs(net, unheard(net, net.encode(x), last(draws["e"])), draws))
        fakes = torch.split(made, x.shape[1], dim=1)
        real, scores = judge.regard(x)[0], [judge.regard(fake)[0] for fake in fakes]
        each = torch.stack([against(self.game, real, score) for score in scores]).mean(0)
        return each, {"real": real.detach().mean(), "fake": torch.stack(scores).detach().mean()}

    def settle(self, nets: Nets, noise: Noise) -> None:
        """The codebook's step, where there is one."""
        coder(nets).settle(noise)

    def predictor(self, nets: Nets) -> Decoded:
        """(z, cond) -> x."""
        return Decoded(coder(nets))

    def sampler(self) -> OneShot:
        """z from the standard normal."""
        return OneShot()

    def code(self, nets: Nets, x: Tensor) -> Tensor:
        """x [B, C, *dims] -> codes [B, C', *dims'], without randomness."""
        net = coder(nets)
        return net.bottleneck.code(net.encode(x))

    def read(self, nets: Nets, code: Tensor) -> Tensor:
        """Codes -> x, float32."""
        net = coder(nets)
        return net.decode(net.bottleneck.read(code))

    def invert(self, nets: Nets, batch: Batch) -> Tensor:
        """The mean of the posterior."""
        net = coder(nets)
        if net.codes.vocab is not None:
            raise UsageError(f"{self.kind} with discrete codes draws nothing by itself, so it has no latent")
        return net.bottleneck.code(net.encode(batch.x.float()))

    def log_prob(self, nets: Nets, batch: Batch, noise: Noise) -> LogProb:
        """A lower bound: the log of the mean weight of `looks` codes drawn from the posterior; error: of that mean."""
        net, x = coder(nets), batch.x.float()
        with torch.no_grad():
            found = net.bottleneck.posterior(net.encode(x))
            if found is None:
                raise NoLikelihood(
                    f"{self.kind} with discrete codes has no likelihood by itself: a later phase learns the codes"
                )
            looks = [last(noise.normal(look, net.latent)) for look in range(self.looks)]
            each = torch.stack([self._log_weight(net, x, found, e) for e in looks]).double()
        total = log_mean(each.unbind())
        share = (each - total).exp()  # of the mean weight
        error = share.std(0) / math.sqrt(self.looks) if self.looks > 1 else None
        return LogProb(total, exact=False, error=error, bound=True)


def outputs(net: Coder, z: Tensor, draws: Draws) -> Tensor:
    """x of z, [B, C, *dims], and beside it, as further channels, x of what was drawn, if anything was."""
    if "z" not in draws:
        return net.decode(z)
    both = net.decode(torch.cat([z, last(draws["z"]).to(z)]))
    return torch.cat(both.chunk(2), dim=1)


def shown(net: Coder, x: Tensor) -> Tensor:
    """x as it will be: where the space has a grain, within -1 .. 1. Likelihood lets the decoder say more than that."""
    return x if net.space.grain is None else x.clamp(-1, 1)


def unheard(net: Coder, h: Tensor, e: Tensor) -> Tensor:
    """z of what the encoder says, without the bottleneck's learning of it."""
    found = net.bottleneck.posterior(h)
    if found is None:
        return net.bottleneck.read(net.bottleneck.code(h))
    return at(found, e)


def last(e: Tensor) -> Tensor:
    """[B, C, *dims] -> [B, *dims, C]."""
    return e.movedim(1, -1)


@final
@dataclass(frozen=True)
class Decoded:
    """The predictor of an autoencoder whose codes are Gaussian; ids are drawn by a model of them, in a later phase."""

    net: Coder

    @property
    def latent(self) -> tuple[int, ...]:
        """The shape of one z."""
        if self.net.codes.vocab is not None:
            raise UsageError("an autoencoder of discrete codes draws nothing by itself; add a phase that learns them")
        return self.net.latent

    def __call__(self, x: Tensor, t: Tensor | None = None, cond: Cond = Cond(), state: State | None = None) -> Tensor:
        """z [B, *latent] -> x [B, C, *dims]."""
        return self.net.decode(last(x))

    def start(self, batch: int, cells: int) -> State | None:
        """None: one pass."""
        return None
