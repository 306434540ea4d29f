"""Shapes on 1 to 3 axes and odd sizes, styles against their formula, second derivatives, what must not leak."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from genus.core import Cond, Roads, Space
from genus.errors import UsageError
from genus.networks.style import CriticConfig, GeneratorConfig, Modulated, differences

MAKER, CRITIC = GeneratorConfig(latent=4, style=6, width=4), CriticConfig(width=4, features=8)
SHAPES = [(8,), (13,), (8, 8), (7, 5), (28, 28), (4, 4, 4), (3, 6, 5)]


def built(config, dims, roads=Roads(), channels=2):
    torch.manual_seed(0)
    net = config.build(Space(dims, channels), roads)
    for p in net.parameters():  # zeros would hide a broken road
        if not p.any():
            torch.nn.init.normal_(p, std=0.1)
    return net


@pytest.mark.parametrize("dims", SHAPES)
@pytest.mark.parametrize("patch", [1, 2])
def test_any_axes_and_odd_sizes(dims, patch):
    x = built(MAKER.but(patch=patch), dims)(torch.randn(3, 4))
    assert x.shape == (3, 2, *dims) and x.dtype == torch.float32
    assert (x.std(0) > 1e-4).all()  # every cell is drawn, and depends on z
    said = built(CRITIC.but(patch=patch), dims)(x)
    assert said.shape == (3,) and said.dtype == torch.float32 and said.std() > 0


@pytest.mark.parametrize("dims", SHAPES)
def test_the_critic_reads_every_cell(dims):
    x = torch.randn(1, 2, *dims).requires_grad_()
    built(CRITIC.but(patch=2), dims)(x).sum().backward()
    assert (x.grad != 0).all()


def test_pictures_are_drawn_in_patches_when_they_are_large():
    for side, patch in ((8, 1), (28, 2), (32, 2), (64, 3)):
        for config in (MAKER, CRITIC):
            assert config.build(Space((side, side), 1)).patch == patch
    assert built(MAKER, (64, 64))(torch.randn(1, 4)).shape == (1, 2, 64, 64)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_a_style_is_a_set_of_weights_for_each_sample(axes):
    """Scaled and demodulated weights, sample by sample, as the paper writes them."""
    torch.manual_seed(0)
    layer = Modulated(6, 4, 5, axes)
    x, w = torch.randn(3, *(5,) * axes, 4), torch.randn(3, 6)
    y = layer(x, w)
    convolution = (F.conv1d, F.conv2d, F.conv3d)[axes - 1]
    for i in range(3):
        scale = F.linear(w[i], layer.scale.weight, layer.scale.bias)
        weights = layer.weight * scale.view(1, -1, *(1,) * axes)
        weights = weights / (weights.flatten(1).square().sum(1) + 1e-8).sqrt().view(-1, 1, *(1,) * axes)
        said = convolution(x[i : i + 1].movedim(-1, 1), weights, layer.bias, padding=1)
        torch.testing.assert_close(F.leaky_relu(said, 0.2).movedim(1, -1), y[i : i + 1], rtol=1e-4, atol=1e-5)


def test_samples_do_not_see_each_other():
    z, vectors = torch.randn(64, 4), torch.randn(64, 3)
    for config, x in ((MAKER, z), (CRITIC, torch.randn(64, 2, 8, 8))):
        net = built(config, (8, 8), Roads(vector=3))
        many, alone = net(x, cond=Cond(vector=vectors)), net(x[9:10], cond=Cond(vector=vectors[9:10]))
        torch.testing.assert_close(alone, many[9:10], rtol=1e-4, atol=1e-5)


def test_the_condition_changes_what_is_made_and_what_is_said():
    cond, other = (Cond(vector=torch.randn(2, 3)) for _ in range(2))
    for config, x in ((MAKER, torch.randn(2, 4)), (CRITIC, torch.randn(2, 2, 8, 8))):
        net = built(config, (8, 8), Roads(vector=3))
        assert not torch.allclose(net(x, cond=cond), net(x, cond=other))
        with pytest.raises(UsageError, match="built for a condition vector and was given none"):
            net(x)
        with pytest.raises(UsageError, match="built for no condition vector and was given one"):
            built(config, (8, 8))(x, cond=cond)


def test_the_size_of_z_is_heard():
    """A sampler's temperature: styles of a smaller z lie nearer to that of none."""
    net, z = built(MAKER, (8, 8)), torch.randn(200, 4)
    centre = net.mapping(torch.zeros(1, 4))
    far, near = ((net.mapping(scale * z) - centre).norm(dim=1).mean() for scale in (1.0, 0.3))
    assert near < 0.5 * far


@pytest.mark.parametrize("dims", [(6,), (6, 5), (3, 4, 2)])
def test_the_critic_can_be_differentiated_twice(dims):
    net = built(CRITIC.but(width=2, features=3), dims, channels=1).double()
    x = torch.randn(1, 1, *dims, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(net, (x,), (torch.ones(1, dtype=torch.float64),))


def test_groups_see_how_much_they_differ():
    net, x = built(CRITIC.but(group=4), (8, 8)), torch.randn(8, 2, 8, 8)
    torch.testing.assert_close(net(x), torch.cat([net(x[:4]), net(x[4:])]))  # 8 are 2 x 4
    same = x[:1].expand(4, -1, -1, -1)
    assert not torch.allclose(net(same)[0], net(torch.cat([same[:1], x[5:]]))[0])
    spread = differences(torch.stack([torch.zeros(3, 3, 2), torch.full((3, 3, 2), 2.0)] * 2 + [torch.ones(3, 3, 2)]), 4)
    torch.testing.assert_close(spread[:4], torch.ones(4, 3, 3, 1), atol=1e-3, rtol=0)
    assert spread.shape == (5, 3, 3, 1) and spread[4].max() < 1e-3
    assert net(x[:1]).isfinite().all()


@pytest.mark.parametrize(
    ("space", "roads"),
    [
        (Space((8,), 1, 7), Roads()),
        (Space((), 2), Roads()),
        (Space((8, 8), 1), Roads(tokens=4)),
        (Space((8, 8), 1), Roads(grid=1)),
    ],
)
def test_what_they_do_not_serve_is_refused_when_built(space, roads):
    for config in (MAKER, CRITIC):
        with pytest.raises(UsageError):
            config.build(space, roads)


@pytest.mark.parametrize("config", [GeneratorConfig(), CriticConfig()])
def test_the_dial_gives_a_ladder(config):
    nets = [config.sized(dial).build(Space((28, 28), 1)) for dial in (1, 2, 3, 4, 6)]
    sizes = [sum(p.numel() for p in net.parameters()) for net in nets]
    assert all(b > 1.3 * a for a, b in pairwise(sizes))
    with pytest.raises(UsageError, match="starts at 1"):
        config.sized(0)


def test_bfloat16_stays_near_float32():
    """What is made, what is said, and the slope that a penalty squares."""
    z, x = torch.randn(8, 4), torch.randn(8, 2, 8, 8)
    seen = []
    for kind in (torch.float32, torch.bfloat16):
        maker, critic = built(MAKER, (8, 8)).to(kind), built(CRITIC, (8, 8)).to(kind)
        put = x.clone().requires_grad_()
        said = critic(put)
        (slope,) = torch.autograd.grad(said.sum(), put, create_graph=True)
        slope.flatten(1).square().sum(1).mean().backward()
        seen.append((maker(z), said, slope, critic.enter.grad.float()))
    for wide, narrow in zip(*seen, strict=True):
        assert (narrow - wide).norm() / wide.norm() < 0.05
