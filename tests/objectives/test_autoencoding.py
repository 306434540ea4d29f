"""Likelihoods that add up, a bound that is exact where it can be, and digits' shapes through a narrow code."""

import math

import pytest
import torch
import toys
from torch import nn

from genus.core import Batch, Cond, Noise, Space, Turn
from genus.errors import NoLikelihood, UsageError
from genus.networks.autoencoder import AutoencoderConfig
from genus.networks.bottlenecks import NormalConfig, QuantisedConfig, RoundedConfig
from genus.networks.style import CriticConfig
from genus.objectives.autoencoding import Autoencoding, nats_of
from genus.objectives.importance import at, divergence
from genus.samplers.oneshot import OneShot

PICTURE = Space((8, 8), 1, grain=2 / 255)


def test_the_grains_of_a_cell_add_up_to_one():
    grains = torch.linspace(-1, 1, 256, dtype=torch.float64).view(1, 1, 256)
    for centre, logs in ((0.0, -1.0), (-0.98, -4.0), (1.3, -3.0), (0.4, 1.0)):
        p = torch.exp(-nats_of(grains, torch.full_like(grains, centre), torch.tensor([logs]), 2 / 255))
        assert p.sum() == pytest.approx(1, abs=1e-4), (centre, logs)


def test_without_grain_it_is_a_density():
    x = torch.linspace(-40, 40, 200_001, dtype=torch.float64).view(1, 1, -1)
    p = torch.exp(-nats_of(x, torch.full_like(x, 0.3), torch.tensor([-0.7]), None))
    assert torch.trapezoid(p.flatten(), x.flatten()) == pytest.approx(1, abs=1e-6)


def nets(bottleneck=NormalConfig(channels=4), whole=False):
    torch.manual_seed(0)
    return nn.ModuleDict({"net": AutoencoderConfig(widths=(8, 16), whole=whole, bottleneck=bottleneck).build(PICTURE)})


def edges(n, seed=0):
    """Soft edges at random places, on the grain."""
    draw = torch.Generator().manual_seed(seed)
    place, side = torch.rand(n, 1, 1, 1, generator=draw) * 8, torch.rand(n, 1, 1, 1, generator=draw).round() * 2 - 1
    x = torch.tanh(side * (torch.arange(8.0).view(1, 1, 1, 8) - place)).expand(n, 1, 8, 8)
    return ((x + 1) * 127.5).round() / 127.5 - 1


def train(nets, steps=120):
    objective, optimiser = Autoencoding(), torch.optim.Adam(nets.parameters(), lr=3e-3)
    nets.train()
    for step in range(steps):
        batch, noise = Batch(edges(16, step)), Noise(1, tuple(range(step * 16, step * 16 + 16)))
        loss, _ = objective.loss(nets, batch, objective.draws(nets, batch, "main", noise), "main")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            objective.settle(nets, noise)
    nets.eval()
    return objective


@pytest.mark.parametrize(
    "bottleneck", [NormalConfig(channels=4), QuantisedConfig(vocab=32), RoundedConfig(levels=(8, 5))]
)
def test_edges_pass_through_a_narrow_code(bottleneck):
    found, x = nets(bottleneck), edges(64, 9999)
    objective = train(found)
    code = objective.code(found, x)
    assert code.shape[2:] == (4, 4)
    assert (objective.read(found, code) - x).square().mean() < 0.1 * x.square().mean()
    torch.testing.assert_close(objective.code(found, x[3:4]).float(), code[3:4].float(), atol=1e-5, rtol=1e-5)


def test_a_whole_vector_draws_edges_in_one_pass():
    found = nets(NormalConfig(channels=6), whole=True)
    objective = train(found, 250)
    drawn = OneShot()(objective.predictor(found), PICTURE, Cond(), Noise(3, tuple(range(64))))
    real = edges(512, 77)
    nearest = torch.cdist(drawn.flatten(1), real.flatten(1)).min(1).values / 8  # root mean square of a cell
    noise = torch.cdist(torch.randn(64, 64).clamp(-1, 1), real.flatten(1)).min(1).values / 8
    assert nearest.median() < 0.3 < noise.median()
    alone = OneShot()(objective.predictor(found), PICTURE, Cond(), Noise(3, (17,)))
    torch.testing.assert_close(alone, drawn[17:18], atol=1e-5, rtol=0)


