"""The stage: a folder that says what it stands on, resumes what was begun and refuses what is another's."""

import itertools
import json
import os
import time

import pytest
import torch
import toys

from genus import files
from genus.core import Batch
from genus.data.dataset import Dataset, Item
from genus.errors import GenusError, UsageError
from genus.media import MEDIA
from genus.networks import bytewise
from genus.run import Run
from genus.train import loop as loop_module
from genus.train import stage
from genus.train.budget import Budget, budget
from genus.train.loop import Loop
from genus.train.plan import Plan
from genus.train.sizing import SizingConfig
from genus.train.stage import spread, train

STEPS = budget("12 steps")


@pytest.fixture
def texts(tmp_path):
    return toys.dataset(tmp_path / "texts")


def recipe(phase=toys.text_phase, **changes):
    return toys.recipe(phase(**changes))


def test_what_a_run_leaves(texts, tmp_path):
    run = train(recipe(), texts, tmp_path / "runs" / "r", STEPS)
    here = set(os.listdir(run.path))
    assert {"recipe.json", "data.json", "environment.json", "forecast.json", "config.json"} <= here
    assert {"model.safetensors", "metrics.jsonl", "summary.json", "checkpoints"} <= here
    summary = run.summary
    assert summary["steps"] == 12 and summary["asked"] == "12 steps" and summary["asked_s"] is None
    assert (
        summary["forecast_s"] > 0 and summary["peak_bytes"] > 1 << 20 and summary["kwh"] >= 0 and summary["kwh_method"]
    )
    data = run.data
    assert data["items"] == 60 and data["medium"] == "text" and data["path"] == str(tmp_path / "texts")
    assert sum(data["splits"].values()) == 60 and data["digest"] == texts.digest()
    assert {"phase", "step", "seconds", "split", "loss"} <= set(run.metrics()[0]) and run.medium == "text"
    assert run.recipe == recipe() and run.dataset().version == texts.version
    assert json.dumps(run.data) and "python" in files.read_json(run.path / "environment.json")


def test_it_draws_in_the_number_format_it_was_trained_in(texts, tmp_path):
    run = train(recipe(precision="bf16"), texts, tmp_path / "r", budget("3 steps"))
    assert run.model().precision == run.summary["phases"][-1]["precision"] == "bf16"


def test_products_of_bytes_are_of_training_alone(texts, tmp_path):
    def trained(name, **changes):
        return train(recipe(precision="bf16", **changes), texts, tmp_path / name, budget("8 steps"))

    own = trained("own", products="own")
    one, other = trained("one", products="bytes"), trained("other", products="bytes")
    weights = [files.sha256(run.path / "model.safetensors") for run in (own, one, other)]
    assert weights[0] != weights[1] == weights[2]
    assert abs(one.summary["phases"][-1]["val_loss"] / own.summary["phases"][-1]["val_loss"] - 1) < 0.02
    assert not any(type(m).__name__ == "Bytewise" for m in one.model().nets.modules())
    with pytest.raises(UsageError, match="trains in fp32"):
        train(recipe(precision="fp32", products="bytes"), texts, tmp_path / "single", STEPS)


def test_a_forecast_of_few_steps_counts_their_evaluations(texts, tmp_path):
    run = train(recipe(evaluations=12), texts, tmp_path / "r", STEPS, plan_only=True)
    said = files.read_json(run.path / "forecast.json")
    steps = said["steps"] * said["seconds_a_step"]
    assert said["seconds"] > 1.3 * steps  # sixteen held-out batches after each step, a third of one's time each


def test_products_are_of_bytes_where_there_is_a_kernel_and_the_objective_allows_them(texts, tmp_path, monkeypatch):
    def products(name, data=texts, **changes):
        run = train(recipe(**changes), data, tmp_path / name, STEPS, plan_only=True)
        return files.read_json(run.path / "forecast.json")["products"]

    assert products("text", precision="bf16") == ("own" if bytewise.kernel() is None else "bytes")
    assert products("single", precision="fp32") == "own"
    pictures = toys.dataset(tmp_path / "pictures", "image")
    assert products("picture", pictures, phase=toys.image_phase, precision="bf16") == "own"
    monkeypatch.setattr(bytewise, "kernel", lambda: None)
    assert products("without", precision="bf16") == "own"


def test_the_same_again_does_nothing(texts, tmp_path, monkeypatch):
    run = train(recipe(), texts, tmp_path / "r", STEPS)
    before = files.sha256(run.path / "model.safetensors"), run.metrics()
    monkeypatch.setattr(Loop, "step", lambda self: pytest.fail("trained again"))
    ear = toys.Ear()
    again = train(recipe(), texts, tmp_path / "r", budget("99 steps"), ear)
    assert (files.sha256(again.path / "model.safetensors"), again.metrics()) == before
    assert any("already trained; choose another --name" in line for line in ear.said)
    texts.append([Item(origin="new", medium="text", content=b"more text than before")])
    train(recipe(), texts, tmp_path / "r", STEPS, ear)
    assert any("its data has changed since" in line for line in ear.said)


