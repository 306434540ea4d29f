"""Losses by their formulas, who is a negative of whom, and a toy of colours and shapes learned to the end."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import toys

from genus.codecs.pixels import PixelsConfig
from genus.conditions.text import TextConfig
from genus.core import Batch, Cond, Embedder, Noise, Roads, Space
from genus.data.cache import Cache
from genus.data.stacked import StackedConfig
from genus.errors import NoLikelihood, UsageError
from genus.networks.affine import AffineConfig
from genus.networks.convolutional import ConvolutionalConfig
from genus.networks.pooled import PooledConfig
from genus.networks.transformer import TransformerConfig
from genus.objectives.contrastive import Contrastive
from genus.recipe import Phase
from genus.run import assemble, in_memory, load_model, save
from genus.train.budget import budget
from genus.train.meter import Meter
from genus.train.plan import Plan, planned
from genus.watch import Silent

COLOURS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (50, 70, 230), "white": (240, 240, 240)}
SHAPES = {
    "square": np.pad(np.ones((4, 4)), 2),
    "frame": np.pad(np.ones((6, 6)), 1) - np.pad(np.ones((4, 4)), 2),
    "cross": np.clip(np.eye(8) + np.eye(8)[::-1], 0, 1),
    "bar": np.repeat([0, 0, 0, 1, 1, 0, 0, 0], 8).reshape(8, 8),
}


def things(n, seed=0):
    """Pictures [8, 8, 3] of a shape in a colour on noise, and what is said of each."""
    rng = np.random.default_rng(seed)
    media, said = [], []
    for _ in range(n):
        colour, shape = rng.choice(list(COLOURS)), rng.choice(list(SHAPES))
        x = rng.uniform(0, 60, (8, 8, 3))
        x[SHAPES[shape].astype(bool)] = np.array(COLOURS[colour]) + rng.normal(0, 12, 3)
        media.append(x.clip(0, 255).astype(np.uint8))
        said.append(f"a {colour} {shape}")
    return media, said


def phase(form="softmax", **training):
    encoder = TransformerConfig(depth=1, width=32, head=16)
    return Phase(
        name="contrastive",
        codec=PixelsConfig(height=8, width=8, channels=3),
        nets={
            "net": PooledConfig(inside=TransformerConfig(depth=1, width=48, head=16, causal=False), width=48, patch=2),
            "logits": AffineConfig(scale=10, shift=0 if form == "softmax" else -3),
        },
        conditioner=TextConfig(encoder=encoder, width=32, tokens=False, dropout=0.0),
        objective=Contrastive(form=form),
        source=StackedConfig(),
        training=toys.training(**{"batch": 48, "muon_rate": 0.05, **training}),
    )


def learned(folder, form, steps):
    made, codec, cache = ready(folder, 600, form=form)
    source = made.source.over(cache, codec, 0, made.training.batch)
    torch.manual_seed(0)
    model = assemble(made, codec, "caption")
    loop = toys.loop(toys.image_phase(), folder, steps, name="contrastive", model=model, training=made.training,
                     source=source, evaluation=lambda: iter(()), loss=made.objective.loss)  # fmt: skip
    for _ in range(steps):
        loop.step()
    return model, made


def matches(model, n=200):
    """How often a new picture's colour and shape are the nearest of all sixteen."""
    media, said = things(n, seed=1)
    names = [f"a {colour} {shape}" for colour in COLOURS for shape in SHAPES]
    model.nets.eval()
    x = model.codec.lift(torch.stack(model.codec.encode(media)))
    with torch.no_grad():
        logits = model.predictor()[0](x, cond=model.condition({"caption": names}, len(names)))
    right = torch.tensor([names.index(s) for s in said])
    return float((logits.argmax(1) == right).float().mean())


@pytest.mark.parametrize(("form", "steps", "least"), [("softmax", 90, 0.97), ("sigmoid", 130, 0.7)])
def test_colours_and_shapes_are_learned(form, steps, least, tmp_path):
    model, made = learned(tmp_path, form, steps)
    assert matches(model) > least
    save(model, made, tmp_path / "saved")
    assert matches(load_model(tmp_path / "saved")[0]) == matches(model)


def test_untrained_it_guesses(tmp_path):
    model, _ = learned(tmp_path, "softmax", 0)
    assert matches(model) < 0.25  # chance is 1/16


class Given(torch.nn.Module):
    """An encoder that says its input."""

    def forward(self, x):
        return x


def nets(scale=3.0, shift=0.5):
    return {"net": Given(), "logits": AffineConfig(scale=scale, shift=shift).build(Space((1,)), Roads())}


def batch(n=5, **more):
    torch.manual_seed(0)
    return Batch(torch.randn(n, 4), cond=Cond(vector=torch.randn(n, 4)), **more)


def loss(some, form="softmax"):
    objective = Contrastive(form=form)
    return objective.loss(nets(), some, objective.draws({}, some, "main", Noise(0, tuple(range(len(some))))), "main")


def similar(some):
    return 3.0 * F.normalize(some.x, dim=-1) @ F.normalize(some.cond.vector, dim=-1).T + 0.5


def test_the_losses_are_those_of_the_papers():
    some = batch()
    s = similar(some)
    clip = -0.5 * (s.log_softmax(1).diag() + s.log_softmax(0).diag()).mean()
    torch.testing.assert_close(loss(some)[0], clip)
    z = 2 * torch.eye(5) - 1
    siglip = (1 + (-z * s).exp()).log().sum() / 5
    torch.testing.assert_close(loss(some, "sigmoid")[0], siglip)
    assert float(loss(some)[1]["matched"]) == float((s.argmax(1) == torch.arange(5)).float().mean())


