"""reward: a language model, and then the same network as a judge of answers, from which of two was preferred.

Ouyang et al. 2022, arXiv 2203.02155, the second step. It draws nothing; `learned.judge` lets it reward what another
model draws. With `--from RUN` the judge starts from that run's model.
"""

from __future__ import annotations

from genus.learned.preferences import PreferencesConfig
from genus.objectives.reward import Reward
from genus.recipe import Training
from genus.recipes import sft
from genus.validate.preferences import Preferences

FIRST = sft.FIRST

RECIPE = sft.RECIPE.but(
    name="reward",
    about="says what an answer is worth, from preferences; draws nothing, judges others",
    family="classification",
    phases=(
        FIRST,
        FIRST.but(
            name="reward",
            start="pretrain",
            objective=Reward(),
            source=PreferencesConfig(),
            sampler=None,
            training=Training(rate=3e-4, muon_rate=2e-3, batch=16, weight_decay=0.1, warmup=0.1, cooldown=0.9),
            sizing=None,
            share=0.5,
        ),
    ),
    measures=(Preferences(),),
)
