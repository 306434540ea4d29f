"""A decoder's weights in 4 or 8 bits, packed once for decoding, and its layers in one call (`packed.cpp`).

Each 32 weights of a row have a scale and a least value: w = d q + m, as in GGUF's Q4_1. Activations are rounded to 8
bits, 32 at a time, sums are float32. Embeddings stay as they are, the output matrix has 8 bits always: that is where
4 cost most. The C++ file is compiled when first needed, which takes a few seconds, and kept; where that does not work
(no compiler, a processor without AVX-512 VNNI) torch multiplies the same rounded weights: as good, no faster.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genus.networks.attention import Memory, Table

GROUP, ROWS = 32, 16
SIZES = ("depth", "width", "head", "heads", "kv_heads", "hidden")
SOURCE = Path(__file__).with_suffix(".cpp")
NEEDED = ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "f16c")


@lru_cache(maxsize=1)
def kernel() -> Any:
    """The compiled functions, or None."""
    try:
        flags = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags"))
    except (OSError, StopIteration):
        return None
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None or not set(NEEDED) <= set(flags.split()) or os.environ.get("GENUS_KERNELS") == "no":
        return None
    name = hashlib.sha256(SOURCE.read_bytes() + flags.encode() + compiler.encode()).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "genus"
    library = folder / f"packed-{name}.so"
    options = ["-O3", "-march=native", "-ffast-math", "-fopenmp", "-shared", "-fPIC", "-std=c++17"]
    try:
        if not library.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as room:
                made = Path(room) / library.name
                subprocess.run(
                    [compiler, *options, str(SOURCE), "-o", str(made), "-lmvec", "-lm"], check=True, capture_output=True
                )
                os.replace(made, library)
        return ctypes.CDLL(str(library))
    except (OSError, subprocess.CalledProcessError):
        return None


def rounded(w: Tensor, bits: int) -> tuple[Tensor, Tensor, Tensor]:
    """Weights [N, K] as q uint8 [N, K], and d, m float16 [N, K / 32]: w is about d q + m."""
    groups = w.float().view(len(w), -1, GROUP)
    least, most = groups.amin(-1), groups.amax(-1)
    d = ((most - least) / (2**bits - 1)).half()
    m = least.half()
    step = d.float().where(d > 0, torch.ones_like(least))
    q = ((groups - m.float()[..., None]) / step[..., None]).round().clamp(0, 2**bits - 1)
    return q.to(torch.uint8).flatten(1), d, m


@final
class PackedLinear(nn.Module):
    """x [.., K] -> [.., N], as `nn.Linear` with its weights rounded. K is a multiple of 32."""

    def __init__(self, linear: nn.Linear | nn.Embedding, bits: int) -> None:
        super().__init__()
        w = linear.weight.detach()
        self.outputs, self.inputs = w.shape
        self.bits = bits
        self.bias = linear.bias if isinstance(linear, nn.Linear) else None
        q, d, m = rounded(w, bits)
        if kernel() is None:
            said = d.float()[..., None] * q.view(len(q), -1, GROUP).float() + m.float()[..., None]
            self.register_buffer("w", said.flatten(1), persistent=False)
        else:
            self.register_buffer("w", laid(q, d, m, bits), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Float32."""
        w, found = self.get_buffer("w"), kernel()
        if found is None:
            return F.linear(x.float(), w, self.bias)
        flat = x.float().reshape(-1, self.inputs).contiguous()
        y = torch.empty(len(flat), self.outputs)
        sizes = (len(flat), self.outputs, self.inputs)
        found.genus_product(self.bits, at(w), at(flat), *sizes, at(y), torch.get_num_threads())
        y = y.view(*x.shape[:-1], self.outputs)
        return y if self.bias is None else y + self.bias


def laid(q: Tensor, d: Tensor, m: Tensor, bits: int) -> Tensor:
    """q, d, m as `packed.cpp` reads them: of 16 rows and 32 columns the q of each four columns, then d, then m."""
    n, k = q.shape
    more = -n % ROWS
    q, d, m = (F.pad(x, (0, 0, 0, more)) for x in (q, d, m))
    blocks = q.view(-1, ROWS, k // GROUP, 8, 4).permute(0, 2, 3, 1, 4).reshape(-1, k // GROUP, 8, 64)
    if bits == 4:
        blocks = blocks[:, :, ::2] | blocks[:, :, 1::2] << 4
    scales = [x.view(-1, ROWS, k // GROUP).transpose(1, 2).contiguous().view(torch.uint8) for x in (d, m)]
    return torch.cat([blocks.flatten(2), *scales], -1).contiguous()


def at(x: Tensor) -> ctypes.c_void_p:
    """Where its numbers lie."""
    return ctypes.c_void_p(x.data_ptr())


class _Sizes(ctypes.Structure):
    _fields_ = [*((name, ctypes.c_int32) for name in (*SIZES, "bits")), ("eps", ctypes.c_float)]


class _Layer(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("before", "middle", "qkv", "out", "up", "down")]


@final
class PackedLayers(nn.Module):
    """All layers of a decoder (RMSNorm, rotary places, SwiGLU, no biases) over a `Memory`, in one call."""

    def __init__(self, config: Any, layers: nn.ModuleList, bits: int) -> None:
        super().__init__()
        self.sizes = _Sizes(*(getattr(config, name) for name in SIZES), bits, config.eps)
        self.held: list[Tensor] = []
        rows = []
        for layer in layers:
            parts: Any = layer
            rows.append([norm.weight.detach().float().contiguous() for norm in (parts.before, parts.middle)])
            rows[-1] += [getattr(parts, name).get_buffer("w") for name in ("qkv", "out", "up", "down")]
        self.held = [x for row in rows for x in row]
        self.layers = (_Layer * len(rows))(*(_Layer(*(x.data_ptr() for x in row)) for row in rows))

    def forward(self, h: Tensor, table: Table, memory: Memory) -> Tensor:
        """h [B, n, width], the next n cells of each row -> [B, n, width]. The memory is written, not moved."""
        batch, n, _ = h.shape
        h = h.float().contiguous().clone()
        seen = memory.reserve(n)
        starts = (ctypes.c_int32 * batch)(*seen)
        cos, sin = (x.squeeze(-2).float().expand(batch, n, -1).contiguous() for x in table)
        room = memory.k.shape[3]
        kernel().genus_layers(
            ctypes.byref(self.sizes), self.layers, at(h), batch, n, at(memory.k), at(memory.v),
            ctypes.c_int64(room), starts, at(cos), at(sin), torch.get_num_threads(),
        )  # fmt: skip
        return h
