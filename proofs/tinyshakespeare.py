"""tinyshakespeare by characters: validation loss in nats, beside a transformers GPT-2 that follows nanoGPT's CPU
recipe.

One seed after another, in one run: (1) the GPT-2 (4 layers, width 128, context 64, batch 12, AdamW, cosine, fp32)
takes its
2,000 steps, T seconds; (2) genus with as many parameters trains for T seconds; (3) genus of any size for T seconds;
(4) `--budget 10m`. Loss: the mean over consecutive windows of the validation text, each as long as in training, which
is what nanoGPT estimates; nanoGPT's own figures are 1.88 (CPU recipe) and 1.4697 (GPU recipe).
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from proof import Row, arguments, interval, shelf, write


def gpt2(train: str, val: str, seed: int, steps: int = 2000) -> tuple[float, float]:
    """(seconds of its 2,000 steps, validation loss)."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    ids = {c: i for i, c in enumerate(sorted(set(train + val)))}
    text = torch.tensor([ids[c] for c in train])
    config = GPT2Config(
        vocab_size=len(ids), n_positions=64, n_embd=128, n_layer=4, n_head=4, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0
    )
    model = GPT2LMHeadModel(config)
    groups = [[p for p in model.parameters() if (p.dim() > 1) == wide] for wide in (True, False)]
    optimiser = torch.optim.AdamW(
        [{"params": groups[0], "weight_decay": 0.1}, {"params": groups[1], "weight_decay": 0.0}],
        lr=1e-3,
        betas=(0.9, 0.99),
    )
    start = time.monotonic()
    for step in range(steps):
        at = torch.randint(len(text) - 64, (12, 1)) + torch.arange(64)
        rate = (
            1e-3 * min(1, (step + 1) / 101)
            if step < 100
            else 1e-4 + 0.45e-3 * (1 + math.cos(math.pi * (step - 100) / (steps - 100)))
        )
        for group in optimiser.param_groups:
            group["lr"] = rate
        loss = model(input_ids=text[at], labels=text[at]).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    seconds = time.monotonic() - start
    held = torch.tensor([ids[c] for c in val])
    windows = held[: len(held) // 64 * 64].view(-1, 64)
    with torch.no_grad():
        total = sum(float(model(input_ids=w, labels=w).loss) * len(w) for w in windows.split(64))
    return seconds, total / len(windows)


def genus(source: Path, home: Path, name: str, budget: str, settings: list[str]) -> tuple[float, dict[str, object]]:
    """(validation loss, summary) of `genus train --recipe chargpt`."""
    import torch

    from genus.run import Run

    sets = [part for s in settings for part in ("--set", s)]
    base = [sys.executable, "-m", "genus"]
    if not (home / "datasets" / "tinyshakespeare").exists():
        place = ["--home", str(home), "--name", "tinyshakespeare", "--licence", "CC0-1.0", "--json"]
        subprocess.run([*base, "collect", str(source), *place], check=True, stdout=subprocess.DEVNULL)
    call = [*base, "train", "tinyshakespeare", "--recipe", "chargpt", "--budget", budget, "--name", name, *sets]
    subprocess.run([*call, "--home", str(home), "--yes", "--json"], check=True, stdout=subprocess.DEVNULL)
    run = Run(home / "runs" / name)
    model = run.model()
    (window,) = model.space.dims
    text = model.codec.encode([(source / "val.txt").read_text()])[0][0, :-1].long()
    windows = text[: len(text) // window * window].view(-1, 1, window)
    from genus.core import Batch, Noise

    mask = torch.ones(64, 1, window, dtype=torch.bool)
    mask[:, :, 0] = False  # the first character of a window has no context in nanoGPT's measure either
    total = 0.0
    with torch.no_grad():
        for part in windows.split(64):
            batch = Batch(part, mask=mask[: len(part)])
            total -= float(model.objective.log_prob(model.nets, batch, Noise(0, tuple(range(len(part))))).nats.sum())
    return total / (len(windows) * (window - 1)), run.summary


def main() -> None:
    args = arguments(__doc__, extra={"--long-seeds": (int, 3), "--long": (str, "10m")})
    place = shelf(args, "tinyshakespeare")
    start = time.monotonic()
    train, val = ((place / f"{split}.txt").read_text() for split in ("train", "val"))
    found: dict[str, list[float]] = {"gpt2": [], "seconds": [], "same": [], "free": [], "long": []}
    kwh, sizes = 0.0, []
    with tempfile.TemporaryDirectory(prefix="genus-proof-") as folder:
        source = Path(folder) / "text"
        source.mkdir()
        for split, text in (("train", train), ("val", val)):
            (source / f"{split}.txt").write_text(text)
        home = Path(folder) / "home"
        for seed in range(args.seeds):
            seconds, loss = gpt2(train, val, seed)
            found["seconds"].append(seconds)
            found["gpt2"].append(loss)
            print(f"seed {seed}: GPT-2 {loss:.4f} in {seconds:.0f} s", file=sys.stderr, flush=True)
            jobs = [
                ("same", f"{seconds:.0f}s", ["net.depth=4", "net.width=128"]),
                ("free", f"{seconds:.0f}s", []),
                *([("long", args.long, [])] if seed < args.long_seeds else []),
            ]
            for kind, budget, settings in jobs:
                loss, summary = genus(source, home, f"{kind}{seed}", budget, [f"training.seed={seed}", *settings])
                found[kind].append(loss)
                kwh += float(str(summary["kwh"]))
                sizes.append(f"{kind} {int(str(summary['parameters'])) / 1e6:.2f} M")
                print(f"seed {seed}: {kind} {loss:.4f} {json.dumps(summary)[:160]}", file=sys.stderr, flush=True)
    rows = [
        Row("GPT-2 by nanoGPT's CPU recipe, 2,000 steps", *interval(found["gpt2"]), unit="nats"),
        Row("its time", *interval(found["seconds"]), unit="s"),
        Row("genus, as many parameters, as much time", *interval(found["same"]), bar="<= 1.80", unit="nats"),
        Row("genus, any size, as much time", *interval(found["free"]), bar="<= 1.70", unit="nats"),
    ]
    if found["long"]:
        rows.append(Row(f"genus, --budget {args.long}", *interval(found["long"]), bar="<= 1.55", unit="nats"))
    note = f"median, least and most of {args.seeds} seeds ({len(found['long'])} long); sizes: {', '.join(sizes)}"
    write(args, "tinyshakespeare", rows, time.monotonic() - start, note, kwh)


if __name__ == "__main__":
    main()
