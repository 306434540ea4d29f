"""Cells near one: exactly those before it and inside the grid, on any axes; nothing later is ever read."""

import pytest
import torch

from genus.core import Space, behind
from genus.errors import UsageError
from genus.networks.attention import places
from genus.networks.neighbours import Neighbours, looked_up, near, offsets
from genus.networks.transformer import TransformerConfig


def test_offsets_are_half_of_the_cube():
    assert offsets(1, 2).tolist() == [[-2], [-1]]
    assert offsets(2, 1).tolist() == [[-1, -1], [-1, 0], [-1, 1], [0, -1]]
    assert len(offsets(3, 1)) == 13


@pytest.mark.parametrize("dims", [(7,), (4, 5), (3, 2, 4)])
def test_near_is_what_a_search_finds(dims):
    at, found = places(dims).tolist(), near(dims, 2).tolist()
    for n, cell in enumerate(at):
        close = {m for m in range(n) if max(abs(a - b) for a, b in zip(at[m], cell, strict=True)) <= 2}
        assert {m for m in found[n] if m >= 0} == close
    assert near(dims, 2, 3, 4).tolist() == found[3:7]


@pytest.mark.parametrize("dims", [(9,), (4, 5), (3, 2, 4)])
def test_no_gradient_comes_from_later_cells(dims):
    """Of the part alone: output n depends on the inputs up to n, each the cell before; and on those near it."""
    torch.manual_seed(0)
    space = Space(dims, 1, 5)
    part = Neighbours(space, 1, 8, 4)
    n = space.cells
    ids = torch.arange(n + 1)[None, None, :n]  # every input has a row of its own
    part.vocab = n
    part.embed = torch.nn.Embedding(n + 1, 4)
    said = part(ids, dims)[0]
    reads = torch.stack(
        [torch.autograd.grad(row.sum(), part.embed.weight, retain_graph=True)[0].any(1) for row in said]
    )
    reads = reads[:, :n]
    assert not reads.triu(1).any()  # input m is cell m - 1
    expected = torch.zeros(n, n, dtype=torch.bool)
    for cell, row in enumerate(near(dims, 1)):
        expected[cell, row + 1] = True
    assert torch.equal(reads, expected)


@pytest.mark.parametrize("dims", [(9,), (4, 5), (3, 2, 4)])
def test_a_transformer_that_is_told_them_stays_causal(dims):
    torch.manual_seed(0)
    net = TransformerConfig(depth=1, width=32, head=16, near=2).build(Space(dims, 1, 5))
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.3)
    x = torch.randint(0, 5, (1, 1, *dims))
    y = x.flatten().clone()
    y[4] = (y[4] + 1) % 5
    with torch.no_grad():
        one, other = (net(behind(v.view(1, 1, *dims), 5)).flatten(0, -2) for v in (x, y))
    differs = (one != other).any(1).tolist()
    assert differs == [False] * 5 + [True] * (len(differs) - 5)


def test_it_is_for_causal_networks_of_tokens():
    for space, knobs in ((Space((4, 4), 1, 5), {"causal": False}), (Space((4, 4), 1), {})):
        with pytest.raises(UsageError, match="near = 1"):
            TransformerConfig(depth=1, width=32, head=16, near=1, **knobs).build(space)


def test_levels_of_a_scale_begin_as_neighbours():
    torch.manual_seed(0)
    names, levels = (looked_up(Space((4,), 2, 64, grain), 32, 0.5).weight.detach() for grain in (None, 2 / 63))
    step = [(w[1:64] - w[:63]).norm(dim=1).mean() / w.norm(dim=1).mean() for w in (names, levels)]
    assert step[0] > 1.2 and step[1] < 0.6
    assert levels.std() == pytest.approx(0.5, rel=0.15) and levels.shape == (130, 32)
