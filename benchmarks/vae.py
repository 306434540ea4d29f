"""Test likelihood of a variational autoencoder beside pythae's: the same latent size, the same time, taken in turns.

mnist10k, made black and white at half grey, so that both say the probability of the same thing, a bit a pixel: pythae
by its cross entropy, genus by its own likelihood of a space with two values. Each trains in slices of a few seconds, in
turns. The bound is one for all: the log of the mean weight of so many codes drawn from the posterior. pythae's models
come with two pairs of networks for such pictures, fully connected and convolutional; both take part, by its trainer's
usual optimiser (Adam) in float32. Needs GENUS_DATA (mnist10k) and pythae; without either it says so.

    python benchmarks/vae.py --seconds 60
"""

from __future__ import annotations

import importlib.util
import io
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genus.core import Batch, Noise, Space
from genus.networks.autoencoder import AutoencoderConfig
from genus.networks.bottlenecks import NormalConfig
from genus.objectives.autoencoding import Autoencoding
from genus.recipes import find
from genus.train.optimisers import Flat
from genus.train.pace import rate_scale

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "proofs"))
from proof import Row, arguments, interval, shelf, write

SPACE = Space((28, 28), 1, grain=2.0)  # two values: -1 and 1
LOOKS = 16
Step = Callable[[Tensor, float], None]
Nats = Callable[[Tensor], Tensor]  # [B, 1, 28, 28] -> a bound of log p of each


def ours(latent: int, seed: int) -> tuple[Step, Nats, nn.Module]:
    """The recipe `vae`, its network and its training."""
    phase = find("vae").phases[0]
    torch.manual_seed(seed)
    config = phase.nets["net"]
    assert isinstance(config, AutoencoderConfig)
    config = config.but(bottleneck=NormalConfig(channels=latent))
    net, judged = config.build(SPACE), nn.ModuleDict({"net": config.build(SPACE)})
    nets, objective, done = nn.ModuleDict({"net": net}), phase.objective.but(looks=LOOKS), 0
    assert isinstance(objective, Autoencoding)
    flat = Flat(nets, phase.training, torch.bfloat16)

    def step(x: Tensor, progress: float) -> None:
        nonlocal done
        batch, noise = Batch(x), Noise(seed, tuple(range(done * len(x), (done + 1) * len(x))))
        flat.zero()
        objective.loss(nets, batch, objective.draws(nets, batch, "main", noise), "main")[0].backward()
        flat.step(rate_scale(progress, phase.training), done)
        done += 1

    def nats(x: Tensor) -> Tensor:
        judged.load_state_dict(flat.averaged(), strict=False)  # float32, as a run keeps them
        return objective.log_prob(judged, Batch(x), Noise(1, tuple(range(len(x))))).nats

    return step, nats, net


def theirs(latent: int, seed: int, convolutional: bool) -> tuple[Step, Nats, nn.Module]:
    """pythae's VAE with Bernoulli pixels."""
    from pythae.models import VAE, VAEConfig
    from pythae.models.nn.benchmarks.mnist import Decoder_Conv_AE_MNIST, Encoder_Conv_VAE_MNIST

    torch.manual_seed(seed)
    config: Any = VAEConfig(input_dim=(1, 28, 28), latent_dim=latent, reconstruction_loss="bce")
    pair = (Encoder_Conv_VAE_MNIST(config), Decoder_Conv_AE_MNIST(config)) if convolutional else (None, None)
    model = VAE(config, *pair)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    noise = torch.Generator().manual_seed(seed)

    def step(x: Tensor, progress: float) -> None:
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 * min(1.0, 2 * (1 - progress))
        optimiser.zero_grad()
        model({"data": x / 2 + 0.5}).loss.backward()
        optimiser.step()

    def nats(x: Tensor) -> Tensor:
        bits = x / 2 + 0.5
        model.eval()
        said = model.encoder(bits)
        mean, logs = said.embedding, said.log_covariance
        weights = []
        for _ in range(LOOKS):
            e = torch.randn(mean.shape, generator=noise)
            z = mean + (0.5 * logs).exp() * e
            ratio = 0.5 * (e.square() + logs - z.square()).sum(1)
            white = model.decoder(z).reconstruction.reshape(bits.shape).clamp(1e-7, 1 - 1e-7)
            weights.append(ratio - F.binary_cross_entropy(white, bits, reduction="none").flatten(1).sum(1))
        model.train()
        return torch.stack(weights).double().logsumexp(0) - math.log(LOOKS)

    return step, nats, model


