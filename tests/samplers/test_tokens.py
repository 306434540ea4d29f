"""Tokens: filters by their definitions, draws by chi-square, and a sample that is the same alone or among 64."""

import itertools
import math

import pytest
import torch

from genus.core import Cond, Known, Network, Noise, Roads, Space
from genus.errors import UsageError
from genus.networks.transformer import TransformerConfig
from genus.samplers.filters import filtered
from genus.samplers.tokens import Tokens


def built(space, seed=0):
    torch.manual_seed(seed)
    net = TransformerConfig(depth=2, width=32, head=16).build(space, Roads())
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return net.eval()


class Fixed(Network):
    """The same logits everywhere; counts the cells it is given."""

    def __init__(self, space, logits):
        super().__init__()
        self.space, self.logits, self.seen = space, torch.as_tensor(logits), []

    def forward(self, x, t=None, cond=Cond(), state=None):
        self.seen.append(x)
        return self.logits.expand(*x.shape, -1)


def test_filters_by_their_definitions():
    p = torch.tensor([0.4, 0.3, 0.15, 0.1, 0.05])
    kept = lambda **knobs: filtered(p.log(), **{"temperature": 1, "top_k": None, "top_p": 1, "min_p": 0, **knobs})  # noqa: E731
    ids = lambda logits: [i for i, v in enumerate(logits.tolist()) if v > -math.inf]  # noqa: E731
    assert ids(kept()) == [0, 1, 2, 3, 4]
    assert ids(kept(top_k=2)) == [0, 1]
    assert ids(kept(top_p=0.7 - 1e-6)) == [0, 1]
    assert ids(kept(top_p=0.7 + 1e-6)) == [0, 1, 2]
    assert ids(kept(top_p=1e-9)) == [0]
    assert ids(kept(min_p=0.3)) == [0, 1, 2]
    assert ids(kept(min_p=1.0)) == [0]
    assert ids(kept(top_k=4, top_p=0.8)) == [0, 1, 2]  # 0.4, 0.3, 0.15 of 0.95: the second reaches 0.74 only
    torch.testing.assert_close(
        kept(temperature=0.5).softmax(-1), (p.double() ** 2 / (p.double() ** 2).sum()), atol=1e-6, rtol=0
    )
    shuffled = torch.tensor([3, 0, 4, 1, 2])
    assert ids(filtered(p[shuffled].log(), 1, None, 0.7 - 1e-6, 0)) == [1, 3]


def test_draws_follow_the_softmax():
    p = torch.tensor([0.4, 0.3, 0.15, 0.1, 0.05])
    net = Fixed(Space((4,), 1, 5), p.log())
    x = Tokens(ends=False)(net, net.space, Cond(), Noise(3, tuple(range(2000))))
    count = torch.bincount(x.flatten(), minlength=5).double()
    chi2 = ((count - 8000 * p) ** 2 / (8000 * p)).sum()
    assert chi2 < 18.5  # 4 degrees of freedom: one in a thousand
    first, second = x[:, 0, 0], x[:, 0, 1]
    both = torch.bincount(first * 5 + second, minlength=25).double()
    expected = 2000 * torch.outer(p, p).flatten()
    assert ((both - expected) ** 2 / expected).sum() < 51.2  # 24 degrees: the cells of a sample are independent


@pytest.mark.parametrize("space", [Space((12,), 1, 7), Space((3, 4), 2, 7)])
def test_a_sample_alone_is_the_sample_among_many(space):
    net = built(space)
    draw = Tokens(ends=len(space.dims) == 1, top_p=0.9)
    many = draw(net, space, Cond(), Noise(5, tuple(range(16))))
    assert len({tuple(row.flatten().tolist()) for row in many}) > 8
    for i in (0, 7, 15):
        alone = draw(net, space, Cond(), Noise(5, (i,)))[0]
        n = min(alone.shape[1], many.shape[2])
        assert torch.equal(alone[:, :n], many[i][:, :n])
        assert (many[i][:, n:] == space.vocab - 1).all()


def test_with_and_without_a_memory_alike():
    space = Space((3, 4), 2, 7)
    net = built(space)

    class Forgetful:
        def __call__(self, x, t=None, cond=Cond(), state=None):
            assert state is None
            return net(x, t, cond)

        def start(self, batch, cells):
            return None

    for shape, draw in ((space, Tokens(ends=False)), (Space((12,), 2, 7), Tokens(tokens=20))):
        net = built(shape)
        noise = Noise(1, (0, 1, 2))
        assert torch.equal(draw(net, shape, Cond(), noise), draw(Forgetful(), shape, Cond(), noise))


