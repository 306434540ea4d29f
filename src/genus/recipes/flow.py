"""flow: pictures by flow matching on pixels, with a label where the data has one."""

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
            objective=Flow(),
            sampler=Ode(steps=30),
            wraps=(Guidance(scale=1.0),),
            source=StackedConfig(),
            training=Training(batch=64, ema=0.1, cooldown=0.4),
            sizing=SizingConfig(dials=(1, 2, 3, 4), batch=(32, 128)),
        ),
    ),
    measures=(Likelihood(), Fidelity(), Nearest(), Samples()),
    gate=Gate(),
)
