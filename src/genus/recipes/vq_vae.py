"""vq-vae: pictures as a grid of ids from a learned codebook, and a transformer that writes the ids in reading order.

van den Oord et al. 2017, arXiv 1711.00937. Two phases: the codec, then the model of its codes. An id stands for 4 x 4
pixels: 49 of them for 28 x 28, 256 for 64 x 64.
"""

from __future__ import annotations

from genus.learned.codec import LearnedConfig
from genus.networks.autoencoder import AutoencoderConfig
from genus.networks.bottlenecks import QuantisedConfig
from genus.networks.transformer import TransformerConfig
from genus.objectives.autoencoding import Autoencoding
from genus.objectives.autoregression import Autoregression
from genus.recipe import Training
from genus.recipes import flow
from genus.samplers.guidance import Guidance
from genus.samplers.tokens import Tokens

FIRST = flow.RECIPE.phases[0]

RECIPE = flow.RECIPE.but(
    name="vq-vae",
    about="pictures as learned codes, written by a transformer",
    family="autoregression",
    phases=(
        FIRST.but(
            name="autoencoder",
            nets={
                "net": AutoencoderConfig(
                    widths=(128,), blocks=2, patch=4, bottleneck=QuantisedConfig(vocab=256, channels=16)
                )
            },
            conditioner=None,
            objective=Autoencoding(),
            sampler=None,
            wraps=(),
            sizing=None,
        ),
        FIRST.but(
            name="prior",
            codec=LearnedConfig(phase="autoencoder"),
            nets={"net": TransformerConfig(depth=4, width=192)},
            objective=Autoregression(ends=False),
            sampler=Tokens(ends=False),
            wraps=(Guidance(scale=1.0),),
            training=Training(rate=3e-3, muon_rate=0.02, batch=32, cooldown=0.6),
            sizing=None,
            share=2.0,
        ),
    ),
)
