"""progressive: a flow, and then the same network taught to go a quarter of its path at each look: four a sample.

Progressive distillation (Salimans and Ho 2022, arXiv 2202.00512) in pieces that start from the data (Yan et al. 2024,
arXiv 2405.07510). The first phase is `flow`; the second starts from its weights, and where the first as teacher takes
four looks, guided, it learns to take one. A squared error learns the middle of what it cannot tell apart; a little
guidance of the student's own, at its two middle steps, takes it away from there (docs/log.md).
"""

from __future__ import annotations

from genus.learned.pieces import PiecesConfig
from genus.objectives.piecewise import Piecewise
from genus.recipes import flow
from genus.samplers.guidance import Guidance
from genus.samplers.ode import Ode
from genus.validate.fidelity import Fidelity
from genus.validate.memorisation import Nearest
from genus.validate.samples import Samples

FIRST = flow.RECIPE.phases[0]

RECIPE = flow.RECIPE.but(
    name="progressive",
    about="pictures by a flow whose path is then learned in four steps",
    phases=(
        FIRST,
        FIRST.but(
            name="pieces",
            start="flow",
            objective=Piecewise(output="x"),
            source=PiecesConfig(phase="flow", number=4, looks=4),
            sampler=Ode(steps=4, method="euler"),
            wraps=(Guidance(scale=1.5, start=0.4, stop=0.8),),  # beside its teacher's, which is in the pieces
            training=FIRST.training.but(rate=5e-4, muon_rate=4e-3, cooldown=1.0),
            share=1.5,
        ),
    ),
    measures=(Fidelity(), Nearest(), Samples()),
)
