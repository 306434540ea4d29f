"""Autoregression against closed forms: its sum over all texts is one, a Markov source's entropy is reached."""

import itertools
import math

import pytest
import torch

from genus.codecs.levels import Levels
from genus.codecs.pixels import Pixels
from genus.core import Batch, Known, Noise, Roads, Space, behind
from genus.errors import UsageError
from genus.networks.transformer import TransformerConfig
from genus.objectives.autoregression import Autoregression
from genus.recipe import Training
from genus.samplers.tokens import Tokens
from genus.train.optimisers import Flat


def built(space, shaken=True, **knobs):
    torch.manual_seed(0)
    net = TransformerConfig(**{"depth": 2, "width": 32, "head": 16, **knobs}).build(space, Roads())
    if shaken:
        for p in net.parameters():
            torch.nn.init.normal_(p, std=0.2)
    return torch.nn.ModuleDict({"net": net})


def test_behind_moves_on_by_one_cell_in_raster_order():
    x = torch.arange(6).view(1, 1, 2, 3)
    assert behind(x, 9).tolist() == [[[[9, 0, 1], [2, 3, 4]]]]


@pytest.mark.parametrize("space", [Space((4,), 1, 3), Space((2, 2), 1, 3), Space((2,), 2, 3)])
def test_probabilities_of_all_items_sum_to_one(space):
    nets = built(space)
    x = torch.tensor(list(itertools.product(range(3), repeat=space.cells))).view(-1, *space.shape)
    said = Autoregression().log_prob(nets, Batch(x), Noise(0))
    assert said.exact and said.nats.shape == (81,)
    assert said.nats.exp().sum() == pytest.approx(1, abs=1e-4)
    assert said.nats.exp().std() > 1e-3  # and they are not all alike


def test_loss_is_the_mean_over_the_cells_that_count():
    nets, objective = built(Space((6,), 1, 5)), Autoregression()
    x = torch.randint(0, 5, (3, 1, 6))
    mask = torch.rand(3, 1, 6) < 0.6
    loss, metrics = objective.loss(nets, Batch(x, mask=mask), {}, "main")
    nats = objective.log_prob(nets, Batch(x, mask=mask), Noise(0)).nats
    assert loss.item() == pytest.approx(-nats.sum().item() / mask.sum().item(), rel=1e-5)
    assert metrics["loss"] == loss
    weighted, _ = objective.loss(nets, Batch(x, mask=mask, weight=torch.tensor([2.0, 0.0, 0.0])), {}, "main")
    assert weighted.item() == pytest.approx(-2 * nats[0].item() / mask.sum().item(), rel=1e-5)


def test_cells_that_do_not_count_teach_nothing():
    nets, objective = built(Space((6,), 1, 5), tied=False), Autoregression()
    x = torch.randint(0, 4, (2, 1, 6))
    x[:, :, 3:] = 4  # padding, an id that stands nowhere else
    mask = torch.zeros(2, 1, 6, dtype=torch.bool)
    mask[:, :, :3] = True
    loss, _ = objective.loss(nets, Batch(x, mask=mask), {}, "main")
    loss.backward()
    assert nets["net"].embed.weight.grad[4].abs().sum() == 0  # what stands behind the mask is not even read


def test_z_loss_is_added_and_told_apart():
    nets = built(Space((6,), 1, 5))
    batch = Batch(torch.randint(0, 5, (3, 1, 6)))
    plain, _ = Autoregression().loss(nets, batch, {}, "main")
    heavy, metrics = Autoregression(z_loss=0.1).loss(nets, batch, {}, "main")
    z = nets["net"](behind(batch.x, 5)).logsumexp(-1)
    assert heavy.item() == pytest.approx(plain.item() + 0.1 * z.square().mean().item(), rel=1e-5)
    assert metrics["loss"].item() == metrics["nats"].item() == pytest.approx(plain.item(), rel=1e-5)


def test_it_needs_a_vocabulary():
    nets = built(Space((4,), 1), shaken=False)
    with pytest.raises(UsageError, match="vocabulary"):
        Autoregression().loss(nets, Batch(torch.randn(2, 1, 4)), {}, "main")


def chain(n, draw):
    """A Markov chain of three states, n windows of 16, from its stationary law; and its entropy rate in nats."""
    p = torch.tensor([[0.8, 0.15, 0.05], [0.1, 0.1, 0.8], [0.3, 0.65, 0.05]], dtype=torch.float64)
    law = torch.linalg.matrix_power(p, 200)[0]
    x = torch.empty(n, 16, dtype=torch.long)
    x[:, 0] = torch.multinomial(law.expand(n, 3), 1, generator=draw)[:, 0]
    for t in range(1, 16):
        x[:, t] = torch.multinomial(p[x[:, t - 1]], 1, generator=draw)[:, 0]
    rate = -(law[:, None] * p * p.log()).sum()
    first = -(law * law.log()).sum()
    return x[:, None], ((15 * rate + first) / 16).item(), law


