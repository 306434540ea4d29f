"""Speed of drawing pictures beside diffusers: the networks of picture_training.py, paired, interleaved rounds.

genus draws as a run does that was trained in bf16: weights and passes in bf16, the sampler's own state in float32; the
transformer also by products of bytes (`--precision int8`). The peer is diffusers' network with diffusers' Euler
scheduler for flow matching, in bf16 with channels last and in its default, float32. All look at their network as often,
each in a process of its own, as genus tells its process to keep freed memory. Weights are random: speed does not depend
on them. The same pictures drawn by genus in float32 say what fewer bits change. `--busy 1`: one thread, and the
processor's time.

    python benchmarks/picture_sampling.py --rounds 7
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from engines import Engine, asked, clocks, ratios, told, turned
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


PEERS = {"diffusers bf16 channels_last": True, "diffusers fp32": False}
PRECISIONS = {"U-Net": ("bf16", "fp32"), "transformer": ("bf16", "int8", "fp32")}


def serve(args: Any) -> None:
    """One contestant, in its own process; its pictures go to the shared folder."""
    if args.busy:
        torch.set_num_threads(1)
    asking = (args.kind, args.steps, args.batch)
    if args.engine in PEERS:
        draw = theirs(*asking, half=PEERS[args.engine])
    else:
        draw = ours(*asking, precision=args.engine.removeprefix("genus "))
    for _ in asked():
        began = clocks()
        made = draw()
        told(began)
    torch.save(made, args.shared / f"{args.engine}.pt")


def main() -> None:
    extra = {
        "--rounds": (int, 7),
        "--steps": (int, 10),
        "--batch": (int, 16),
        "--busy": (int, 0),
        "--kind": (str, ""),
        "--engine": (str, ""),
        "--shared": (Path, None),
    }
    args = arguments(__doc__, extra)
    if args.engine:
        serve(args)
        return
    began = time.monotonic()
    by = "cpu" if args.busy else "seconds"
    rows: list[Row] = []
    details: list[Row] = []
    for kind, bars in BARS.items():
        if args.kind and kind != args.kind:
            continue
        names = [*(f"genus {precision}" for precision in PRECISIONS[kind]), *PEERS]
        with tempfile.TemporaryDirectory() as folder:
            words = [sys.executable, __file__, "--kind", kind, "--shared", folder]
            for flag in ("steps", "batch", "busy"):
                words += [f"--{flag}", str(getattr(args, flag))]
            engines = [Engine(n, [*words, "--engine", n], Path(folder) / f"{n}.log") for n in names]
            found = {name: times[1:] for name, times in turned(engines, args.rounds + 1).items()}  # the first warms up
            for engine in engines:
                engine.leave()
            made = {n: torch.load(Path(folder) / f"{n}.pt", weights_only=True) for n in names if n not in PEERS}
        for own in names[: len(PRECISIONS[kind]) - 1]:
            for peer, bar in zip(PEERS, bars, strict=True):
                times = interval(ratios(found[peer], found[own], by))
                rows.append(Row(f"{kind}: {own} over {peer}", *times, bar=f">= {bar}"))
            rows.append(Row(f"{kind}: {own} over genus fp32", *interval(ratios(found["genus fp32"], found[own], by))))
            off = 127.5 * (made[own] - made["genus fp32"]).abs().flatten().quantile(0.99)
            details.append(Row(f"{kind}: 99 % of values that {own} moves by less than", float(off), unit="of 255"))
        for name, times in found.items():
            speeds = interval([args.batch / one[by] for one in times])
            details.append(Row(f"{kind}: {name}", *speeds, unit="pictures/s"))
    note = (
        f"{args.rounds} rounds in turns: median, least and most; batch {args.batch}, {args.steps} looks, "
        f"{1 if args.busy else torch.get_num_threads()} threads, {'processor' if args.busy else 'clock'} time"
    )
    write(args, "picture_sampling", [*rows, *details], time.monotonic() - began, note)


if __name__ == "__main__":
    main()
