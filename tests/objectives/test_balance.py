"""Each term pulls with its asked share, whatever its unit, and at one sample as if there were no other."""

import pytest
import torch
from torch import nn

from genus.objectives.balance import Term, balanced, lengths


def problem(seed=0, batch=5):
    """What a decoder said, the anchor's terms, and two functions of it in other units."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, 2, 3, 3, generator=draw).requires_grad_()
    aims = torch.randn(3, batch, 2, 3, 3, generator=draw)
    each = [(x - aim).square().flatten(1).mean(1) for aim in aims]
    return x, each


def slopes(x, each):
    return torch.autograd.grad(each.sum(), x, retain_graph=True)[0]


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_each_term_gets_its_share_whatever_its_scale(scale):
    x, (anchor, a, b) = problem()
    one, two = Term("one", scale * a, 0.5), Term("two", b / scale, 0.25)
    own = slopes(x, anchor)
    pulls = [slopes(x, balanced(x, anchor, terms)) - own for terms in ([one], [two])]
    torch.testing.assert_close(lengths(pulls[0]), 0.5 * lengths(own))
    torch.testing.assert_close(lengths(pulls[1]), 0.25 * lengths(own))
    for pull, alone in zip(pulls, (slopes(x, a), slopes(x, b)), strict=True):  # and in its own direction
        torch.testing.assert_close(pull / lengths(pull).view(-1, 1, 1, 1), alone / lengths(alone).view(-1, 1, 1, 1))
    torch.testing.assert_close(slopes(x, balanced(x, anchor, [one, two])), own + pulls[0] + pulls[1])


def test_it_has_the_anchors_value_and_without_terms_is_the_anchor():
    x, (anchor, a, _) = problem()
    torch.testing.assert_close(balanced(x, anchor, [Term("a", 1e3 * a, 2.0)]), anchor)
    assert balanced(x, anchor, []) is anchor


def test_a_term_that_pulls_nowhere_is_left_out():
    x, (anchor, a, _) = problem()
    flat = Term("flat", 0 * a, 1.0)
    torch.testing.assert_close(slopes(x, balanced(x, anchor, [flat])), slopes(x, anchor))


def test_a_sample_knows_no_other():
    def pull(x):
        anchor, a = (f(x).flatten(1).mean(1) for f in (torch.square, torch.sin))
        return slopes(x, balanced(x, anchor, [Term("a", a, 0.7)]))

    x, _ = problem()
    torch.testing.assert_close(pull(x.detach()[1:3].requires_grad_()), pull(x)[1:3])


def test_gradients_reach_what_lies_before_x_and_not_the_terms_weights():
    torch.manual_seed(0)
    maker, judge, z = nn.Linear(4, 6), nn.Linear(6, 1), torch.randn(3, 4)
    x = maker(z)
    anchor = x.square().mean(1)
    balanced(x, anchor, [Term("judge", judge(x)[:, 0], 0.5)]).sum().backward()
    assert judge.weight.grad is None and bool((maker.weight.grad != 0).all())
