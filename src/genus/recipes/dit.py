"""dit: pictures by diffusion with a transformer over patches, time and label as modulation.

Peebles and Xie 2022, arXiv 2212.09748. On pixels and at a size that a budget allows; data and judgement are those of
`flow`.
"""

from __future__ import annotations

from genus.networks.transformer import TransformerConfig
from genus.objectives.diffusion import Diffusion
from genus.recipes import flow
from genus.samplers.ode import Ode

RECIPE = flow.RECIPE.but(
    name="dit",
    about="pictures by diffusion with a transformer over patches",
    family="diffusion",
    phases=(
        flow.RECIPE.phases[0].but(
            name="diffusion",
            nets={"net": TransformerConfig(causal=False, timed=True, patch=4, width=256)},
            objective=Diffusion(output="residual", schedule="lognormal"),
            sampler=Ode(steps=18, method="heun", spacing="karras"),
            # flow's constants: not yet fitted to this network.
            sizing=flow.SIZING.but(dials=(4, 5, 6, 7, 8, 10, 12)),
        ),
    ),
)
