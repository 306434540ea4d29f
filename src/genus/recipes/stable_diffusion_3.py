"""stable-diffusion-3: flow matching in a learned code by a transformer in which text and picture attend to each other.

Esser et al. 2024, arXiv 2403.03206: caption and patches have weights of their own and one attention over both (joint);
time and the caption's vector modulate both; times are logit-normal. The first phase is that of `stable-diffusion`. One
small encoder, trained along, stands for the three large ones of the original.
"""

from __future__ import annotations

from genus.conditions.text import TextConfig
from genus.networks.transformer import TransformerConfig
from genus.objectives.flow import Flow
from genus.recipes import stable_diffusion
from genus.samplers.guidance import Guidance
from genus.samplers.ode import Ode

CODES, PRIOR = stable_diffusion.RECIPE.phases

RECIPE = stable_diffusion.RECIPE.but(
    name="stable-diffusion-3",
    about="pictures by flow matching in a learned code, text and picture in one attention",
    family="flow",
    phases=(
        CODES,
        PRIOR.but(
            nets={"net": TransformerConfig(depth=4, width=256, causal=False, timed=True, told="joint")},
            conditioner=TextConfig(encoder=TransformerConfig(depth=2, width=128, head=32)),
            wraps=(Guidance(scale=2.0),),
            objective=Flow(scale=1.0),
            sampler=Ode(steps=30),
        ),
    ),
)
