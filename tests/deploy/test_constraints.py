"""Constraints: what may follow is what the schema, expression or grammar allows; clear errors; guesses taken back."""

from __future__ import annotations

import json
import re
import sys

import pytest
import torch
from deploy_toys import text_run

from genus.codecs.bytes import Bytes
from genus.core import Cond, Known, Noise, Roads, Space
from genus.deploy import generate, passage
from genus.deploy.constraints import Constraint
from genus.errors import UsageError
from genus.networks.transformer import TransformerConfig
from genus.samplers.tokens import Tokens


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(UsageError, match=r"pip install 'genus\[constraints\]'"):
        Constraint(Bytes(), "regex", "ab")


def test_what_may_follow() -> None:
    pytest.importorskip("llguidance")
    rule = Constraint(Bytes(), "regex", "(ab|cd)+e?").rule()

    def after(text: bytes) -> set[int]:
        return set(rule(list(text)).nonzero().flatten().tolist())

    assert after(b"") == {97, 99}
    assert after(b"ab") == {97, 99, 101, 256}
    assert after(b"abe") == {256}
    assert after(b"c") == {100}, "it goes back where a guess was wrong"
    assert after(b"ab") == {97, 99, 101, 256}


@pytest.mark.parametrize(
    ("kind", "said"),
    [("schema", "{"), ("schema", '{"type": "blob"}'), ("regex", "(a"), ("grammar", "start: nothing")],
)
def test_what_cannot_be_read_is_named(kind: str, said: str) -> None:
    pytest.importorskip("llguidance")
    with pytest.raises(UsageError, match=f"{kind} = .* cannot be read"):
        Constraint(Bytes(), kind, said)  # type: ignore[arg-type]


@pytest.mark.parametrize("guesses", [{}, {"lookup": 2, "ahead": 3}])
def test_texts_keep_to_a_schema_whatever_the_model_says(guesses: dict[str, int]) -> None:
    pytest.importorskip("llguidance")
    space = Space((120,), 1, 257)
    torch.manual_seed(0)
    net = TransformerConfig(depth=1, width=32, head=16).build(space, Roads()).eval()
    schema = {
        "type": "object",
        "properties": {"name": {"enum": ["Ann", "Bob"]}, "age": {"type": "integer", "minimum": 0, "maximum": 120}},
        "required": ["name", "age"],
        "additionalProperties": False,
        "x-guidance": {"whitespace_flexible": False},
    }
    constraint = Constraint(Bytes(), "schema", json.dumps(schema))
    x = torch.zeros(6, 1, 0, dtype=torch.long)
    known = Known(x, x.bool(), tuple(constraint.rule() for _ in range(6)))
    drawn = Tokens(tokens=100, **guesses)(net, space, Cond(), Noise(1, tuple(range(6))), known)
    texts = Bytes().decode(drawn)
    for text in texts:
        said = json.loads(text)
        assert said["name"] in ("Ann", "Bob") and 0 <= said["age"] <= 120
    assert len(set(texts)) > 2
    plain = Tokens(tokens=100)
    rules = Known(x, x.bool(), tuple(constraint.rule() for _ in range(6)))
    assert Bytes().decode(plain(net, space, Cond(), Noise(1, tuple(range(6))), rules)) == texts


def test_generate_keeps_to_a_grammar(tmp_path) -> None:  # type: ignore[no-untyped-def]
    pytest.importorskip("llguidance")
    run = text_run(tmp_path / "tales")
    grammar = 'start: ("naïve " | "STEP ")~2 "🌍"'
    for text in generate(run, None, 4, 0, None, {"tokens": 60, "grammar": grammar}).items:
        assert re.fullmatch("(naïve |STEP ){2}🌍", text)
    assert set(passage.OURS) >= {"schema", "regex", "grammar", "stop"}
