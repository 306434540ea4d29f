"""codegen: `gpt` for programs, which also fills gaps: it is told what follows, not only what precedes.

Half of the texts are turned round in training, so that what fills a gap is learned last, behind what precedes it
(Bavarian et al. 2022, arXiv 2207.14255); left-to-right it stays as good. Files of a folder stand beside each other in a
window, so the model reads a file with its neighbours. Asked with `genus generate RUN PROMPT --suffix TEXT`, or `suffix`
of /v1/completions.
"""

from __future__ import annotations

from genus.codecs.bpe import BpeConfig
from genus.data.gaps import GapsConfig
from genus.networks.transformer import TransformerConfig
from genus.objectives.autoregression import Autoregression
from genus.recipe import Phase, Recipe, Training
from genus.samplers.tokens import Tokens
from genus.train.sizing import SizingConfig
from genus.validate.completion import Completion
from genus.validate.gate import Gate
from genus.validate.likelihood import Likelihood
from genus.validate.memorisation import Verbatim
from genus.validate.samples import Samples

RECIPE = Recipe(
    name="codegen",
    about="a language model of programs that also fills gaps",
    family="autoregression",
    media=("code", "text"),
    prompt="prefix",
    phases=(
        Phase(
            name="pretrain",
            codec=BpeConfig(gaps=True),
            nets={"net": TransformerConfig()},
            objective=Autoregression(),
            sampler=Tokens(tokens=200, temperature=0.6, top_p=0.95),
            source=GapsConfig(window=384),
            training=Training(rate=3e-3, muon_rate=0.02, batch=16, cooldown=0.6),
            sizing=SizingConfig(batch=(8, 16)),
        ),
    ),
    measures=(Likelihood(order=6), Completion(), Verbatim(), Samples()),
    gate=Gate(),
)
