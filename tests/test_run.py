"""A run is loaded from plain JSON and tensors: what does not fit is said, and nothing in it is executed."""

import json
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import toys
from safetensors.torch import load_file, save_file
from torch.utils._python_dispatch import TorchDispatchMode

from genus import files, load
from genus.core import Noise
from genus.errors import GenusError, NoLikelihood, UsageError
from genus.networks.autoencoder import AutoencoderConfig
from genus.networks.bottlenecks import RoundedConfig
from genus.objectives.autoencoding import Autoencoding
from genus.run import Run, assemble, in_memory, load_model, parameters, save


def written(phase, path, prompt="none", precision="fp32"):
    """A run of untrained weights."""
    torch.manual_seed(0)
    files.write_json(path / "recipe.json", toys.recipe(phase).model_dump(mode="json"))
    files.write_json(path / "data.json", {"medium": "text"})
    model = assemble(phase, phase.codec.load(path), prompt)
    for p in model.nets.parameters():  # projections start at zero, where nothing could be told apart
        torch.nn.init.normal_(p, std=0.2)
    save(replace(model, precision=precision), phase, path)
    files.write_json(path / "summary.json", {"steps": 1})
    return model


@pytest.fixture
def text(tmp_path):
    written(toys.text_phase(), tmp_path / "run", "prefix")
    return tmp_path / "run"


@pytest.mark.parametrize("make", [toys.text_phase, toys.image_phase])
def test_saved_and_loaded_it_is_the_same(make, tmp_path):
    model = written(make(), tmp_path)
    again, phase = load_model(tmp_path)
    assert phase == make() and not again.nets.training and again.space == model.space
    for key, value in model.nets.state_dict().items():
        assert torch.equal(again.nets.state_dict()[key], value)


def test_loading_moves_no_generator(text):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    load_model(text)
    assert torch.equal(torch.get_rng_state(), before)


def test_sample_i_alone_is_sample_i_of_many(text):
    run = load(text)
    many = run.generate("the", n=8, seed=4, tokens=10)
    assert run.generate("the", n=3, seed=4, tokens=10) == many[:3] and all(m.startswith("the") for m in many)
    assert len(set(many)) > 1 and run.generate("the", n=8, seed=5, tokens=10) != many


class TestPrecision:
    """A run that was trained in bf16 draws in it, alone as among others; what it says of items stays exact."""

    @pytest.fixture
    def runs(self, tmp_path):
        for kind in ("fp32", "bf16"):
            written(toys.image_phase(), tmp_path / kind, "label", kind)
        return {kind: load(tmp_path / kind) for kind in ("fp32", "bf16")}

    def test_it_is_kept_with_the_model_and_may_be_asked_for(self, runs):
        drawn = {kind: np.stack(run.generate(n=4, seed=1, steps=4)).astype(int) for kind, run in runs.items()}
        off = np.abs(drawn["bf16"] - drawn["fp32"])
        assert 0 < off.mean() < 6
        for run in runs.values():
            for kind, made in drawn.items():
                assert np.array_equal(np.stack(run.generate(n=4, seed=1, steps=4, precision=kind)), made)
        with pytest.raises(UsageError, match=r"precision = 'fp8'; choose one of bf16, fp32"):
            runs["bf16"].generate(precision="fp8")

    def test_sample_i_alone_is_sample_i_of_64(self, runs):
        many = runs["bf16"].generate(n=64, seed=2, steps=3)
        model = runs["bf16"].model()
        for i in (0, 41, 63):
            assert np.array_equal(model.generate(Noise(2, (i,)), None, steps=3)[0], many[i])

    def test_scores_and_latents_are_those_of_float32(self, runs):
        media = toys.pictures(3)
        runs["bf16"].generate(n=1, steps=2)
        assert runs["bf16"].score(media) == runs["fp32"].score(media)
        assert torch.equal(runs["bf16"].invert(media), runs["fp32"].invert(media))

    def test_one_cell_at_a_time_gains_nothing_and_stays(self, tmp_path):
        written(toys.text_phase(), tmp_path, "prefix", precision="bf16")
        model = load(tmp_path).model()
        assert model.precision == "bf16" and model.drawing() is model.nets
        assert next(model.drawing("bf16").parameters()).dtype is torch.bfloat16


