"""From a model that writes to one that answers: fine-tuning from a run, what it gains, what it costs."""

import json
from dataclasses import replace

import pytest
import torch
import toys

from genus.cli import app
from genus.core import Batch
from genus.errors import UsageError
from genus.learned import attempts, preferences
from genus.learned.judge import JudgeConfig
from genus.networks.transformer import TransformerConfig
from genus.recipes import find, with_given, with_settings, with_start
from genus.run import Run
from genus.train.budget import budget
from genus.train.loop import Loop
from genus.train.stage import train
from genus.validate.answers import ANSWERS, Answers, answered, conversations, question
from genus.validate.forgetting import FORGOTTEN, Forgetting
from genus.validate.gate import Gate
from genus.validate.rewarded import EARNED, FAR, Rewarded
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


@pytest.fixture(scope="module")
def judge(place, base, talks):
    recipe = with_settings(with_start(find("reward"), base.path), [*QUICK, "source.window=64"])
    return train(recipe, talks, place / "judge", budget("20 steps"))


class TestAgainstAJudge:
    """RLOO with the reward that `reward` trained, from the command line to what is measured."""

    def run(self, judge, tuned, talks, home, *settings):
        from typer.testing import CliRunner

        small = (*QUICK, "source.window=64", "source.tokens=8", "source.group=4", "training.rate=3e-3", *settings)
        asked = ["train", str(talks.path), "--recipe", "rloo", "--from", str(tuned.path), "--budget", "12 steps"]
        asked += ["--given", f"reward={judge.path}", "--home", str(home), "--json"]
        done = CliRunner().invoke(app, [*asked, *(part for setting in small for part in ("--set", setting))])
        assert done.exit_code == 0, done.output
        return Run(json.loads(done.stdout)["run"])

    def test_it_earns_more_and_what_that_took_is_measured(self, judge, tuned, talks, tmp_path):
        run = self.run(judge, tuned, talks, tmp_path, "source.budget=null", "source.kl=0.0", "training.batch=32")
        assert run.recipe.given == {"sft": str(tuned.path), "reward": str(judge.path)}
        assert [phase["phase"] for phase in run.summary["phases"]] == ["rloo"]
        rows = [row for row in run.metrics() if row["split"] == "train"]
        assert abs(rows[0]["far"]) < 1e-3 and rows[-1]["far"] > 2  # it begins at the reference
        subject = Subject.of(run)
        found = Rewarded(reward=run.source.reward, tokens=8)(subject)
        now, before = {f.name: f for f in found.metrics}, found.baselines[0]
        assert before.name == f"{EARNED}/before" and now[EARNED].value > before.value and now[FAR].value > 0.05
        assert Gate()(found.metrics, found.baselines) == ()
        lost = replace(found.metrics[0], value=before.value - 1)
        assert "earn no more by the reward" in Gate()((lost,), found.baselines)[0]
        gone = Rewarded(reward=run.source.reward)(replace(subject, earlier={}))
        assert not gone.metrics and "--given reward=RUN" in gone.notes[0]

    def test_a_budget_that_is_spent_turns_back(self, judge, tuned, talks, tmp_path):
        run = self.run(judge, tuned, talks, tmp_path, "source.budget=0.05", "training.batch=32")
        far = [row["far"] for row in run.metrics() if row["split"] == "train"]
        assert far[-1] < 0.3 * max(far) and max(far[-4:]) < 1

    def test_a_judge_alone_says_what_it_says_in_company(self, judge):
        from genus.dialogue import Message

        reward = JudgeConfig().after({"reward": judge.path})
        asked = [[Message("user", f"say wool {i}")] for i in range(5)]
        said = ["wool", "ball ball ball", "", "wool wool", "a"]
        together = reward.all(asked, [""] * 5, said)
        assert len(set(together)) == 5
        assert together == pytest.approx(
            [reward(one, "", text) for one, text in zip(asked, said, strict=True)], abs=1e-5
        )

    def test_what_learned_no_rewards_is_no_judge(self, tuned):
        with pytest.raises(UsageError, match="learned no rewards"):
            JudgeConfig().after({"reward": tuned.path})([], "", "wool")


class TestWhatIsFrozen:
    def test_it_is_read_in_the_number_format_of_its_training(self, base):
        x = torch.randint(base.model().space.vocab, (3, 1, 16), generator=torch.Generator().manual_seed(0))
        for precision, half in (("fp32", False), ("bf16", True)):
            model = replace(base.model(), precision=precision)
            for room, read in ((attempts, x), (preferences, Batch(x))):
                found, whole = room.frozen(model, read), room.log_probs(model, read)
                assert torch.equal(found, room.log_probs(model, read, model.drawing("bf16"))) is half
                assert torch.equal(found, whole) is not half and torch.allclose(found, whole, atol=1)

    def test_a_few_rows_at_a_time_are_as_all(self, base, monkeypatch):
        x = torch.randint(base.model().space.vocab, (5, 1, 16), generator=torch.Generator().manual_seed(0))
        whole = attempts.log_probs(base.model(), x)
        monkeypatch.setattr(attempts, "AT_ONCE", 2 * 16 * base.model().space.vocab)
        assert torch.allclose(attempts.log_probs(base.model(), x), whole, atol=1e-5)


class TestRunsInPlaceOfPhases:
    def test_what_is_given_is_not_trained_nor_what_was_there_for_it(self, base, tuned):
        recipe = find("rloo")
        assert [p.name for p in with_given(recipe, {"reward": base.path}).phases] == ["pretrain", "sft", "rloo"]
        assert [p.name for p in with_given(recipe, {"sft": tuned.path}).phases] == ["reward", "rloo"]
        both = with_given(recipe, {"reward": base.path, "sft": tuned.path})
        assert [p.name for p in both.phases] == ["rloo"]
        assert both.given == {"reward": str(base.path), "sft": str(tuned.path)}

    def test_a_name_that_nothing_asks_for(self, base):
        with pytest.raises(UsageError, match=r"no model of a phase 'judge'; it takes those of: .*reward.*sft"):
            with_given(find("rloo"), {"judge": base.path})

    def test_a_run_that_has_not_finished(self, tmp_path):
        with pytest.raises(UsageError, match="no trained model to take"):
            with_given(find("rloo"), {"reward": tmp_path})

    def test_a_pair_that_is_none(self):
        from genus.cli.options import phases

        assert phases(["reward=judge"]) == {"reward": "judge"} and phases(None) == {}
        with pytest.raises(UsageError, match="write phase=RUN"):
            phases(["judge"])
