"""Every architecture, in and out, against transformers; the figures were written by benchmarks/published.py."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import toys
from published_toys import IDS, folder, numbers
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from genus.errors import GenusError, UsageError
from genus.exchange import bring, give
from genus.exchange.gguf import Reader, write
from genus.exchange.packing import FORMATS
from genus.exchange.source import opened
from genus.recipes import find, with_settings
from genus.run import Run
from genus.train.budget import budget
from genus.train.stage import train

TOLD = json.loads(Path(__file__).with_name("transformers.json").read_text())["models"]
NAMES = json.loads(Path(__file__).with_name("ggml.json").read_text())["names"]


def brought(tmp_path, kind, **knobs):
    """The run of a toy."""
    source = folder(tmp_path / "source", TOLD[kind]["config"], TOLD[kind]["tensors"], **knobs)
    return Run(bring(source, "toy", tmp_path / "home").run)


def logits(run, ids, state=None):
    """Of what follows each id."""
    net = run.model().nets["net"]
    x = torch.tensor([[[net.space.vocab, *ids]]])
    with torch.no_grad():
        return net(x)[0, 0, 1:]


@pytest.mark.parametrize("kind", TOLD)
def test_logits_are_those_of_transformers(tmp_path, kind):
    run = brought(tmp_path, kind)
    expected = torch.tensor(TOLD[kind]["logits"])
    torch.testing.assert_close(logits(run, IDS), expected, atol=1e-4, rtol=1e-4)
    # With a token before each text, the begin mark is read as it: the same ids behind it have the same logits.
    begun = brought(tmp_path / "begun", kind, first="<1>")
    torch.testing.assert_close(logits(begun, IDS[1:]), expected[1:], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen3", "mixtral"])
@pytest.mark.parametrize("first", [None, "<1>"])
@pytest.mark.parametrize("pieces", [[1] * 15, [6, 1, 5, 3]])
def test_cached_equals_uncached(tmp_path, kind, first, pieces):
    net = brought(tmp_path, kind, first=first).model().nets["net"]
    x = torch.tensor([[[net.space.vocab, *IDS]]] * 2)
    with torch.no_grad():
        state = net.start(2, 32)
        parts = [net(part, state=state) for part in x.split(pieces, 2)]
        torch.testing.assert_close(torch.cat(parts, 2), net(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", TOLD)
def test_a_folder_goes_out_as_transformers_would_write_it(tmp_path, kind):
    run = brought(tmp_path, kind)
    given = give(run, "hf", "f32", tmp_path / "out")
    assert given.parity.greedy == given.parity.of
    with safe_open(given.path / "model.safetensors", "pt") as file:
        assert {name: list(file.get_slice(name).get_shape()) for name in file.keys()} == TOLD[kind]["tensors"]  # noqa: SIM118
    said = json.loads((given.path / "config.json").read_text())
    for name in ("model_type", "architectures", "vocab_size", "tie_word_embeddings", "head_dim", "rms_norm_eps"):
        if TOLD[kind]["config"].get(name) is not None:
            assert said[name] == TOLD[kind]["config"][name]
    again = opened(given.path)
    assert again.config == run.phase.nets["net"]
    for name, weight in again.weights().items():
        assert torch.equal(weight, run.model().nets["net"].state_dict()[name])
    assert 'license: "mit"' in (given.path / "README.md").read_text()


@pytest.mark.parametrize("kind", TOLD)
def test_a_gguf_goes_out_and_comes_back(tmp_path, kind):
    run = brought(tmp_path, kind)
    given = give(run, "gguf", "f32", tmp_path / "out.gguf")
    again = Run(bring(given.path, "again", tmp_path / "home").run)
    torch.testing.assert_close(logits(again, IDS), torch.tensor(TOLD[kind]["logits"]), atol=1e-4, rtol=1e-4)
    assert json.loads((tmp_path / "out.parity.json").read_text())["passed"]
    assert again.data["licences"] == {"mit": None}
    assert again.model().codec.space.stops == run.model().codec.space.stops


@pytest.mark.parametrize("kind", TOLD)
def test_a_gguf_is_as_llama_cpp_reads_it(tmp_path, kind):
    """Its tensors have the names of ggml, and queries of a llama have rotary pairs side by side: its own order."""
    given = give(brought(tmp_path, kind), "gguf", "f32", tmp_path / "out.gguf")
    reader = Reader(given.path)
    said = {name.rpartition(".")[0].replace("blk.1.", "blk.0.") for name in reader.tensors}
    assert said <= set(NAMES[reader.values["general.architecture"]])
    if kind != "gpt2":
        published = "model.layers.1.self_attn.q_proj.weight"
        q = numbers(published, TOLD[kind]["tensors"][published]).numpy()
        if reader.values["general.architecture"] == "llama":
            q = q.reshape(4, 2, -1, q.shape[1]).swapaxes(1, 2).reshape(q.shape)
        assert (reader.read("blk.1.attn_q.weight") == q).all()


@pytest.mark.parametrize("kind", TOLD)
def test_transformers_reads_what_goes_out(tmp_path, kind):
    transformers = pytest.importorskip("transformers")
    given = give(brought(tmp_path, kind), "hf", "f32", tmp_path / "out")
    net = transformers.AutoModelForCausalLM.from_pretrained(given.path, dtype=torch.float32).eval()
    with torch.no_grad():
        found = net(torch.tensor([IDS])).logits[0]
    torch.testing.assert_close(found, torch.tensor(TOLD[kind]["logits"]), atol=1e-4, rtol=1e-4)
    tokenizer = transformers.AutoTokenizer.from_pretrained(given.path)
    assert tokenizer("hello").input_ids == [7, 4, 11, 11, 14]
    assert tokenizer.eos_token == "<2>"


@pytest.mark.parametrize("name", ["llama", "mixtral"])
def test_what_is_trained_here_goes_out(tmp_path, name):
    """Byte pairs, template-less, the window it was trained on; `give` itself compares logits and greedy tokens."""
    transformers = pytest.importorskip("transformers")
    sizes = {"depth": 2, "width": 32, "head": 16, "heads": 2, "kv_heads": 1, "hidden": 48}
    settings = [f"net.{field}={size}" for field, size in sizes.items()]
    settings += ["codec.vocab=300", "source.window=48", "training.batch=8", "training.precision=fp32"]
    settings += ["net.mixture.hidden=24"] if name == "mixtral" else []
    dataset = toys.dataset(tmp_path / "data", "text", 40)
    run = train(with_settings(find(name), settings), dataset, tmp_path / "run", budget("3 steps"))
    assert give(run, "gguf", "f32", tmp_path / "out.gguf").parity.greedy
    given = give(run, "hf", "f32", tmp_path / "out")
    assert json.loads((given.path / "config.json").read_text())["architectures"] == [f"{name.title()}ForCausalLM"]
    ids = run.model().codec.encode(["the cat sat on a mat"])[0][0].tolist()
    net = transformers.AutoModelForCausalLM.from_pretrained(given.path, dtype=torch.float32).eval()
    with torch.no_grad():
        found = net(torch.tensor([[run.model().space.stops[0], *ids]])).logits[0, 1:]
    torch.testing.assert_close(found, logits(run, ids), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("form", ["f16", "bf16", "q8_0", "q4_0", "q4_k"])
def test_lossy_numbers_pass_their_own_tolerance(tmp_path, form):
    given = give(brought(tmp_path, "llama"), "gguf", form, tmp_path / "out.gguf")
    assert not given.parity.failed
    assert given.parity.logits > 0


@pytest.mark.parametrize(("kind", "drawn"), [("f32", None), ("f16", "bf16"), ("bf16", "bf16"), ("q8_0", "bf16")])
def test_weights_draw_in_no_more_bits_than_they_were_published_in(tmp_path, kind, drawn):
    run = brought(tmp_path, "llama")
    assert run.model().drawn is None and run.data["origin"]["numbers"] == ["f32"]
    given = give(run, "gguf", kind, tmp_path / "out.gguf")
    again = Run(bring(given.path, "again", tmp_path / "home").run)
    assert again.model().drawn == drawn and again.model().precision == "fp32", "what learns from it reads it as before"


def test_a_folder_says_its_number_format(tmp_path):
    run = brought(tmp_path, "llama")
    place = tmp_path / "half"
    shutil.copytree(give(run, "hf", "f32", tmp_path / "out").path, place)
    weights = load_file(place / "model.safetensors")
    save_file({name: w.bfloat16() if w.dim() > 1 else w for name, w in weights.items()}, place / "model.safetensors")
    assert opened(place).drawn == "bf16" and opened(place).origin["numbers"] == ["bf16"]
    save_file({name: w.double() for name, w in weights.items()}, place / "model.safetensors")
    assert opened(place).drawn is None


def test_shards_are_read_as_one(tmp_path):
    run = brought(tmp_path, "qwen2", shards=3)
    torch.testing.assert_close(logits(run, IDS), torch.tensor(TOLD["qwen2"]["logits"]), atol=1e-4, rtol=1e-4)
    assert len(run.data["origin"]["files"]) == 7


def parts(path, number):
    """The GGUF in so many files, as they are published: the first one has the values, each has some tensors."""
    whole = Reader(path)
    names, places = list(whole.tensors), []
    for i in range(number):
        some = names[i::number]
        values = {"split.no": i, "split.count": number, "split.tensors.count": len(names)}
        values = {**whole.values, **values} if i == 0 else values
        heads = [(name, whole.tensors[name].shape, FORMATS["f32"]) for name in some]
        place = path.with_name(f"big-{i + 1:05}-of-{number:05}.gguf")
        places.append(write(place, values, heads, lambda some=some: (whole.read(name) for name in some)))
    return places


def test_the_parts_of_a_gguf_are_read_as_one(tmp_path):
    (tmp_path / "gguf").mkdir()
    whole = give(brought(tmp_path, "qwen3"), "gguf", "f32", tmp_path / "gguf" / "whole.gguf").path
    places = parts(whole, 3)
    for source in (places[0], places[2]):
        assert [path.name for path in opened(source).files] == [place.name for place in places]
    run = Run(bring(places[1], home=tmp_path / "home").run)
    assert (run.name, len(run.data["origin"]["files"])) == ("big", 3)
    torch.testing.assert_close(logits(run, IDS), torch.tensor(TOLD["qwen3"]["logits"]), atol=1e-4, rtol=1e-4)
    with pytest.raises(UsageError, match="2 GGUF models, of which one"):
        opened(tmp_path / "gguf")
    whole.unlink()
    assert opened(tmp_path / "gguf").weights()
    places[2].write_bytes(places[1].read_bytes())
    with pytest.raises(GenusError, match=r"00003-of-00003.gguf says it is part 1 \(from 0\) of 3"):
        opened(places[0])
    places[0].unlink()
    for source in (places[1], tmp_path / "gguf"):
        with pytest.raises(UsageError, match=r"lacks big-00001-of-00003\.gguf"):
            opened(source)
    with pytest.raises(UsageError, match="found by their names"):
        opened(places[1].rename(tmp_path / "other.gguf"))


def test_a_run_of_open_weights_generates_and_scores(tmp_path):
    run = brought(tmp_path, "llama")
    assert run.generate("abc", 2, tokens=5) == run.generate("abc", 2, tokens=5)
    said = run.generate("abc", temperature=0, tokens=4)[0]
    ids = run.model().codec.ids(["abc"])[0]
    for _ in range(4):
        ids.append(int(logits(run, ids)[-1].argmax()))
        if ids[-1] in run.model().codec.space.stops:
            ids.pop()
            break
    assert said == run.model().codec.tokenizer.decode(ids, skip_special_tokens=False)
    nats = run.score(["abc"])[0]
    behind = logits(run, ids[:3]).log_softmax(-1)
    with torch.no_grad():
        alone = run.model().nets["net"](torch.tensor([[[40]]]))[0, 0, 0].log_softmax(-1)
    expected = alone[0] + behind[0, 1] + behind[1, 2] + behind[2, 28]
    assert nats == pytest.approx(float(expected), abs=1e-4)


def test_a_run_of_open_weights_is_served(tmp_path):
    from fastapi.testclient import TestClient

    from genus.deploy import release
    from genus.deploy.server import app

    run = brought(tmp_path, "qwen2")
    release.admit(run)
    with TestClient(app([run]), base_url="http://127.0.0.1") as client:
        asked = {"model": "toy", "prompt": "abc", "max_tokens": 6, "temperature": 0}
        answer = client.post("/v1/completions", json=asked).json()
    assert "abc" + answer["choices"][0]["text"] == run.generate("abc", temperature=0, tokens=6)[0].rstrip("\ufffd")
    assert answer["usage"]["prompt_tokens"] == 3
    (run.path / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(GenusError, match="never validated"):
        release.admit(run)


def broken(tmp_path, **changes):
    """A toy whose tensors are not those of its configuration."""
    tensors = {**TOLD["llama"]["tensors"], **changes.pop("tensors", {})}
    for name in changes.pop("without", ()):
        del tensors[name]
    return folder(tmp_path / "source", {**TOLD["llama"]["config"], **changes}, tensors)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "bert"}, "bert"),
        ({"without": ["model.norm.weight"]}, "lack model.norm.weight"),
        ({"tensors": {"model.extra.weight": [3]}}, "model.extra.weight"),
        ({"tensors": {"model.norm.weight": [17]}}, "model.norm.weight is 17"),
        ({"hidden_act": "relu"}, "relu"),
        ({"rope_parameters": {"rope_type": "longrope", "factor": 2.0}}, "longrope"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 2.0, "truncate": False}}, "truncate"),
        ({"num_hidden_layers": 3}, "lack model.layers.2"),
        ({"num_hidden_layers": "two"}, "num_hidden_layers = 'two'"),
        ({"model_type": []}, "model_type"),
        ({"rope_parameters": {"rope_type": "linear"}}, "factor = None"),
        ({"rope_parameters": {"rope_type": "llama3", "factor": 8.0}}, "low_freq_factor = None"),
        ({"rope_parameters": "fast"}, "not as its format says"),
        ({"num_attention_heads": 3, "num_key_value_heads": 2}, "kv_heads = 2 does not divide heads = 3"),
        ({"rms_norm_eps": None}, "eps = None"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(tmp_path, changes, said):
    source = broken(tmp_path, **changes)
    with pytest.raises(GenusError, match=said):
        bring(source, "toy", tmp_path / "home")
    assert not list((tmp_path / "home").rglob("*toy*"))


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer_config.json"])
def test_what_is_no_object_is_refused_by_name(tmp_path, name):
    source = broken(tmp_path)
    (source / name).write_text("[]")
    with pytest.raises(GenusError, match=rf"{name} is damaged: it holds no JSON object but \[\]"):
        opened(source)


def test_a_tokenizer_of_another_shape_inside_a_gguf_is_refused(tmp_path):
    path = give(brought(tmp_path, "llama"), "gguf", "f32", tmp_path / "toy.gguf").path
    assert path.read_bytes().count(b'"content"') > 1
    path.write_bytes(path.read_bytes().replace(b'"content"', b'"contend"'))
    with pytest.raises(GenusError, match="not as its format says"):
        opened(path)


def test_a_file_that_is_cut_short_is_refused(tmp_path):
    source = broken(tmp_path)
    whole = (source / "model.safetensors").read_bytes()
    (source / "model.safetensors").write_bytes(whole[:-100])
    with pytest.raises(GenusError, match="cut short"):
        bring(source, "toy", tmp_path / "home")
    (source / "model.safetensors").write_bytes(whole)
    given = give(Run(bring(source, "toy", tmp_path / "home").run), "gguf", "q8_0", tmp_path / "toy.gguf")
    for keep in (-64, 3000, 30):
        (tmp_path / "cut.gguf").write_bytes(given.path.read_bytes()[:keep])
        with pytest.raises(GenusError, match="cut short"):
            opened(tmp_path / "cut.gguf")


def test_pickles_are_refused_with_the_remedy(tmp_path):
    source = broken(tmp_path)
    (source / "model.safetensors").rename(source / "pytorch_model.bin")
    for place in (source, source / "pytorch_model.bin"):
        with pytest.raises(UsageError, match="save_pretrained"):
            opened(place)


def test_an_export_that_behaves_otherwise_leaves_nothing(tmp_path, monkeypatch):
    from genus.exchange import configs

    run, right = brought(tmp_path, "llama"), configs.to_hf
    monkeypatch.setattr(configs, "to_hf", lambda *asked: {**right(*asked), "rms_norm_eps": 0.1})
    with pytest.raises(GenusError, match=r"does not behave as the run: .*logits differ"):
        give(run, "hf", "f32", tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["home", "source"]


def test_what_cannot_be_exported_is_said(tmp_path):
    run = brought(tmp_path, "llama")
    with pytest.raises(UsageError, match=r"q4_0.*choose one of: f32, f16, bf16"):
        give(run, "hf", "q4_0", tmp_path / "out")
    with pytest.raises(UsageError, match=r"\.gguf"):
        give(run, "gguf", "q4_0", tmp_path / "out")
    (tmp_path / "there.gguf").write_text("mine")
    with pytest.raises(UsageError, match="there already"):
        give(run, "gguf", "q4_0", tmp_path / "there.gguf")
    with pytest.raises(UsageError, match="already"):
        bring(tmp_path / "source", "toy", tmp_path / "home")
