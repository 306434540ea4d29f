"""flow: pictures by rectified flow on pixels, with a label where the data has one. Grey, RGB or RGBA, up to 64 x 64.

A U-Net says the clean picture and is judged by the velocity that follows (Li and He 2025, arXiv 2511.13720): what it
draws is clean to the last pixel, which a network that says the rest or the noise reaches late. Muon, small batches, an
averaged model. The budget decides the width. A label pulls at the times that decide what is drawn, not at the noisiest
nor at the last details: more digits are then what was asked for, and all are nearer to real ones (docs/log.md).
"""

from __future__ import annotations

from genus.codecs.pixels import PixelsConfig
from genus.conditions.label import LabelConfig
from genus.data.stacked import StackedConfig
from genus.networks.convolutional import ConvolutionalConfig
from genus.objectives.flow import Flow
from genus.recipe import Phase, Recipe, Training
from genus.samplers.guidance import Guidance
from genus.samplers.ode import Ode
from genus.train.sizing import SizingConfig
from genus.validate.fidelity import Fidelity
from genus.validate.gate import Gate
from genus.validate.likelihood import Likelihood
from genus.validate.memorisation import Nearest
from genus.validate.samples import Samples

# Fitted to sixteen runs of four sizes (0.3 to 1.6 M), of 2, 3 and 8 minutes on digits of 28 x 28 and of 4 minutes on
# emoji of 64 x 64, each set with its own floor, docs/log.md. Counted in samples: counted in pixels, it took ten million
# weights for emoji and had 300 steps to train them.
SIZING = SizingConfig(
    dials=(1, 2, 3, 4, 6, 8, 10, 12, 16), sample=49, floor=0.127, a=165.0, alpha=0.7, b=479.0, beta=0.7, batch=(32, 32)
)

RECIPE = Recipe(
    name="flow",
    about="pictures by flow matching on pixels",
    family="flow",
    media=("image",),
    prompt="label",
    phases=(
        Phase(
            name="flow",
            codec=PixelsConfig(),
            nets={"net": ConvolutionalConfig()},
            conditioner=LabelConfig(),
            objective=Flow(output="x", first=0.02),
            sampler=Ode(steps=30),
            wraps=(Guidance(scale=2.5, start=0.2, stop=0.8),),
            source=StackedConfig(),
            training=Training(batch=32, rate=2e-3, muon_rate=0.015, weight_decay=0.01, ema=0.1, cooldown=0.5),
            sizing=SIZING,
        ),
    ),
    measures=(Likelihood(items=64), Fidelity(), Nearest(), Samples()),
    gate=Gate(),
)
