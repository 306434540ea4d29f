"""vqgan: `vq-vae` whose codec is also asked to please a critic, so that few ids give sharp pictures.

Esser et al. 2020, arXiv 2012.09841. What the perceptual term compares is seen by the critic itself, not by a network of
other pictures (Larsen et al. 2016, arXiv 1512.09300). The second phase is that of `vq-vae`.
"""

from __future__ import annotations

from genus.networks.style import CriticConfig
from genus.objectives.autoencoding import Autoencoding
from genus.recipes import vq_vae

CODES, PRIOR = vq_vae.RECIPE.phases

RECIPE = vq_vae.RECIPE.but(
    name="vqgan",
    about="pictures as sharp learned codes, written by a transformer",
    phases=(
        CODES.but(
            nets={**CODES.nets, "critic": CriticConfig()},
            objective=Autoencoding(adversarial=0.5, perceptual=0.5, r1=0.1),
            training=CODES.training.but(compile="no"),  # compilers cannot differentiate twice
        ),
        PRIOR,
    ),
)
