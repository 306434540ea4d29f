"""maskgit: pictures as a grid of learned ids, all guessed at once and settled in a few rounds.

Chang et al. 2022, arXiv 2202.04200. The first phase is that of `vq-vae`; the second differs in its objective alone, and
in that its transformer looks both ways.
"""

from __future__ import annotations

from genus.networks.transformer import TransformerConfig
from genus.objectives.masked import Masked
from genus.recipes import vq_vae

CODES, PRIOR = vq_vae.RECIPE.phases

RECIPE = vq_vae.RECIPE.but(
    name="maskgit",
    about="pictures as learned codes, settled in a few rounds",
    family="masked",
    phases=(
        CODES,
        PRIOR.but(nets={"net": TransformerConfig(depth=4, width=192, causal=False)}, objective=Masked(), sampler=None),
    ),
)