def test_known_beginnings_of_different_lengths_are_kept():
    space = Space((10,), 1, 9)
    net = built(space)
    x = torch.tensor([[[1, 2, 3, 4, 5]], [[3, 1, 0, 0, 0]], [[0, 0, 0, 0, 0]]])
    mask = torch.tensor([[[True] * 5], [[True] * 2 + [False] * 3], [[False] * 5]])
    drawn = Tokens(tokens=4)(net, space, Cond(), Noise(2, (0, 1, 2)), Known(x, mask))
    assert drawn[0, 0, :5].tolist() == [1, 2, 3, 4, 5]
    assert drawn[1, 0, :2].tolist() == [3, 1]
    for i, n in enumerate((5, 2, 0)):
        alone = Tokens(tokens=4)(
            net, space, Cond(), Noise(2, (i,)), Known(x[i : i + 1, :, :n], mask[i : i + 1, :, :n]) if n else None
        )
        assert torch.equal(alone[0], drawn[i][:, : alone.shape[2]])
        assert (drawn[i][:, n + 4 :] == 8).all()  # not one more than was asked


def test_known_cells_in_the_middle_are_kept():
    space = Space((3, 4), 1, 9)
    x = torch.full((1, 1, 3, 4), 5)
    mask = torch.zeros(1, 1, 3, 4, dtype=torch.bool)
    mask[0, 0, 1, 1:3] = True
    drawn = Tokens(ends=False)(built(space), space, Cond(), Noise(2), Known(x, mask))
    assert drawn.shape == (1, 1, 3, 4) and drawn[0, 0, 1, 1:3].tolist() == [5, 5]
    whole = Known(x, torch.ones_like(mask))
    assert torch.equal(Tokens(ends=False)(built(space), space, Cond(), Noise(2), whole), x)


def test_the_end_mark_stops_a_sample_and_all_of_them_stop_the_run():
    space = Space((50,), 1, 3)
    net = Fixed(space, [0.0, 0.0, 1.0])
    steps = [x.clone() for x in Tokens().stream(net, space, Cond(), Noise(0, (0, 1, 2)))]
    assert len(steps) < 50
    for row in steps[-1][:, 0]:
        first = row.tolist().index(2)
        assert (row[first:] == 2).all()
    assert all(torch.equal(a, b[:, :, : a.shape[2]]) for a, b in itertools.pairwise(steps))
    known = Known(torch.tensor([[[2, 2]]]), torch.ones(1, 1, 2, dtype=torch.bool))
    assert Tokens(tokens=3)(Fixed(space, [9.0, 0, 0]), space, Cond(), Noise(0), known).tolist() == [[[2, 2, 0, 0, 0]]]


def test_beyond_the_window_it_reads_the_last_half_again():
    space = Space((8,), 1, 5)
    net = Fixed(space, [0.0, 0.0, 0.0, 0.0, -1e9])
    x = Tokens(tokens=20)(net, space, Cond(), Noise(0))
    assert x.shape == (1, 1, 20)
    assert max(seen.shape[2] for seen in net.seen) <= 8
    begin, *rest = net.seen[8][0, 0].tolist()  # the ninth draw does not fit: begin mark and cells 4 .. 7
    assert begin == 5 and rest == x[0, 0, 4:8].tolist()
    assert Tokens(tokens=20)(built(space), space, Cond(), Noise(0)).shape[2] <= 20


def test_temperature_zero_takes_the_likeliest():
    space = Space((6,), 1, 4)
    assert Tokens(temperature=0, ends=False)(Fixed(space, [0.0, 2.0, 1.0, 0.0]), space, Cond(), Noise(0)).unique() == 1


def test_it_needs_a_vocabulary():
    with pytest.raises(UsageError, match="vocabulary"):
        Tokens()(built(Space((4,), 1)), Space((4,), 1), Cond(), Noise(0))


# ------------------------------------------------------------------------------------- the exact filtered distribution

P = [0.32, 0.26, 0.18, 0.14, 0.1]


def reaching(order, p, mass):
    kept, total = [], 0.0
    for i in order:
        kept.append(i)
        total += p[i]
        if total >= mass:
            break
    return kept


