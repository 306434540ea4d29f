"""pixelgpt: pictures by autoregression, one value of one pixel after another in reading order.

van den Oord et al. 2016 (arXiv 1601.06759), Child et al. 2019 (arXiv 1904.10509), Chen et al. 2020. All 256 levels, so
the likelihood is exactly that of the pixels, in bits per dimension as they are published; a colour is three cells, one
after another. A cell is told the ones near it by place. Of the sides of a picture the cost is the fourth power: small
pictures. `--set codec.levels=16` is coarser and not quicker: most of the work is attention.
"""

from __future__ import annotations

from genus.codecs.levels import LevelsConfig
from genus.codecs.pixels import PixelsConfig
from genus.networks.transformer import TransformerConfig
from genus.objectives.autoregression import Autoregression
from genus.recipe import Training
from genus.recipes import flow
from genus.samplers.guidance import Guidance
from genus.samplers.tokens import Tokens
from genus.train.sizing import SizingConfig
from genus.validate.fidelity import Fidelity
from genus.validate.likelihood import Likelihood
from genus.validate.memorisation import Nearest
from genus.validate.samples import Samples

RECIPE = flow.RECIPE.but(
    name="pixelgpt",
    about="pictures by autoregression on pixels, with an exact likelihood",
    family="autoregression",
    phases=(
        flow.RECIPE.phases[0].but(
            name="pretrain",
            codec=LevelsConfig(pixels=PixelsConfig(largest=32)),
            nets={"net": TransformerConfig(near=2)},
            objective=Autoregression(ends=False),
            sampler=Tokens(ends=False),
            wraps=(Guidance(scale=1.0),),
            training=Training(rate=3e-3, muon_rate=0.02, batch=16, cooldown=0.6),
            # Those of characters (`chargpt`), whose sizes they chose rightly: not yet fitted to pixels.
            sizing=SizingConfig(dials=(2, 3, 4, 6, 8, 10), floor=0.5, a=16.0, b=68.0, batch=(8, 32)),
        ),
    ),
    measures=(Likelihood(), Fidelity(), Nearest(), Samples()),
)
