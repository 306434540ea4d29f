"""Training speed of picture models beside diffusers' networks in a plain loop: paired, interleaved rounds.

A U-Net of 6.5 M parameters and a transformer of 11.8 M, on pictures of 32 x 32 x 3, all by one loss (flow matching),
so that only network, number format and optimiser differ. The peer's U-Net has its own architecture and as many
parameters, give or take 3 %; its transformer has the same shape (adaLN-single, 6 layers of width 384, patches of 2).
AdamW for all, in its fused form. What is reported is the ratio inside a round, and what a fast network must not cost:
the loss that each has reached when all have seen the same pictures, `--learn` steps later. `--busy 1` is for a machine
that others use too: one thread, and the processor's time instead of the clock. Takes GENUS_DATA's cifar10, else made
pictures.

    python benchmarks/picture_training.py --rounds 7
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from genus import graphs
from genus.core import Batch, Cond, Network, Noise, Space, State
from genus.networks import bytewise
from genus.networks.convolutional import ConvolutionalConfig
from genus.networks.transformer import TransformerConfig
from genus.objectives.flow import Flow
from genus.recipe import Training
from genus.train.optimisers import Flat

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "proofs"))
from proof import Row, arguments, interval, write

SPACE = Space((32, 32), 3)
FLOW = Flow()
RATES = {"U-Net": 5e-4, "transformer": 5e-4}
#: name -> (over bf16, over fp32), as an issue states them
BARS = {"U-Net": (1.2, 2.1), "transformer": (1.35, 4.5)}
Step = Callable[[Tensor], float]


class Peer(Network):
    """A network of diffusers behind our contract: times of 0 .. 1 are its 0 .. 1000."""

    space = SPACE

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, t: Tensor | None = None, cond: Cond = Cond(), state: State | None = None) -> Tensor:
        """See `Network`."""
        assert t is not None
        dtype = next(self.net.parameters()).dtype
        said: Tensor = self.net(x.to(dtype), timestep=t * 1000).sample
        return said.float()


def our_network(kind: str) -> Network:
    """The U-Net at the width that gives the peer's number of parameters, or the transformer."""
    if kind == "U-Net":
        return ConvolutionalConfig(widths=(80, 160, 288)).build(SPACE)
    return TransformerConfig(causal=False, timed=True, patch=2, width=384, depth=6).build(SPACE)


def their_network(kind: str) -> Peer:
    """The same of diffusers."""
    from diffusers import Transformer2DModel, UNet2DModel

    if kind == "U-Net":
        return Peer(
            UNet2DModel(
                sample_size=32,
                in_channels=3,
                out_channels=3,
                layers_per_block=2,
                block_out_channels=(64, 128, 128),
                down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
                up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
            )
        )
    return Peer(
        Transformer2DModel(
            num_attention_heads=6,
            attention_head_dim=64,
            in_channels=3,
            out_channels=3,
            num_layers=6,
            sample_size=32,
            patch_size=2,
            norm_type="ada_norm_single",
            norm_elementwise_affine=False,
            norm_eps=1e-6,
            attention_bias=False,
            activation_fn="gelu-approximate",
            num_embeds_ada_norm=1000,
            use_additional_conditions=False,
        )
    )


def size(net: nn.Module) -> int:
    """Parameters."""
    return sum(p.numel() for p in net.parameters())


def loss_of(net: nn.Module, x: Tensor, at: int, loss: Callable[..., Any] = FLOW.loss) -> Tensor:
    """Flow matching's loss of samples at .. at + len(x)."""
    nets, batch = nn.ModuleDict({"net": net}), Batch(x)
    draws = FLOW.draws(nets, batch, "main", Noise(0, tuple(range(at, at + len(x)))))
    value: Tensor = loss(nets, batch, draws, "main")[0]
    return value


def ours(kind: str, compiled: bool = False, products: str = "own", **changes: Any) -> tuple[Step, nn.Module]:
    """As genus trains: live weights in bf16, float32 behind them."""
    torch.manual_seed(0)
    net = our_network(kind)
    if products == "bytes":
        bytewise.onto(net)
    settings = {"optimiser": "adamw", "rate": RATES[kind], "weight_decay": 0.01, **changes}
    flat = Flat(nn.ModuleDict({"net": net}), Training(**settings), torch.bfloat16)
    run = graphs.compiled(FLOW.loss) if compiled else FLOW.loss
    done = 0

    def step(x: Tensor) -> float:
        nonlocal done
        flat.zero()
        loss = loss_of(net, x, done * len(x), run)
        loss.backward()
        flat.step(min(1.0, (done + 1) / 20), done)
        done += 1
        return float(loss.detach())

    return step, net


