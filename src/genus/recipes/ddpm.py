"""ddpm: pictures by the first diffusion models' recipe: a linear schedule of noise, a U-Net that says the noise.

Ho et al. 2020, arXiv 2006.11239. Data, network and judgement are those of `flow`, so that the two can be compared.
Draws with a solver of second order in few steps; the original's own sampling is
`--set sampler.method=euler --set sampler.eta=1 --set sampler.steps=1000`.
"""

from __future__ import annotations

from genus.objectives.diffusion import Diffusion
from genus.recipes import flow
from genus.samplers.ode import Ode

RECIPE = flow.RECIPE.but(
    name="ddpm",
    about="pictures by diffusion: a network that says the noise",
    family="diffusion",
    phases=(
        flow.RECIPE.phases[0].but(
            name="diffusion",
            objective=Diffusion(output="noise", schedule="linear"),
            sampler=Ode(steps=30, method="dpm", spacing="linear"),
        ),
    ),
)
