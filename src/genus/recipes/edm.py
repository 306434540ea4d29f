"""edm: pictures by diffusion with preconditioned inputs and outputs and log-normal noise levels.

Karras et al. 2022, arXiv 2206.00364. Data, network and judgement are those of `flow`, so that the two can be compared.
Heun's second look makes 18 steps 35 looks at the network.
"""

from __future__ import annotations

from genus.objectives.diffusion import Diffusion
from genus.recipes import flow
from genus.samplers.ode import Ode

RECIPE = flow.RECIPE.but(
    name="edm",
    about="pictures by diffusion, preconditioned (EDM)",
    family="diffusion",
    phases=(
        flow.RECIPE.phases[0].but(
            name="diffusion",
            objective=Diffusion(output="residual", schedule="lognormal"),
            sampler=Ode(steps=18, method="heun", spacing="karras"),
        ),
    ),
)
