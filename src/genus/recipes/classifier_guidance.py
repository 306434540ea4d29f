"""classifier-guidance: pictures by a flow that knows no labels, asked for by the gradient of a classifier that does.

Dhariwal and Nichol 2021, arXiv 2105.05233. The first phase learns which label a picture has, through any amount of
noise; the second is `flow` without a condition. A request without a label is not guided. `classifier` is the scale.
"""

from __future__ import annotations

from genus.conditions.label import LabelConfig
from genus.learned.guide import Guide
from genus.networks.pooled import PooledConfig
from genus.networks.transformer import TransformerConfig
from genus.objectives.classification import Classification
from genus.recipe import Training
from genus.recipes import flow

FIRST = flow.RECIPE.phases[0]

RECIPE = flow.RECIPE.but(
    name="classifier-guidance",
    about="pictures by flow matching, asked by a classifier's gradient",
    phases=(
        FIRST.but(
            name="classifier",
            nets={
                "net": PooledConfig(
                    inside=TransformerConfig(depth=4, width=128, head=32, causal=False, timed=True, dropout=0.1),
                    width=128,
                )
            },
            conditioner=LabelConfig(dropout=0.0),
            objective=Classification(),
            sampler=None,
            wraps=(),
            training=Training(batch=128, rate=2e-3, weight_decay=0.1, ema=0.1, cooldown=0.5),
            sizing=None,
            share=0.5,
        ),
        FIRST.but(conditioner=None, wraps=(Guide(phase="classifier", scale=1.0),)),
    ),
)
