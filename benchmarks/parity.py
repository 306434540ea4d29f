"""Figures of other libraries, for tests of parity: diffusers' schedulers, vector-quantize-pytorch's codes.

Schedulers: levels, and one step of each from one state. Each entry: alpha and sigma of the level where a step starts
and ends (x_t = alpha x + sigma e), the state x, what the network is taken to have said (as clean x, and for two-step
methods what it said before), and the state that follows.
Codes: what FSQ makes of some vectors; a codebook before and after one step of its averages. Writes
tests/samplers/diffusers.json and tests/networks/quantisers.json. Needs both libraries (extra `bench`).

    python benchmarks/parity.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EDMDPMSolverMultistepScheduler,
    EDMEulerScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
)
from vector_quantize_pytorch import FSQ, VectorQuantize

TESTS = Path(__file__).resolve().parent.parent / "tests"

STATE = torch.tensor([[0.7, -1.3, 0.2, 2.1]], dtype=torch.float64)
SAID = torch.tensor([[0.5, -0.9, 0.1, 0.8]], dtype=torch.float64)
NEXT = torch.tensor([[0.45, -0.95, 0.3, 0.9]], dtype=torch.float64)


def at(alphas: torch.Tensor, step: int) -> tuple[float, float]:
    kept = float(alphas[step])
    return kept**0.5, (1 - kept) ** 0.5


def entry(start: tuple[float, float], end: tuple[float, float], after: torch.Tensor, **more: Any) -> dict[str, Any]:
    return {"start": start, "end": end, "after": after.flatten().tolist(), **more}


def schedulers() -> dict[str, Any]:
    found: dict[str, Any] = {"state": STATE.flatten().tolist(), "said": SAID.flatten().tolist()}
    found["next"] = NEXT.flatten().tolist()

    ddpm = DDPMScheduler(prediction_type="sample", clip_sample=False)
    alphas = ddpm.alphas_cumprod.double()
    found["linear"] = {str(k): at(alphas, k) for k in (0, 1, 10, 250, 500, 998, 999)}
    cosine = DDPMScheduler(beta_schedule="squaredcos_cap_v2").alphas_cumprod.double()
    found["cosine"] = {str(k): at(cosine, k) for k in (0, 10, 250, 500, 750, 990)}  # later ones are cut
    ddim = DDIMScheduler(prediction_type="sample", clip_sample=False, set_alpha_to_one=False)
    ddim.set_timesteps(10)
    after = ddim.step(SAID, 500, STATE, eta=0.0).prev_sample
    found["ddim"] = entry(at(alphas, 500), at(alphas, 400), after)

    ddpm.set_timesteps(10)
    generator = torch.Generator().manual_seed(3)
    after = ddpm.step(SAID, 500, STATE, generator=generator).prev_sample
    drawn = torch.randn(STATE.shape, generator=torch.Generator().manual_seed(3), dtype=STATE.dtype)
    found["ddpm"] = entry(at(alphas, 500), at(alphas, 400), after, noise=drawn.flatten().tolist())

    dpm = DPMSolverMultistepScheduler(prediction_type="sample", solver_order=2, lower_order_final=False)
    dpm.set_timesteps(10)
    levels = [(float(a), float(b)) for a, b in (dpm._sigma_to_alpha_sigma_t(s) for s in dpm.sigmas[:3])]
    middle = dpm.step(SAID, dpm.timesteps[0], STATE).prev_sample
    after = dpm.step(NEXT, dpm.timesteps[1], middle).prev_sample
    found["dpm"] = [entry(levels[0], levels[1], middle), entry(levels[1], levels[2], after)]

    heun = HeunDiscreteScheduler(prediction_type="sample")
    heun.set_timesteps(10)
    s = heun.sigmas
    heun.scale_model_input(STATE, heun.timesteps[0])
    half = heun.step(SAID, heun.timesteps[0], STATE).prev_sample
    after = heun.step(NEXT, heun.timesteps[1], half).prev_sample
    found["heun"] = entry((1.0, float(s[0])), (1.0, float(s[1])), after, half=half.flatten().tolist())

    edm = EDMEulerScheduler()
    edm.set_timesteps(10)
    found["karras"] = [float(x) for x in edm.sigmas]
    multi = EDMDPMSolverMultistepScheduler()
    multi.set_timesteps(10)
    found["karras again"] = [float(x) for x in multi.sigmas]

    flow = FlowMatchEulerDiscreteScheduler(shift=3.0)
    flow.set_timesteps(10)
    velocity = (STATE - SAID) / float(flow.sigmas[2])
    flow.scale_noise(STATE, flow.timesteps[:1], STATE)
    flow._step_index = 2
    after = flow.step(velocity, flow.timesteps[2], STATE).prev_sample
    ends = [(1 - float(s), float(s)) for s in flow.sigmas[2:4]]
    found["flow"] = entry(ends[0], ends[1], after)
    return found


def quantisers() -> dict[str, Any]:
    torch.manual_seed(0)
    h = 2 * torch.randn(1, 16, 3)
    z, ids = FSQ(levels=[8, 5, 3])(h)
    book = VectorQuantize(
        dim=3, codebook_size=4, decay=0.9, commitment_weight=0.25, threshold_ema_dead_code=0, eps=1e-12
    ).train()
    before = book.codebook.clone()
    near, which, cost = book(h)
    lists = {"h": h[0], "fsq": z[0], "fsq ids": ids[0], "before": before, "vq": near[0], "vq ids": which[0]}
    lists |= {"after": book.codebook, "cost": cost}
    return {name: value.tolist() for name, value in lists.items()}


def main() -> None:
    for path, found in (("samplers/diffusers.json", schedulers()), ("networks/quantisers.json", quantisers())):
        (TESTS / path).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