@pytest.mark.parametrize("n", [0, -1])
def test_at_least_one(text, n):
    with pytest.raises(UsageError, match=rf"n = {n}"):
        load(text).generate(n=n)


def test_scores_are_exact_and_do_not_depend_on_company(text):
    run = load(text)
    media = ["the cat", "", "a much longer text than one window holds, by far and wide", "the cat"]
    scores = run.score(media)
    assert scores[0] == pytest.approx(scores[3]) and all(s < 0 for s in scores)
    assert run.score(media[:1], batch=1)[0] == pytest.approx(scores[0], rel=1e-5)
    assert run.score([]) == []
    # All single bytes, the end mark and its followers: first-cell probabilities sum to one.
    ends = run.score([""])[0]
    assert math.exp(ends) < 1


def test_no_likelihood_is_said(tmp_path):
    net = AutoencoderConfig(widths=(8, 8), bottleneck=RoundedConfig(levels=(4, 4)))
    phase = toys.image_phase().but(nets={"net": net}, conditioner=None, objective=Autoencoding())
    written(phase, tmp_path / "r")
    with pytest.raises(NoLikelihood):
        load(tmp_path / "r").score(toys.pictures(2))


def config(path, change):
    data = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(change(data) or data))


@pytest.mark.parametrize("kind", ["os.system", "../../x", "networks.__init__", "networks.os; import sys", "this.that"])
def test_an_evil_kind_executes_nothing(text, kind):
    config(text, lambda c: c["phase"]["nets"]["net"].update(kind=kind))
    before = set(sys.modules)
    with pytest.raises(GenusError, match=r"not a kind of part"):
        load(text).model()
    assert set(sys.modules) == before


def test_an_unknown_kind_or_field(text):
    config(text, lambda c: c["phase"]["nets"]["net"].update(kind="networks.tomorrow"))
    with pytest.raises(GenusError, match=r"has no part 'networks\.tomorrow'; use the genus that wrote it"):
        load(text).model()
    config(text, lambda c: c["phase"]["nets"]["net"].update(kind="networks.transformer", surplus=1))
    with pytest.raises(GenusError, match=r"surplus"):
        load(text).model()


@pytest.mark.parametrize(
    "broken",
    [
        lambda c: [c],
        lambda c: {"phase": {}},
        lambda c: {"prompt": "none"},
        lambda c: {**c, "phase": None},
        lambda c: {**c, "phase": {**c["phase"], "nets": {}}},
        lambda c: {**c, "phase": {**c["phase"], "source": c["phase"]["codec"]}},
        lambda c: {**c, "phase": {**c["phase"], "codec": c["phase"]["source"]}},
        lambda c: {**c, "phase": {**c["phase"], "kind": "os.system"}},
        lambda c: {**c, "prompt": 3},
    ],
)
def test_a_config_that_describes_no_model(text, broken):
    config(text, broken)
    with pytest.raises(GenusError):
        load(text).model()


def tensors(path, change):
    weights = load_file(path / "model.safetensors")
    change(weights)
    save_file(weights, path / "model.safetensors")


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.pop(next(iter(w))),
        lambda w: w.update(surplus=torch.zeros(1)),
        lambda w: w.update({k: torch.zeros(3) for k in [next(iter(w))]}),
    ],
    ids=["missing", "surplus", "shape"],
)
def test_tensors_that_do_not_fit(text, change):
    tensors(text, change)
    with pytest.raises(GenusError, match=r"model\.safetensors does not fit its config\.json"):
        load(text).model()


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_truncated_weights(text, keep):
    path = text / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(GenusError, match=r"model\.safetensors"):
        load(text).model()


