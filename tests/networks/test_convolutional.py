"""Shapes on 1 to 3 axes and odd sizes, the three roads, and what must not leak."""

from itertools import pairwise

import pytest
import torch

from genus.core import Cond, Roads, Space
from genus.errors import UsageError
from genus.networks.convolutional import ConvolutionalConfig, convolve, gather, spread

SMALL = ConvolutionalConfig(widths=(8, 16), down=(1, 2), up=(1, 0), head=8, attention=1, patch=2)


def built(dims, config=SMALL, roads=Roads(), channels=2):
    torch.manual_seed(0)
    net = config.build(Space(dims, channels), roads)
    for p in net.parameters():  # zeros would hide a broken road
        torch.nn.init.normal_(p, std=0.1)
    return net


@pytest.mark.parametrize("dims", [(8,), (13,), (8, 8), (7, 5), (4, 4, 4), (3, 6, 5)])
@pytest.mark.parametrize("patch", [1, 2])
def test_any_axes_and_odd_sizes(dims, patch):
    net = built(dims, SMALL.but(patch=patch))
    x = torch.randn(3, 2, *dims)
    y = net(x, torch.rand(3))
    assert y.shape == x.shape
    assert y.dtype == torch.float32
    assert y.std() > 0


def test_another_size_than_it_was_built_for():
    assert built((8, 8))(torch.randn(1, 2, 10, 6), torch.rand(1)).shape == (1, 2, 10, 6)


@pytest.mark.parametrize("dims", [(6,), (6, 4), (2, 6, 4)])
def test_gather_and_spread_are_inverse(dims):
    x = torch.randn(2, *dims, 3)
    y = gather(x, 2)
    assert y.shape == (2, *(d // 2 for d in dims), 3 * 2 ** len(dims))
    assert torch.equal(spread(y, 2), x)
    corner = y[(0, *(0,) * len(dims))][:6]  # the first two neighbours along the last axis
    assert torch.equal(corner, x[(0, *(0,) * (len(dims) - 1))][:2].flatten())


def test_one_axis_equals_torch():
    x, w = torch.randn(2, 7, 3), torch.randn(4, 3, 3)
    expected = torch.nn.functional.conv1d(x.mT, w, padding=1).mT
    torch.testing.assert_close(convolve(x, w), expected)


def test_it_starts_by_saying_nothing():
    net = SMALL.build(Space((8, 8), 2), Roads())
    assert not net(torch.randn(2, 2, 8, 8), torch.rand(2)).any()


def test_samples_do_not_see_each_other():
    net, x, t = built((8, 8)), torch.randn(4, 2, 8, 8), torch.rand(4)
    torch.testing.assert_close(net(x, t)[2:3], net(x[2:3], t[2:3]), atol=1e-5, rtol=1e-5)


def test_time_and_every_road_change_the_output():
    net = built((8, 8), roads=Roads(vector=5, grid=1))
    x, t = torch.randn(2, 2, 8, 8), torch.tensor([0.1, 0.2])
    cond = Cond(vector=torch.randn(2, 5), grid=torch.randn(2, 1, 8, 8))
    y = net(x, t, cond)
    assert not torch.allclose(y, net(x, t + 0.5, cond))
    assert not torch.allclose(y, net(x, t, Cond(vector=-cond.vector, grid=cond.grid)))
    assert not torch.allclose(y, net(x, t, Cond(vector=cond.vector, grid=-cond.grid)))


def test_missing_roads_are_said():
    net = built((8, 8), roads=Roads(vector=5))
    with pytest.raises(UsageError, match="vector"):
        net(torch.randn(2, 2, 8, 8), torch.rand(2))
    with pytest.raises(UsageError, match="no t"):
        built((8, 8))(torch.randn(2, 2, 8, 8))
    with pytest.raises(UsageError, match="grid"):
        built((8, 8))(torch.randn(2, 2, 8, 8), torch.rand(2), Cond(grid=torch.randn(2, 1, 8, 8)))


@pytest.mark.parametrize(
    ("config", "space", "roads"),
    [
        (SMALL, Space((8,), 1, 7), Roads()),
        (SMALL, Space((), 2), Roads()),
        (SMALL.but(attention=0), Space((8, 8), 1), Roads(tokens=4)),
    ],
)
def test_what_it_does_not_serve_is_refused_when_built(config, space, roads):
    with pytest.raises(UsageError):
        config.build(space, roads)


def test_the_dial_gives_a_ladder():
    sizes = []
    for dial in (1, 2, 4, 6, 8):
        net = ConvolutionalConfig().sized(dial).build(Space((8, 8), 1), Roads())
        sizes.append(sum(p.numel() for p in net.parameters()))
    assert all(b > 1.3 * a for a, b in pairwise(sizes))


def test_pictures_come_in_as_patches_when_they_are_large():
    for side, patch in ((28, 1), (32, 1), (64, 2), (128, 4)):
        assert SMALL.but(patch=None).build(Space((side, side), 1), Roads()).patch == patch


def test_layers_do_not_meet_on_equal_sizes_only():
    with pytest.raises(UsageError, match="one entry a scale"):
        SMALL.but(widths=(8, 16, 16))


def test_bfloat16_stays_near_float32():
    net, x, t = built((8, 8)), torch.randn(4, 2, 8, 8), torch.rand(4)
    wide = net(x, t)
    assert (net.bfloat16()(x, t) - wide).norm() / wide.norm() < 0.05
