"""t5: an encoder reads a text with gaps, or its beginning, and a decoder says what is missing.

Raffel et al. 2019, arXiv 1910.10683, in today's parts: the transformer of `gpt` that attends to what the same
transformer, looking both ways, has read. Half of the pieces have spans cut out, half are to be continued: a prompt is
what the encoder reads, and the decoder says what follows it. The likelihood of a text is the decoder's, its beginning
behind nothing and the rest behind what came before. Encoder and decoder have tables of ids of their own.
"""

from __future__ import annotations

from genus.conditions.passage import PassageConfig
from genus.data.spans import SpansConfig
from genus.networks.transformer import TransformerConfig
from genus.recipes import gpt
from genus.validate.likelihood import Likelihood
from genus.validate.memorisation import Verbatim
from genus.validate.samples import Samples

FIRST = gpt.RECIPE.phases[0]

RECIPE = gpt.RECIPE.but(
    name="t5",
    about="an encoder and a decoder of text: fills in spans and continues what it is told",
    prompt="passage",
    phases=(
        FIRST.but(
            source=SpansConfig(window=256),
            conditioner=PassageConfig(encoder=TransformerConfig(depth=6, causal=False), width=384),
        ),
    ),
    measures=(Likelihood(), Verbatim(), Samples()),
)
