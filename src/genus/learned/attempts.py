"""A model's own answers as the data it learns from: drawn from the weights as they stand, judged by a reward.

Each question is answered `group` times. What an answer counts for is how much better it was than the others to the same
question:

    group           (r - mean) / deviation                     GRPO, Shao et al. 2024, arXiv 2402.03300
    centred         r - mean                                   Liu et al. 2025, arXiv 2503.20783
    leave-one-out   r - mean of the others                     RLOO, Ahmadian et al. 2024, arXiv 2402.14740

How far an answer is from a frozen reference, d = log p - log r of all of it, may be taken off its reward: r - kl d
(Ziegler et al. 2019, arXiv 1909.08593), whose expectation the policy then raises. With a `budget`, a step whose
answers are further away on the mean counts nearness alone, so the policy turns back: far from where a learned reward
was taught, what it says is not to be believed (Gao et al. 2022, arXiv 2210.10760).

Answers are drawn at temperature 1 and unfiltered, so that they are the policy's own; their noise is addressed by
(seed, step, row), so a batch is a function of data, seed, step and weights, and a resumed run draws the same again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self, final

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from genus import dialogue
from genus.core import Batch, Codec, Model, Network, Noise, Precision, Source, Space, behind
from genus.data.cache import Cache
from genus.data.dialogue import DialogueConfig
from genus.data.source import SourceConfig, order
from genus.dialogue import Message
from genus.errors import UsageError
from genus.learned.borrowed import lent, told
from genus.parts import Any_
from genus.rewards.reward import Reward
from genus.run import in_memory

Advantage = Literal["group", "centred", "leave-one-out"]
AT_ONCE = 1 << 27  # logits


class Question(NamedTuple):
    """What is asked, the data's answer (empty: none), and the record's id."""

    asked: tuple[Message, ...]
    reference: str
    name: str


@final
@dataclass(frozen=True)
class Attempts(Source):
    """size: answers a step, `group` to each question; the last question of a step may get fewer."""

    config: AttemptsConfig
    questions: Sequence[Question]
    seed: int
    size: int
    model: Model | None = None

    def of(self, model: Model) -> Source:
        """Told whose weights to draw from."""
        return replace(self, model=model)

    def batch(self, step: int) -> Batch:
        """x [size, 1, T] questions with answers, mask: the answers, weight: what each counts for.

        extra: reward [size]; old [size, 1, T], log p of each cell as it was drawn. Where there is a frozen model:
        reference, the same by it, and far [size], by how many nats either answer is likelier now.
        """
        assert self.model is not None, "attempts are told whose weights to draw from"
        group = self.config.group
        number = -(-self.size // group)
        some = [self.questions[i] for _, i in order(self.seed, step * number, number, len(self.questions))]
        rows = [some[i // group] for i in range(self.size)]
        noise = Noise(self.seed).child("attempts").of(range(step * self.size, (step + 1) * self.size))
        now = replace(self.model)  # copies of fewer bits are of the weights as they stand
        knobs = {**PLAINLY, "precision": self.config.precision or as_learned(now)}
        x, mask = now.answers(noise, [q.asked for q in rows], self.config.tokens, **knobs)
        if x.shape[2] > self.model.space.dims[0]:
            raise UsageError(
                f"a question and its answer take {x.shape[2]} cells, but source.window = {self.model.space.dims[0]}; "
                "widen it, or draw shorter answers with source.tokens"
            )
        said = self.model.said(x, mask)
        reward = torch.tensor(
            self.config.reward.all([q.asked for q in rows], [q.reference for q in rows], said), dtype=torch.float32
        )
        extra = {"reward": reward, "old": log_probs(self.model, x)}
        worth = reward
        if self.config.place is not None:
            extra["reference"] = frozen(lent(self.config.place)[0], x)
            extra["far"] = ((extra["old"] - extra["reference"]) * mask).flatten(1).sum(1)
            worth = self.config.worth(reward, extra["far"])
        weight = torch.cat([advantages(part, self.config.advantage) for part in torch.split(worth, group)])
        return Batch(x, mask=mask, weight=weight, extra=extra, ids=[q.name for q in rows])


def as_learned(model: Model) -> Precision | None:
    """How a model in training draws: in bf16 where it learns in that and draws faster when packed; None: as it is."""
    some = [net for net in model.nets.values() if isinstance(net, Network) and net.brisk]
    half = any(p.dtype is torch.bfloat16 for net in some for p in net.parameters())
    return "bf16" if half else None


#: How answers are drawn: from the policy as it is.
PLAINLY: Mapping[str, Any] = {
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": None,
    "min_p": 0.0,
    "typical_p": 1.0,
    "logit_bias": {},
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}


@final
class AttemptsConfig(SourceConfig):
    """reward: judges. group: answers to a question. tokens: of an answer at most. phase: of the frozen reference; None:
    there is none. kl: what a nat of an answer's distance from it costs. budget: nats an answer on the mean that may lie
    between them. precision: of the weights that draw; int8 is several times as fast where these are many, and log p is
    still that of the weights themselves; None: theirs. window: cells of question and answer together.
    """

    kind: Literal["learned.attempts"] = "learned.attempts"
    reading: ClassVar[str] = "attempts"
    reward: Any_[Reward]
    group: int = Field(8, ge=2)
    tokens: int = Field(128, ge=1)
    advantage: Advantage = "group"
    phase: str | None = Field(None, pattern=r"^[a-z][a-z0-9-]*$")
    kl: float = Field(0.0, ge=0)
    budget: float | None = Field(None, gt=0)
    precision: Precision | None = None
    window: int = Field(512, ge=2)
    place: str | None = None

    @model_validator(mode="after")
    def _measured(self) -> Self:
        if self.phase is None and (self.kl or self.budget is not None):
            raise ValueError("kl and budget count from a frozen reference; name its phase (source.phase)")
        return self

    def worth(self, reward: Tensor, far: Tensor) -> Tensor:
        """What answers are worth [B] that earn so much and are so many nats away."""
        if self.budget is not None and float(far.mean()) > self.budget:
            return -far
        return reward - self.kl * far

    def after(self, earlier: Mapping[str, Path]) -> Self:
        """Told where the models of earlier phases lie. Raises `UsageError` if its own is not among them."""
        place = None if self.phase is None else told(self.kind, self.phase, earlier)
        return self.but(reward=self.reward.after(earlier), place=place)

    def encode(self, codec: Codec, media: Sequence[Any]) -> list[Tensor]:
        """The text itself, as bytes [1, N]: questions are asked anew each time."""
        return [torch.frombuffer(bytearray(text.encode(errors="replace")), dtype=torch.uint8)[None] for text in media]

    def space(self, space: Space) -> Space:
        """The codec's, one window long."""
        return DialogueConfig(window=self.window).space(space)

    def over(self, cache: Cache, codec: Codec, seed: int, batch: int) -> Source:
        """Questions in a new order each epoch. Raises `UsageError` if there is none."""
        found = questions(cache)
        if not found:
            raise UsageError("the data asks nothing; collect a table with messages, or with columns such as question")
        return Attempts(self, found, seed, batch)

    def samples(self, cache: Cache) -> int:
        """Answers to all questions."""
        return max(1, len(questions(cache))) * self.group

    def judged(self, cache: Cache, codec: Codec, batch: int) -> Iterator[Batch]:
        """None: no held-out loss tells progress."""
        return iter(())

    def once(self, cache: Cache, codec: Codec, batch: int) -> Iterator[Batch]:
        """Conversations by what is said in them, other texts as they are."""
        source = DialogueConfig(window=self.window)
        encoded = replace(in_memory(codec, texts(cache), source), ids=cache.ids)
        return source.once(encoded, codec, batch)