def theirs(kind: str, autocast: bool) -> tuple[Step, nn.Module]:
    """autocast: bf16 with channels last; else what one gets who asks for nothing."""
    torch.manual_seed(0)
    net = their_network(kind)
    if autocast:
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(net.parameters(), lr=RATES[kind], betas=(0.9, 0.95), weight_decay=0.01, fused=True)
    done = 0

    def step(x: Tensor) -> float:
        nonlocal done
        for group in optimiser.param_groups:
            group["lr"] = RATES[kind] * min(1.0, (done + 1) / 20)
        optimiser.zero_grad()
        x = x.contiguous(memory_format=torch.channels_last) if autocast else x
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = loss_of(net, x, done * len(x))
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        done += 1
        return float(loss.detach())

    return step, net


def pictures(folder: str | Path | None, number: int) -> Tensor:
    """[number, 3, 32, 32] in -1 .. 1: cifar10's first, or soft blobs where it is not there."""
    path = Path(folder or ".") / "cifar10" / "train.parquet"
    if folder and path.exists():
        import numpy as np
        import pyarrow.parquet as parquet
        from PIL import Image

        rows = next(parquet.ParquetFile(path).iter_batches(number)).to_pylist()
        stack = np.stack([np.asarray(Image.open(io.BytesIO(row["image"])).convert("RGB")) for row in rows])
        return torch.from_numpy(stack).permute(0, 3, 1, 2).float() / 127.5 - 1
    draw = torch.Generator().manual_seed(1)
    return nn.functional.interpolate(torch.randn(number, 3, 4, 4, generator=draw), size=32, mode="bicubic").tanh()


def main() -> None:
    extra = {
        "--rounds": (int, 7),
        "--steps": (int, 1),
        "--learn": (int, 200),
        "--batch": (int, 16),
        "--busy": (int, 0),
        "--compile": (int, 0),
        "--kind": (str, ""),
    }
    args = arguments(__doc__, extra)
    began = time.monotonic()
    now = time.process_time if args.busy else time.perf_counter
    if args.busy:
        torch.set_num_threads(1)
    data = pictures(args.data, args.batch * 256 + 64)
    held, data = data[:64], data[64:]
    rows: list[Row] = []
    details: list[Row] = []
    for kind, (over_half, over_single) in BARS.items():
        if args.kind and kind != args.kind:
            continue
        contestants = {
            "genus bf16": ours(kind),
            "genus bf16, Muon": ours(kind, optimiser="muon", muon_rate=0.015),
            "diffusers bf16 channels_last": theirs(kind, autocast=True),
            "diffusers fp32": theirs(kind, autocast=False),
        }
        if kind == "transformer":
            contestants["genus, products of bytes"] = ours(kind, bool(args.compile), products="bytes")
        if args.compile:
            contestants["genus bf16 compiled"] = ours(kind, compiled=True)
        sizes = {name: size(net) for name, (_, net) in contestants.items()}
        rates: dict[str, list[float]] = {name: [] for name in contestants}
        at = 0

        def batches(number: int, at: int) -> list[Tensor]:
            starts = [(at + i) * args.batch % len(data) for i in range(number)]
            return [data[start : start + args.batch] for start in starts]

        for turn in range(args.rounds + 1):
            number = args.steps if turn else 2  # the first turn warms up
            for name, (step, net) in contestants.items():
                net.train()
                start = now()
                for x in batches(number, at):
                    step(x)
                if turn:
                    rates[name].append(number * args.batch / (now() - start))
            at += number
        for name, (step, _) in contestants.items():  # beyond the clock: what each learns of the same pictures
            for x in batches(args.learn, at):
                step(x)
        at += args.learn
        main_one = rates["genus bf16 compiled" if args.compile else "genus bf16"]
        for name, bar in (("diffusers bf16 channels_last", over_half), ("diffusers fp32", over_single)):
            ratios = interval([a / b for a, b in zip(main_one, rates[name], strict=True)])
            rows.append(Row(f"{kind}: genus bf16 over {name}", *ratios, bar=f">= {bar}"))
            if kind == "transformer":
                quick = [a / b for a, b in zip(rates["genus, products of bytes"], rates[name], strict=True)]
                rows.append(Row(f"{kind}: genus, products of bytes, over {name}", *interval(quick), bar=f">= {bar}"))
        with torch.no_grad():
            reached = {name: float(loss_of(net.eval(), held, 10_000_000)) for name, (_, net) in contestants.items()}
        for name, values in rates.items():
            said = f"{sizes[name] / 1e6:.2f} M parameters"
            details.append(Row(f"{kind}: {name}", *interval(values), unit="pictures/s", baseline=said))
            details.append(Row(f"{kind}: held-out loss of {name} after {at * args.batch} pictures", reached[name]))
    note = (
        f"{args.rounds} rounds of {args.steps} steps in turns: median, least and most; batch {args.batch}, "
        f"{torch.get_num_threads()} threads, {'processor' if args.busy else 'clock'} time; cifar10 or made pictures"
    )
    write(
        args,
        "picture_training" + ("_unet" if args.kind == "U-Net" else ""),
        [*rows, *details],
        time.monotonic() - began,
        note,
    )


if __name__ == "__main__":
    main()
