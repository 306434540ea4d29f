"""grpo: `sft`, and then the same model learns from its own answers, judged by a rule that can be checked.

Shao et al. 2024, arXiv 2402.03300, with one update for the answers of a step. Which rule is a setting, of the source
and of the measure: `rewards.arithmetic`, `rewards.countdown`, `rewards.sorting`, `rewards.match`, or the judge that
`reward` trained (`learned.judge`). RLOO is source.advantage=leave-one-out with objective.over=answers. With
`--from RUN` that run's model is the start and the reference.
"""

from __future__ import annotations

from genus.learned.attempts import AttemptsConfig
from genus.objectives.policy import Policy
from genus.recipe import Training
from genus.recipes import sft
from genus.rewards.arithmetic import Arithmetic
from genus.validate.answers import Answers
from genus.validate.forgetting import Forgetting
from genus.validate.samples import Samples
from genus.validate.solved import Solved

SECOND = sft.RECIPE.phases[1]

RECIPE = sft.RECIPE.but(
    name="grpo",
    about="a language model that learns from its own answers, by a rule that tells which are right",
    phases=(
        *sft.RECIPE.phases,
        SECOND.but(
            name="grpo",
            start="sft",
            objective=Policy(kl=0.01),
            source=AttemptsConfig(reward=Arithmetic(), phase="sft", group=16),
            # A gradient by reward is mostly noise, and Muon's step is as long whatever the gradient: AdamW, and slowly.
            training=Training(optimiser="adamw", rate=3e-5, batch=128, weight_decay=0.0, warmup=0.05, cooldown=0.3),
            share=1.0,
        ),
    ),
    measures=(Solved(reward=Arithmetic()), Answers(), Forgetting(), Samples()),
)