class Deaf(nn.Module):
    """A decoder that does not listen: its likelihood is that of its one centre, whatever the code."""

    space, codes, latent = PICTURE, Space((2,), 3), (3, 2)

    def __init__(self, shift):
        super().__init__()
        self.spread, self.shift, self.bottleneck = torch.tensor([-1.0]), shift, self

    def encode(self, x):
        return x

    def decode(self, z):
        return torch.full((len(z), 1, 8, 8), 0.2)

    def posterior(self, h):
        return torch.full((len(h), 2, 3), self.shift), torch.zeros(len(h), 2, 3)

    def settle(self, noise): ...

    def code(self, h): ...

    def read(self, code): ...

    def forward(self, h, e): ...


def test_the_bound_is_exact_where_the_posterior_is():
    x = edges(5)
    exact = -nats_of(x, torch.full_like(x, 0.2), torch.tensor([-1.0]), PICTURE.grain).flatten(1).sum(1)

    def bound(shift, looks):
        found = Autoencoding(looks=looks).log_prob({"net": Deaf(shift)}, Batch(x), Noise(1, tuple(range(5))))
        assert not found.exact
        return found.nats

    torch.testing.assert_close(bound(0.0, 1), exact.double(), rtol=1e-5, atol=1e-5)
    worse = 0.5 * 6 * 0.4**2  # the divergence of the wrong posterior: what one look gives away, on average
    assert (exact - bound(0.4, 400)).abs().mean() < 0.3 * worse
    assert (exact - bound(0.4, 1)).mean() == pytest.approx(worse, abs=1.0)


class Line(nn.Module):
    """z on a line, decoded linearly to four cells: with one z, p(x) is an integral that a fine grid gives exactly."""

    space, codes, latent = Space((4,), 1), Space((1,), 1), (1, 1)

    def __init__(self):
        super().__init__()
        self.spread, self.bottleneck = torch.tensor([-1.5]), self
        self.weight = torch.tensor([0.9, -0.6, 0.3, 0.8])

    def encode(self, x):
        return x

    def decode(self, z):
        return z.flatten(1)[:, :1, None] * self.weight

    def posterior(self, h):
        mean = (h[:, 0] @ self.weight / (self.weight.square().sum() + 0.2)).view(-1, 1, 1)  # roughly, and too wide
        return mean, torch.full_like(mean, math.log(0.25))

    def settle(self, noise): ...

    def code(self, h): ...

    def read(self, code): ...

    def forward(self, h, e):
        found = self.posterior(h)
        return at(found, e), divergence(found)


def test_more_looks_raise_the_bound_to_the_exact_likelihood():
    net, noise = Line(), Noise(2, tuple(range(200)))
    x = net.decode(noise.normal(0, (1, 1))) + 0.2 * torch.logit(noise.uniform(1, (1, 4)), eps=1e-6).float()
    z = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    nats = torch.stack([nats_of(x, net.decode(one.view(1, 1, 1).float()), net.spread, None).sum((1, 2)) for one in z])
    prior = -0.5 * (z.square() + math.log(2 * math.pi))
    exact = (prior[:, None] - nats.double()).logsumexp(0) + math.log(16 / 4000)
    means = []
    for looks in (1, 4, 16, 256):
        said = Autoencoding(looks=looks).log_prob({"net": net}, Batch(x), noise.child("looks"))
        means.append(float((said.nats - exact).mean()))
    assert means == sorted(means)
    assert means[0] < -0.2 and -0.01 < means[-1] < 0.005


def test_the_loss_is_the_bound_a_cell():
    found = nets()
    objective, batch = Autoencoding(looks=1), Batch(edges(8))
    noise = Noise(1, tuple(range(8)))
    loss, metrics = objective.loss(found, batch, objective.draws(found, batch, "main", noise), "main")
    assert float(metrics["x"] + metrics["code"]) == pytest.approx(loss.item(), rel=1e-5)
    many = torch.stack([-objective.log_prob(found, batch, Noise(k, tuple(range(8)))).nats / 64 for k in range(40)])
    assert float(many.mean()) == pytest.approx(loss.item(), rel=0.02)