def test_another_recipe_or_dataset_is_refused(texts, tmp_path):
    train(recipe(), texts, tmp_path / "r", STEPS)
    with pytest.raises(UsageError, match=r"another recipe or other settings; choose another --name"):
        train(recipe(rate=0.5), texts, tmp_path / "r", STEPS)
    with pytest.raises(UsageError, match=r"was trained on .*texts version"):
        train(recipe(), toys.dataset(tmp_path / "other"), tmp_path / "r", STEPS)


def test_declined_it_may_still_become_another(texts, tmp_path):
    asked = []

    def no(forecast):
        asked.append(forecast)
        return False

    with pytest.raises(UsageError, match=r"not started, as you said"):
        train(recipe(), texts, tmp_path / "r", STEPS, confirm=no)
    assert asked[0]["steps"] == 12 and asked[0]["parameters"] > 0
    assert train(recipe(rate=0.01), texts, tmp_path / "r", STEPS).finished


def test_a_plan_alone_trains_nothing(texts, tmp_path, monkeypatch):
    monkeypatch.setattr(Loop, "run", lambda self: pytest.fail("trained"))
    run = train(recipe(), texts, tmp_path / "r", STEPS, plan_only=True)
    assert not run.finished and files.read_json(run.path / "forecast.json")["batch"] == 8


def test_it_goes_on_with_the_data_it_began_with(texts, tmp_path, monkeypatch):
    straight = train(recipe(), texts, tmp_path / "straight", STEPS)
    step = Loop.step

    def stopped(loop):
        loop.checkpoint_every = 0.0
        if loop.at.step == 6:
            raise KeyboardInterrupt
        return step(loop)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "step", stopped)
        with pytest.raises(KeyboardInterrupt):
            train(recipe(), texts, tmp_path / "r", STEPS)
    texts.append([Item(origin="new", medium="text", content=b"more text than before")])
    resumed = train(recipe(), Dataset.open(texts.path), tmp_path / "r", STEPS)
    weights = [files.sha256(run.path / "model.safetensors") for run in (straight, resumed)]
    assert weights[0] == weights[1]


def test_nothing_of_its_medium(texts, tmp_path):
    with pytest.raises(UsageError, match=r"no image to train on"):
        train(recipe(toys.image_phase), texts, tmp_path / "r", STEPS)
    empty = Dataset.create(tmp_path / "empty")
    with pytest.raises(UsageError, match=r"no text to train on; collect more"):
        train(recipe(), empty, tmp_path / "r2", STEPS)


def test_media_that_a_recipe_does_not_learn_are_left_aside(tmp_path):
    mixed = toys.dataset(tmp_path / "mixed", "image", 40)
    mixed.append([Item(origin=f"n{i}.txt", medium="text", content=b"a note beside the pictures") for i in range(9)])
    run = train(recipe(toys.image_phase), mixed, tmp_path / "r", STEPS)
    assert run.data["items"] == 40 and run.data["medium"] == "image"


def test_a_class_that_only_the_held_out_items_have(tmp_path):
    write = MEDIA["image"].write
    items = [
        Item(
            origin=f"{i}", medium="image", content=write(p), label=label, declared="val" if label == "rare" else "train"
        )
        for i, (p, label) in enumerate(zip(toys.pictures(20), [*toys.labels(18), "rare", "rare"], strict=True))
    ]
    dataset = Dataset.create(tmp_path / "d")
    dataset.append(items)
    phase = toys.image_phase(None)
    run = train(toys.recipe(phase), dataset, tmp_path / "r", STEPS)
    assert run.phase.conditioner.labels == (("dark", 9), ("light", 9))
    with pytest.raises(UsageError, match=r"'rare' is not a label"):
        run.generate("rare", steps=2)


@pytest.mark.parametrize("labels", [[None], ["one"]])
def test_pictures_without_labels_or_of_one(labels, tmp_path):
    write = MEDIA["image"].write
    items = [
        Item(origin=f"{i}", medium="image", content=write(p), label=labels[0]) for i, p in enumerate(toys.pictures(20))
    ]
    dataset = Dataset.create(tmp_path / "d")
    dataset.append(items)
    run = train(toys.recipe(toys.image_phase(None)), dataset, tmp_path / "r", STEPS)
    assert run.generate(n=2, steps=2)[0].shape == (8, 8, 1)
    with pytest.raises(UsageError, match=r"no label to tell items apart"):
        run.generate("one", steps=2)


