"""An adapter by itself, in PEFT's files: what it corrects, by which names, and that base and adapter are the run."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from published_toys import folder
from safetensors.torch import load_file, save_file
from test_models import TOLD

from genus.core import Model
from genus.errors import GenusError, UsageError
from genus.exchange import adapters, bring, give_adapter
from genus.networks.lora import ADAPTER, Adapted, LoraConfig
from genus.run import Run, save


def trained(tmp_path, kind, lengths):
    """A run as an adapter on published weights leaves it."""
    source = folder(tmp_path / "source", TOLD[kind]["config"], TOLD[kind]["tensors"])
    base = Run(bring(source, "toy", tmp_path / "home").run)
    model, config = base.model(), LoraConfig(rank=2, alpha=3.0, lengths=lengths)
    before = {name: value.clone() for name, value in model.nets.state_dict().items()}
    config.onto(model.nets)
    torch.manual_seed(1)
    for module in model.nets.modules():
        if isinstance(module, Adapted):
            torch.nn.init.normal_(module.b, std=0.2)
            if module.m is not None:
                module.m.data.mul_(torch.rand(len(module.m)) + 0.5)
    weights = {name: p.detach().clone() for name, p in model.nets.named_parameters() if p.requires_grad}
    x = torch.randint(0, 20, (1, 1, 9))
    with torch.no_grad():
        expected = model.nets["net"](x)
    again = Run(base.path).model()
    again.nets.load_state_dict(config.merged(before, weights))
    torch.testing.assert_close(again.nets["net"](x), expected, atol=1e-4, rtol=1e-4)
    run = SimpleNamespace(
        name="tuned", path=tmp_path / "tuned", data=base.data, recipe=SimpleNamespace(given={"before": str(base.path)}),
        phase=base.phase.but(start="before", adapter=config), model=lambda: again,
    )  # fmt: skip
    save(Model(again.codec, again.space, again.nets, again.objective, again.sampler), run.phase, run.path)
    save_file(weights, run.path / ADAPTER)
    return run


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen3"])
def test_base_and_adapter_are_the_run(tmp_path, kind, lengths):
    run = trained(tmp_path, kind, lengths)
    given = give_adapter(run, tmp_path / "out")
    assert given.off < 1e-5 and given.base
    parity = given.json()["parity"]
    assert parity["passed"] and parity["greedy"] == parity["of"] > 0
    assert parity == json.loads((tmp_path / "out" / "parity.json").read_text())
    said = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (said["peft_type"], said["r"], said["lora_alpha"], said["use_dora"]) == ("LORA", 2, 3.0, lengths)
    assert said["fan_in_fan_out"] == (kind == "gpt2")
    tensors = load_file(tmp_path / "out" / "adapter_model.safetensors")
    shapes = TOLD[kind]["tensors"]
    for name in said["target_modules"]:
        rows, columns = shapes[f"{name}.weight"][:: -1 if kind == "gpt2" else 1]
        assert tensors[f"base_model.model.{name}.lora_A.weight"].shape == (2, columns)
        assert tensors[f"base_model.model.{name}.lora_B.weight"].shape == (rows, 2)
    assert len(tensors) == (3 if lengths else 2) * len(said["target_modules"])
    assert given.weights == sum(x.numel() for x in tensors.values())


def test_a_correction_that_does_not_give_the_run_leaves_nothing(tmp_path, monkeypatch):
    run, right = trained(tmp_path, "llama", False), adapters.published

    def wrong(*asked):
        tensors, modules = right(*asked)
        return {name: x * 1.01 for name, x in tensors.items()}, modules

    monkeypatch.setattr(adapters, "published", wrong)
    with pytest.raises(GenusError, match="differ from the run"):
        give_adapter(run, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["home", "source", "tuned"]


def test_an_adapter_of_other_marks_leaves_nothing(tmp_path, monkeypatch):
    run = trained(tmp_path, "llama", False)
    codec = run.model().codec
    monkeypatch.setattr(codec, "space", replace(codec.space, ends=(3,)))
    with pytest.raises(GenusError, match=r"do not behave as the run: .*texts end at the tokens \(28, 29\)"):
        give_adapter(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_adapter_is_written_in_one_number_format(tmp_path):
    with pytest.raises(UsageError, match=r"--type 'q8_0' is not written as peft; choose f32"):
        give_adapter(trained(tmp_path, "llama", False), tmp_path / "out", "q8_0")


def test_a_run_without_an_adapter_is_refused(tmp_path):
    source = folder(tmp_path / "source", TOLD["llama"]["config"], TOLD["llama"]["tensors"])
    with pytest.raises(UsageError, match="not trained by an adapter"):
        give_adapter(Run(bring(source, "toy", tmp_path / "home").run), tmp_path / "out")
