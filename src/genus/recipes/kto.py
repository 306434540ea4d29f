"""kto: `sft`, and then answers judged good made likelier and those judged bad less so, each by itself.

Ethayarajh et al. 2024, arXiv 2402.01306: for data that says of an answer whether it was good (a thumb up or down), and
not which of two was better. The reference is the frozen model of the phase before; nothing is sampled. With
`--from RUN` that run's model is the start and the reference.
"""

from __future__ import annotations

from genus.learned.verdicts import VerdictsConfig
from genus.objectives.unpaired import Unpaired
from genus.recipe import Training
from genus.recipes import sft
from genus.validate.answers import Answers
from genus.validate.forgetting import Forgetting
from genus.validate.preferences import Preferences
from genus.validate.samples import Samples

SECOND = sft.RECIPE.phases[1]

RECIPE = sft.RECIPE.but(
    name="kto",
    about="a language model that prefers answers judged good to those judged bad",
    phases=(
        *sft.RECIPE.phases,
        SECOND.but(
            name="kto",
            start="sft",
            objective=Unpaired(),
            source=VerdictsConfig(phase="sft"),
            training=Training(rate=1e-4, muon_rate=6e-4, batch=16, weight_decay=0.0, warmup=0.1, cooldown=0.9),
        ),
    ),
    measures=(Preferences(), Answers(), Forgetting(), Samples()),
)
