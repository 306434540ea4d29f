"""A mixture of known density on the plane, a small network for it, and a measure that tells two clouds apart."""

import math

import torch
from torch import nn

from genus.core import Batch, Cond, Network, Noise, Space

PLANE = Space((), 2)
CENTRES = torch.tensor([[1.0, 0.0], [-0.5, 0.9], [-0.5, -0.9]])
SHARES, SPREAD = (0.6, 0.2, 0.2), 0.12


class Small(Network):
    """A perceptron on the plane; `fine` sees waves of the place too, and so draws edges sooner."""

    def __init__(self, fine=False):
        super().__init__()
        self.space, self.fine = PLANE, fine
        self.layers = nn.Sequential(
            nn.Linear(16 if fine else 8, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 2)
        )

    def forward(self, x, t=None, cond=Cond(), state=None):
        t = t[:, None]
        times = [f(k * math.pi * t) for k in (1, 2) for f in (torch.sin, torch.cos)]
        return self.layers(torch.cat([crossed(x) if self.fine else x, t, t.square(), *times], dim=1))


def mixture(seed, number):
    """[number, 2] of the mixture."""
    generator = torch.Generator().manual_seed(seed)
    which = torch.multinomial(torch.tensor(SHARES), number, replacement=True, generator=generator)
    return CENTRES[which] + SPREAD * torch.randn(number, 2, generator=generator)


def checkerboard(seed, number):
    """[number, 2], even over the eight dark squares of four by four in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    row, half = torch.randint(4, (number,), generator=generator), torch.randint(2, (number,), generator=generator)
    squares = torch.stack([2 * half + row % 2, row], dim=1)
    return (squares + torch.rand(number, 2, generator=generator)) / 2 - 1


def told_apart(a, b):
    """Share of both that the nearest other item tells the side of: near 0.5 if they are alike, else more (C2ST).

    Lopez-Paz and Oquab 2017, arXiv 1610.06545, with one nearest neighbour.
    """
    x, side = torch.cat([a, b]), torch.arange(len(a) + len(b)) >= len(a)
    far = torch.cdist(x, x).fill_diagonal_(math.inf)
    return float((side[far.argmin(1)] == side).float().mean())


def energy(a, b):
    """Energy distance; 0 if and only if the distributions are the same."""
    return float(2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean())


def trained(flow, steps=800, batch=256, pool=8192, drawn=mixture, fine=False):
    torch.manual_seed(0)
    nets, data = nn.ModuleDict({"net": Small(fine)}), Batch(drawn(1, pool))
    draws = flow.draws(nets, data, "main", Noise(2, tuple(range(pool))))
    optimiser = torch.optim.Adam(nets.parameters(), lr=4e-3)
    for step in range(steps):
        rows, others = torch.randint(pool, (batch,)), torch.randint(pool, (batch,))  # new pairs, from a pool
        loss, _ = flow.loss(nets, Batch(data.x[others]), {k: v[rows] for k, v in draws.items()}, "main")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        for group in optimiser.param_groups:
            group["lr"] = 4e-3 * (1 - step / steps)
    return nets


LATTICE = torch.cartesian_prod(torch.arange(-2.0, 3), torch.arange(-2.0, 3))  # 25 centres


def lattice(seed, number, spread=0.08):
    """[number, 2] of 25 Gaussians of equal weight."""
    generator = torch.Generator().manual_seed(seed)
    return LATTICE[torch.randint(25, (number,), generator=generator)] + spread * torch.randn(
        number, 2, generator=generator
    )


def covered(x, within=0.3, least=0.004):
    """How many of the 25 have at least that share of the samples near them; and the share that is near any."""
    distance, which = torch.cdist(x, LATTICE).min(1)
    near = distance < within
    return int((torch.bincount(which[near], minlength=25) >= least * len(x)).sum()), float(near.float().mean())


def waves(x):
    return torch.cat([x, torch.sin(2 * math.pi * x), torch.cos(2 * math.pi * x)], dim=1)


def crossed(x):
    """The waves, and those of one axis times those of the other."""
    return torch.cat([waves(x), (waves(x)[:, 2::2, None] * waves(x)[:, None, 3::2]).flatten(1)], dim=1)


class Maker(Network):
    """A generator of the plane: style [B, 2] is a map of z [B, 2]; `plain` has no waves and must learn all steps."""

    latent = 2

    def __init__(self, plain=False):
        super().__init__()
        self.space, self.plain = PLANE, plain
        self.enter = nn.Linear(2, 2)
        with torch.no_grad():
            self.enter.weight.copy_(1.5 * torch.eye(2))
        self.layers = nn.Sequential(
            nn.Linear(6, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 2)
        )

    def mapping(self, z, cond=Cond()):
        return self.enter(z)

    def synthesis(self, w):
        return self.layers(w.repeat(1, 3)) if self.plain else w + self.layers(waves(w))

    def forward(self, x, t=None, cond=Cond(), state=None):
        return self.synthesis(self.mapping(x, cond))


class Judge(Network):
    """A critic of the plane: x [B, 2] -> [B]."""

    def __init__(self, smooth=False):
        super().__init__()
        self.space = PLANE
        bend = nn.Tanh if smooth else lambda: nn.LeakyReLU(0.2)
        self.layers = nn.Sequential(nn.Linear(6, 64), bend(), nn.Linear(64, 64), bend(), nn.Linear(64, 1))

    def forward(self, x, t=None, cond=Cond(), state=None):
        return self.layers(waves(x))[:, 0]


def played(objective, steps, plain=False, batch=96, rate=5e-3, pool=4096):
    """2500 samples of the averaged generator after so many steps on the lattice."""
    torch.manual_seed(0)
    nets = nn.ModuleDict({"generator": Maker(plain), "critic": Judge()})
    average = Maker(plain)
    average.load_state_dict(nets["generator"].state_dict())
    optimisers = {name: torch.optim.Adam(net.parameters(), rate, (0.0, 0.99)) for name, net in nets.items()}
    data, noise = Batch(lattice(1, pool)), Noise(1, tuple(range(pool)))
    draws = {turn.name: objective.draws(nets, data, turn.name, noise)["z"] for turn in objective.turns}
    for step in range(steps):
        for turn in objective.turns:
            for name, net in nets.items():
                net.requires_grad_(name in turn.trains)
            rows, others = torch.randint(pool, (batch,)), torch.randint(pool, (batch,))  # new pairs, from a pool
            loss, _ = objective.loss(nets, Batch(data.x[rows]), {"z": draws[turn.name][others]}, turn.name)
            optimiser = optimisers[turn.trains[0]]
            optimiser.zero_grad()
            loss.backward()
            optimiser.param_groups[0]["lr"] = rate * min(1, 2 - 2 * step / steps)
            optimiser.step()
        with torch.no_grad():
            for a, b in zip(average.parameters(), nets["generator"].parameters(), strict=True):
                a.lerp_(b, min(1, 10 / (step + 1)))
    with torch.no_grad():
        return average(Noise(2, tuple(range(2500))).normal(0, (2,)))
