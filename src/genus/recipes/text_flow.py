"""text-flow: pictures by rectified flow on pixels, asked for by a caption.

Data, network and judgement are those of `flow`; the label gives way to a small text transformer that is trained along,
whose tokens the U-Net attends to at its coarsest scale. An item without a caption is told by its label.
"""

from __future__ import annotations

from genus.conditions.text import TextConfig
from genus.networks.transformer import TransformerConfig
from genus.recipes import flow
from genus.samplers.guidance import Guidance

RECIPE = flow.RECIPE.but(
    name="text-flow",
    about="pictures from captions by flow matching on pixels",
    prompt="caption",
    phases=(
        flow.RECIPE.phases[0].but(
            conditioner=TextConfig(encoder=TransformerConfig(depth=2, width=128, head=32)),
            wraps=(Guidance(scale=2.0),),
        ),
    ),
)
