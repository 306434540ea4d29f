"""A conversation with a run, turn after turn, as text that arrives while it is drawn. Knows no terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from genus import dialogue
from genus.core import Codec, Conversing, Model, conversed
from genus.deploy.chorus import Chorus
from genus.deploy.passage import Prompt, grow
from genus.errors import UsageError


@final
@dataclass
class Chat:
    """model: with a chat template, or fine-tuned on conversations, it answers; else it goes on with the text so far.

    knobs: as of `genus generate`. said: the turns, {"role", "content"}. What was read of them is not read again.
    """

    model: Model
    seed: int = 0
    knobs: Mapping[str, Any] = field(default_factory=dict)
    said: list[dict[str, str]] = field(default_factory=list)
    chorus: Chorus = field(default_factory=Chorus)

    def tell(self, text: str) -> Iterator[str]:
        """The answer, in pieces. Turn t of a seed is its sample t. Raises `UsageError` for what cannot be read."""
        self.said.append({"role": "user", "content": text})
        answer, turn = "", sum(message["role"] == "user" for message in self.said) - 1
        try:
            for growths in grow(self.model, self._prompt(), self.seed, [turn], (), self.knobs, self.chorus):
                for growth in growths:
                    answer += growth.text
                    yield growth.text
        except UsageError:
            self.said.pop()
            raise
        self.said.append({"role": "assistant", "content": answer})

    def _prompt(self) -> Prompt:
        codec = self.model.codec
        if isinstance(codec, Conversing) and codec.converses:
            return codec.conversation(self.said)
        if self.model.prompt == "turn":
            return answering(codec, self.said)
        return "".join(message["content"] for message in self.said if message["role"] != "system")


def answering(codec: Codec, said: Sequence[Mapping[str, Any]]) -> list[int]:
    """Messages {"role", "content"} as ids, an answer begun. Raises `UsageError` for a role that is not known."""
    messages = dialogue.listed(list(said))
    if not messages:
        raise UsageError(f"these are no messages of {', '.join(dialogue.ROLES)}: {str(list(said))[:200]}")
    ids: list[int] = conversed(codec, messages, answer=True)[0][0].tolist()
    return ids
