"""vae: pictures by a variational autoencoder: one vector a picture, drawn from a normal distribution, decoded at once.

Kingma and Welling 2013, arXiv 1312.6114. Data and judgement are those of `flow`, so that the two can be compared. Cells
of 4 x 4 pixels: many pictures a second, and what the decoder draws hangs together. Few latents, so that the prior lies
where the posteriors do.
"""

from __future__ import annotations

from genus.networks.autoencoder import AutoencoderConfig
from genus.networks.bottlenecks import NormalConfig
from genus.objectives.autoencoding import Autoencoding
from genus.recipes import flow

RECIPE = flow.RECIPE.but(
    name="vae",
    about="pictures by a variational autoencoder",
    family="autoencoding",
    prompt="none",
    phases=(
        flow.RECIPE.phases[0].but(
            name="autoencoder",
            nets={
                "net": AutoencoderConfig(widths=(64, 128), patch=4, whole=True, bottleneck=NormalConfig(channels=16))
            },
            conditioner=None,
            objective=Autoencoding(),
            sampler=None,
            wraps=(),
            sizing=None,
        ),
    ),
)
