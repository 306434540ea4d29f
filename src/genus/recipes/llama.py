"""llama: the network of most published language models, from scratch on byte pairs; other programs read what it leaves.

Touvron et al. 2023, arXiv 2302.13971: norms with weights, rotary positions, SwiGLU, no biases. All else is as in `gpt`,
whose network no other program knows.
"""

from __future__ import annotations

from genus.networks.decoder import DecoderConfig
from genus.recipes import gpt

FIRST = gpt.RECIPE.phases[0]

RECIPE = gpt.RECIPE.but(
    name="llama",
    about="a language model of byte pairs that exports to Hugging Face and GGUF",
    phases=(FIRST.but(nets={"net": DecoderConfig(context=256)}),),
)
