"""Models whose answers are known beforehand: a table of bytes, and one that knows some questions by heart."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from genus.codecs.bytes import Bytes
from genus.core import Cond, Model, Network, Space, State
from genus.objectives.autoregression import Autoregression
from genus.samplers.tokens import Tokens
from genus.tasks.examinee import Examinee
from genus.tasks.task import Item, Items

VOCAB = 257  # bytes and the end mark


class Given(Items):
    """Items of a test."""

    kind: str = "tasks.test_given"
    asked: tuple[tuple[Any, ...], ...] = ()
    shown: tuple[tuple[Any, ...], ...] = ()

    def read(self, examinee: Examinee) -> list[Item]:
        return [Item(*one) for one in self.asked]

    def examples(self, examinee: Examinee) -> list[Item]:
        return [Item(*one) for one in self.shown]


class Pairs(Network):
    """p(byte | the byte before it), from a table [258, 257] of logits; row 257 is the begin mark."""

    def __init__(self, table: Tensor, space: Space) -> None:
        super().__init__()
        self.table, self.space = nn.Parameter(table), space

    def forward(self, x: Tensor, t: Tensor | None = None, cond: Cond = Cond(), state: State | None = None) -> Tensor:
        return self.table[x]


class Heart(Network):
    """Says known answers byte by byte, each with its certainty, an end mark behind; else nothing but the end mark.

    answers: question -> (what follows "Answer:", probability of each of its bytes). A question stands between
    "Question: " and the next line. seen: all prompts that were read.
    """

    def __init__(self, answers: Mapping[str, tuple[str, float]], space: Space) -> None:
        super().__init__()
        self.answers, self.space, self.seen = answers, space, set[str]()

    def forward(self, x: Tensor, t: Tensor | None = None, cond: Cond = Cond(), state: State | None = None) -> Tensor:
        logits = torch.zeros(*x.shape, VOCAB)
        for row in range(len(x)):
            ids = x[row, 0].tolist()
            for at in range(len(ids)):
                text = bytes(i for i in ids[: at + 1] if i < 256).decode(errors="replace")
                logits[row, 0, at] = self._next(text)
        return logits

    def _next(self, text: str) -> Tensor:
        head, answer, said = text.rpartition("\nAnswer:")
        question = head.rpartition("Question: ")[2]
        known, p = self.answers.get(question, ("", 0.99))
        if answer:
            self.seen.add(head)
        follows = (known.encode() + bytes([10]))[len(said.encode()) :] if known.startswith(said) else b""
        chosen = follows[0] if follows else VOCAB - 1
        logits = torch.full((VOCAB,), math.log((1 - p) / (VOCAB - 1)))
        logits[chosen] = math.log(p)
        return logits


def model(net: Network, window: int = 2048) -> Model:
    codec = Bytes()
    space = replace(codec.space, dims=(window,))
    return Model(codec, space, nn.ModuleDict({"net": net}), Autoregression(), Tokens(temperature=0.0), (), "prefix")


def examinee(net: Network, window: int = 2048, **more: Any) -> Examinee:
    return Examinee(model(net, window), **{"batch": 3, **more})


def heart(answers: Mapping[str, tuple[str, float]]) -> Heart:
    return Heart(answers, Bytes().space)


def pairs(table: Tensor) -> Pairs:
    return Pairs(table, Bytes().space)
