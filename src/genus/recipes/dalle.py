"""dalle: pictures as learned ids, written by one transformer behind the caption they are told by.

Ramesh et al. 2021, arXiv 2102.12092. The first phase is that of `vq-vae`. In the second, text and picture are one
sequence: the caption's byte pairs go into the same self-attention under the same weights, where `parti` has an encoder
for them and asks it apart. The caption itself is not learned: the original adds an eighth of its loss. Guidance works
on logits; an item without a caption is told by its label.
"""

from __future__ import annotations

from genus.conditions.text import TextConfig
from genus.networks.transformer import TransformerConfig
from genus.recipes import vq_vae
from genus.samplers.guidance import Guidance

CODES, PRIOR = vq_vae.RECIPE.phases

RECIPE = vq_vae.RECIPE.but(
    name="dalle",
    about="pictures from captions, text and learned codes in one sequence",
    prompt="caption",
    phases=(
        CODES,
        PRIOR.but(
            nets={"net": TransformerConfig(depth=4, width=192, told="prefix", near=2)},
            conditioner=TextConfig(encoder=None, vector=False),
            wraps=(Guidance(scale=1.5),),
        ),
    ),
)