@pytest.mark.parametrize("codes", [2, 8])
def test_of_several_codes_the_loss_is_the_importance_weighted_bound(codes):
    found = nets()
    objective, batch = Autoencoding(codes=codes, looks=codes), Batch(edges(8))

    def mean(objective):
        each = []
        for k in range(60):
            draws = objective.draws(found, batch, "main", Noise(k, tuple(range(8))))
            each.append(objective.loss(found, batch, draws, "main")[0])
        return torch.stack(each).mean().item()

    bounds = [objective.log_prob(found, batch, Noise(k, tuple(range(8)))).nats.mean() for k in range(60)]
    assert mean(objective) == pytest.approx(-float(torch.stack(bounds).mean()) / 64, rel=2e-3)
    assert mean(objective) < mean(Autoencoding()) - 0.002
    gained, costly = mean(Autoencoding()) - mean(objective), mean(Autoencoding(beta=3.0))
    assert costly - mean(objective.but(beta=3.0)) == pytest.approx(gained, abs=1e-5)
    free = nets(NormalConfig(channels=4, free=5.0))
    free.load_state_dict(found.state_dict())
    found = free  # what is free of the cost is free of any bound
    assert mean(Autoencoding()) - mean(objective) == pytest.approx(gained, abs=1e-5)
    assert mean(objective) > 0.5 + costly


def test_training_by_it_tightens_what_it_says():
    """More codes make the bound's gradient another one: a decoder learned by it is likelier than one by the usual."""
    x, reached = Line().decode(Noise(5, tuple(range(256))).normal(0, (1, 1))), []
    for codes in (1, 16):
        net = Line()
        net.weight = nn.Parameter(torch.full((4,), 0.1))
        objective, optimiser = Autoencoding(codes=codes, looks=256), torch.optim.Adam(net.parameters(), lr=0.02)
        for step in range(150):
            draws = objective.draws({"net": net}, Batch(x), "main", Noise(step, tuple(range(256))))
            loss, _ = objective.loss({"net": net}, Batch(x), draws, "main")
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        reached.append(float(objective.log_prob({"net": net}, Batch(x), Noise(9, tuple(range(256)))).nats.mean()))
    assert reached[1] > reached[0] + 0.01


def test_ids_have_no_weights_of_importance():
    found, batch = nets(RoundedConfig(levels=(4, 4))), Batch(edges(2))
    objective = Autoencoding(codes=3)
    with pytest.raises(UsageError, match=r"codes = 3: .*leave codes at 1"):
        objective.loss(found, batch, objective.draws(found, batch, "main", Noise(0, (0, 1))), "main")


def test_free_nats_cost_no_less_than_themselves():
    bottleneck = NormalConfig(channels=2, free=0.7).build()
    _, cost = bottleneck(torch.zeros(3, 4, 4, 4), torch.randn(3, 4, 4, 2))
    torch.testing.assert_close(cost, torch.full((3,), 0.7 * 32))


def test_ids_have_no_likelihood_and_draw_nothing():
    found = nets(RoundedConfig(levels=(4, 4)))
    with pytest.raises(NoLikelihood, match="later phase"):
        Autoencoding().log_prob(found, Batch(edges(2)), Noise(0, (0, 1)))
    with pytest.raises(UsageError, match="phase"):
        OneShot()(Autoencoding().predictor(found), PICTURE, Cond(), Noise(0))


def test_a_network_without_a_code_is_refused():
    with pytest.raises(UsageError, match="has no code"):
        Autoencoding().draws({"net": nn.Linear(2, 2)}, Batch(torch.zeros(1, 1, 8, 8)), "main", Noise(0))


def test_eight_are_two_times_four():
    found, objective = nets(), Autoencoding()
    batch, noise = Batch(edges(8)), Noise(4, tuple(range(8)))
    whole, _ = objective.loss(found, batch, objective.draws(found, batch, "main", noise), "main")
    parts = []
    for start in (0, 4):
        part, some = batch.part(start, start + 4), noise.part(start, start + 4)
        parts.append(objective.loss(found, part, objective.draws(found, part, "main", some), "main")[0])
    torch.testing.assert_close(whole, torch.stack(parts).mean())
    assert math.isfinite(whole.item())


