"""stable-diffusion: a continuous code of pictures, learned first, and a diffusion in it with guidance.

Rombach et al. 2021, arXiv 2112.10752: a weakly regularised autoencoder, then a denoiser of its codes, which are few:
most of the work of a sample is done at an eighth of the side. Two phases; the second is asked by caption, and an item
without one is told by its label.
"""

from __future__ import annotations

from genus.conditions.text import TextConfig
from genus.learned.codec import LearnedConfig
from genus.networks.autoencoder import AutoencoderConfig
from genus.networks.bottlenecks import NormalConfig
from genus.networks.convolutional import ConvolutionalConfig
from genus.networks.transformer import TransformerConfig
from genus.objectives.autoencoding import Autoencoding
from genus.objectives.diffusion import Diffusion
from genus.recipes import flow
from genus.samplers.guidance import Guidance
from genus.samplers.ode import Ode

FIRST = flow.RECIPE.phases[0]

# The law of `flow`, not fitted anew. Few cells make small operators: larger batches are what fills them.
SIZING = flow.SIZING.but(dials=(8, 12, 16, 20, 24), batch=(64, 128))

RECIPE = flow.RECIPE.but(
    name="stable-diffusion",
    about="pictures by diffusion in a learned code",
    family="diffusion",
    prompt="caption",
    phases=(
        FIRST.but(
            name="autoencoder",
            nets={"net": AutoencoderConfig(widths=(64, 128), patch=4, bottleneck=NormalConfig(channels=4))},
            conditioner=None,
            objective=Autoencoding(beta=0.1),
            sampler=None,
            wraps=(),
            sizing=None,
        ),
        FIRST.but(
            name="prior",
            codec=LearnedConfig(phase="autoencoder"),
            nets={"net": ConvolutionalConfig(widths=(96, 192), down=(2, 2), up=(2, 1), patch=1)},
            conditioner=TextConfig(encoder=TransformerConfig(depth=2, width=128, head=32)),
            wraps=(Guidance(scale=1.5, start=0.2, stop=0.75),),
            objective=Diffusion(output="residual", scale=1.0, schedule="lognormal", mean=-0.6),
            sampler=Ode(steps=18, method="dpm", spacing="karras"),
            training=FIRST.training.but(batch=64),
            sizing=SIZING,
            share=3.0,
        ),
    ),
)