@pytest.mark.parametrize("form", ["softmax", "sigmoid"])
def test_samples_of_one_caption_are_no_negatives(form):
    some = batch(4, fields={"caption": ["a", "b", "a", "c"], "label": [None] * 4})
    without = [loss(Batch(some.x[i], cond=Cond(some.cond.vector[i])), form)[0] for i in ([0, 1, 3], [1, 2, 3])]
    s = similar(some)
    if form == "sigmoid":
        z = 2 * torch.eye(4) - 1
        terms = (1 + (-z * s).exp()).log()
        terms[0, 2] = terms[2, 0] = 0
        torch.testing.assert_close(loss(some, form)[0], terms.sum() / 4)
    else:
        s[0, 2] = s[2, 0] = -math.inf
        torch.testing.assert_close(loss(some)[0], -0.5 * (s.log_softmax(1).diag() + s.log_softmax(0).diag()).mean())
    assert all(torch.isfinite(v) for v in without)


@pytest.mark.parametrize("form", ["softmax", "sigmoid"])
def test_a_sample_of_which_nothing_is_said_takes_no_part(form):
    some = batch(4, fields={"caption": ["a", None, "b", ""], "label": [None] * 4})
    kept = Batch(some.x[[0, 2]], cond=Cond(some.cond.vector[[0, 2]]), fields={"caption": ["a", "b"]})
    torch.testing.assert_close(loss(some, form)[0], loss(kept, form)[0])
    nothing = batch(3, fields={"caption": [None] * 3})
    assert float(loss(nothing, form)[0].detach()) == 0


def test_a_batch_is_not_cut():
    with pytest.raises(UsageError, match=r"cannot be cut into training.micro = 8; set training.batch to 8"):
        phase().but(training=toys.training(batch=48, micro=8))
    assert phase(batch=48, micro=48).training.micro == 48
    some = batch(6)
    halves = [loss(Batch(some.x[i : i + 3], cond=Cond(some.cond.vector[i : i + 3])))[0] for i in (0, 3)]
    assert (loss(some)[0] - sum(halves) / 2).detach().abs() > 0.01  # why


def ready(tmp_path, n=40, **changes):
    """A phase that is fitted, its codec and its data."""
    media, said = things(n)
    made = phase(**changes)
    made = made.but(conditioner=made.conditioner.fit(lambda: ({"caption": s} for s in said)))
    codec = made.codec.load(tmp_path)
    cache = in_memory(codec, media)
    return made, codec, Cache(cache.cells, False, cache.ids, cache.starts, {"caption": said})


def test_little_memory_takes_smaller_batches_and_does_not_cut_them(tmp_path, monkeypatch):
    made, codec, cache = ready(tmp_path)
    monkeypatch.setattr("genus.train.plan.free_bytes", lambda: 1)
    plan = planned(Plan(made), codec, made.source, cache, budget("2 steps"), 1.0, Meter(), Silent())
    assert plan.phase.training.batch == plan.forecast["batch"] == 1 and plan.phase.training.micro is None


def test_bfloat16_stays_near_float32(tmp_path):
    made, codec, cache = ready(tmp_path)
    torch.manual_seed(0)
    model = assemble(made, codec, "caption")
    for p in [*model.nets["net"].parameters(), *model.nets["conditioner"].parameters()]:
        torch.nn.init.normal_(p, std=0.2)
    (some,) = made.source.once(cache, codec, 40)
    model.nets.eval()
    with torch.no_grad():
        wide = model.predictor()[0](some.x, cond=model.condition(some.fields, 40))
        model.nets.bfloat16()
        half = model.predictor()[0](some.x, cond=model.condition(some.fields, 40))
    assert half.dtype == torch.float32 and (half - wide).norm() / wide.norm() < 0.05


def test_it_draws_nothing_and_says_so():
    objective = Contrastive()
    with pytest.raises(UsageError, match="draws nothing"):
        objective.sampler().stream(objective.predictor({}), Space((1,)), Cond(), Noise(0))
    with pytest.raises(NoLikelihood, match="belong together"):
        objective.log_prob({}, batch(), Noise(0))
    assert isinstance(objective.predictor({}), Embedder)
    with pytest.raises(UsageError, match="without a vector"):
        objective.predictor(nets())(torch.randn(2, 4))


@pytest.mark.parametrize("dims", [(9,), (8, 6), (4, 5, 3)])
@pytest.mark.parametrize("inside", [
    TransformerConfig(depth=1, width=16, head=8, causal=False),
    ConvolutionalConfig(widths=(8, 16), down=(1, 1), up=(1, 0), attention=1, head=8, patch=1, timed=False),
])  # fmt: skip
def test_any_network_on_any_axes_becomes_an_encoder(dims, inside):
    config = PooledConfig(inside=inside, width=16, patch=2)
    net = config.build(Space(dims, 3), Roads(vector=7, tokens=5))
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.3)
    x = torch.randn(2, 3, *dims)
    y = net(x)
    assert y.shape == (2, 7) and y.dtype == torch.float32 and (net(x.flip(-1)) - y).abs().max() > 1e-3
    torch.testing.assert_close(net(x[1:]), y[1:], atol=1e-4, rtol=1e-4)
    assert config.sized(2).width == 64
    with pytest.raises(UsageError, match="fewer than two captions"):
        config.build(Space(dims, 3), Roads())
    with pytest.raises(UsageError, match="not tokens"):
        config.build(Space(dims, 1, 7), Roads(vector=7))


def test_the_scale_has_a_ceiling():
    net = AffineConfig(scale=50.0, shift=1.0, most=20.0).build(Space((1,)), Roads())
    torch.testing.assert_close(net(torch.tensor([0.5])), torch.tensor([11.0]))
