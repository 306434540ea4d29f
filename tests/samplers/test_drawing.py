"""Drawing together: guesses that change nothing, samples that come and go, rules, what a reader reads."""

import math

import pytest
import torch

from genus.core import Cond, Known, Noise, Roads, Space
from genus.networks.decoder import DecoderConfig
from genus.networks.transformer import TransformerConfig
from genus.samplers.drawing import Drawing, Reader, Trust, followed
from genus.samplers.tokens import Tokens

SPACE = Space((24,), 1, 11)
NETS = {
    "transformer": TransformerConfig(depth=2, width=32, head=16),
    "near": TransformerConfig(depth=1, width=32, head=16, near=3),
    "decoder": DecoderConfig(depth=2, width=32, head=8, heads=4, kv_heads=2, hidden=48),
    "apart": DecoderConfig(depth=2, width=32, head=8, heads=4, kv_heads=2, hidden=48, apart=True),
    "learned": DecoderConfig(depth=1, width=32, head=8, heads=4, kv_heads=4, hidden=48, places="learned", norm="layer"),
}


def built(kind, space=SPACE, seed=0, spread=0.3):
    torch.manual_seed(seed)
    net = NETS[kind].build(space, Roads())
    for p in net.parameters():
        torch.nn.init.normal_(p, std=spread)
    return net.eval()


class Counted:
    """A predictor that counts its calls and the cells they read."""

    def __init__(self, net, draft=None):
        self.net, self.calls, self.cells = net, 0, 0
        if draft is not None:
            self.draft, self.draft_space = draft, SPACE

    def __call__(self, x, t=None, cond=Cond(), state=None):
        self.calls, self.cells = self.calls + 1, self.cells + x.numel()
        return self.net(x, t, cond, state)

    def start(self, batch, cells):
        return self.net.start(batch, cells)


def known(*rows):
    n = max(map(len, rows))
    x = torch.tensor([[[*row, *[0] * (n - len(row))]] for row in rows])
    mask = torch.tensor([[[True] * len(row) + [False] * (n - len(row))] for row in rows])
    return Known(x, mask)


def told(net, x):
    """Logits of the cell after x [n], all read at once and without a memory."""
    begin = torch.tensor([[[SPACE.vocab]]])
    return net(torch.cat([begin, torch.tensor(x)[None, None]], 2))[0, :, -1]


@pytest.mark.parametrize("kind", NETS)
def test_rows_that_stand_apart_are_read_as_if_alone(kind):
    net = built(kind)
    texts = [[1, 2, 3, 4, 5, 6, 7], [3, 1], [9]]
    reader = Reader(net, SPACE, 3)
    with torch.no_grad():
        for _ in range(6):
            found = reader.read([torch.tensor([t]) for t in texts], [None] * 3)
            for t, logits in zip(texts, found, strict=True):
                torch.testing.assert_close(logits[:, -1], told(net, t), atol=1e-4, rtol=1e-4)
            texts = [[*t, (3 * t[-1] + len(t)) % 10] for t in texts]


