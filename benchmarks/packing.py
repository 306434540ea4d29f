"""What it costs and brings that documents in one window do not see each other: `data.packed` with and without `alone`.

Steps of training take turns, one each, on the same windows; the ratio is of a round's pair. Then both train for as many
steps from the same weights, over some seeds, and are judged by held-out documents, each by itself. Takes GENUS_DATA's
gsm8k: problems with their solutions, of some 150 byte pairs.

    python benchmarks/packing.py --busy 1
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from genus.codecs.bpe import BpeConfig
from genus.core import Codec, NetworkConfig, Noise, Roads
from genus.data.cache import Cache
from genus.data.packed import PackedConfig
from genus.networks.decoder import DecoderConfig
from genus.networks.transformer import TransformerConfig
from genus.objectives.autoregression import Autoregression
from genus.recipe import Training
from genus.run import in_memory
from genus.train.optimisers import Flat
from genus.train.pace import rate_scale

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "proofs"))
from proof import Row, arguments, interval, shelf, write

OBJECTIVE = Autoregression()


class Arm:
    """A network that trains on windows of one kind."""

    def __init__(self, net: NetworkConfig, source: PackedConfig, codec: Codec, cache: Cache, batch: int, seed: int):
        torch.manual_seed(seed)
        self.nets = torch.nn.ModuleDict({"net": net.build(source.space(codec.space), Roads())})
        self.training = Training(rate=3e-3, muon_rate=0.02, cooldown=0.6)
        self.flat = Flat(self.nets, self.training, torch.bfloat16)
        self.source, self.done = source.over(cache, codec, seed, batch), 0

    def step(self, of: int = 1) -> None:
        """One of `of`."""
        self.flat.zero()
        loss: Tensor = OBJECTIVE.loss(self.nets, self.source.batch(self.done), {}, "main")[0]
        loss.backward()
        self.flat.step(rate_scale(self.done / of, self.training), self.done)
        self.done += 1


def problems(path: Path) -> list[str]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [f"{row['question']}\n{row['answer']}\n" for row in rows]


def main() -> None:
    extra = {"--rounds": (int, 12), "--steps": (int, 400), "--busy": (int, 0), "--dial": (int, 5), "--held": (int, 300)}
    args = arguments(__doc__, extra)
    began = time.monotonic()
    now = time.process_time if args.busy else time.perf_counter
    if args.busy:
        torch.set_num_threads(1)
    folder = shelf(args, "gsm8k")
    texts, held = problems(folder / "train.jsonl"), problems(folder / "test.jsonl")[: args.held]
    codec = BpeConfig(vocab=2048).fit(lambda: iter(texts))
    cache, judged = in_memory(codec, texts), in_memory(codec, held)
    sizes = np.diff(cache.starts)
    nets = {"decoder": DecoderConfig().sized(args.dial), "transformer": TransformerConfig().sized(args.dial)}
    rows = [Row("documents, byte pairs", float(np.median(sizes)), *np.quantile(sizes, (0.1, 0.9)).tolist())]
    for name, net in nets.items():
        for window, batch in ((256, 16), (1024, 4)):
            config = PackedConfig(window=window)
            arms = [Arm(net, config.but(alone=alone), codec, cache, batch, 0) for alone in (True, False)]
            for arm in arms:
                arm.step()
            ratios = []
            for i in range(args.rounds):
                times = [0.0, 0.0]
                for which in (0, 1) if i % 2 else (1, 0):
                    start = now()
                    arms[which].step()
                    times[which] = now() - start
                ratios.append(times[0] / times[1])
            rows.append(Row(f"{name}, window {window}: a step alone over a plain one", *interval(ratios)))
            print(rows[-1], flush=True)
    size = sum(len(text.encode()) for text in held)
    found: list[list[float]] = [[], []]
    for seed in range(args.seeds if args.steps else 0):
        for kind, alone in enumerate((True, False)):
            config = PackedConfig(window=256, alone=alone)
            arm = Arm(nets["decoder"], config, codec, cache, 16, seed)
            for _ in range(args.steps):
                arm.step(args.steps)
            total = 0.0
            for part in config.once(judged, codec, 16):
                total -= float(OBJECTIVE.log_prob(arm.nets, part, Noise(0)).nats.sum())
            found[kind].append(total / np.log(2) / size)
            print(seed, alone, found[kind][-1], flush=True)
    if args.steps:
        for kind, said in enumerate(("alone", "plain")):
            rows.append(Row(f"held-out bits per byte after {args.steps} steps, {said}", *interval(found[kind])))
        less = [b - a for a, b in zip(*found, strict=True)]
        rows.append(Row("bits per byte that `alone` saves, by pairs", *interval(less)))
    clock = "the processor's time" if args.busy else "the clock"
    note = f"Steps by {clock}, bf16, not compiled; median, least and most of rounds and of seeds."
    write(args, "packing", rows, time.monotonic() - began, note)


if __name__ == "__main__":
    main()
