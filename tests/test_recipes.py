"""Settings reach any field or say why not; every recipe there is learns, samples, saves, reloads and resumes."""

import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import toys

from genus import files
from genus.core import Noise
from genus.deploy import publish
from genus.errors import UsageError
from genus.recipe import Recipe
from genus.recipes import USUAL, describe, find, names, with_settings
from genus.recipes.rloo import JUDGE
from genus.run import Run, assemble
from genus.samplers.undrawn import Undrawn
from genus.train import checkpoint
from genus.train.budget import budget
from genus.train.loop import Loop
from genus.train.stage import train


def changed(*settings, of="gpt"):
    return with_settings(find(of), settings)


def test_names_and_descriptions():
    assert set(USUAL.values()) <= set(names()) and {"gpt", "chargpt", "flow"} <= set(names())
    for name in names():
        recipe = find(name)
        assert recipe.name == name and describe(recipe)["name"] == name and recipe.about
        json.dumps(describe(recipe))


def test_an_unknown_recipe_lists_what_there_is():
    with pytest.raises(UsageError, match=r"no recipe 'gtp' \(did you mean 'gpt'\?\); there are: .*chargpt.*flow"):
        find("gtp")
    for name in ("", "../gpt", "os", "__init__", "gpt.RECIPE"):
        with pytest.raises(UsageError, match=r"there are: "):
            find(name)


@pytest.mark.parametrize("name", names())
def test_through_json(name):
    recipe = find(name)
    assert Recipe.model_validate(json.loads(json.dumps(recipe.model_dump(mode="json")))) == recipe