def texts(cache: Cache) -> list[str]:
    """What `encode` was given."""
    return [
        bytes(cache.cells[int(a) : int(b), 0]).decode() for a, b in zip(cache.starts, cache.starts[1:], strict=False)
    ]


def questions(cache: Cache) -> list[Question]:
    """Of all conversations that ask something: up to the last answer, if there is one."""
    found = []
    for name, text in zip(cache.ids, texts(cache), strict=True):
        said = tuple(m for m in dialogue.read(text) if m.role != "rejected")
        reference = said[-1].text if said and said[-1].role == "assistant" else None
        asked = said if reference is None else said[:-1]
        if any(m.role == "user" for m in asked):
            found.append(Question(asked, reference or "", name))
    return found


def advantages(reward: Tensor, how: Advantage) -> Tensor:
    """What each answer to one question counts for; nothing where all are worth the same, or there is but one."""
    n = len(reward)
    apart = reward - reward.mean()
    if n < 2 or how == "centred":
        return apart
    if how == "leave-one-out":
        return apart * n / (n - 1)
    return apart / (reward.std() + 1e-4)


def log_probs(model: Model, x: Tensor, nets: nn.ModuleDict | None = None) -> Tensor:
    """log p of each cell given those before it, as x. nets: which of the model's copies say it; None: its own."""
    predict, _ = model.predictor(nets=nets)
    vocab = model.space.vocab
    assert vocab is not None
    each = max(1, AT_ONCE // (x[0].numel() * vocab))
    found = []
    with torch.no_grad():
        for part in torch.split(x, each):
            said = predict(behind(part, vocab)).float()
            picked = said.gather(-1, part[..., None]).squeeze(-1)
            found.append(picked - said.logsumexp(-1))
    return torch.cat(found)


def frozen(model: Model, x: Tensor) -> Tensor:
    """The same by a model that is not trained, in the number format of its training: as a start it says what the
    model did that begins there.
    """
    return log_probs(model, x, model.drawing(model.precision))
