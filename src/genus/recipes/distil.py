"""distil: a language model, and then a smaller one that learns what the first would say.

Hinton et al. 2015, arXiv 1503.02531. The first phase is `gpt`; the second is a student of its own size (`--set
net.width=...`), which reads the same tokens. With `--from RUN` there is no first phase: that run's model is the
teacher.
"""

from __future__ import annotations

from genus.data.packed import PackedConfig
from genus.learned.same import SameConfig
from genus.learned.taught import TaughtConfig
from genus.networks.transformer import TransformerConfig
from genus.objectives.distillation import Distillation
from genus.recipe import Training
from genus.recipes import gpt

FIRST = gpt.RECIPE.phases[0]

RECIPE = gpt.RECIPE.but(
    name="distil",
    about="a small language model taught by a larger one",
    phases=(
        FIRST,
        FIRST.but(
            name="student",
            codec=SameConfig(phase="pretrain"),
            nets={"net": TransformerConfig(depth=3, width=128, head=32)},
            objective=Distillation(),
            source=TaughtConfig(phase="pretrain", inside=PackedConfig(window=256)),
            training=Training(rate=3e-3, muon_rate=0.02, batch=16, cooldown=0.6),
            sizing=None,
        ),
    ),
)