class TestSettings:
    def test_the_last_phase(self):
        settings = ["training.rate=0.002", "objective.z_loss=1e-4", "source.window=64"]
        phase = changed(*settings, 'pretrain.codec={"kind": "codecs.bytes"}').phases[-1]
        assert phase.training.rate == 0.002 and phase.objective.z_loss == 1e-4 and phase.source.window == 64
        assert phase.codec.kind == "codecs.bytes"

    def test_a_phase_by_its_name(self):
        assert changed("pretrain.training.rate=0.5").phases[0].training.rate == 0.5

    def test_a_network_that_is_set_is_not_sized(self):
        for setting in ("net.width=64", "nets.net.width=64", "pretrain.net.width=64"):
            phase = changed(setting).phases[-1]
            assert phase.nets["net"].width == 64 and phase.sizing.dials == ()
        assert changed("training.rate=1").phases[-1].sizing.dials

    def test_a_batch_that_is_set_is_not_sized(self):
        phase = changed("training.batch=24").phases[-1]
        assert phase.training.batch == 24 and phase.sizing.batch == (24, 24) and phase.sizing.dials

    def test_the_recipe_itself(self):
        recipe = find("gpt")
        name = recipe.measures[0].kind.rsplit(".", 1)[-1]
        field = next(f for f in type(recipe.measures[0]).model_fields if f != "kind")
        value = getattr(recipe.measures[0], field)
        assert changed(f"measures.{name}.{field}={json.dumps(value)}") == recipe
        field = next(f for f in type(recipe.gate).model_fields if f != "kind")
        assert changed(f"gate.{field}={json.dumps(getattr(recipe.gate, field))}") == recipe

    def test_a_rule_of_cleaning(self):
        rules = changed("clean.near_duplicates.threshold=0.5").clean
        assert any(getattr(rule, "threshold", None) == 0.5 for rule in rules) and len(rules) > 3

    def test_values_are_json_or_text(self):
        phase = changed("training.precision=fp32", "training.micro=null", "training.betas=[0.8, 0.9]").phases[-1]
        assert phase.training.precision == "fp32" and phase.training.micro is None
        assert phase.training.betas == (0.8, 0.9)
        assert changed("codec.alphabet=a=b", of="chargpt").phases[-1].codec.alphabet == "a=b"

    def test_fields_that_must_agree_are_set_together(self):
        settings = ["net.widths=[8,16]", "net.down=[1,1]", "net.up=[1,0]", "net.widths=[16,16]"]
        for order in (settings, settings[:3][::-1]):
            net = changed(*order, of="flow").phases[0].nets["net"]
            assert (len(net.widths), net.down, net.up) == (2, (1, 1), (1, 0))
        assert changed(*settings, of="flow").phases[0].nets["net"].widths == (16, 16)
        with pytest.raises(UsageError, match=r"one entry a scale"):
            changed("net.widths=[8,16]", of="flow")

    def test_sizing_that_is_left_out_stays_out(self):
        for order in (["flow.sizing=null", "net.kernel=1"], ["net.kernel=1", "flow.sizing=null"]):
            assert changed(*order, of="flow").phases[0].sizing is None

    def test_a_part_and_a_field_of_it(self):
        with pytest.raises(UsageError, match=r"net.depth=3.*'pretrain.net=null' replaces all of 'net'"):
            changed("pretrain.net=null", "net.depth=3")

    def test_the_recipe_given_stays_as_it_was(self):
        before = find("gpt").model_dump()
        changed("training.rate=0.5", "net.width=64")
        assert find("gpt").model_dump() == before

    @pytest.mark.parametrize(
        ("setting", "said"),
        [
            ("training.rate", r"write part\.field=value"),
            ("=3", r"write part\.field=value"),
            ("rate=3", r"write part\.field=value"),
            ("training..rate=3", r"write part\.field=value"),
            (".=1", r"write part\.field=value"),
            ("training.speed=3", r"train\.training has no 'speed'; it has: .*rate"),
            ("trainig.rate=3", r"recipes\.phase has no 'trainig'; it has: .*training"),
            ("training.rate=fast", r"rate = 'fast'"),
            ("training.rate=-1", r"rate = -1: input should be greater than 0"),
            ("training.rate=NaN", r"rate = nan"),
            ("training.rate=Infinity", r"rate = inf"),
            ("training.rate=", r"rate = ''"),
            ("training.batch=0", r"batch = 0"),
            ("training.batch=1.5", r"batch = 1\.5"),
            ("training.batch=[1]", r"batch = \[1\]"),
            ("training.betas.0=0.5", r"no '0'; it has no fields"),
            ("training.betas=[2, 3]", r"betas"),
            ("training.rate.x=1", r"no 'x'; it has no fields"),
            ("training.kind=x", r"train\.training has no 'kind'"),
            ("kind.x=1", r"has no 'kind'"),
            ("net.kind=networks.x", r"has no 'kind'; it has: [^;]*$"),
            ("pretrain.net.kind=networks.x", r"has no 'kind'; .*; for .* write pretrain\.net=networks\.x$"),
            ("net.kind=codecs.bytes", r"has no 'kind'"),
            ("net.width=0", r"width = 0"),
            ("nets.other.width=3", r"no 'other'; it has: net"),
            ('net={"kind": "os.system"}'.replace("net=", "nets.net="), r"'os\.system' is not a kind of part"),
            ('nets.net={"kind": "codecs.bytes"}', r"nets"),
            ("conditioner.width=3", r"no 'width'; it has no fields"),
            ("measures.nothing.n=3", r"no 'nothing' among: "),
            ("clean.nothing.n=3", r"no 'nothing' among: "),
            ("gate.nothing=3", r"has no 'nothing'"),
            ("phases.0=3", r"recipes\.phase has no 'phases'"),
            ("prompt.x=3", r"no 'x'; it has no fields"),
            ("pretrain.name=../../x", r"name"),
        ],
    )
    def test_what_cannot_be_set(self, setting, said):
        with pytest.raises(UsageError, match=said):
            changed(setting)


