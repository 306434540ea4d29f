"""A model that is asked: how likely it finds answers, and what it answers; each beginning is read once.

A question is put as plain text, or as a turn where `chat` says so. All examples of a task stand before every question,
so what the questions have in common is read once for all, and a question once for all its answers. Figures are
independent of what is asked beside them to 1e-4 of a logit. Likelihoods are float32.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
import torch
from torch import Tensor

from genus.core import Model, Noise, conversed
from genus.data.cache import Cache
from genus.data.dataset import Dataset
from genus.data.packed import PackedConfig
from genus.deploy import passage
from genus.deploy.chorus import Chorus
from genus.dialogue import Message
from genus.errors import UsageError
from genus.run import Run
from genus.samplers.drawing import Reader
from genus.samplers.tokens import Tokens
from genus.tasks.task import Prompt
from genus.watch import Silent, Watch


class Likely(NamedTuple):
    """-log p in nats of an answer or a text, its tokens, its bytes."""

    nats: float
    tokens: int
    bytes: int


class Said(NamedTuple):
    """A drawn answer, stop strings cut off. logs: log p of each token that was drawn, before filters. whole: it came to
    an end by itself.
    """

    text: str
    logs: tuple[float, ...] = ()
    whole: bool = False


class _Row(NamedTuple):
    item: int
    choice: int
    context: Tensor
    answer: Tensor
    bytes: int


@final
@dataclass(frozen=True)
class Examinee:
    """chat: questions are turns of a conversation. data: folder of public data sets. dataset: what it was trained on;
    None: that is unknown. knobs: of its sampler, for all that is drawn, such as precision.
    """

    model: Model
    chat: bool = False
    data: Path | None = None
    dataset: Dataset | None = None
    batch: int = 8
    knobs: dict[str, Any] = field(default_factory=dict)
    watch: Watch = field(default_factory=Silent)

    @staticmethod
    def of(run: Run, chat: bool | None = None, data: Path | None = None, watch: Watch | None = None) -> Examinee:
        """A finished run's model. chat: None: as it was taught last. Raises `UsageError` if it draws no text from its
        beginning on.
        """
        model = run.model()
        if not isinstance(model.sampler, Tokens) or model.space.channels != 1 or model.conditioner is not None:
            raise UsageError(
                f"run {run.name!r} does not read a text and go on with it (recipe {run.recipe.name}), so it cannot be "
                "asked; evaluate a language model, e.g. of the recipe gpt"
            )
        dataset = None if run.data["path"] is None else run.dataset()
        place = data or (Path(os.environ["GENUS_DATA"]) if os.environ.get("GENUS_DATA") else None)
        talks = model.prompt == "turn" if chat is None else chat
        return Examinee(model, talks, place, dataset, watch=watch or Silent())

    def nats(self, texts: Sequence[str], window: int = 1024) -> list[Likely]:
        """Of whole texts, without an end mark; of longer ones, each token behind at least half a window."""
        codec, noise = self.model.codec, Noise(0)
        source = PackedConfig(window=min(window, self.model.space.dims[0]))
        rows = [x[:, :-1] if codec.streams else x for x in codec.encode(texts)]
        starts = np.cumsum([0, *(row.shape[1] for row in rows)])
        cells: Any = torch.cat([row.T for row in rows]).numpy()
        cache = Cache(cells, codec.streams, [str(i) for i in range(len(rows))], starts, {})
        found, done = [0.0] * len(rows), 0
        self.model.nets.eval()
        with torch.inference_mode():
            for part in source.once(cache, codec, self.batch):
                said = self.model.log_prob(part, noise.of(range(done, done + len(part))))
                for i, value in zip(part.ids, said.nats.tolist(), strict=True):
                    found[int(i)] -= value
                done += len(part)
                self.watch.tick(int(part.ids[-1]) + 1, len(rows), "likelihood of texts")
        each = zip(found, rows, texts, strict=True)
        return [Likely(nats, row.shape[1], len(text.encode("utf-8", "replace"))) for nats, row, text in each]

    def likelihoods(self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]) -> list[list[Likely]]:
        """Of every answer to every prompt, given the prompt alone. In turns, the mark that ends an answer counts too.

        Raises `UsageError` for a prompt and an answer that do not fit into the model's window.
        """
        begun = [self.ids(prompt) for prompt in prompts]
        rows: list[_Row] = []
        for i, (prompt, given) in enumerate(zip(prompts, answers, strict=True)):
            for j, text in enumerate(given):
                whole = self._answered(prompt, text)
                cut = min(_common(begun[i], whole), whole.shape[1] - 1)
                rows.append(_Row(i, j, whole[:, :cut], whole[:, cut:], len(text.encode("utf-8", "replace"))))
        found = [[Likely(0.0, 0, 0)] * len(given) for given in answers]
        for i, j, likely in self._scored(rows):
            found[i][j] = likely
        return found

    def draws(
        self,
        prompts: Sequence[Prompt],
        tokens: int,
        stop: Sequence[str] = (),
        seed: int = 0,
        indices: Sequence[int] | None = None,
        **knobs: Any,
    ) -> list[Said]:
        """An answer to each prompt, of at most so many tokens; the i-th is sample indices[i] of the seed (None: i).

        knobs: of the sampler, e.g. temperature=0. Samples join as others end.
        """
        chorus, done = Chorus(), [Said("")] * len(prompts)
        told = {**self.knobs, **knobs, "tokens": tokens, "likeliest": 0}
        waiting = list(range(len(prompts)))[::-1]
        singing: dict[int, Iterator[list[passage.Growth]]] = {}
        while waiting or singing:
            while waiting and len(singing) < 2 * self.batch:
                i = waiting.pop()
                ids = self.ids(prompts[i])[0].tolist()
                self._fits(len(ids) + tokens)
                at = i if indices is None else indices[i]
                singing[i] = passage.grow(self.model, ids, seed, [at], stop, told, chorus)
            for i in list(singing):
                some = next(singing[i], None)
                if some is None:
                    del singing[i]
                    self.watch.tick(len(prompts) - len(waiting) - len(singing), len(prompts), "answers")
                for growth in some or ():
                    logs = done[i].logs + tuple(said.log_p for said in growth.said)
                    done[i] = Said(done[i].text + growth.text, logs, growth.finish == "stop")
        return done

    def ids(self, prompt: Prompt) -> Tensor:
        """[C, n] of a prompt, up to where the answer begins."""
        codec = self.model.codec
        if self.chat and prompt.messages:
            return codec.lift(conversed(codec, prompt.messages, answer=True)[0])
        x = codec.lift(codec.encode([prompt.text])[0])
        return x[:, :-1] if codec.streams else x

    def _answered(self, prompt: Prompt, text: str) -> Tensor:
        """[C, n] of a prompt with an answer behind it; in a conversation, up to the end of what is said."""
        codec = self.model.codec
        if not (self.chat and prompt.messages):
            return self.ids(Prompt(prompt.text + text))
        x, said = conversed(codec, (*prompt.messages, Message("assistant", text.strip())))
        return codec.lift(x[:, : int(said.nonzero()[-1]) + 1])

    @torch.inference_mode()
    def _scored(self, rows: Sequence[_Row]) -> Iterator[tuple[int, int, Likely]]:
        if not rows:
            return
        self.model.nets.eval()
        predict, _ = self.model.predictor()
        space = self.model.space
        for row in rows:
            self._fits(row.context.shape[1] + row.answer.shape[1])
        shared = rows[0].context
        for row in rows:
            shared = shared[:, : _common(shared, row.context)]
        base = Reader(predict, space, 1)
        if base.state is not None and shared.shape[1]:
            base.warm([torch.cat([shared, shared[:, -1:]], 1)])
        # Rows of one length are read together, those of one context beside each other.
        order = sorted(rows, key=lambda row: (row.context.shape[1], row.item, row.choice))
        done = 0
        for start in range(0, len(order), 4 * self.batch):
            some = order[start : start + 4 * self.batch]
            contexts, which = _distinct([row.context for row in some])
            reader = Reader(predict, space, 1)
            if base.state is not None and shared.shape[1]:
                reader.resume(base.state, shared.shape[1])
            reader.take([0] * len(contexts))
            reader.warm(contexts)
            reader.take(which)
            told = reader.read([row.context for row in some], [row.answer for row in some])
            for row, logits in zip(some, told, strict=True):
                logs = logits[0, :-1].float().log_softmax(-1)
                picked = logs.gather(-1, row.answer[0][:, None]).double()
                yield row.item, row.choice, Likely(-float(picked.sum()), row.answer.shape[1], row.bytes)
            done += len(some)
            self.watch.tick(done, len(rows), "likelihood of answers")

    def _fits(self, cells: int) -> None:
        window = self.model.space.dims[0]
        if cells >= window:
            raise UsageError(
                f"a question with its answer takes {cells} tokens, and this model was trained on {window}; show fewer "
                "--shots, or ask for fewer tokens"
            )


def _common(a: Tensor, b: Tensor) -> int:
    """Cells that two [C, n] have in common at the front."""
    n = min(a.shape[1], b.shape[1])
    return int((a[:, :n] == b[:, :n]).all(0).long().cummin(0).values.sum()) if n else 0


def _distinct(contexts: Sequence[Tensor]) -> tuple[list[Tensor], list[int]]:
    """Those that differ, and for each which of these it is."""
    found: dict[bytes, int] = {}
    kept: list[Tensor] = []
    which: list[int] = []
    for context in contexts:
        key = context.numpy().tobytes()
        if key not in found:
            found[key] = len(kept)
            kept.append(context)
        which.append(found[key])
    return kept, which