BOTH = Autoencoding(adversarial=0.5, perceptual=0.25, r1=0.1, every=2)


def judged(bottleneck=NormalConfig(channels=4), whole=False):
    """An autoencoder and a critic."""
    found = nets(bottleneck, whole)
    nn.init.normal_(found["net"].leave, std=0.1)  # else all that is said at the start is nothing
    found["critic"] = CriticConfig(width=8, features=16).build(PICTURE)
    return found


def gradients(found, objective, turn, n=4):
    batch, noise = Batch(edges(n)), Noise(5, tuple(range(n)))
    found.zero_grad()
    loss, metrics = objective.loss(found, batch, objective.draws(found, batch, turn, noise), turn)
    loss.backward()
    reached = {name: p.grad for name, p in found.named_parameters() if p.grad is not None and bool(p.grad.any())}
    return reached, float(loss.detach()), metrics


def test_a_turn_reaches_its_own_nets_alone():
    assert [(t.name, t.trains, t.every) for t in BOTH.turns] == [
        ("critic", ("critic",), 1),
        ("penalty", ("critic",), 2),
        ("main", ("net",), 1),
    ]
    for bottleneck in (NormalConfig(channels=4), QuantisedConfig(vocab=32), RoundedConfig(levels=(8, 5))):
        found = judged(bottleneck)
        for turn in BOTH.turns:
            reached, _, _ = gradients(found, BOTH, turn.name)
            assert {name.split(".")[0] for name in reached} == set(turn.trains)


def test_a_term_of_weight_nothing_has_no_turn_and_costs_nothing():
    plain, idle = Autoencoding(), Autoencoding(adversarial=0, perceptual=0, drawn=True, r1=1.0)
    assert plain.turns == idle.turns == (Turn("main", ("net",)),)
    found, batch, noise = nets(), Batch(edges(4)), Noise(5, tuple(range(4)))
    assert set(idle.draws(found, batch, "main", noise)) == {"e"}
    for objective in (plain, idle):  # no critic is there to be asked
        reached, loss, metrics = gradients(found, objective, "main")
        assert set(metrics) == {"loss", "x", "code", "error"}
    found = nets()
    found["critic"] = CriticConfig(width=8, features=16).build(PICTURE)
    same, value, _ = gradients(found, plain, "main")
    assert value == loss and all(torch.equal(same[name], reached[name]) for name in reached)
    assert [t.name for t in BOTH.but(r1=0).turns] == ["critic", "main"]


def test_the_terms_pull_at_what_is_said_with_their_shares():
    """The last product of the decoder is bias + ...: its gradient is the sum of what pulls at the pictures."""
    found = judged()
    made = []
    decode = found["net"].decode
    found["net"].decode = lambda z: made.append(decode(z)) or made[-1]
    noise, batch = Noise(5, (0, 1, 2)), Batch(edges(3))

    def pull(objective):
        loss, _ = objective.loss(found, batch, objective.draws(found, batch, "main", noise), "main")
        return torch.autograd.grad(loss, made[-1])[0].flatten(1)

    own = pull(Autoencoding())
    for share in (0.25, 4.0):
        for term in ("adversarial", "perceptual"):
            more = pull(Autoencoding(**{term: share})) - own
            torch.testing.assert_close(more.norm(dim=1), share * own.norm(dim=1), rtol=1e-4, atol=1e-9)


def test_what_is_drawn_is_judged_too():
    objective = Autoencoding(adversarial=1.0, drawn=True)
    found = judged(NormalConfig(channels=6), whole=True)
    seen = []
    found["critic"].regard = lambda x, regard=found["critic"].regard: seen.append(x.detach()) or regard(x)
    gradients(found, objective, "main")
    x, said, drawn = seen
    assert torch.equal(x, edges(4)) and said.shape == drawn.shape == x.shape and not torch.allclose(said, drawn)
    z = objective.draws(found, Batch(x), "main", Noise(5, (0, 1, 2, 3)))["z"]
    torch.testing.assert_close(drawn, objective.predictor(found)(z).clamp(-1, 1))
    with pytest.raises(UsageError, match="draws nothing by itself"):
        objective.draws(judged(RoundedConfig(levels=(4, 4))), Batch(x), "main", Noise(0, (0,)))