def shrunk(part):
    """Settings that make a part small."""
    if part.kind == "networks.convolutional":
        return [f"net.widths={[16] * len(part.widths)}", "net.head=16"]
    if part.kind == "learned.attempts":
        easy = ['source.reward={"kind": "rewards.match", "graded": true}'] if part.reward.kind != JUDGE.kind else []
        return ["source.window=64", "source.tokens=12", "source.group=4", "training.rate=1e-3", *easy]
    if part.kind == "networks.decoder":
        sizes = {"depth": 2, "width": 32, "head": 16, "heads": 2, "kv_heads": 2, "hidden": 48}
        experts = ["net.mixture.number=4", "net.mixture.hidden=24"] if part.mixture is not None else []
        return [f"net.{name}={size}" for name, size in sizes.items()] + experts
    return {
        "codecs.bpe": ["codec.vocab=300"],
        "codecs.pixels": ["codec.largest=8"],
        "codecs.levels": ["codec.pixels.largest=8"],
        "networks.transformer": ["net.depth=2", "net.width=32", "net.head=16"],
        "networks.pooled": ["net.inside.depth=1", "net.inside.width=32", "net.width=32", "net.patch=2"],
        "networks.autoencoder": ["net.widths=[16, 16]", "net.patch=1"],
        "networks.style.generator": ["generator.width=8"],
        "networks.style.critic": ["critic.width=8"],
        "data.packed": ["source.window=32"],
        "data.gaps": ["source.window=48"],
        "learned.taught": ["source.inside.window=32"],
        "data.dialogue": ["source.window=64"],
        "data.spans": ["source.window=32"],
        "conditions.passage": [
            "conditioner.width=32",
            *(f"conditioner.encoder.{knob}" for knob in ("depth=1", "width=32", "head=16")),
        ],
        "learned.preferences": ["source.window=64"],
        "learned.verdicts": ["source.window=64"],
        "learned.rollouts": ["source.number=64", "source.held=16"],
    }.get(part.kind, [])


def small(name):
    """The recipe, its every network shrunk through the settings a user has."""
    recipe = find(name)
    settings = []
    for phase in recipe.phases:
        parts = (phase.codec, *phase.nets.values(), phase.source, *filter(None, [phase.conditioner]))
        settings += [f"{phase.name}.{s}" for part in parts for s in shrunk(part)]
        settings += [f"{phase.name}.training.{s}" for s in ("batch=8", "precision=fp32", "compile=no", "evaluations=4")]
    return with_settings(recipe, settings)


PAGE = Path(__file__).parent.parent / "docs" / "recipes.md"


def variants():
    """(recipe, settings) of the page's table of variants; a row with `a/b` is one for each."""
    table = PAGE.read_text(encoding="utf-8").partition("## Variants")[2].partition("\n## ")[0]
    for recipe, said in re.findall(r"^\| .* \| `([\w-]+)` \| `(--set .+)` \|$", table, re.MULTILINE):
        settings = [one.strip() for one in said.split("--set ") if one]
        for chosen in itertools.product(*(value.split("/") for value in settings)):
            starts = [setting.partition("=")[0] for setting in settings]
            yield recipe, tuple(c if "=" in c else f"{start}={c}" for start, c in zip(starts, chosen, strict=True))


@pytest.mark.parametrize(("name", "settings"), [pytest.param(*v, id=f"{v[0]}-{v[1][0]}") for v in variants()])
def test_every_variant_of_the_page_trains_and_draws(name, settings, tmp_path):
    recipe = with_settings(small(name), settings)
    assert recipe != small(name) or settings[0].endswith(("=noise", "=linear", "=relativistic"))  # the recipe's own
    run = train(recipe, toys.dataset(tmp_path / "data", "image", 40), tmp_path / "run", budget("6 steps"))
    assert all(np.isfinite(row["loss"]) for row in run.metrics() if "loss" in row)
    if not isinstance(run.model().sampler, Undrawn):
        knobs = {"steps": 3} if "steps" in type(run.model().sampler).model_fields else {}
        drawn = run.generate(n=2, **knobs)
        assert len(drawn) == 2 and drawn[0].dtype == np.uint8


def test_the_page_has_variants():
    assert len(list(variants())) > 20


def apart(model, dataset):
    """Energy distance between 100 pictures of a model and those it learned from; 0 if and only if they are alike."""
    drawn, real = model.generate(Noise(1, tuple(range(100)))), [record.media for record in dataset.media("train")]
    a, b = (torch.stack(model.codec.encode(media)).flatten(1) / 255 for media in (drawn, real))
    return float(2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean())


