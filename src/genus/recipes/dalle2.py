"""dalle2: a caption becomes the embedding that a picture of it would have, and the embedding a picture.

Ramesh et al. 2022, arXiv 2204.06125. Three phases: `clip` learns the embeddings, a prior draws one for a caption (a
transformer of one cell that attends to the text and says the clean embedding), and a decoder draws the picture that
has it. The decoder asked with an item in place of an embedding makes variations of it.
"""

from __future__ import annotations

from genus.conditions.text import TextConfig
from genus.learned.drawn import DrawnConfig
from genus.learned.embedding import EmbeddingConfig
from genus.networks.transformer import TransformerConfig
from genus.objectives.flow import Flow
from genus.recipes import clip, flow
from genus.samplers.guidance import Guidance
from genus.samplers.ode import Ode
from genus.validate.fidelity import Fidelity
from genus.validate.memorisation import Nearest
from genus.validate.samples import Samples

FIRST = flow.RECIPE.phases[0].but(sizing=None)

RECIPE = flow.RECIPE.but(
    name="dalle2",
    about="pictures from captions, by way of the embedding that such a picture has",
    prompt="caption",
    phases=(
        clip.RECIPE.phases[0].but(name="clip"),
        FIRST.but(
            name="prior",
            codec=EmbeddingConfig(phase="clip"),
            nets={"net": TransformerConfig(depth=4, width=256, causal=False, timed=True, dropout=0.1)},
            conditioner=TextConfig(encoder=TransformerConfig(depth=2, width=128, head=32)),
            objective=Flow(output="x", weight="x", scale=1.0),
            wraps=(Guidance(scale=1.5),),
            share=0.5,
        ),
        FIRST.but(
            name="decoder",
            conditioner=DrawnConfig(phase="prior", most=0.3, level=0.1, knobs={"steps": 20}),
            wraps=(Guidance(scale=1.5),),
            sampler=Ode(steps=30),
            share=2.0,
        ),
    ),
    # No likelihood: what is drawn from a drawing has no p(x) of its own.
    measures=(Fidelity(), Nearest(), Samples()),
)
