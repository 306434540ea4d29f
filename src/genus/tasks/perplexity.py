"""How well texts are predicted, in bits per byte: whole texts, or answers given their questions.

Bits per byte compare models with any tokenizer; perplexity a token does not. No end mark is paid for. An even guess
costs 8 bits a byte; gzip and xz, which have seen nothing else, stand beside it for whole texts.
"""

from __future__ import annotations

import math
from typing import Literal, final

import numpy as np

from genus.tasks.examinee import Examinee
from genus.tasks.task import Floats, Outcome, Score, Shown, rate
from genus.validate import compressors
from genus.validate.findings import Finding

BITS = "bits_per_byte"


@final
class Perplexity(Shown):
    """Items with an answer are judged by it, given what is asked; others by what would be asked."""

    kind: Literal["tasks.perplexity"] = "tasks.perplexity"

    def __call__(self, examinee: Examinee) -> Outcome:
        """Bits per byte and perplexity a token, over all items together."""
        asked, shown = self.picked(examinee)
        if any(item.answer for item in asked):
            prompts = [self.form.prompt(item.asked, shown) for item in asked]
            answers = [[self.form.answer.replace("{}", item.answer)] for item in asked]
            found = [row[0] for row in examinee.likelihoods(prompts, answers)]
            baselines: tuple[Finding, ...] = ()
        else:
            found = examinee.nats([item.asked for item in asked])
            joined = "".join(item.asked for item in asked).encode("utf-8", "replace")
            sizes = {"gzip": compressors.with_gzip(joined), "xz": compressors.with_xz(joined)}
            baselines = tuple(
                Finding(f"{BITS}/{name}", 8 * size / len(joined), unit="bits/byte") for name, size in sizes.items()
            )
        nats, tokens, size = (np.array([one[i] for one in found], np.float64) for i in range(3))
        scores = (
            Score(BITS, (nats / math.log(2), size), rate, 8.0, "bits/byte", "lower", main=True),
            Score("perplexity_per_token", (nats, tokens), _exp, None, "per token", "lower"),
        )
        note = f"{int(size.sum()):,} bytes, {size.sum() / max(1.0, tokens.sum()):.2f} a token."
        return Outcome(asked, scores, (), (note,), baselines=baselines)


def _exp(top: Floats, bottom: Floats) -> float:
    return math.exp(min(700.0, rate(top, bottom)))