def test_nothing_is_drawn_that_the_file_replaces(text):
    class Watched(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            called.append(func)
            return func(*args, **(kwargs or {}))

    called = []
    with Watched():
        model = load(text).model()
    assert called and not {torch.ops.aten.uniform_.default, torch.ops.aten.normal_.default} & set(called)
    weights = load_file(text / "model.safetensors")
    assert all(torch.equal(weights[name], w) for name, w in model.nets.state_dict().items())


def test_missing_files(text):
    (text / "model.safetensors").unlink()
    with pytest.raises(GenusError, match=r"model\.safetensors"):
        load(text).model()
    (text / "config.json").unlink()
    with pytest.raises(GenusError, match=r"config\.json does not exist"):
        load(text).model()


def test_a_full_disk_keeps_the_old_weights(text, monkeypatch):
    from safetensors import SafetensorError

    import genus.run

    old = (text / "model.safetensors").read_bytes()

    def full(*_):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(genus.run, "save_file", full)
    model, phase = load_model(text)
    with pytest.raises(GenusError, match=r"cannot write .*model\.safetensors.*No space left"):
        save(model, phase, text)
    assert (text / "model.safetensors").read_bytes() == old


def test_what_is_no_run(tmp_path, text):
    with pytest.raises(UsageError, match=r"no run in .*nothing; there are: run; make one with"):
        Run(tmp_path / "nothing")
    with pytest.raises(UsageError, match=r"genus make SOURCE"):
        Run(tmp_path / "a" / "b")


def test_a_damaged_recipe(text):
    files.write_json(text / "recipe.json", {"name": 3})
    with pytest.raises(GenusError, match=r"recipe\.json is damaged"):
        _ = Run(text).recipe


def test_unfinished(text):
    (text / "summary.json").unlink()
    run = Run(text)
    assert not run.finished and run.summary == {}
    with pytest.raises(UsageError, match=r"has not finished training; run the same"):
        run.model()


def test_metrics_leave_out_torn_lines(text):
    (text / "metrics.jsonl").write_text('{"step": 1}\n{"ste\n{"step": 2}\n{"st')
    assert [row["step"] for row in Run(text).metrics()] == [1, 2]
    (text / "metrics.jsonl").unlink()
    assert Run(text).metrics() == []


def test_parameters_count_networks_alone():
    phase = toys.image_phase()
    model = assemble(phase, phase.codec.load(None))
    assert parameters(model.nets) == sum(p.numel() for p in model.nets["net"].parameters())


def test_in_memory_is_the_cache(tmp_path):
    _, cache = toys.data(toys.text_phase(), 5)
    assert cache.total == sum(len(t.encode()) + 1 for t in toys.texts(5)) and cache.ids == list("01234")
    assert in_memory(*[toys.image_phase().codec.load(None), toys.pictures(3)]).take([2]).shape == (1, 1, 8, 8)


class TestAnotherVersion:
    """A run with a field or part that this version does not have."""

    @pytest.fixture
    def folder(self, tmp_path):
        phase = toys.text_phase()
        save(assemble(phase, phase.codec.load(tmp_path)), phase, tmp_path)
        return tmp_path

    def changed(self, folder, change):
        config = files.read_json(folder / "config.json")
        change(config["phase"])
        files.write_json(folder / "config.json", config)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda p: p["nets"]["net"].update(wings=2), r"networks\.transformer: wings = 2: there is no such field"),
            (lambda p: p.update(mood="dark"), r"mood = 'dark': there is no such field"),
            (lambda p: p["objective"].update(kind="objectives.later"), r"no part 'objectives\.later'"),
        ],
    )
    def test_is_named(self, folder, change, said):
        self.changed(folder, change)
        with pytest.raises(GenusError, match=rf"config\.json was written by a version that it does not name.*{said}"):
            load_model(folder)
        files.write_json(folder / "environment.json", {"versions": {"genus": "0.0.7"}})
        with pytest.raises(
            GenusError, match=rf"written by genus 0\.0\.7, .*{said}; use the genus that wrote it, or train"
        ):
            load_model(folder)

    def test_a_damaged_one_is_damaged(self, folder):
        self.changed(folder, lambda p: p["nets"]["net"].update(depth=-1))
        with pytest.raises(GenusError, match=r"config\.json is damaged: networks\.transformer: depth = -1"):
            load_model(folder)

    def test_a_learned_codec_is_found_by_a_fresh_process(self):
        code = "from genus.parts import parse; print(parse({'kind': 'learned.codec'}).phase)"
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
