"""chargpt: the same language model on characters, for comparison with published figures (nanoGPT's tinyshakespeare)."""

from __future__ import annotations

from genus.codecs.characters import CharactersConfig
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
    name="chargpt",
    about="a language model of characters",
    family="autoregression",
    media=("text", "code"),
    prompt="prefix",
    phases=(
        Phase(
            name="pretrain",
            codec=CharactersConfig(),
            nets={"net": TransformerConfig(least=4)},
            objective=Autoregression(),
            sampler=Tokens(tokens=500, temperature=0.8),
            source=PackedConfig(window=128),
            training=Training(rate=3e-3, muon_rate=0.02, batch=32, cooldown=0.6),
            # Fitted to twelve runs of 0.05 to 0.9 M weights in 3 to 4 blocks and of 2 to 17 M characters: docs/log.md.
            sizing=SizingConfig(floor=0.916, a=11.9, alpha=0.3, b=527.0, beta=0.5, batch=(16, 32)),
        ),
    ),
    measures=(Likelihood(), Verbatim(), Samples()),
    gate=Gate(),
)
