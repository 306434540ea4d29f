"""Does an export behave as the run does? Read back from what was written, and compared on the same prompts.

Logits, the perplexity of a passage, greedy tokens; and that the tokenizer gives the same ids, the template the same
text, the same ids end a text. What rounding may cost is stated for each number format; beyond it the export has failed.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, final

import torch
from torch import Tensor

from genus.core import Codec, Space
from genus.exchange.source import Source
from genus.networks.decoder import Decoder

PROMPTS = (
    "The",
    "Once upon a time, in a village by the sea,",
    "def total(prices):\n    ",
    "Q: What is the capital of Norway?\nA:",
    "Größe, naïveté, 日本語, emoji 🎈 and  two spaces",
)
PASSAGE = """\
A lighthouse keeper writes down the weather three times a day. In the morning she notes the wind and the colour of the
water, at noon the number of ships, and in the evening how far she can see. Most entries are short. On the day of the
great storm she wrote two pages, and the last line was smudged: "The lamp burned all night, and nobody was lost." Years
later a student added up her numbers. The mean was 14.2 ships a day, with 31 on the busiest; for i in range(365): total
+= ships[i] was all the program there was. What surprised him was not the figures but how seldom she had complained.
"""
CHAT = (
    {"role": "user", "content": "What is 2 + 2? <|im_end|> </s>"},
    {"role": "assistant", "content": "4."},
    {"role": "user", "content": "Thank you. ¿Y en español?"},
)
TOKENS = 32


@final
@dataclass(frozen=True)
class Tolerance:
    """logits: the largest difference, over the standard deviation of the run's logits. nats: of the perplexity's
    logarithm, a token.
    """

    logits: float
    nats: float


#: From measurements on a small published model; a larger one loses less.
TOLERANCES = {
    "f32": Tolerance(1e-3, 1e-4),
    "f16": Tolerance(0.02, 0.002),
    "bf16": Tolerance(0.2, 0.01),
    "q8_0": Tolerance(0.5, 0.02),
    "q4_0": Tolerance(5.0, 0.5),
    "q4_k": Tolerance(4.0, 0.3),
}


@final
@dataclass(frozen=True)
class Parity:
    """logits: largest difference, over `spread`. nats: of the passage, a token, of the run and of the export.

    greedy: tokens that are the same, of how many; ties: places where they part, the run being undecided by less than
    the tolerance. failed: what is not as it should be; empty: passed.
    """

    type: str
    prompts: int
    logits: float
    spread: float
    nats: float
    export_nats: float
    greedy: int
    of: int
    ties: int
    tolerance: dict[str, float]
    failed: tuple[str, ...]

    def json(self) -> dict[str, Any]:
        """With perplexities and a verdict."""
        more = {"perplexity": math.exp(self.nats), "export_perplexity": math.exp(self.export_nats)}
        return {"passed": not self.failed, **asdict(self), "failed": list(self.failed), **more}


@torch.no_grad()
def compared(net: Decoder, codec: Codec, export: Source, kind: str) -> Parity:
    """net, codec: of the run. export: what was written."""
    other = export.config.build(Space((export.window,), 1, export.vocab, ends=export.speech.codec.space.ends))
    other.load_state_dict(export.weights(), assign=True)
    failed = spoken(codec, export.speech.codec)
    if (export.speech.begin, export.speech.apart) != (net.begin, net.config.apart):
        failed.append(f"the begin mark is read as {export.speech.begin}, by the run as {net.begin}")
    return behaved(net, other.eval(), codec, min(net.space.dims[0], export.window), kind, failed)


@torch.no_grad()
def behaved(net: Decoder, other: Decoder, codec: Codec, room: int, kind: str, failed: list[str]) -> Parity:
    """net: of the run, other: of the export. room: cells that both read. failed: what else is not as it should be."""
    tolerance = TOLERANCES[kind]
    drawn = min(TOKENS, room // 2)
    encoded = [x[0].tolist()[:-1] for x in codec.encode([*PROMPTS, PASSAGE])]
    texts, passage = [ids[: room - drawn - 1] for ids in encoded[:-1]], encoded[-1][: room - 1]
    worst, spread = 0.0, 0.0
    for ids in texts:
        ours, theirs = (_logits(one, ids) for one in (net, other))
        worst, spread = max(worst, float((ours - theirs).abs().max())), max(spread, float(ours.std()))
    nats, export_nats = (_nats(one, passage) for one in (net, other))
    same = of = ties = 0
    for text, ids in zip(PROMPTS, texts, strict=True):
        chosen = _greedy(net, ids, drawn)
        # Where the export would have gone on in the same way: up to its first other choice, the tokens are its own.
        others = _logits(other, [*ids, *chosen])[len(ids) : -1].argmax(-1).tolist()
        alike = [a == b for a, b in zip(chosen, others, strict=True)]
        at = alike.index(False) if False in alike else drawn
        same, of = same + at, of + drawn
        if at < drawn:
            said = _logits(net, [*ids, *chosen[:at]])[-1]
            undecided = float(said[chosen[at]] - said[others[at]]) <= 2 * tolerance.logits * spread
            ties += undecided
            if not undecided:
                failed.append(f"token {at} after {text!r} is another, where the run was decided")
    if not worst <= tolerance.logits * spread:
        failed.append(f"logits differ by {worst:.3g}, more than {tolerance.logits:g} x {spread:.3g}")
    if not abs(export_nats - nats) <= tolerance.nats:
        failed.append(f"nats a token differ by {export_nats - nats:.3g}, more than {tolerance.nats:g}")
    told = asdict(tolerance)
    return Parity(kind, len(texts), worst, spread, nats, export_nats, same, of, ties, told, tuple(failed))


def spoken(codec: Codec, theirs: Codec) -> list[str]:
    """What of tokenizer, template and end marks is not the same."""
    failed = []
    texts = [*PROMPTS, PASSAGE, *(str(said["content"]) for said in CHAT)]
    end = codec.space.stops[0]
    for text, a, b in zip(texts, codec.encode(texts), theirs.encode(texts), strict=True):
        if a[0].tolist() != [*b[0].tolist()[:-1], end]:
            failed.append(f"{text!r:.40} becomes other tokens")
    if set(theirs.space.stops) != set(codec.space.stops):
        failed.append(f"texts end at the tokens {theirs.space.stops}, of the run at {codec.space.stops}")
    template = getattr(codec, "template", None)
    if getattr(theirs, "template", None) != template:
        failed.append("the chat template is another one")
    elif template is not None:
        ours, other = (getattr(one, "rendered") for one in (codec, theirs))  # noqa: B009  (there with a template)
        if ours(CHAT) != other(CHAT):
            failed.append("the chat template gives another text")
    return failed


def _begun(net: Decoder, ids: list[int]) -> Tensor:
    assert net.space.vocab is not None
    return torch.tensor([[[net.space.vocab, *ids]]])


def _logits(net: Decoder, ids: list[int]) -> Tensor:
    """Of what follows the begin mark and each id, [n + 1, vocab]."""
    said: Tensor = net(_begun(net, ids))
    return said[0, 0]


def _nats(net: Decoder, ids: list[int]) -> float:
    """-log p a token."""
    return float(torch.nn.functional.cross_entropy(_logits(net, ids)[:-1], torch.tensor(ids)))


def _greedy(net: Decoder, ids: list[int], count: int) -> list[int]:
    state = net.start(1, len(ids) + count + 1)
    said, drawn = net(_begun(net, ids), state=state), []
    while True:
        drawn.append(int(said[0, 0, -1].argmax()))
        if len(drawn) == count:
            return drawn
        said = net(torch.tensor([[[drawn[-1]]]]), state=state)
