"""Tokenizers in and out of a GGUF, and of models that were trained here."""

import json
import shutil

import pytest
import torch
from published_toys import folder

from genus.codecs.published import Published
from genus.data.packed import PackedConfig
from genus.errors import GenusError, UsageError
from genus.exchange import bring, give
from genus.exchange.vocabulary import CONTROL, NORMAL, WORDS, byte_pairs, from_gguf
from genus.networks.decoder import DecoderConfig
from genus.run import Run

TEXTS = ("Hello, world!", "it's 12345 kg", "  naïve\n\n\tcafé 日本語 🎈", "don't I'LL")


def values(pre, **more):
    """Of a GGUF with all bytes, two pairs and two special tokens."""
    from tokenizers import pre_tokenizers

    tokens = ["<|endoftext|>", "<|im_end|>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "he", "ll", "hell"]
    said = {"model": "gpt2", "pre": pre, "tokens": tokens, "merges": ["h e", "l l", "he ll"], "eos_token_id": 1}
    said |= {"token_type": [CONTROL] * 2 + [NORMAL] * (len(tokens) - 2), "bos_token_id": 0, **more}
    return {f"tokenizer.ggml.{name}": value for name, value in said.items()}


@pytest.mark.parametrize("pre", [*WORDS, "default"])
def test_a_tokenizer_is_rebuilt_from_a_gguf(pre):
    said = from_gguf(values(pre), 300)
    codec = said.codec
    for text, ids in zip(TEXTS, codec.encode(TEXTS), strict=True):
        assert codec.decode(codec.lift(ids)[None]) == [text]
    assert codec.tokenizer.encode("hello").tokens == ["hell", "o"]
    assert codec.space.stops == (0, 1)
    begun = pre == "llama-bpe"
    assert (said.begin, said.apart) == (0, not begun)
    assert from_gguf(values(pre, add_bos_token=not begun), 300).apart == begun


def test_digits_are_cut_as_each_family_cuts_them():
    cuts = {"smollm": ["1", "2", "3", "4"], "llama-bpe": ["123", "4"], "qwen2": ["1", "2", "3", "4"], "gpt-2": ["1234"]}
    from tokenizers import Tokenizer

    for pre, expected in cuts.items():
        tokens = values(pre)["tokenizer.ggml.tokens"]
        cutter = Tokenizer.from_str(json.dumps(byte_pairs(tokens, None, [], pre))).pre_tokenizer
        assert [word for word, _ in cutter.pre_tokenize_str("1234")] == expected


def test_a_tokenizer_of_sentencepiece_is_rebuilt():
    """Scores say which pair goes first: 'ab' before 'bc', so that abc is ab c; bytes spell what has no token."""
    words = ["▁", "a", "b", "c", "ab", "bc", "▁ab", "abc"]
    scores = [-9.0, -9.0, -9.0, -9.0, -1.0, -2.0, -3.0, -4.0]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), *words]
    types = [2, CONTROL, CONTROL, *[6] * 256, *[NORMAL] * len(words)]
    said = {"model": "llama", "tokens": tokens, "scores": [0.0] * 259 + scores, "token_type": types}
    said |= {"bos_token_id": 1, "eos_token_id": 2}
    found = from_gguf({f"tokenizer.ggml.{name}": value for name, value in said.items()}, 300)
    codec = found.codec
    spelt = lambda text: codec.tokenizer.encode(text, add_special_tokens=False).tokens  # noqa: E731
    assert spelt("bc") == ["▁", "bc"]
    assert spelt("ab") == ["▁ab"]
    assert spelt("abbc") == ["▁ab", "bc"]
    assert spelt("cabc") == ["▁", "c", "abc"]
    assert spelt("é") == ["▁", "<0xC3>", "<0xA9>"]
    assert (found.begin, found.apart, codec.space.stops) == (1, False, (2,))
    for text in (*TEXTS, "</s>", " ", "  ab"):
        assert codec.decode(codec.lift(codec.encode([text])[0])[None]) == [text]


def test_kinds_that_are_not_read_are_named():
    with pytest.raises(UsageError, match="'deepseek-llm'"):
        from_gguf(values("deepseek-llm"), 300)
    with pytest.raises(UsageError, match="'t5'"):
        from_gguf(values("gpt-2", model="t5"), 300)
    with pytest.raises(UsageError, match="no scores"):
        from_gguf(values("gpt-2", model="llama"), 300)
    with pytest.raises(UsageError, match="no tokenizer"):
        from_gguf({}, 300)
    with pytest.raises(UsageError, match="beyond the network"):
        from_gguf(values("gpt-2", eos_token_id=999), 300)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A decoder of byte pairs that were learned here, its weights at random."""
    from genus import files, recipes
    from genus.codecs.bpe import BpeConfig
    from genus.run import assemble, save

    place = tmp_path_factory.mktemp("home") / "runs" / "trained"
    codec = BpeConfig(vocab=300).fit(lambda: iter(["the cat sat on the mat and the cat saw"] * 3))
    net = DecoderConfig(depth=1, width=32, head=16, heads=2, kv_heads=1, hidden=48)
    recipe = recipes.find("gpt")
    phase = recipe.phases[0].but(codec=codec.save(place), nets={"net": net}, source=PackedConfig(window=64))
    torch.manual_seed(0)
    model = assemble(phase, codec, "prefix")
    for weight in model.nets.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    phase = save(model, phase, place)
    files.write_json(place / "recipe.json", recipe.but(phases=(phase,)).model_dump(mode="json"))
    files.write_json(place / "data.json", {"medium": "text", "licences": {"CC0-1.0": 3}})
    files.write_json(place / "summary.json", {})
    return Run(place)


@pytest.mark.parametrize("form", ["hf", "gguf"])
def test_a_model_trained_here_goes_out_and_comes_back(trained, tmp_path, form):
    assert isinstance(trained.phase.nets["net"], DecoderConfig)
    given = give(trained, form, "f32", tmp_path / ("out.gguf" if form == "gguf" else "out"))
    assert bool(given.lost) == (form == "gguf"), "GGUF has no name for how these words are cut"
    again = Run(bring(given.path, "again", tmp_path / "home").run)
    codec, text = again.model().codec, "The cat <|end|> sat."
    assert isinstance(codec, Published)
    assert torch.equal(codec.encode([text])[0], trained.model().codec.encode([text])[0])
    assert again.score([text])[0] == pytest.approx(trained.score([text])[0], abs=1e-3)
    assert again.generate("The", temperature=0, tokens=8) == trained.generate("The", temperature=0, tokens=8)


def test_templates_and_ends_of_a_folder_are_kept(tmp_path):
    from test_models import TOLD

    told = TOLD["llama"]
    source = folder(tmp_path / "source", told["config"], told["tensors"], template="{{ messages[0]['content'] }}")
    run = Run(bring(source, "toy", tmp_path / "home").run)
    assert run.model().codec.space.stops == (28, 29)
    assert run.model().codec.rendered([{"role": "user", "content": "abc"}]) == "abc"
    given = give(run, "hf", "f32", tmp_path / "out")
    assert json.loads((given.path / "generation_config.json").read_text())["eos_token_id"] == [28, 29]
    shutil.copy(given.path / "tokenizer.json", source)
    (source / "tokenizer.json").write_text("{}")
    with pytest.raises(GenusError, match="damaged"):
        bring(source, "other", tmp_path / "home")
