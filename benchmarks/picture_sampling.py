"""Speed of drawing pictures beside diffusers: the networks of picture_training.py, paired, interleaved rounds.

genus draws as a run does that was trained in bf16: weights and passes in bf16, the sampler's own state in float32. The
peer is diffusers' network with diffusers' Euler scheduler for flow matching, in bf16 with channels last and in its
default, float32. All look at their network as often. Weights are random: speed does not depend on them. The same
pictures drawn by genus in float32 say what bf16 changes. `--busy 1`: one thread, and the processor's time.

    python benchmarks/picture_sampling.py --rounds 7
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from picture_training import BARS, SPACE, our_network, their_network
from torch import Tensor, nn

from genus.codecs.pixels import PixelsConfig
from genus.core import Model, Noise
from genus.objectives.flow import Flow
from genus.samplers.ode import Ode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "proofs"))
from proof import Row, arguments, interval, write

Draw = Callable[[], Tensor]


def awake(net: nn.Module) -> nn.Module:
    """With small random weights where training starts from zeros, or there would be nothing to compute with."""
    for weight in net.parameters():
        if not bool(weight.any()):
            nn.init.normal_(weight, std=0.02)
    return net.requires_grad_(False).eval()


def ours(kind: str, steps: int, batch: int, precision: str) -> Draw:
    """Through `Model`, as all of genus draws."""
    torch.manual_seed(0)
    nets = nn.ModuleDict({"net": awake(our_network(kind))})
    codec = PixelsConfig(height=32, width=32, channels=3).load(Path())
    model = Model(codec, SPACE, nets, Flow(), Ode(steps=steps))

    def draw() -> Tensor:
        *_, x = model.stream(Noise(0, tuple(range(batch))), precision=precision)
        return x

    return draw


def theirs(kind: str, steps: int, batch: int, half: bool) -> Draw:
    """diffusers' own loop."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    torch.manual_seed(0)
    net, dtype = awake(their_network(kind).net), torch.float32
    if half:
        dtype = torch.bfloat16
        net = net.to(dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    scheduler = FlowMatchEulerDiscreteScheduler()

    @torch.inference_mode()
    def draw() -> Tensor:
        scheduler.set_timesteps(steps)
        x = torch.randn(batch, *SPACE.shape, generator=torch.Generator().manual_seed(0), dtype=dtype)
        if half:
            x = x.contiguous(memory_format=torch.channels_last)
        for t in scheduler.timesteps:
            x = scheduler.step(net(x, timestep=t.expand(batch)).sample, t, x).prev_sample
        return x

    return draw


def main() -> None:
    extra = {
        "--rounds": (int, 7),
        "--steps": (int, 10),
        "--batch": (int, 16),
        "--busy": (int, 0),
        "--kind": (str, ""),
    }
    args = arguments(__doc__, extra)
    began = time.monotonic()
    now = time.process_time if args.busy else time.perf_counter
    if args.busy:
        torch.set_num_threads(1)
    rows: list[Row] = []
    details: list[Row] = []
    for kind, (over_half, over_single) in BARS.items():
        if args.kind and kind != args.kind:
            continue
        asked = (kind, args.steps, args.batch)
        contestants = {
            "genus bf16": ours(*asked, "bf16"),
            "genus fp32": ours(*asked, "fp32"),
            "diffusers bf16 channels_last": theirs(*asked, half=True),
            "diffusers fp32": theirs(*asked, half=False),
        }
        rates: dict[str, list[float]] = {name: [] for name in contestants}
        made: dict[str, Tensor] = {}
        for turn in range(args.rounds + 1):
            for name, draw in contestants.items():
                start = now()
                made[name] = draw()
                if turn:  # the first one warms up
                    rates[name].append(args.batch / (now() - start))
        for name, bar in (
            ("diffusers bf16 channels_last", over_half),
            ("diffusers fp32", over_single),
            ("genus fp32", None),
        ):
            ratios = interval([a / b for a, b in zip(rates["genus bf16"], rates[name], strict=True)])
            rows.append(Row(f"{kind}: genus bf16 over {name}", *ratios, bar=f">= {bar}" if bar else None))
        off = (made["genus bf16"] - made["genus fp32"]).abs().flatten()
        levels = 127.5 * off.quantile(0.99)
        details.append(Row(f"{kind}: 99 % of values that bf16 moves by less than", float(levels), unit="of 255"))
        details += [Row(f"{kind}: {name}", *interval(values), unit="pictures/s") for name, values in rates.items()]
    note = (
        f"{args.rounds} rounds in turns: median, least and most; batch {args.batch}, {args.steps} looks, "
        f"{torch.get_num_threads()} threads, {'processor' if args.busy else 'clock'} time"
    )
    write(args, "picture_sampling", [*rows, *details], time.monotonic() - began, note)


if __name__ == "__main__":
    main()
