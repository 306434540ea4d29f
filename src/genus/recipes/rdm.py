"""rdm: stable-diffusion whose prior also sees what its caption brings to mind.

Retrieval-augmented diffusion (Blattmann et al. 2022, arXiv 2204.11824), with training items found by the words of their
captions in place of CLIP's neighbours: for collections in which each name occurs once and its words recur. A drawing is
a training picture of an alike caption, a part of it drawn anew; `--likeness` says how large a part is kept.
"""

from __future__ import annotations

from genus.conditions.neighbours import NeighboursConfig
from genus.conditions.text import TextConfig
from genus.networks.transformer import TransformerConfig
from genus.recipes import stable_diffusion
from genus.samplers.guidance import Guidance

FIRST, PRIOR = stable_diffusion.RECIPE.phases

RECIPE = stable_diffusion.RECIPE.but(
    name="rdm",
    about="stable-diffusion with training pictures of alike captions laid beside",
    phases=(
        FIRST,
        PRIOR.but(
            conditioner=NeighboursConfig(inside=TextConfig(encoder=TransformerConfig(depth=2, width=128, head=32))),
            wraps=(Guidance(scale=3.0),),
        ),
    ),
)