@pytest.mark.parametrize("kind", NETS)
def test_guesses_are_read_and_taken_back(kind):
    net = built(kind)
    reader = Reader(net, SPACE, 2)
    with torch.no_grad():
        found = reader.read([torch.tensor([[1, 2, 3]]), torch.tensor([[4]])], [torch.tensor([[5, 6, 7]]), None])
        assert [y.shape[1] for y in found] == [4, 1]
        for k in range(4):
            torch.testing.assert_close(found[0][:, k], told(net, [1, 2, 3, 5, 6, 7][: 3 + k]), atol=1e-4, rtol=1e-4)
        found = reader.read([torch.tensor([[1, 2, 3, 5, 9]]), torch.tensor([[4, 8]])], [None, torch.tensor([[1]])])
        torch.testing.assert_close(found[0][:, -1], told(net, [1, 2, 3, 5, 9]), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(found[1][:, -1], told(net, [4, 8, 1]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("knobs", [{}, {"temperature": 0}, {"top_p": 0.8, "repetition_penalty": 1.3}], ids=str)
@pytest.mark.parametrize("kind", ["transformer", "apart"])
def test_a_draft_changes_no_sample_and_saves_calls(kind, knobs):
    net = built(kind, spread=0.15)
    near = built(kind, spread=0.15)
    with torch.no_grad():
        for p in near.parameters():
            p += 0.01 * torch.randn_like(p)
    begun = known([1, 2, 3], [4], [5, 6])
    noise = Noise(3, (0, 1, 2))
    plain, guessed, other = Counted(net), Counted(net, near), Counted(net, built(kind, seed=9))
    draw = Tokens(tokens=40, ahead=4, **knobs)  # beyond the window, where all is read again
    wanted = draw(plain, SPACE, Cond(), noise, begun)
    assert torch.equal(draw(guessed, SPACE, Cond(), noise, begun), wanted)
    assert torch.equal(draw(other, SPACE, Cond(), noise, begun), wanted)
    assert guessed.calls < 0.75 * plain.calls, "guesses by a good draft are accepted"


def test_a_draft_leaves_the_distribution_as_it_is():
    class Steady:
        def __init__(self, p):
            self.logits = torch.tensor(p).log()

        def __call__(self, x, t=None, cond=Cond(), state=None):
            return self.logits.expand(*x.shape, -1)

        def start(self, batch, cells):
            return None

    p, q = [0.4, 0.3, 0.2, 0.1, 0.0], [0.25, 0.25, 0.25, 0.25, 0.0]
    both = Steady(p)
    both.draft, both.draft_space = Steady(q), Space((8,), 1, 5)
    x = Tokens(tokens=4, ahead=3)(both, Space((8,), 1, 5), Cond(), Noise(2, tuple(range(1500))))
    for a in range(3):  # neighbours, so that accepted cells are compared with those after a refusal
        pairs = torch.bincount(x[:, 0, a] * 5 + x[:, 0, a + 1], minlength=25).view(5, 5)[:4, :4].double()
        expected = 1500 * torch.outer(torch.tensor(p[:4]), torch.tensor(p[:4])).double()
        assert ((pairs - expected) ** 2 / expected).sum() < 37.7  # 15 degrees of freedom: one in a thousand


def test_lookup_changes_no_sample_and_saves_calls():
    class Cycle:
        """After i comes i + 1, nearly always."""

        calls = 0

        def __call__(self, x, t=None, cond=Cond(), state=None):
            self.calls += 1
            logits = torch.full((*x.shape, 11), -3.0)
            logits[..., 10] = -40.0
            return logits.scatter(-1, ((x + 1) % 7)[..., None], 3.0)

        def start(self, batch, cells):
            return None

    begun = known([0, 1, 2, 3, 4, 5, 6, 0, 1])
    space = Space((80,), 1, 11)
    one, other = Cycle(), Cycle()
    wanted = Tokens(tokens=60)(one, space, Cond(), Noise(4), begun)
    assert torch.equal(Tokens(tokens=60, lookup=3, ahead=5)(other, space, Cond(), Noise(4), begun), wanted)
    assert other.calls < 0.6 * one.calls
    for reach, wanted, agreed in ((3, [3, 9], 2), (1, [3, 9], 1)):
        guess, size = followed(torch.tensor([[5, 1, 2, 3, 9, 1, 2]]), reach, 2)
        assert (guess.tolist(), size) == ([wanted], agreed)
    assert followed(torch.tensor([[7, 1, 4, 9, 1, 3, 7, 1]]), 3, 1)[0].tolist() == [[4]], "the longest, not the last"
    assert followed(torch.tensor([[1, 1, 1]]), 3, 4)[0].tolist() == [[1]]
    assert followed(torch.tensor([[1, 2, 3]]), 3, 2) is None


def test_guesses_are_as_many_as_they_are_worth():
    trust = Trust()
    assert trust.most(3, 8, 0.12) > trust.most(1, 8, 0.12) >= 1 and trust.most(3, 2, 0.12) == 2
    assert trust.most(1, 8, 0.02) > trust.most(1, 8, 0.12)
    assert trust.most(3, 8, 0.12) > trust.most(3, 8, 0.12, 8) >= trust.most(3, 8, 0.12, 32) == 0, "many get a cell each"
    for _ in range(30):
        trust.learn(1, 4, 0)
        trust.learn(2, 4, 4)
    assert trust.most(1, 8, 0.12) == 0 and trust.most(2, 8, 0.12) == 8
    trust.learn(3, 8, 2)
    assert trust.made[3] - Trust().made[3] == 3, "what stands behind a wrong guess tells nothing"


def test_samples_come_and_go():
    net = built("decoder")
    draw = Tokens(tokens=9)

    def rows(i, *begun):
        return draw.rows(SPACE, Noise(7, (i,)), known(*begun) if begun else None)[0]

    wanted = [
        draw(net, SPACE, Cond(), Noise(7, (i,)), b) for i, b in ((0, known([1, 2, 3])), (1, None), (2, known([5])))
    ]
    first, second, third = rows(0, [1, 2, 3]), rows(1), rows(2, [5])
    drawing = Drawing(net, SPACE, first)
    with torch.no_grad():
        drawing.step()
        drawing.join(second)
        drawing.step()
        drawing.join(third)
        gone = rows(3, [6])
        drawing.join(gone)
        drawing.step()
        drawing.leave(gone)
        for _ in range(12):
            drawing.step()
    assert not drawing.rows
    for row, x in zip((*first, *second, *third), wanted, strict=True):
        assert torch.equal(row.past, x[0, :, : row.n])


def test_a_rule_is_kept_sample_by_sample():
    net = built("transformer")

    class Even:
        def __init__(self, odd):
            self.odd = odd

        def __call__(self, drawn):
            allowed = torch.zeros(11, dtype=torch.bool)
            allowed[self.odd : 10 : 2] = True
            return allowed

    begun = known([1], [2])
    both = Known(begun.x, begun.mask, (Even(0), Even(1)))
    for guesses in ({}, {"lookup": 1, "ahead": 3}):
        x = Tokens(tokens=12, **guesses)(net, SPACE, Cond(), Noise(0, (0, 1)), both)[:, 0, 1:]
        assert (x[0] % 2 == 0).all() and (x[1] % 2 == 1).all()


def test_what_the_model_says_of_each_cell_is_noted():
    net = built("transformer")
    draw = Tokens(tokens=5, temperature=0.5, top_k=3, logit_bias={10: -100.0})
    rows, _ = draw.rows(SPACE, Noise(1), known([1, 2]))
    rows[0].likeliest = 2
    drawing = Drawing(net, SPACE, rows)
    with torch.no_grad():
        while drawing.rows:
            drawing.step()
        for k, said in enumerate(rows[0].said):
            exact = told(net, rows[0].x[0, : 2 + k].tolist())[0].log_softmax(-1)
            assert said.log_p == pytest.approx(float(exact[rows[0].x[0, 2 + k]]), abs=1e-4)
            assert [i for i, _ in said.best] == exact.topk(2).indices.tolist()
            assert math.isclose(said.best[0][1], float(exact.max()), abs_tol=1e-4)


@pytest.mark.parametrize("kind", ["transformer", "decoder"])
def test_rows_that_begin_alike_are_read_once(kind):
    """Answers to few questions: each question is read once, and each answer is the one it would be alone."""
    net = built(kind)
    read = []

    class Seen(Counted):
        def __call__(self, x, t=None, cond=Cond(), state=None):
            read.append(x.shape[0] * x.shape[2])
            return super().__call__(x, t, cond, state)

    draw, begun = Tokens(tokens=4), [[1, 2, 3, 4], [5, 6], [1, 2, 3, 4], [5, 6], [1, 2, 3, 4]]
    made = draw(Seen(net), SPACE, Cond(), Noise(3, tuple(range(5))), known(*begun))
    assert read[0] == 2 * 5 and max(read[1:]) <= 5 * 3
    for i, ids in enumerate(begun):
        alone = draw(net, SPACE, Cond(), Noise(3, (i,)), known(ids))
        assert made[i, 0, : alone.shape[2]].tolist() == alone[0, 0].tolist()
