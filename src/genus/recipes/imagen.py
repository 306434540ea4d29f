"""imagen: pictures from captions in two sizes: a small one first, then the same one large.

Ho et al. 2021, arXiv 2106.15282; Saharia et al. 2022, arXiv 2205.11487. The first phase draws at half the side; the
second sees that picture beside its own, blurred with noise of a level that it is told, so that it forgives what the
first one got wrong. Both are asked by caption, and an item without one is told by its label.
"""

from __future__ import annotations

from genus.codecs.pixels import PixelsConfig
from genus.conditions.text import TextConfig
from genus.learned.drawn import DrawnConfig
from genus.networks.convolutional import ConvolutionalConfig
from genus.networks.transformer import TransformerConfig
from genus.objectives.diffusion import Diffusion
from genus.recipes import flow
from genus.samplers.guidance import Guidance
from genus.samplers.ode import Ode
from genus.validate.fidelity import Fidelity
from genus.validate.memorisation import Nearest
from genus.validate.samples import Samples

FIRST = flow.RECIPE.phases[0].but(
    objective=Diffusion(output="residual", schedule="lognormal", mean=-0.6),
    sampler=Ode(steps=18, method="heun", spacing="karras"),
    wraps=(Guidance(scale=1.0),),
    sizing=None,
)
TEXT = TextConfig(encoder=TransformerConfig(depth=2, width=128, head=32))

RECIPE = flow.RECIPE.but(
    name="imagen",
    about="pictures from captions, a small one first and then the same one large",
    family="diffusion",
    prompt="caption",
    phases=(
        FIRST.but(
            name="base",
            codec=PixelsConfig(shrink=2),
            nets={"net": ConvolutionalConfig(widths=(64, 128, 192), patch=1)},
            conditioner=TEXT,
            wraps=(Guidance(scale=1.5),),
            share=2.0,
        ),
        FIRST.but(
            name="large",
            nets={"net": ConvolutionalConfig(widths=(32, 64, 128), patch=2)},
            conditioner=DrawnConfig(phase="base", inside=TEXT, most=0.5, level=0.1),
        ),
    ),
    # No likelihood: what is drawn from a drawing has no p(x) of its own.
    measures=(Fidelity(), Nearest(), Samples()),
)
