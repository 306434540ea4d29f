"""Beams: the very best texts where all are kept, the greedy one where one is, each with its log p."""

import itertools

import pytest
import torch

from genus.core import Cond, Known, Noise, Roads, Space
from genus.errors import UsageError
from genus.networks.transformer import TransformerConfig
from genus.samplers.beams import search
from genus.samplers.tokens import Tokens

SPACE = Space((12,), 1, 5)


def built(seed=0):
    torch.manual_seed(seed)
    net = TransformerConfig(depth=1, width=32, head=16).build(SPACE, Roads())
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return net.eval()


def known(ids):
    x = torch.tensor([[ids]])
    return Known(x, torch.ones_like(x, dtype=torch.bool))


def log_p(net, ids, start):
    x = torch.tensor([[[5, *ids[:-1]]]])
    with torch.no_grad():
        said = net(x)[0, 0].log_softmax(-1)
    return float(said[torch.arange(start, len(ids)), torch.tensor(ids[start:])].double().sum())


def every(net, begun, tokens):
    """All texts that go on from ids, by score."""
    found = {}
    for tail in itertools.product(range(5), repeat=tokens):
        ids = [*tail[: tail.index(4) + 1]] if 4 in tail else [*tail]
        found[tuple(ids)] = log_p(net, [*begun, *ids], len(begun)) / len(ids)
    return sorted(found.items(), key=lambda pair: -pair[1])


def test_wide_beams_find_the_best_texts():
    net, begun = built(), [1, 2]
    draw = Tokens(tokens=3, beams=64)
    rows, _ = draw.rows(
        SPACE, Noise(0, tuple(range(4))), Known(*(v.expand(4, 1, 2) for v in (known(begun).x, known(begun).mask)))
    )
    for row in rows:
        row.likeliest = 1
    search(net, SPACE, rows)
    for row, (ids, score) in zip(rows, every(net, begun, 3), strict=False):
        assert tuple(row.drawn[0].tolist()) == ids
        assert sum(s.log_p for s in row.said) / len(ids) == pytest.approx(score, abs=1e-4)


def test_one_beam_is_greedy_and_samples_stand_alone():
    net = built(3)
    begun = Known(torch.tensor([[[1, 2]], [[3, 0]]]), torch.ones(2, 1, 2, dtype=torch.bool))
    greedy = Tokens(tokens=6, temperature=0)(net, SPACE, Cond(), Noise(0, (0, 0)), begun)
    one = Tokens(tokens=6, beams=1, length=0)(net, SPACE, Cond(), Noise(0, (0, 0)), begun)
    assert torch.equal(one, greedy)
    draw = Tokens(tokens=6, beams=4)
    both = Known(torch.tensor([[[1, 2]]] * 4), torch.ones(4, 1, 2, dtype=torch.bool))
    x = draw(net, SPACE, Cond(), Noise(0, (0, 1, 2, 3)), both)
    alone = draw(net, SPACE, Cond(), Noise(9, (2,)), known([1, 2]))
    assert torch.equal(alone[0], x[2, :, : alone.shape[2]])
    assert len({tuple(row[0].tolist()) for row in x}) == 4


def test_what_beams_cannot_find_is_said():
    net = built()
    with pytest.raises(UsageError, match="sample 2 of 2 beams"):
        Tokens(tokens=3, beams=2)(net, SPACE, Cond(), Noise(0, (2,)), known([1]))
