"""biggan: pictures of a class in one pass: hinge losses and a critic that weighs its features by the class.

Brock et al. 2019 (arXiv 1809.11096), whose condition reaches every layer, here as the style. A penalty on the critic's
slope at the data, every 16 steps, does what spectral normalisation did there. All else is `stylegan`.
"""

from __future__ import annotations

from genus.objectives.adversarial import Adversarial
from genus.recipes import stylegan

RECIPE = stylegan.RECIPE.but(
    name="biggan",
    about="pictures of a class in one pass: hinge losses, a critic with projection",
    phases=(
        stylegan.RECIPE.phases[0].but(
            objective=Adversarial(game="hinge", r1=0.3, r2=0.0, every=16),
        ),
    ),
)