def test_the_critic_sees_pictures_as_they_will_be():
    """Likelihood puts black below -1, by which no critic is to know a reconstruction."""
    found = judged()
    nn.init.normal_(found["net"].leave, std=3.0)
    seen = []
    found["critic"].regard = lambda x, regard=found["critic"].regard: seen.append(x.detach()) or regard(x)
    for turn in BOTH.turns:
        gradients(found, BOTH, turn.name)
    assert len(seen) == 5 and all(x.abs().max() <= 1 for x in seen)


def test_the_codebook_does_not_hear_the_critics_turn():
    found = judged(QuantisedConfig(vocab=32)).train()
    gradients(found, BOTH, "critic")
    assert not found["net"].bottleneck.found.any()
    gradients(found, BOTH, "main")
    assert found["net"].bottleneck.found.sum() == 4 * 16


def test_held_out_items_are_judged_by_the_bound_alone():
    found, batch, noise = judged(), Batch(edges(4)), Noise(5, tuple(range(4)))
    with torch.no_grad():
        losses = [o.loss(found, batch, o.draws(found, batch, "main", noise), "main")[0] for o in (Autoencoding(), BOTH)]
    assert torch.equal(*losses)
    assert gradients(found, BOTH, "main")[1] == pytest.approx(float(losses[0]), rel=1e-6)


def test_a_term_without_a_critic_says_what_to_add():
    with pytest.raises(UsageError, match=r"need a critic; give the phase nets"):
        gradients(nets(), BOTH, "main")


@pytest.mark.parametrize("turn", BOTH.turns, ids=lambda turn: turn.name)
def test_with_terms_eight_are_two_times_four(turn):
    found, batch, noise = judged(), Batch(edges(8)), Noise(4, tuple(range(8)))

    def slopes(start, stop):
        found.zero_grad()
        part, some = batch.part(start, stop), noise.part(start, stop)
        BOTH.loss(found, part, BOTH.draws(found, part, turn.name, some), turn.name)[0].backward()
        return {name: p.grad.clone() for name, p in found.named_parameters() if p.grad is not None}

    whole, one, two = slopes(0, 8), slopes(0, 4), slopes(4, 8)
    for name, slope in whole.items():
        torch.testing.assert_close(slope, (one[name] + two[name]) / 2, rtol=1e-3, atol=1e-5)


def codec(bottleneck):
    nets = {
        "net": AutoencoderConfig(widths=(8, 16), bottleneck=bottleneck),
        "critic": CriticConfig(width=8, features=16),
    }
    return toys.image_phase(None).but(name="codec", nets=nets, conditioner=None, objective=BOTH)


def test_resumed_is_undisturbed(tmp_path):
    phase = codec(QuantisedConfig(vocab=32))
    kept = toys.loop(phase, tmp_path / "straight", 6).run()
    loop = toys.loop(phase, tmp_path / "killed", 6, checkpoint_every=0.0)
    step = loop.step

    def stopped():
        if loop.at.step == 3:
            raise KeyboardInterrupt
        return step()

    loop.step = stopped
    with pytest.raises(KeyboardInterrupt):
        loop.run()
    again = toys.loop(phase, tmp_path / "killed", 6).run()
    assert set(again) == set(kept) and all(torch.equal(again[name], kept[name]) for name in kept)


def test_the_loop_trains_both(tmp_path):
    loop = toys.loop(codec(NormalConfig(channels=4)), tmp_path, 2)
    start = loop.weights()
    for _ in range(2):
        loop.step()
    after = loop.weights()
    assert set(loop.losses) == {"critic", "main"} and set(loop.flats) == {"critic", "main"}
    for name in ("net.leave", "net.enter", "critic.enter", "critic.score"):
        assert not torch.equal(start[name], after[name]), name
