"""The shared words. Read this file first.

One layout everywhere: x is [B, C, *dims], float or long. Text is [B, 1, T] long, a picture [B, 3, H, W] float, so
nothing below asks whether it holds a sequence or a picture.

    codec        raw media <-> x
    conditioner  a record's fields -> Cond
    network      f(x, t, cond); knows no loss
    objective    what is minimised, and how the trained nets are then read (the predictor); knows no loop
    sampler      predictor -> x; shared between objectives
    source       batches, for ever, resumable
    noise        every random draw, addressed by (key, sample, draw)

words: Space, Cond, Batch ...; noise; contracts: what the parts of a model promise; ways: what objectives, samplers,
wraps and sources promise; asides: what a network says while it is trained; reading: logits of the next cell; paths:
from noise to data; texts: what codecs of text can tell besides; model: the whole. Imports nothing of ours but the
torch-free roots (errors, parts, dialogue, heap); knows no family, medium or stage.
"""

from __future__ import annotations

from genus.core.asides import Aside, aside, listened, listening
from genus.core.contracts import (
    Borrowing,
    Choices,
    Codec,
    CodecConfig,
    Conditioner,
    ConditionerConfig,
    Network,
    NetworkConfig,
    Scoring,
    Several,
    Stacked,
    State,
    halved,
)
from genus.core.model import Model, Precision
from genus.core.noise import Noise
from genus.core.paths import along, move
from genus.core.reading import STARTS, behind, next_logits, next_nats
from genus.core.texts import Conversing, Gapped, Gaps, Spelled, conversed, gapped
from genus.core.ways import (
    Draws,
    Embedder,
    Judge,
    LogProb,
    Metrics,
    Nets,
    Objective,
    Predictor,
    Sampler,
    Source,
    Turn,
    Wrap,
)
from genus.core.words import Batch, Cond, Known, Roads, Rule, Space

__all__ = [
    "STARTS",
    "Aside",
    "Batch",
    "Borrowing",
    "Choices",
    "Codec",
    "CodecConfig",
    "Cond",
    "Conditioner",
    "ConditionerConfig",
    "Conversing",
    "Draws",
    "Embedder",
    "Gapped",
    "Gaps",
    "Judge",
    "Known",
    "LogProb",
    "Metrics",
    "Model",
    "Nets",
    "Network",
    "NetworkConfig",
    "Noise",
    "Objective",
    "Precision",
    "Predictor",
    "Roads",
    "Rule",
    "Sampler",
    "Scoring",
    "Several",
    "Source",
    "Space",
    "Spelled",
    "Stacked",
    "State",
    "Turn",
    "Wrap",
    "along",
    "aside",
    "behind",
    "conversed",
    "gapped",
    "halved",
    "listened",
    "listening",
    "move",
    "next_logits",
    "next_nats",
]
