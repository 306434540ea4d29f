"""Requests that are drawn together: each gets what it gets alone, and a beginning that was read is not read again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from genus.codecs.bytes import Bytes
from genus.core import Model, Roads, Space
from genus.deploy import passage
from genus.deploy.chorus import Chorus, Prefixes
from genus.networks.transformer import TransformerConfig
from genus.objectives.autoregression import Autoregression
from genus.samplers.tokens import Tokens

SPACE = Space((200,), 1, 257)


def model() -> Model:
    torch.manual_seed(0)
    net = TransformerConfig(depth=2, width=32, head=16).build(SPACE, Roads())
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.3)
    read: list[int] = []
    net.register_forward_pre_hook(lambda module, args: read.append(args[0].numel()))
    made = Model(Bytes(), SPACE, torch.nn.ModuleDict({"net": net}), Autoregression(), Tokens(), (), "prefix")
    net.read_cells = read  # type: ignore[assignment]
    return made


def texts(song: Any) -> dict[int, str]:
    found: dict[int, str] = {}
    for growths in song:
        for growth in growths:
            found[growth.index] = found.get(growth.index, "") + growth.text
    return found


ASKED: list[tuple[str | None, int, list[int], dict[str, Any]]] = [
    ("You are terse. Question one", 1, [0, 1], {"tokens": 20, "temperature": 0.8}),
    ("You are terse. Question two?", 2, [0], {"tokens": 30}),
    (None, 3, [0, 1, 2], {"tokens": 12, "top_k": 9}),
    ("x", 4, [5], {"tokens": 25, "temperature": 0}),
]


def test_each_request_gets_what_it_gets_alone() -> None:
    made, chorus = model(), Chorus()
    alone = [texts(passage.grow(made, p, seed, some, (), knobs)) for p, seed, some, knobs in ASKED]
    songs = [passage.grow(made, p, seed, some, (), knobs, chorus) for p, seed, some, knobs in ASKED]
    found: list[dict[int, str]] = [{} for _ in songs]
    open_, turn = dict(enumerate(songs)), 0
    while open_:
        for i in list(open_):
            if turn < 3 * i:  # each comes when the one before is on its way
                continue
            try:
                for growth in next(open_[i]):
                    found[i][growth.index] = found[i].get(growth.index, "") + growth.text
            except StopIteration:
                del open_[i]
        turn += 1
    assert found == alone
    assert not chorus.drawings, "nothing is left behind"


def test_they_share_their_steps() -> None:
    made, chorus = model(), Chorus()
    calls: list[Any] = made.nets["net"].read_cells  # type: ignore[assignment]
    songs = [passage.grow(made, "abc", seed, [0], (), {"tokens": 30, "temperature": 0}, chorus) for seed in range(4)]
    for _ in range(20):
        for song in songs:
            next(song)
    assert len(calls) < 30, "four requests take twenty steps, not eighty"
    songs[0].close()
    assert len(next(iter(chorus.drawings.values())).rows) <= 4
    for song in songs[1:]:
        song.close()
    assert not chorus.drawings


def test_a_common_beginning_is_read_once() -> None:
    made, chorus = model(), Chorus()
    cells: list[int] = made.nets["net"].read_cells  # type: ignore[assignment]
    system = "You are a helpful assistant who answers in one short line. " * 2
    first = texts(passage.grow(made, system + "One?", 1, [0], (), {"tokens": 3}, chorus))
    before = sum(cells)
    second = texts(passage.grow(made, system + "Two?", 1, [0, 1], (), {"tokens": 3}, chorus))
    assert sum(cells) - before < 30
    assert second == texts(passage.grow(made, system + "Two?", 1, [0, 1], (), {"tokens": 3}))
    assert first == texts(passage.grow(made, system + "One?", 1, [0], (), {"tokens": 3}))


def test_the_least_used_beginnings_go_first() -> None:
    kept: Any = Prefixes(room=100)
    state: Any = SimpleNamespace(size=40)
    predict: Any = model().nets["net"]
    one, two, three = (torch.full((1, 20), i) for i in range(3))
    kept.keep(predict, one, state)
    kept.keep(predict, two, state)
    longer = torch.cat([one, torch.tensor([[9]])], 1)
    assert kept.find(predict, longer) == (state, 20)
    kept.keep(predict, three, state)
    assert kept.find(predict, longer) is not None
    assert kept.find(predict, torch.cat([two, torch.tensor([[9]])], 1)) is None
    assert kept.find(None, longer) is None and kept.size == 80
    assert kept.find(predict, one) == (state, 19), "the last cell is read for what follows it"


def test_a_stop_string_ends_one_of_several() -> None:
    made, chorus = model(), Chorus()
    plain = texts(passage.grow(made, "abc", 0, [0, 1, 2], (), {"tokens": 40}))
    stop = plain[1][5:8]
    assert stop
    stopped = texts(passage.grow(made, "abc", 0, [0, 1, 2], (stop,), {"tokens": 40}, chorus))
    assert stopped == {i: text[: text.find(stop)] if stop in text else text for i, text in plain.items()}


def test_a_chat_prompt_may_hold_end_marks() -> None:
    made = model()
    ids = [*b"Hi", 256, *b"you"]
    found = texts(passage.grow(made, ids, 0, [0], (), {"tokens": 9}))
    growths = passage.whole(made, ids, 0, [0], {"tokens": 9})
    assert found == {0: growths[0].text}
    assert bytes(growths[0].ids).decode(errors="replace").rstrip("\ufffd") == growths[0].text
    with pytest.raises(Exception, match="keeps to one of them"):
        next(passage.grow(made, "a", 0, [0], (), {"regex": "a", "grammar": "b"}))
