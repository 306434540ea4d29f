"""clip: pictures and their captions in one space of vectors: retrieval, zero-shot classification, a judge of prompts.

Radford et al. 2021, arXiv 2103.00020, from nothing and at the size of the user's data: a transformer over patches, a
small causal one over byte pairs. It draws nothing. SigLIP's loss (arXiv 2303.15343) instead of the softmax:
`--set objective.form=sigmoid --set logits.scale=10 --set logits.shift=-4.8`.
"""

from __future__ import annotations

from genus.codecs.pixels import PixelsConfig
from genus.conditions.text import TextConfig
from genus.data.stacked import StackedConfig
from genus.networks.affine import AffineConfig
from genus.networks.pooled import PooledConfig
from genus.networks.transformer import TransformerConfig
from genus.objectives.contrastive import Contrastive
from genus.recipe import Phase, Recipe, Training
from genus.validate.gate import Gate
from genus.validate.retrieval import Retrieval

RECIPE = Recipe(
    name="clip",
    about="pictures and captions compared (draws nothing)",
    family="contrastive",
    media=("image",),
    prompt="caption",
    phases=(
        Phase(
            name="contrastive",
            codec=PixelsConfig(),
            nets={
                "net": PooledConfig(
                    inside=TransformerConfig(depth=4, width=128, head=32, causal=False, dropout=0.1), width=128
                ),
                "logits": AffineConfig(scale=14.3),
            },
            conditioner=TextConfig(
                encoder=TransformerConfig(depth=2, width=128, head=32, dropout=0.1), tokens=False, dropout=0.0
            ),
            objective=Contrastive(),
            source=StackedConfig(),
            # As written, not sized: no law of this loss was fitted yet.
            training=Training(batch=128, rate=2e-3, weight_decay=0.1, ema=0.1, cooldown=0.5),
        ),
    ),
    measures=(Retrieval(),),
    gate=Gate(),
)