def learned(run, dataset):
    """Held-out loss falls; where no loss tells progress, samples come nearer to the data than before training."""
    phase = run.recipe.phases[-1]
    held = [row["loss"] for row in run.metrics() if row["phase"] == phase.name and row["split"] == "val"]
    rewards = [row["reward"] for row in run.metrics() if row["phase"] == phase.name and "reward" in row]
    if rewards:
        return sum(rewards[-10:]) > sum(rewards[:10])
    if phase.objective.judged is not None:
        return held[-1] < 0.97 * held[0]
    torch.manual_seed(phase.training.seed)
    untrained = assemble(run.phase, run.model().codec, run.recipe.prompt)
    return not held and apart(run.model(), dataset) < 0.6 * apart(untrained, dataset)


@pytest.mark.parametrize("name", names())
def test_every_recipe_learns_samples_saves_reloads_and_resumes(name, tmp_path, monkeypatch):
    recipe = small(name)
    dataset = toys.dataset(tmp_path / "data", recipe.media[0], 150, talking=recipe.prompt == "turn")
    shares = [phase.share for phase in recipe.phases]
    steps = budget(f"{round(40 * sum(shares) / shares[-1])} steps")  # 40 of them for the last phase
    run = train(recipe, dataset, tmp_path / "run", steps)
    assert learned(run, dataset) and run.summary["steps"] == 40

    if isinstance(run.model().sampler, Undrawn):
        judges(run) if recipe.family == "classification" else embeds(run)
    else:
        samples(run)

    step = Loop.step

    def stopped(loop):
        loop.checkpoint_every = 0.0
        if loop.at.step == 20 and loop.name == recipe.phases[-1].name:
            raise KeyboardInterrupt
        return step(loop)

    again = tmp_path / "again"
    with monkeypatch.context() as patch:
        patch.setattr(Loop, "step", stopped)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, dataset, again, steps)
    assert checkpoint.steps(again / "checkpoints" / recipe.phases[-1].name) == [19, 20]
    resumed = train(recipe, dataset, again, steps)
    assert files.sha256(resumed.path / "model.safetensors") == files.sha256(run.path / "model.safetensors")


def samples(run):
    """A sample alone is the same among 64, and the same from the run's files, in either number format."""
    few = {"steps": 3, "tokens": 12}
    model = run.model()
    knobs = {name: n for name, n in few.items() if name in type(model.sampler).model_fields}
    for n, precision in ((64, "fp32"), (5, "bf16")):
        made = run.generate(n=n, seed=5, precision=precision, **knobs)
        assert same(made[:3], Run(run.path).generate(n=3, seed=5, precision=precision, **knobs))
        assert same(made[n - 1 :], model.generate(Noise(5, (n - 1,)), precision=precision, **knobs))
        assert not all(same(made[:1], [other]) for other in made[1:])


def same(some, others):
    """Equal texts; pictures of which a sum in another order moved no pixel by more than one of 255."""
    if isinstance(some[0], str):
        return list(some) == list(others)
    return all(a.shape == b.shape and np.abs(a.astype(int) - b).max() <= 1 for a, b in zip(some, others, strict=True))


def judges(run):
    """A judge draws nothing, and what it says is the same from its files."""
    with pytest.raises(UsageError, match="draws nothing"):
        run.generate(n=1)
    x, said = torch.arange(24).view(2, 1, 12), torch.ones(2, 1, 12, dtype=torch.bool)
    worth = run.model().predictor()[0].worth(x, said)
    assert torch.equal(Run(run.path).model().predictor()[0].worth(x, said), worth) and worth[0] != worth[1]


def embeds(run):
    """A family that draws nothing says so, and what it learned instead is the same from its files."""
    with pytest.raises(UsageError, match="draws nothing"):
        run.generate(n=1)
    media, texts = toys.pictures(3), ["dark", "never seen"]
    seen, said = run.embed(media), run.embed_texts(texts)
    assert seen.shape[0] == 3 and said.shape == (2, seen.shape[1])
    assert np.allclose((seen**2).sum(1), 1, atol=1e-5) and np.allclose((said**2).sum(1), 1, atol=1e-5)
    again = Run(run.path)
    assert np.array_equal(again.embed(media), seen) and np.array_equal(again.embed_texts(texts), said)
    assert np.allclose(again.embed(media[1:2]), seen[1:2], atol=1e-5)
    card = publish(run, force=True).card.read_text()
    assert "run.embed_texts(" in card and "genus generate" not in card