def digits(folder: Path, name: str) -> Tensor:
    """[n, 1, 28, 28] of -1 and 1."""
    import numpy as np
    import pyarrow.parquet as parquet
    from PIL import Image

    rows = parquet.read_table(folder / f"{name}.parquet", columns=["image"]).column(0).to_pylist()
    stack = np.stack([np.asarray(Image.open(io.BytesIO(row)).convert("L")) for row in rows])
    return (torch.from_numpy(stack)[:, None] > 127).float() * 2 - 1


def main() -> None:
    extra = {
        "--seconds": (float, 60.0),
        "--latent": (int, 16),
        "--batch": (int, 64),
        "--items": (int, 2000),
        "--busy": (int, 0),
    }
    args = arguments(__doc__, extra)
    folder = shelf(args, "mnist10k")
    if importlib.util.find_spec("pythae") is None:
        print("skipped: pythae is not installed; pip install --no-deps pythae imageio")
        raise SystemExit(0)
    began = time.monotonic()
    now = time.process_time if args.busy else time.perf_counter
    if args.busy:
        torch.set_num_threads(1)
    train, test = digits(folder, "train"), digits(folder, "test")[: args.items]
    found: dict[str, list[float]] = {}
    sizes: dict[str, float] = {}
    for seed in range(args.seed, args.seed + args.seeds):
        contestants = {
            "genus": ours(args.latent, seed),
            "pythae, fully connected": theirs(args.latent, seed, convolutional=False),
            "pythae, convolutional": theirs(args.latent, seed, convolutional=True),
        }
        used = dict.fromkeys(contestants, 0.0)
        draws = {name: torch.Generator().manual_seed(seed) for name in contestants}
        slice_ = max(1.0, args.seconds / 20)
        while min(used.values()) < args.seconds:
            for name, (step, _, _) in contestants.items():
                start = now()
                while (taken := now() - start) < slice_ and used[name] + taken < args.seconds:
                    pick = torch.randint(0, len(train), (args.batch,), generator=draws[name])
                    step(train[pick], (used[name] + taken) / args.seconds)
                used[name] += now() - start
        for name, (_, nats, net) in contestants.items():
            with torch.no_grad():
                whole = torch.cat([nats(part) for part in test.split(250)])
            found.setdefault(name, []).append(float(whole.mean()))
            sizes[name] = sum(p.numel() for p in net.parameters()) / 1e6
            print(f"seed {seed}: {name}: {whole.mean():.2f} nats", flush=True)
    peers = [name for name in found if name != "genus"]
    best = max(peers, key=lambda name: sum(found[name]))
    ahead = [a - b for a, b in zip(found["genus"], found[best], strict=True)]
    rows = [Row(f"nats an item by which genus is above {best}", *interval(ahead), bar=">= 0", unit="nats")]
    for name, values in found.items():
        said = f"{sizes[name]:.2f} M parameters"
        rows.append(Row(f"log p of a test item, {name}", *interval(values), unit="nats", baseline=said))
    note = (
        f"{args.seeds} seeds: median, least and most; {args.latent} latents, {args.seconds:g} s of "
        f"{'processor' if args.busy else 'clock'} time each, in turns; "
        f"{LOOKS} codes for each of {len(test)} items; batch {args.batch}"
    )
    write(args, "vae", rows, time.monotonic() - began, note)


if __name__ == "__main__":
    main()
