"""sft: a language model, and then the same network on conversations, told by what the assistant says in them.

Supervised fine-tuning as in Ouyang et al. 2022 (arXiv 2203.02155), their first step. The first phase is `gpt` on all of
the data; the second starts from its weights, at a rate that a trained model bears. With `--from RUN` there is no first
phase: that run's model is fine-tuned.
"""

from __future__ import annotations

from genus.data.dialogue import DialogueConfig
from genus.recipe import Recipe, Training
from genus.recipes import gpt
from genus.samplers.tokens import Tokens
from genus.validate.answers import Answers
from genus.validate.forgetting import Forgetting
from genus.validate.gate import Gate
from genus.validate.memorisation import Verbatim
from genus.validate.samples import Samples

FIRST = gpt.RECIPE.phases[0]

RECIPE = Recipe(
    name="sft",
    about="a language model that answers: fine-tuned on conversations",
    family="autoregression",
    media=("text", "code"),
    prompt="turn",
    phases=(
        FIRST,
        FIRST.but(
            name="sft",
            start="pretrain",
            source=DialogueConfig(),
            sampler=Tokens(tokens=200, temperature=0.7, top_p=0.95),
            training=Training(rate=3e-4, muon_rate=2e-3, batch=16, weight_decay=0.0, cooldown=1.0),
            sizing=None,
            share=0.25,
        ),
    ),
    measures=(Answers(), Forgetting(), Verbatim(), Samples()),
    gate=Gate(),
)