def test_a_markov_source_is_learnt_to_its_entropy():
    draw = torch.Generator().manual_seed(0)
    nets, objective = built(Space((16,), 1, 3), shaken=False, depth=1), Autoregression(ends=False)
    flat = Flat(nets, Training(optimiser="adamw", rate=1e-2, weight_decay=0.0))
    steps = 150
    for i in range(steps):
        flat.zero()
        x, _, _ = chain(64, draw)
        loss, _ = objective.loss(nets, Batch(x), {}, "main")
        loss.backward()
        flat.step(min(1.0, 2 * (1 - i / steps)), i)
    x, entropy, law = chain(4096, draw)
    reached = -objective.log_prob(nets, Batch(x), Noise(0)).nats.mean().item() / 16
    assert reached == pytest.approx(entropy, rel=0.01)
    drawn = objective.sampler()(
        objective.predictor(nets), Space((16,), 1, 3), Batch(x).cond, Noise(1, tuple(range(512)))
    )
    shares = torch.bincount(drawn.flatten(), minlength=3) / drawn.numel()
    torch.testing.assert_close(shares.double(), law, atol=0.03, rtol=0)


def field(n, draw):
    """Pictures of 5 x 5 in three greys, each value drawn by those to its left and above; and log p of each, exactly."""
    table = torch.softmax(2 * torch.randn(4, 4, 3, generator=torch.Generator().manual_seed(3)).double(), -1)
    x = torch.full((n, 6, 6), 3)  # a border that says nothing
    nats = torch.zeros(n, dtype=torch.float64)
    for row, column in itertools.product(range(1, 6), repeat=2):
        p = table[x[:, row, column - 1], x[:, row - 1, column]]
        x[:, row, column] = torch.multinomial(p, 1, generator=draw)[:, 0]
        nats -= p.log().gather(1, x[:, row, column, None])[:, 0]
    return (x[:, 1:, 1:, None] * 127.5).round().to(torch.uint8), -nats


def test_the_likelihood_of_pictures_from_a_markov_field_is_the_exact_one():
    """Through the codec of `pixelgpt` and its network, which is told the values near each."""
    draw = torch.Generator().manual_seed(0)
    codec, objective = Levels(Pixels(5, 5, 1), 3), Autoregression(ends=False)
    nets = built(codec.space, shaken=False, depth=1, near=1)
    flat = Flat(nets, Training(optimiser="adamw", rate=1e-2, weight_decay=0.0))

    def coded(pictures):
        return Batch(torch.stack([codec.lift(x) for x in codec.encode(list(pictures.numpy()))]))

    steps = 120
    for i in range(steps):
        flat.zero()
        loss, _ = objective.loss(nets, coded(field(64, draw)[0]), {}, "main")
        loss.backward()
        flat.step(min(1.0, 2 * (1 - i / steps)), i)
    pictures, exact = field(1024, draw)
    found = objective.log_prob(nets, coded(pictures), Noise(0))
    assert found.exact
    above = (exact - found.nats).mean().item() / 25  # nats a cell over the entropy: the divergence, never below 0
    assert -0.002 < above < 0.02 * -exact.mean().item() / 25
    assert torch.corrcoef(torch.stack([exact, found.nats]))[0, 1] > 0.98


def test_the_natural_sampler_is_told_whether_texts_end():
    assert Autoregression().sampler() == Tokens(ends=True)
    assert Autoregression(ends=False).sampler() == Tokens(ends=False)


# Loss and gradient norm at steps 0, 5, 10, 15 and 19.
GOLDEN = {
    "adamw": ([2.06419, 1.87262, 1.48613, 1.1009, 0.92695], [1.0278, 0.3193, 1.7094, 1.924, 2.8655]),
    "muon": ([2.06419, 1.92555, 1.88365, 1.79874, 1.61493], [1.0278, 0.2753, 0.1838, 0.3216, 0.6916]),
}


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_golden_trajectory(optimiser):
    """Twenty steps in fp32: a change of any equation on the way shows here first."""
    nets, objective = built(Space((16,), 1, 7), shaken=False), Autoregression(z_loss=1e-4)
    flat = Flat(nets, Training(optimiser=optimiser, rate=1e-2, muon_rate=0.02))
    x = (torch.arange(16)[None] * torch.arange(1, 5)[:, None] % 7)[:, None]
    losses, norms = [], []
    for i in range(20):
        flat.zero()
        loss, _ = objective.loss(nets, Batch(x), {}, "main")
        loss.backward()
        norms.append(flat.step(1.0, i).item())
        losses.append(loss.item())
    known_losses, known_norms = GOLDEN[optimiser]
    assert losses[::5] + losses[-1:] == pytest.approx(known_losses, rel=1e-3)
    assert norms[::5] + norms[-1:] == pytest.approx(known_norms, rel=1e-2)
    assert math.isfinite(losses[-1]) and losses[-1] < losses[0] - 0.4


def test_known_cells_are_conditions_of_the_likelihood_not_part_of_it():
    nets, objective = built(Space((6,), 1, 5)), Autoregression()
    x = torch.randint(0, 5, (1, 1, 6))
    mask = torch.ones(1, 1, 6, dtype=torch.bool)
    mask[:, :, :2] = False
    given = Known(x, ~mask)
    whole = objective.log_prob(nets, Batch(x), Noise(0)).nats
    rest = objective.log_prob(nets, Batch(x, mask=mask), Noise(0)).nats
    start = objective.log_prob(nets, Batch(x, mask=given.mask), Noise(0)).nats
    torch.testing.assert_close(whole, rest + start)
