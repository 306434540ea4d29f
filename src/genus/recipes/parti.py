"""parti: pictures as learned ids, written one after another by a transformer that attends to a caption.

Yu et al. 2022, arXiv 2206.10789, at the size that a budget allows. The first phase is that of `vq-vae`; the second is
told captions, and guidance works on its logits. An item without a caption is told by its label.
"""

from __future__ import annotations

from genus.conditions.text import TextConfig
from genus.networks.transformer import TransformerConfig
from genus.recipes import vq_vae
from genus.samplers.guidance import Guidance

CODES, PRIOR = vq_vae.RECIPE.phases

RECIPE = vq_vae.RECIPE.but(
    name="parti",
    about="pictures from captions, as learned codes written by a transformer",
    prompt="caption",
    phases=(
        CODES,
        PRIOR.but(
            conditioner=TextConfig(encoder=TransformerConfig(depth=2, width=128, head=32)),
            wraps=(Guidance(scale=1.5),),
        ),
    ),
)
