"""consistency: a flow, and then the same network taught to say the end of a path at once: one to four looks a sample.

Song et al. 2023, arXiv 2303.01469; from a trained denoiser: Geng et al. 2024, arXiv 2406.14548. The first phase is
`flow`; the second starts from its weights and learns from the same pictures, so unlike `reflow` it draws none.
"""

from __future__ import annotations

from genus.objectives.consistency import Consistency
from genus.objectives.flow import Flow
from genus.recipes import flow
from genus.samplers.guidance import Guidance
from genus.samplers.ode import Ode

#: Says the rest of the linear guess: of outputs, the better one for consistency so far (docs/log.md).
FIRST = flow.RECIPE.phases[0].but(objective=Flow(), wraps=(Guidance(scale=1.0),))

RECIPE = flow.RECIPE.but(
    name="consistency",
    about="pictures by a flow, then tuned to be drawn in four steps",
    phases=(
        FIRST,
        FIRST.but(
            name="consistency",
            start="flow",
            objective=Consistency(),
            sampler=Ode(steps=4, method="anew"),
            training=FIRST.training.but(rate=5e-4, muon_rate=4e-3, cooldown=1.0),
            share=0.5,
        ),
    ),
)