def spelled_out(knobs, past):
    """The next id's distribution after `past` by the definitions, one number after another."""
    logits = [math.log(p) + 2 for p in P]  # some are positive, some negative after the shift below
    logits = [y - 1.5 if i > 2 else y for i, y in enumerate(logits)]
    for i, bias in knobs.get("logit_bias", {}).items():
        logits[i] += bias
    for i in set(past):
        r = knobs.get("repetition_penalty", 1.0)
        logits[i] = logits[i] / r if logits[i] > 0 else logits[i] * r
        logits[i] -= knobs.get("presence_penalty", 0.0) + knobs.get("frequency_penalty", 0.0) * past.count(i)
    weights = [math.exp(y / knobs.get("temperature", 1.0)) for y in logits]
    p = [w / sum(weights) for w in weights]
    order = sorted(range(5), key=lambda i: -p[i])
    kept = order[: knobs.get("top_k", 5)]
    p = [w if i in kept else 0.0 for i, w in enumerate(p)]
    p = [w / sum(p) for w in p]
    kept = reaching(order, p, knobs.get("top_p", 1.0)) if "top_p" in knobs else kept
    p = [w if i in kept else 0.0 for i, w in enumerate(p)]
    p = [w / sum(p) for w in p]
    kept = [i for i in range(5) if p[i] >= knobs.get("min_p", 0.0) * max(p) and p[i] > 0]
    p = [w if i in kept else 0.0 for i, w in enumerate(p)]
    p = [w / sum(p) for w in p]
    if "typical_p" in knobs:
        entropy = -sum(w * math.log(w) for w in p if w)
        near = sorted((i for i in range(5) if p[i]), key=lambda i: abs(-math.log(p[i]) - entropy))
        kept = reaching(near, p, knobs["typical_p"])
        p = [w if i in kept else 0.0 for i, w in enumerate(p)]
    return [w / sum(p) for w in p]


OPTIONS = [
    {},
    {"temperature": 0.7},
    {"top_k": 3},
    {"top_p": 0.8},
    {"min_p": 0.4},
    {"typical_p": 0.5},
    {"repetition_penalty": 1.6},
    {"presence_penalty": 0.8},
    {"frequency_penalty": -0.7},
    {"logit_bias": {0: -1.0, 3: 1.2}},
    {"temperature": 1.4, "top_k": 4, "top_p": 0.9, "repetition_penalty": 1.2, "frequency_penalty": 0.3},
]


def chi_square(x, knobs):
    """Of the triples [N, 3] against their exact distribution, and the degrees of freedom."""
    count, chi2, cells = {}, 0.0, 0
    for row in x.tolist():
        count[tuple(row)] = count.get(tuple(row), 0) + 1
    for triple in itertools.product(range(5), repeat=3):
        p = math.prod(spelled_out(knobs, list(triple[:k]))[triple[k]] for k in range(3))
        if p == 0:
            assert triple not in count, f"{triple} cannot be drawn"
            continue
        chi2 += (count.get(triple, 0) - len(x) * p) ** 2 / (len(x) * p)
        cells += 1
    return chi2, cells - 1


def logits_of():
    return [math.log(p) + 2 - (1.5 if i > 2 else 0.0) for i, p in enumerate(P)]


@pytest.mark.parametrize("guesses", [{}, {"lookup": 2, "ahead": 2}], ids=["plain", "lookup"])
@pytest.mark.parametrize("knobs", OPTIONS, ids=str)
def test_draws_follow_the_exact_filtered_distribution(knobs, guesses):
    net = Fixed(Space((6,), 1, 5), logits_of())
    n = 1500
    draw = Tokens(tokens=3, **knobs, **guesses).but(ends=True)
    space = Space((6,), 1, 6)  # an end mark that has no logit of its own
    net.logits = torch.tensor([*logits_of(), -math.inf])
    x = draw(net, space, Cond(), Noise(11, tuple(range(n))))[:, 0]
    chi2, freedom = chi_square(x, knobs)
    assert chi2 < freedom + 4 * math.sqrt(2 * freedom) + 6, (chi2, freedom)


def test_the_test_above_sees_a_wrong_distribution():
    net = Fixed(Space((6,), 1, 6), torch.tensor([*logits_of(), -math.inf]))
    x = Tokens(tokens=3)(net, net.space, Cond(), Noise(11, tuple(range(1500))))[:, 0]
    for knobs in OPTIONS[1:]:
        try:
            chi2, freedom = chi_square(x, knobs)
        except AssertionError:
            continue
        assert chi2 > freedom + 4 * math.sqrt(2 * freedom) + 6, knobs


def test_penalties_bind_greedy_draws_too():
    net = Fixed(Space((8,), 1, 4), [3.0, 2.9, 2.8, -9.0])
    x = Tokens(tokens=6, temperature=0, presence_penalty=0.5)(net, net.space, Cond(), Noise(0))[0, 0].tolist()
    assert x[:3] == [0, 1, 2] and x[3] == 0
    with pytest.raises(UsageError, match="logit_bias = 9: ids of this model are 0 to 3"):
        Tokens(logit_bias={9: 1.0})(net, net.space, Cond(), Noise(0))


def test_every_option_leaves_a_sample_alone_what_it_is_among_many():
    space = Space((12,), 1, 7)
    net = built(space)
    for knobs in OPTIONS:
        knobs = {k: {a: b for a, b in v.items() if a < 7} if k == "logit_bias" else v for k, v in knobs.items()}
        draw = Tokens(**knobs)
        many = draw(net, space, Cond(), Noise(5, tuple(range(64))))
        for i in (0, 63):
            alone = draw(net, space, Cond(), Noise(5, (i,)))[0]
            assert torch.equal(alone, many[i][:, : alone.shape[1]])
