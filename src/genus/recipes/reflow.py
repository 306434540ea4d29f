"""reflow: a flow, and then the same network trained on pairs of noise and sample that it drew itself: few steps.

Liu et al. 2022, arXiv 2209.03003. The first phase is `flow`; the second starts from its weights and straightens the
paths, so that four steps of Euler's method do what thirty did. Of its time, drawing takes a part that grows with the
pairs and with the looks of each; it learns more at the noisy end, where few steps go wrong (docs/log.md).
"""

from __future__ import annotations

from genus.learned.rollouts import RolloutsConfig
from genus.objectives.flow import Flow
from genus.recipes import flow
from genus.samplers.guidance import Guidance
from genus.samplers.ode import Ode

FIRST = flow.RECIPE.phases[0]

RECIPE = flow.RECIPE.but(
    name="reflow",
    about="pictures by flow matching in four steps",
    phases=(
        FIRST,
        FIRST.but(
            name="reflow",
            start="flow",
            objective=Flow(output="x", mean=1.0, first=0.02),
            source=RolloutsConfig(phase="flow", number=2048, held=128, knobs={"steps": 16}),
            sampler=Ode(steps=4, method="euler"),
            wraps=(Guidance(scale=1.0),),  # that of its teacher is in the pairs
            training=FIRST.training.but(rate=5e-4, muon_rate=4e-3, cooldown=1.0),
            share=0.5,
        ),
    ),
)
