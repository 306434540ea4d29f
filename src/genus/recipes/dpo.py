"""dpo: `sft`, and then the better of two answers preferred, measured from the model that fine-tuning left.

Rafailov et al. 2023, arXiv 2305.18290. The reference is the frozen model of the phase before; nothing is sampled. Its
kin are settings: SimPO is objective.anchored=false, normalised=true, beta=2, margin=1. With `--from RUN` that run's
model is the start and the reference.
"""

from __future__ import annotations

from genus.learned.preferences import PreferencesConfig
from genus.objectives.preference import Preference
from genus.recipe import Training
from genus.recipes import sft
from genus.validate.answers import Answers
from genus.validate.forgetting import Forgetting
from genus.validate.preferences import Preferences
from genus.validate.samples import Samples

SECOND = sft.RECIPE.phases[1]

RECIPE = sft.RECIPE.but(
    name="dpo",
    about="a language model that prefers the better of two answers",
    phases=(
        *sft.RECIPE.phases,
        SECOND.but(
            name="dpo",
            start="sft",
            objective=Preference(),
            source=PreferencesConfig(phase="sft"),
            training=Training(rate=1e-4, muon_rate=6e-4, batch=16, weight_decay=0.0, warmup=0.1, cooldown=0.9),
        ),
    ),
    measures=(Preferences(), Answers(), Forgetting(), Samples()),
)