@pytest.mark.parametrize("text", ["x", "word " * 10])
def test_one_item_or_only_the_same(text, tmp_path):
    dataset = Dataset.create(tmp_path / "d")
    dataset.append([Item(origin=f"{i}", medium="text", content=text.encode(), declared="train") for i in range(3)])
    run = train(recipe(), dataset, tmp_path / "r", STEPS)
    assert isinstance(run.generate(tokens=5)[0], str)


def test_two_at_a_time_do_not_train_one_run(texts, tmp_path):
    with (
        stage.alone(tmp_path / "r"),  # another open file stands for another process
        pytest.raises(GenusError, match=r"another process trains .*; wait for it"),
    ):
        train(recipe(), texts, tmp_path / "r", STEPS)
    assert train(recipe(), texts, tmp_path / "r", STEPS).finished


def test_a_home_that_cannot_be_written(texts, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(GenusError, match=r"cannot write in"):
        train(recipe(), texts, tmp_path / "file" / "runs" / "r", STEPS)


def sized(**changes):
    phase = toys.text_phase(**changes)
    return toys.recipe(phase.but(sizing=SizingConfig(dials=(1, 2), batch=(4, 16))))


def test_a_time_budget_is_kept_and_forecast(texts, tmp_path):
    start = time.monotonic()
    run = train(sized(evaluations=5), texts, tmp_path / "r", Budget("3s", seconds=3.0))
    took, summary = time.monotonic() - start, run.summary
    assert 2.9 < summary["seconds"] < 5 and took < 8
    assert summary["forecast_s"] == 3.0 and abs(summary["forecast_error"]) < 0.7
    forecast = files.read_json(run.path / "forecast.json")
    assert len(forecast["tried"]) >= 1 and forecast["batch"] in (4, 8, 16)
    rates = [row["rate"] for row in run.metrics() if row["split"] == "train"]
    assert rates[-1] < 0.3 and run.phase.nets["net"].width in (32, 64)


def test_a_budget_spent_in_preparing_still_trains(texts, tmp_path, monkeypatch):
    planned = stage.planned

    def slow(*args):
        time.sleep(1.5)
        return planned(*args)

    monkeypatch.setattr(stage, "planned", slow)
    ear = toys.Ear()
    run = train(recipe(), texts, tmp_path / "r", Budget("1s", seconds=1.0), ear)
    assert run.summary["steps"] > 0 and any("beyond its budget" in line for line in ear.said)
    forecast = files.read_json(run.path / "forecast.json")
    assert forecast["steps"] > 0 and forecast["seconds"] > 1.5, "it forecasts the time that it will really take"


def test_a_network_that_was_set_meets_a_time_budget(texts, tmp_path):
    from genus.recipes import with_settings

    chosen = with_settings(sized(), ["net.width=48"])
    run = train(chosen, texts, tmp_path / "r", Budget("2s", seconds=2.0))
    assert run.phase.nets["net"].width == 48


def test_phases_follow_each_other(texts, tmp_path, monkeypatch):
    first = toys.text_phase().but(name="first", share=1.0)
    two = toys.recipe(first, phases=(first, toys.text_phase(rate=1e-3).but(share=3.0)))
    run = train(two, texts, tmp_path / "r", budget("16 steps"))
    assert [p["phase"] for p in run.summary["phases"]] == ["first", "pretrain"]
    assert [p["steps"] for p in run.summary["phases"]] == [4, 12]
    assert (run.path / "phases" / "first" / "model.safetensors").exists() and isinstance(run, Run)
    assert {row["phase"] for row in run.metrics()} == {"first", "pretrain"}


def test_a_plan_through_json(tmp_path):
    plan = Plan(toys.image_phase(), "bf16", True, 7, {"seconds": 3})
    path = files.write_json(tmp_path / "plan" / "plan.json", plan.json())
    assert Plan.read(path) == plan
    for damaged in ([], {}, {**plan.json(), "surplus": 1}, {**plan.json(), "phase": {}}):
        files.write_json(path, damaged)
        with pytest.raises(GenusError, match=r"plan"):
            Plan.read(path)


def test_checkpoints_come_every_minute():
    assert 0 < loop_module.CHECKPOINT_EVERY <= 60


def test_held_out_batches_are_taken_evenly_from_all():
    batches = [Batch(torch.tensor([[[i]]])) for i in range(1000)]
    for n in (1, 3, 16, 600):
        found = [int(batch.x) for batch in spread(iter(batches), n)]
        gaps = {b - a for a, b in itertools.pairwise([*found, 1000])}
        assert len(found) == n and found[0] == 0
        assert max(gaps) <= 1000 if n == 1 else max(gaps) <= 2 * min(gaps)
    assert len(spread(iter(batches[:3]), 16)) == 3
