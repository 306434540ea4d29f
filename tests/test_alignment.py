"""From a model that writes to one that answers: fine-tuning from a run, what it gains, what it costs."""

import json
from dataclasses import replace

import pytest
import torch
import toys

from genus.cli import app
from genus.errors import UsageError
from genus.networks.transformer import TransformerConfig
from genus.recipes import find, with_settings, with_start
from genus.run import Run
from genus.train.budget import budget
from genus.train.loop import Loop
from genus.train.stage import train
from genus.validate.answers import ANSWERS, Answers, answered, conversations, question
from genus.validate.forgetting import FORGOTTEN, Forgetting
from genus.validate.gate import Gate
from genus.validate.subject import Subject

QUICK = ("training.batch=8", "training.precision=fp32", "training.compile=no", "training.evaluations=2")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("alignment")


@pytest.fixture(scope="module")
def base(place):
    """A run on plain text."""
    phase = toys.text_phase().but(nets={"net": TransformerConfig(depth=2, width=32, head=16)})
    return train(toys.recipe(phase), toys.dataset(place / "texts", n=80), place / "base", budget("40 steps"))


@pytest.fixture(scope="module")
def talks(place):
    return toys.dataset(place / "talks", n=160, talking=True)


@pytest.fixture(scope="module")
def tuned(place, base, talks):
    recipe = with_settings(with_start(find("sft"), base.path), [*QUICK, "source.window=64", "training.rate=3e-3"])
    return train(recipe, talks, place / "tuned", budget("40 steps"))


def test_fine_tuning_goes_on_from_a_run(base, tuned):
    assert [phase["phase"] for phase in tuned.summary["phases"]] == ["sft"]
    assert tuned.phase.nets == base.phase.nets and tuned.model().codec.space == base.model().codec.space
    before, after = ([row["loss"] for row in run.metrics() if row["split"] == "val"] for run in (base, tuned))
    assert after[-1] < 0.8 * before[-1]


def test_what_it_gains_and_what_it_costs(tuned):
    subject = Subject.of(tuned)
    gained, lost = Answers()(subject), Forgetting()(subject)
    now, before = gained.metrics[0], gained.baselines[0]
    assert now.name == ANSWERS and before.name == f"{ANSWERS}/before" and now.value < 0.7 * before.value
    assert lost.metrics[0].name == FORGOTTEN and lost.metrics[0].low < lost.metrics[0].value < lost.metrics[0].high
    ratio = lost.metrics[1].value / lost.baselines[0].value - 1
    assert lost.metrics[0].value == pytest.approx(ratio)
    assert Gate()(gained.metrics, gained.baselines) == ()
    worse = replace(now, value=2 * before.value)
    assert "fine-tuning has not taught" in Gate()((worse,), gained.baselines)[0]


def test_bits_of_answers_are_of_answers_alone(tuned):
    subject = Subject.of(tuned)
    some = conversations(subject.held_out(100))[:3]
    alone = [subject.nats([record])[0][0] for record in some]
    found = Answers(items=3, shown=0)(subject).metrics[0]
    assert found.value == pytest.approx(sum(alone) / sum(map(answered, some)) / 0.6931471805599453)
    assert question(some[0])[-1].role == "user"


def test_it_answers_what_is_asked(tuned):
    said = tuned.generate("say wool 3", n=2, tokens=8)
    assert all(text.startswith("<|user|>\nsay wool 3\n<|assistant|>\n") for text in said)
    again = tuned.generate("<|user|>\nsay wool 3", n=2, tokens=8)
    assert again == said


def test_a_run_that_has_not_finished_is_no_start(tmp_path):
    with pytest.raises(UsageError, match="no trained model to go on from"):
        with_start(find("sft"), tmp_path)


def test_a_recipe_that_begins_anew_goes_on(base):
    recipe = with_start(find("gpt"), base.path)
    assert recipe.phases[0].start == "before" and recipe.given == {"before": str(base.path)}


def test_from_the_command_line(base, talks, tmp_path):
    from typer.testing import CliRunner

    settings = [part for setting in (*QUICK, "source.window=64") for part in ("--set", setting)]
    asked = ["train", str(talks.path), "--recipe", "sft", "--from", str(base.path), "--budget", "2 steps", "--json"]
    done = CliRunner().invoke(app, [*asked, "--home", str(tmp_path), *settings])
    assert done.exit_code == 0, done.output
    assert Run(json.loads(done.stdout)["run"]).recipe.given == {"pretrain": str(base.path)}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_adapter_leaves_the_network_as_it_was_but_for_what_it_learned(base, talks, tmp_path, monkeypatch, precision):
    settings = [
        "source.window=64",
        "training.rate=1e-2",
        "training.muon_rate=0.05",
        'sft.adapter={"kind": "networks.lora"}',
    ]
    recipe = with_settings(with_start(find("sft"), base.path), [*QUICK, *settings, f"training.precision={precision}"])
    run = train(recipe, talks, tmp_path / "run", budget("20 steps"))
    before, after = base.model().nets.state_dict(), run.model().nets.state_dict()
    assert set(before) == set(after)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if ".blocks." in name}
    assert all(torch.linalg.matrix_rank(after[n].double() - before[n].double(), rtol=1e-4) <= 8 for n in changed)
    held = [row["loss"] for row in run.metrics() if row["split"] == "val"]
    assert held[-1] < held[0] - 0.05

    def stopped(loop):
        loop.checkpoint_every = 0.0
        if loop.at.step == 10:
            raise KeyboardInterrupt
        return step(loop)

    step = Loop.step
    with monkeypatch.context() as patch:
        patch.setattr(Loop, "step", stopped)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, talks, tmp_path / "again", budget("20 steps"))
    again = train(recipe, talks, tmp_path / "again", budget("20 steps"))
    assert all(torch.equal(value, again.model().nets.state_dict()[name]) for name, value in after.items())


def test_an_adapter_needs_a_model(talks, tmp_path):
    recipe = with_settings(
        find("gpt"), [*QUICK, "net.width=32", "net.head=16", 'pretrain.adapter={"kind": "networks.lora"}']
    )
    with pytest.raises(UsageError, match="changes a model that is there"):
        train(recipe, talks, tmp_path / "run", budget("2 steps"))


def test_it_is_talked_to_turn_after_turn(tuned):
    from genus.deploy.chat import Chat

    chat = Chat(tuned.model(), knobs={"tokens": 6})
    first = "".join(chat.tell("say wool 3"))
    assert tuned.generate("say wool 3", tokens=6)[0].endswith(first) and len(chat.said) == 2
    "".join(chat.tell("say ball 4"))
    assert [message["role"] for message in chat.said] == ["user", "assistant"] * 2
