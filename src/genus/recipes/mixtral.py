"""mixtral: `llama` with eight experts in place of each feed-forward, of which a token asks two.

Jiang et al. 2024, arXiv 2401.04088. An expert has half of a feed-forward's width, so a token costs what it costs in
`llama` and the network holds four times as much. They are kept in use by the terms of Fedus et al. 2021 (arXiv
2101.03961) and Zoph et al. 2022 (arXiv 2202.08906); the log and the report say how evenly, and what share of the
questions found its expert full in training.
"""

from __future__ import annotations

from genus.networks.decoder import DecoderConfig, Mixture
from genus.recipes import llama

FIRST = llama.RECIPE.phases[0]
EXPERTS = Mixture(number=8, chosen=2, hidden=512, balance=0.01, z=0.001, capacity=2.0)

RECIPE = llama.RECIPE.but(
    name="mixtral",
    about="a language model of byte pairs with eight experts, two of them for each token",
    phases=(FIRST.but(nets={"net": DecoderConfig(context=256, mixture=EXPERTS)}),),
)
