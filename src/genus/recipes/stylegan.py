"""stylegan: pictures in one pass, by a generator with styles against a critic that compares fakes with real ones.

Networks after Karras et al. 2020 (StyleGAN2, arXiv 1912.04958), the game and its penalties after Huang et al. 2025
(R3GAN, arXiv 2501.05441). A label is part of the style where the data has labels. Data and judgement are those of
`flow`. No loss tells how far it has come, so there is no law by which a budget could choose the size: `--set
generator.width=32 --set critic.width=32` changes it.
"""

from __future__ import annotations

from genus.networks.style import CriticConfig, GeneratorConfig
from genus.objectives.adversarial import Adversarial
from genus.recipe import Training
from genus.recipes import flow
from genus.samplers.oneshot import OneShot
from genus.samplers.truncation import Truncation

RECIPE = flow.RECIPE.but(
    name="stylegan",
    about="pictures in one pass: a generator with styles against a critic",
    family="adversarial",
    phases=(
        flow.RECIPE.phases[0].but(
            name="adversarial",
            nets={"generator": GeneratorConfig(), "critic": CriticConfig()},
            objective=Adversarial(game="relativistic", r1=0.3, r2=0.3),
            sampler=OneShot(),
            wraps=(Truncation(),),
            # No momentum, and no clipping that would weigh the turns against each other. Compilers cannot
            # differentiate twice.
            training=Training(
                optimiser="adamw",
                rate=1e-3,
                betas=(0.0, 0.99),
                weight_decay=0.0,
                clip=1e3,
                batch=32,
                ema=0.05,
                cooldown=0.4,
                compile="no",
            ),
            sizing=None,
        ),
    ),
)
