"""Training speed of a 10.65 M language model beside plain transformers loops: paired, interleaved rounds in one
process.

The contestants take turns, a few steps each, so that a slow minute of the machine meets all; what is reported is the
ratio inside a round. `--busy 1` is for a machine that others use too: one thread, and the processor's time instead of
the clock. Takes GENUS_DATA's tinyshakespeare, else a made text. "genus" is what `genus train` does by itself: products
of bytes where there is a kernel for them. What that and bf16 do to the loss: proofs/precision.py.

    python benchmarks/lm_training.py --rounds 7
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from genus import graphs
from genus.core import Batch, Roads, Space
from genus.networks import bytewise
from genus.networks.transformer import TransformerConfig
from genus.objectives.autoregression import Autoregression
from genus.recipe import Training
from genus.train.optimisers import Flat

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "proofs"))
from proof import Row, arguments, interval, write

VOCAB, WINDOW, BATCH = 65, 256, 16
SLOWER = "genus, products=own"  # 16 bits in linear layers too
Step = Callable[[Tensor], float]


def ours(
    precision: torch.dtype, compiled: bool, seed: int = 0, width: int = 384, depth: int = 6, products: str = "own"
) -> Step:
    torch.manual_seed(seed)
    net = TransformerConfig(depth=depth, width=width, head=64).build(Space((WINDOW,), 1, VOCAB), Roads())
    nets = torch.nn.ModuleDict({"net": net})
    if products == "bytes":
        bytewise.onto(nets)
    flat = Flat(nets, Training(optimiser="adamw", rate=1e-3), precision)
    objective = Autoregression()

    def forward(x: Tensor) -> Tensor:
        return objective.loss(nets, Batch(x), {}, "main")[0]

    run = graphs.compiled(forward) if compiled else forward
    done = 0

    def step(x: Tensor) -> float:
        nonlocal done
        flat.zero()
        loss = run(x)
        loss.backward()
        flat.step(min(1.0, (done + 1) / 100), done)
        done += 1
        return float(loss.detach())

    return step


def llama(autocast: bool) -> Step:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=384,
        intermediate_size=1024,
        num_hidden_layers=6,
        num_attention_heads=6,
        max_position_embeddings=WINDOW,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1)

    def step(x: Tensor) -> float:
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = model(input_ids=x[:, 0], labels=x[:, 0]).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        return float(loss.detach())

    return step


def calibration(now: Callable[[], float]) -> float:
    """TFLOP/s of a bf16 product, best of five: says whether the machine has a slow minute."""
    a, b = torch.randn(4096, 384).bfloat16(), torch.randn(384, 1536).bfloat16()
    best = float("inf")
    for _ in range(5):
        start = now()
        a @ b
        best = min(best, now() - start)
    return 2 * 4096 * 384 * 1536 / best / 1e12


def text() -> Tensor:
    folder = os.environ.get("GENUS_DATA")
    path = Path(folder or ".") / "tinyshakespeare" / "train.txt"
    if folder and path.exists():
        read = path.read_text(encoding="utf-8")
        letters = {c: i for i, c in enumerate(sorted(set(read)))}
        return torch.tensor([letters[c] for c in read])
    words = torch.randint(0, VOCAB, (500, 6), generator=torch.Generator().manual_seed(1))
    return words[torch.randint(0, 500, (50_000,), generator=torch.Generator().manual_seed(2))].flatten()


def main() -> None:
    extra = {"--rounds": (int, 7), "--steps": (int, 2), "--batch": (int, BATCH), "--busy": (int, 0)}
    args = arguments(__doc__, extra)
    began = time.monotonic()
    now = time.process_time if args.busy else time.perf_counter
    if args.busy:
        torch.set_num_threads(1)
    data = text()
    draw = torch.Generator().manual_seed(0)

    def batch() -> Tensor:
        starts = torch.randint(0, len(data) - WINDOW, (args.batch, 1), generator=draw)
        return data[starts + torch.arange(WINDOW)][:, None]

    products = "own" if bytewise.kernel() is None else "bytes"
    contestants = {
        "genus": ours(torch.bfloat16, compiled=True, products=products),
        "genus uncompiled": ours(torch.bfloat16, compiled=False, products=products),
        SLOWER: ours(torch.bfloat16, compiled=True),
        "llama bf16 autocast": llama(autocast=True),
        "llama float32": llama(autocast=False),
    }
    for step in contestants.values():
        for _ in range(2):
            step(batch())
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    peaks = []
    for _ in range(args.rounds):
        peaks.append(calibration(now))
        for name, step in contestants.items():
            start = now()
            for _ in range(args.steps):
                step(batch())
            rates[name].append(args.steps * args.batch * WINDOW / (now() - start))
    flops = 6 * 10.62e6 + 12 * 6 * 384 * WINDOW  # a token, forward and backward, whole attention matrix
    full = args.batch == BATCH and not args.busy
    rows = []
    bars = {"llama bf16 autocast": 1.8, "llama float32": 3.9}
    for one, others in (("genus", (*bars, "genus uncompiled", SLOWER)), (SLOWER, tuple(bars))):
        for name in others:
            ratios = interval([a / b for a, b in zip(rates[one], rates[name], strict=True)])
            bar = f">= {bars[name]}" if name in bars and one == "genus" and full else None
            rows.append(Row(f"{one} over {name}", *ratios, bar=bar))
    share = [r * flops / p / 1e12 for r, p in zip(rates[SLOWER], peaks, strict=True)]
    rows.append(Row(f"share of this machine's bf16 matrix-product peak that {SLOWER} reaches", *interval(share)))
    rows += [Row(name, *interval(r), unit="tokens/s") for name, r in rates.items()]
    rows.append(Row("bf16 matrix product", *interval(peaks), unit="TFLOP/s"))
    how = f"batch {args.batch}, {torch.get_num_threads()} threads; genus by products={products}"
    note = f"{args.rounds} rounds in turns: median, least and most; {how}"
    write(args, "lm_training", rows, time.monotonic() - began, note)


if __name__ == "__main__":
    main()
