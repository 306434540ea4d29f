"""The transformer: what it must not depend on (caches, sizes, padding), and what it must (order, time, conditions)."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from genus.core import Cond, Noise, Roads, Space
from genus.errors import UsageError
from genus.networks.attention import Kept, Normal, Relu2, Turned, attend, normal, places, rotary, turn
from genus.networks.transformer import TransformerConfig, cut, joined
from genus.samplers.tokens import Tokens

SMALL = {"depth": 2, "width": 32, "head": 16}


def built(space, roads=Roads(), **knobs):
    """With random weights everywhere: at its start a network is the identity and would pass anything."""
    torch.manual_seed(0)
    net = TransformerConfig(**{**SMALL, **knobs}).build(space, roads)
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.2)
    return net.eval()


@pytest.mark.parametrize("pieces", [[16], [1] * 16, [5, 4, 1, 6]])
@pytest.mark.parametrize("knobs", [{}, {"kv_heads": 1, "gate": "swiglu", "tied": False}])
def test_cached_equals_uncached(pieces, knobs):
    net = built(Space((16,), 1, 11), **knobs)
    x = torch.randint(0, 12, (3, 1, 16))
    with torch.no_grad():
        state = net.start(3, 16)
        parts = [net(part, state=state) for part in x.split(pieces, dim=2)]
        torch.testing.assert_close(torch.cat(parts, 2), net(x), atol=1e-4, rtol=1e-4)


def test_cached_equals_uncached_on_a_grid_with_every_road():
    net = built(Space((4, 5), 3, 11), Roads(vector=7, tokens=9, grid=2))
    cond = Cond(torch.randn(2, 7), torch.randn(2, 6, 9), torch.randn(2, 2, 4, 5))
    x = torch.randint(0, 12, (2, 3, 4, 5))
    with torch.no_grad():
        whole = net(x, cond=cond)
        state = net.start(2, 4)
        parts = [net(part, cond=cond, state=state) for part in x.flatten(2).split(3, dim=2)]
    assert whole.shape == (2, 3, 4, 5, 11)
    torch.testing.assert_close(torch.cat(parts, 2), whole.flatten(2, 3), atol=1e-4, rtol=1e-4)


def told(way, **knobs):
    """A causal network of a grid, told tokens in one sequence with its cells, by vector too; and what it is told."""
    net = built(Space((4, 5), 1, 11), Roads(vector=7, tokens=9), told=way, **knobs)
    tokens = torch.randn(3, 6, 9)
    tokens[1, 2:] = 0
    return net, Cond(torch.randn(3, 7), tokens), torch.randint(0, 12, (3, 1, 4, 5))


@pytest.mark.parametrize("way", ["prefix", "joint"])
@pytest.mark.parametrize("knobs", [{}, {"near": 1, "kv_heads": 1}])
def test_cached_equals_uncached_behind_tokens(way, knobs):
    net, cond, x = told(way, **knobs)
    with torch.no_grad():
        whole, state = net(x, cond=cond), net.start(3, 4)
        parts = [net(part, cond=cond, state=state) for part in x.flatten(2).split([1, 6, 1, 12], dim=2)]
    torch.testing.assert_close(torch.cat(parts, 2), whole.flatten(2, 3), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("way", ["cross", "prefix", "joint"])
@pytest.mark.parametrize("causal", [True, False])
def test_padding_is_not_heard(way, causal):
    """A sample's padded tokens, and how many there are, change nothing; what its tokens say does."""
    net, cond, x = told(way, causal=causal)
    more = Cond(cond.vector, F.pad(cond.tokens, (0, 0, 0, 5)))
    less = Cond(cond.vector[1:2], cond.tokens[1:2, :2])
    other = cond.tokens.clone()
    other[:, 0] += 1
    for mode in (torch.no_grad, torch.enable_grad):
        with mode():
            said = net(x, cond=cond)
            torch.testing.assert_close(net(x, cond=more), said, atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(net(x[1:2], cond=less), said[1:2], atol=1e-4, rtol=1e-4)
            first = (net(x, cond=Cond(cond.vector, other)) - said).abs().flatten(1).amax(1)
            assert (first > 1e-3).all()


@pytest.mark.parametrize("way", ["prefix", "joint"])
def test_cells_behind_tokens_see_only_those_before_them(way):
    net, cond, x = told(way)
    y = x.clone()
    y[0, 0, 1, 2] = (y[0, 0, 1, 2] + 1) % 11  # cell 7 in raster order
    with torch.no_grad():
        differs = (net(x, cond=cond) != net(y, cond=cond)).any(-1).flatten(1)
    assert differs[0].tolist() == [False] * 7 + [True] * 13 and not differs[1:].any()


@pytest.mark.parametrize("way", ["prefix", "joint"])
def test_a_sample_behind_tokens_is_the_same_alone(way):
    net, cond, _ = told(way, near=1)
    many = Tokens(ends=False)(net, net.space, cond, Noise(5, (0, 1, 2)))
    for i in range(3):
        alone = Tokens(ends=False)(net, net.space, cond.map(lambda v, i=i: v[i : i + 1]), Noise(5, (i,)))
        assert torch.equal(alone[0], many[i])


def test_joint_weights_are_those_of_the_tokens():
    """Text and picture attend to each other, each under its own weights: every one of them learns."""
    torch.manual_seed(0)
    roads = Roads(vector=7, tokens=9)
    net = TransformerConfig(**SMALL, causal=False, timed=True, told="joint").build(Space((4, 4), 2), roads)
    shared = TransformerConfig(**SMALL, causal=False, timed=True, told="prefix").build(Space((4, 4), 2), roads)
    numbers = [sum(p.numel() for p in n.blocks.parameters()) for n in (shared, net)]
    qkv = net.blocks[0].qkv.weight.numel()
    last = numbers[0] // 2 - qkv  # of a layer, without what is asked: the last layer's tokens have no output
    assert numbers[1] == 2 * numbers[0] - last
    optimiser = torch.optim.SGD(net.parameters(), 0.5)
    cond, x, t = Cond(torch.randn(4, 7), torch.randn(4, 3, 9)), torch.randn(4, 2, 4, 4), torch.rand(4)
    for _ in range(4):
        optimiser.zero_grad()
        (net(x, t, cond) - x.flip(0)).square().mean().backward()
        optimiser.step()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_a_cell_sees_only_those_before_it():
    net = built(Space((3, 4), 2, 11))
    x = torch.randint(0, 11, (1, 2, 3, 4))
    y = x.clone()
    y[0, 1, 1, 2] = (y[0, 1, 1, 2] + 1) % 11  # cell 6 in raster order
    with torch.no_grad():
        differs = (net(x) != net(y)).flatten(2, 3).any(-1).any(1)[0]
    assert differs.tolist() == [False] * 6 + [True] * 6


def test_training_and_reading_use_different_kernels_and_agree():
    net = built(Space((16,), 1, 11), kv_heads=1)
    x = torch.randint(0, 12, (3, 1, 16))
    with torch.no_grad():
        read = net(x)
    torch.testing.assert_close(net(x).detach(), read, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dims", [(9,), (8, 6), (5, 7), (4, 5, 3)])
def test_any_size_on_any_number_of_axes(dims):
    net = built(Space((2,) * len(dims), 3), Roads(vector=4, grid=1), causal=False, patch=2, timed=True)
    cond = Cond(vector=torch.randn(2, 4), grid=torch.randn(2, 1, *dims))
    assert net(torch.randn(2, 3, *dims), torch.rand(2), cond).shape == (2, 3, *dims)
    x = torch.randn(2, 3, *dims)
    assert torch.equal(joined(cut(x, 2), 2, tuple(math.ceil(d / 2) for d in dims), dims), x)


def test_every_condition_changes_the_output_and_so_does_the_order_of_tokens():
    net = built(Space((4, 4), 1), Roads(vector=3, tokens=5, grid=2), causal=False, timed=True)
    x, t = torch.randn(2, 1, 4, 4), torch.rand(2)
    cond = Cond(torch.randn(2, 3), torch.randn(2, 6, 5), torch.randn(2, 2, 4, 4))
    with torch.no_grad():
        first = net(x, t, cond)
        others = [
            net(x, t + 0.1, cond),
            net(x, t, Cond(cond.vector + 1, cond.tokens, cond.grid)),
            net(x, t, Cond(cond.vector, cond.tokens.flip(1), cond.grid)),
            net(x, t, Cond(cond.vector, cond.tokens, cond.grid + 1)),
        ]
    assert all((first - other).abs().max() > 1e-3 for other in others)


def test_what_a_network_was_built_for_it_must_be_given():
    net = built(Space((4, 4), 1), Roads(vector=3, tokens=5, grid=2), timed=True)
    x, t = torch.randn(1, 1, 4, 4), torch.rand(1)
    vector, tokens, grid = torch.randn(1, 3), torch.randn(1, 2, 5), torch.randn(1, 2, 4, 4)
    for time, cond, word in (
        (None, Cond(vector, tokens, grid), "no t"),
        (t, Cond(None, tokens, grid), "vector"),
        (t, Cond(vector, None, grid), "tokens"),
        (t, Cond(vector, tokens), "grid"),
    ):
        with pytest.raises(UsageError, match=word):
            net(x, time, cond)
    with pytest.raises(UsageError, match="divisor"):
        built(Space((4,), 1, 5), kv_heads=3)
    with pytest.raises(UsageError, match="patch"):
        built(Space((4,), 1, 5), patch=2)


@pytest.mark.parametrize("dims", [(12,), (4, 3), (3, 2, 2)])
def test_rotary_scores_depend_on_the_offset_alone(dims):
    where = places(dims)
    moved = where + torch.tensor([5, 2, 7][: len(dims)])
    q, k = torch.randn(2, 1, len(where), 1, 24)
    near, far = (torch.einsum("bnhd,bmhd->nm", turn(q, rotary(w, 24)), turn(k, rotary(w, 24))) for w in (where, moved))
    torch.testing.assert_close(near, far, atol=1e-4, rtol=1e-4)
    assert (near - torch.einsum("bnhd,bmhd->nm", normal(q), normal(k))).abs().max() > 0.1  # and they do depend on it


def test_places_in_raster_order():
    assert places((2, 3)).tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    assert places((2, 3), 4, 3).tolist() == [[1, 1], [1, 2], [2, 0]]


def test_backward_passes_of_our_own_are_those_of_autograd():
    torch.manual_seed(0)
    cos, sin = rotary(places((5,)), 8)

    def rotated(x):
        a, b = x.chunk(2, -1)
        c, s = cos[..., :4], sin[..., 4:]
        return torch.cat([a * c - b * s, a * s + b * c], -1)

    bias = torch.zeros(2, 1, 300).masked_fill(torch.rand(2, 1, 300) < 0.3, -1e9)
    bias[:, :, 0] = 0
    later = torch.full((300, 300), -1e9).triu(1)
    pairs = [
        (Normal.apply, lambda x: F.rms_norm(x, x.shape[-1:], eps=0), [(2, 5, 8)]),
        (lambda x: Turned.apply(x, cos, sin), rotated, [(2, 5, 3, 8)]),
        (Relu2.apply, lambda x: F.relu(x).square(), [(2, 5, 8)]),
        (
            lambda q, k, v: Kept.apply(q, k, v, True),
            lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
            [(2, 5, 8)] * 3,
        ),
        (
            lambda q, k, v: Kept.apply(q, k, v, False),
            F.scaled_dot_product_attention,
            [(2, 5, 8), (2, 3, 8), (2, 3, 8)],
        ),
        (  # more queries than are worked out at once
            lambda q, k, v: Kept.apply(q, k, v, True, bias),
            lambda q, k, v: F.scaled_dot_product_attention(q, k, v, bias + later),
            [(2, 300, 8)] * 3,
        ),
        (
            lambda q, k, v: Kept.apply(q, k, v, False, bias[:, :, :200]),
            lambda q, k, v: F.scaled_dot_product_attention(q, k, v, bias[:, :, :200]),
            [(2, 300, 8), (2, 200, 8), (2, 200, 8)],
        ),
    ]
    for own, known, shapes in pairs:
        inputs = [torch.randn(s, requires_grad=True) for s in shapes]
        y = known(*inputs)
        g = torch.randn_like(y)
        torch.testing.assert_close(own(*inputs), y, atol=1e-5, rtol=1e-5)
        for mine, theirs in zip(
            torch.autograd.grad(own(*inputs), inputs, g), torch.autograd.grad(y, inputs, g), strict=True
        ):
            torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)


def test_grouped_queries_share_keys():
    q, k, v = torch.randn(2, 5, 4, 8), torch.randn(2, 5, 2, 8), torch.randn(2, 5, 2, 8)
    each = [attend(q[:, :, [h]], k[:, :, [h // 2]], v[:, :, [h // 2]], causal=True) for h in range(4)]
    torch.testing.assert_close(attend(q, k, v, causal=True), torch.cat(each, 2))


def test_a_block_starts_as_the_identity_and_every_weight_learns():
    torch.manual_seed(0)
    space = Space((8,), 1, 11)
    net = TransformerConfig(**SMALL, dropout=0.5).build(space, Roads(vector=3))
    x, cond = torch.randint(0, 11, (4, 1, 8)), Cond(vector=torch.randn(4, 3))
    with torch.no_grad():
        bare = F.linear(normal(normal(net.embed(x[:, 0]))), net.embed.weight[:11])
    torch.testing.assert_close(net(x, cond=cond)[:, 0], bare)
    optimiser = torch.optim.SGD(net.parameters(), 0.5)
    for _ in range(3):
        optimiser.zero_grad()
        F.cross_entropy(net(x, cond=cond).flatten(0, 2), x.roll(-1, 2).flatten()).backward()
        optimiser.step()
    dead = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert dead == []


def test_the_dial_is_a_ladder():
    with torch.device("meta"):
        sizes = [
            sum(p.numel() for p in TransformerConfig().sized(dial).build(Space((8,), 1, 65), Roads()).parameters())
            for dial in range(2, 26)
        ]
    assert sizes[0] < 110_000 and sizes[-1] > 95e6
    assert all(1.05 < b / a < 2.4 for a, b in itertools.pairwise(sizes))
