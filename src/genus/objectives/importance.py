"""The importance-weighted bound: log p(x) is at least the mean log of the mean weight of several codes.

    w = p(x | z) p(z) / q(z | x), z ~ q(z | x);    log p(x) >= E log mean w

With one code that is the usual bound; with more it rises to log p(x) (Burda et al. 2015, arXiv 1509.00519). q is
Gaussian, p(z) the standard normal; codes are [B, *dims, C]. Knows no network and no p(x | z).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

Gaussian = tuple[Tensor, Tensor]  # mean, log variance


def at(posterior: Gaussian, e: Tensor) -> Tensor:
    """z of standard normal e."""
    mean, logs = posterior
    return mean + (0.5 * logs).exp() * e


def log_ratio(posterior: Gaussian, e: Tensor) -> Tensor:
    """[B]: log p(z) - log q(z | x) at the z of e."""
    return 0.5 * (e.square() + posterior[1] - at(posterior, e).square()).flatten(1).sum(1)


def divergence(posterior: Gaussian) -> Tensor:
    """[B]: of q from the prior, in nats: what `log_ratio` takes away in the mean."""
    mean, logs = posterior
    return 0.5 * (mean.square() + logs.exp() - 1 - logs).flatten(1).sum(1)


def log_mean(weights: Sequence[Tensor]) -> Tensor:
    """[B]: the log of the mean weight, of log weights [B] each."""
    return torch.stack(list(weights)).logsumexp(0) - math.log(len(weights))
