"""Autoencoding: x through a narrow code and back. As a generator (VAE) or as the first stage of one (KL, VQ, FSQ).

Kingma and Welling 2013 (arXiv 1312.6114); beta: Higgins et al. 2017; importance-weighted bound: Burda et al. 2015
(arXiv 1509.00519). The decoder's x is the centre of a logistic distribution whose spread is learned, one a channel (as
Rybkin et al. 2020, arXiv 2006.13202, do for Gaussians), so that errors and the code's cost are weighed in one unit,
nats; where x has a grain it is the probability of the grain (Salimans et al. 2017, arXiv 1701.05517). Knows no network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, final, runtime_checkable

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from genus.core import Batch, Cond, Draws, LogProb, Metrics, Nets, Noise, Objective, Space, State
from genus.errors import NoLikelihood, UsageError
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


def coder(nets: Nets) -> Coder:
    """nets["net"]. Raises `UsageError` for a network that is no autoencoder."""
    net = nets["net"]
    if not isinstance(net, Coder):
        raise UsageError(f"{type(net).__name__} has no code; autoencoding needs e.g. networks.autoencoder")
    return net


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
    """Nats a cell: of x given its code, and beta times the code's cost. looks: codes a sample in `log_prob`."""

    kind: Literal["objectives.autoencoding"] = "objectives.autoencoding"
    family: ClassVar[str] = "autoencoding"
    beta: float = Field(1.0, ge=0)
    looks: int = Field(16, ge=1)

    def draws(self, nets: Nets, batch: Batch, turn: str, noise: Noise) -> Draws:
        """e: standard normal, of the latent's shape."""
        return {"e": noise.normal(0, coder(nets).latent)}

    def loss(self, nets: Nets, batch: Batch, draws: Draws, turn: str) -> tuple[Tensor, Metrics]:
        """Mean over cells; logs what x and what the code cost, and the error of x."""
        net, x = coder(nets), batch.x.float()
        z, cost = net.bottleneck(net.encode(x), last(draws["e"]))
        said = net.decode(z)
        nats = nats_of(x, said, net.spread, net.space.grain).flatten(1).mean(1)
        weight = torch.ones_like(nats) if batch.weight is None else batch.weight
        cost = cost / net.space.cells
        loss = ((nats + self.beta * cost) * weight).mean()
        error = (said - x).square().mean()
        return loss, {
            "loss": loss.detach(),
            "x": nats.mean().detach(),
            "code": cost.mean().detach(),
            "error": error.detach(),
        }

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
            mean, logs = found
            weights = []
            for look in range(self.looks):
                e = last(noise.normal(look, net.latent)).to(mean)
                z = mean + (0.5 * logs).exp() * e
                ratio = 0.5 * (e.square() + logs - z.square()).flatten(1).sum(1)  # log p(z) - log q(z | x)
                weights.append(ratio - nats_of(x, net.decode(z), net.spread, net.space.grain).flatten(1).sum(1))
        each = torch.stack(weights).double()
        total = each.logsumexp(0)
        share = (each - total).exp() * self.looks  # of the mean weight
        error = share.std(0) / math.sqrt(self.looks) if self.looks > 1 else None
        return LogProb(total - math.log(self.looks), exact=False, error=error, bound=True)


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
