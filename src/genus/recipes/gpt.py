"""gpt: byte-pair tokens, one causal transformer, the next token. For prose and code.

Radford et al. 2019 in today's parts (rotary positions, RMSNorm, QK-norm, squared ReLU, Muon); the budget decides the
size.
"""

from __future__ import annotations

from genus.codecs.bpe import BpeConfig
from genus.data.packed import PackedConfig
from genus.networks.transformer import TransformerConfig
from genus.objectives.autoregression import Autoregression
from genus.recipe import Phase, Recipe, Training
from genus.samplers.tokens import Tokens
from genus.train.sizing import SizingConfig
from genus.validate.gate import Gate
from genus.validate.likelihood import Likelihood
from genus.validate.memorisation import Verbatim
from genus.validate.samples import Samples

RECIPE = Recipe(
    name="gpt",
    about="a language model of byte-pair tokens",
    family="autoregression",
    media=("text", "code"),
    prompt="prefix",
    phases=(
        Phase(
            name="pretrain",
            codec=BpeConfig(),
            nets={"net": TransformerConfig()},
            objective=Autoregression(),
            sampler=Tokens(tokens=200, temperature=0.8, top_p=0.95),
            source=PackedConfig(window=256, alone=True),
            training=Training(rate=3e-3, muon_rate=0.02, batch=16, cooldown=0.6),
            sizing=SizingConfig(batch=(8, 16)),
        ),
    ),
    measures=(Likelihood(), Verbatim(), Samples()),
    gate=Gate(),
)
