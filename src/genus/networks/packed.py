"""A decoder's weights in 4, 8 or 16 bits, packed once for decoding, and its layers in one call (`packed.cpp`).

Of 4 bits, each 32 weights of a row have a scale and a least value: w = d q + m, as in GGUF's Q4_1; of 8, each 64 have a
scale: w = d (q - 128). Activations are rounded to 8 bits, 32 at a time. Of 16, weights and activations are bfloat16.
Sums are float32. Embeddings stay as they are, the output matrix has 8 bits at least: that is where 4 cost most. The C++
file is compiled when first needed, which takes a few seconds, and kept; where that does not work (no compiler, a
processor without AVX-512 VNNI) torch multiplies the same rounded weights: as good, no faster. Weights of 16 bits are
packed only where the kernel reads them (`halves`).
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genus.compiled import address as at
from genus.compiled import compiled
from genus.errors import UsageError
from genus.networks.attention import Memory, Table

COLUMNS, ROWS, HALF = 32, 16, 16  # COLUMNS: of activations that are rounded alike; a row has a multiple
MIDDLE = 128  # q of a weight that is 0, of 8 bits
PRICES = {4: 0.12, 8: 0.05, 16: 0.02}  # of `State`, by bits: passes of 1 to 8 cells on the processors that were timed
LINE, LARGE = 64, 8 << 20  # bytes: of the cache's lines; of weights that are worth large pages
SIZES = ("depth", "width", "head", "heads", "kv_heads", "hidden")
SOURCE = Path(__file__).with_suffix(".cpp")
NEEDED = ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "f16c")


def kernel() -> Any:
    """The compiled functions, or None."""
    return compiled(SOURCE, "-ffast-math", "-fopenmp", "-lmvec", "-lm", needs=NEEDED)


def halves() -> bool:
    """Whether there are products of packed weights of 16 bits: a processor that multiplies bfloat16."""
    found = kernel()
    return found is not None and bool(found.genus_halves())


def group(bits: int) -> int:
    """Columns of a row that are rounded alike; the last may be half as many."""
    return 64 if bits == 8 else 32


def size(bits: int) -> int:
    """Bytes of a group's columns of sixteen rows."""
    return group(bits) * ROWS * bits // 8 + {4: 4 * ROWS, 8: 2 * ROWS}.get(bits, 0)


def grouped(x: Tensor, bits: int) -> Tensor:
    """x [.., K] -> [.., groups, columns of one], zeros behind."""
    return F.pad(x, (0, -x.shape[-1] % group(bits))).reshape(*x.shape[:-1], -1, group(bits))


def rounded(w: Tensor, bits: int) -> tuple[Tensor, Tensor, Tensor]:
    """Weights [N, K] as q uint8 [N, K], and d, m [N, groups]: w is about d q + m. float16, but m = -128 d of 8 bits."""
    groups = grouped(w.float(), bits)
    if bits == 8:
        d = (groups.abs().amax(-1) / (MIDDLE - 1)).half()
        m = -MIDDLE * d.float()
    else:
        least, most = groups.amin(-1), groups.amax(-1)
        d, m = ((most - least) / (2**bits - 1)).half(), least.half()
    step = d.float().where(d > 0, torch.ones_like(d, dtype=torch.float32))
    q = ((groups - m.float()[..., None]) / step[..., None]).round().clamp(0, 2**bits - 1)
    return q.to(torch.uint8).flatten(1)[:, : w.shape[1]], d, m


@final
class PackedLinear(nn.Module):
    """x [.., K] -> [.., N], as `nn.Linear` with its weights in 4, 8 or 16 bits, a buffer `w` as `packed.cpp` reads it.

    K is a multiple of `COLUMNS`. Not trained: raises `UsageError` where a gradient is wanted.
    """

    def __init__(self, inputs: int, outputs: int, bits: int, bias: bool = False) -> None:
        super().__init__()
        self.inputs, self.outputs, self.bits = inputs, outputs, bits
        shape = -(-outputs // ROWS), -(-inputs // group(bits)), size(bits)
        self.register_buffer("w", torch.zeros(shape, dtype=torch.uint8))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.plain: Tensor | None = None  # the weights as numbers, where no kernel reads `w`

    @staticmethod
    def of(linear: nn.Linear | nn.Embedding, bits: int) -> PackedLinear:
        """Its weights, each rounded to the nearest."""
        return packed([linear], [linear.weight], bits)[0]

    def take(self, weight: Tensor) -> None:
        """Take weights [N, K], each rounded to the nearest."""
        if kernel() is None:
            self.fill(*rounded(weight, self.bits))
            return
        whole = weight.contiguous()
        half = whole.dtype is torch.bfloat16
        whole = whole if half else whole.float()
        sizes = (int(half), ctypes.c_int64(self.outputs), ctypes.c_int64(self.inputs))
        kernel().genus_pack(self.bits, at(whole), *sizes, at(self.get_buffer("w")), torch.get_num_threads())

    def fill(self, q: Tensor, d: Tensor, m: Tensor) -> None:
        """Take these weights, as `rounded` gives them."""
        self.get_buffer("w").copy_(laid(q, d, m, self.bits))

    def numbers(self) -> Tensor:
        """The weights as they are, float32 [N, K]."""
        every = spread(self.get_buffer("w"), self.bits).transpose(1, 2).flatten(2).flatten(0, 1)
        return every[: self.outputs, : self.inputs]

    def rows(self, ids: Tensor) -> Tensor:
        """Rows of the weights, float32 [.., K]: it is an embedding as well."""
        flat = ids.flatten()
        found = spread(self.get_buffer("w")[flat // ROWS], self.bits)
        rows = found[torch.arange(len(flat)), :, flat % ROWS].flatten(1)
        return rows[:, : self.inputs].view(*ids.shape, self.inputs)

    def forward(self, x: Tensor) -> Tensor:
        """Float32."""
        if self.training and torch.is_grad_enabled():
            raise UsageError("weights of few bits are not trained; start from the run that was compressed")
        w, found = self.get_buffer("w"), kernel()
        if found is None:
            if self.plain is None:
                self.plain = self.numbers()
            return F.linear(x.float(), self.plain, self.bias)
        flat = x.float().reshape(-1, self.inputs).contiguous()
        y = torch.empty(len(flat), self.outputs)
        sizes = (len(flat), self.outputs, self.inputs)
        found.genus_product(self.bits, at(w), at(flat), *sizes, at(y), torch.get_num_threads())
        y = y.view(*x.shape[:-1], self.outputs)
        return y if self.bias is None else y + self.bias


def packed(linears: Sequence[nn.Linear | nn.Embedding], weights: Iterable[Tensor], bits: int) -> list[PackedLinear]:
    """Linear maps with other weights, each rounded to the nearest, in one place. weights: wanted one after another."""
    made = []
    for linear in linears:
        outputs, inputs = linear.weight.shape
        with torch.device("meta"):
            made.append(PackedLinear(inputs, outputs, bits))
        if isinstance(linear, nn.Linear) and linear.bias is not None:  # its own: that one may be trained on
            made[-1].bias = nn.Parameter(linear.bias.detach().float(), requires_grad=False)
    together(made)
    for part, weight in zip(made, weights, strict=True):
        part.eval().take(weight.detach())
    return made


def together(parts: Sequence[PackedLinear]) -> None:
    """Their weights move to one place, on large pages where the system has them: each is read whole for each token, and
    small pages cost a sixth of that. Weights of less than a few such pages stay where they are. Where there are none
    yet, there are zeros.
    """
    weights = [part.get_buffer("w") for part in parts]
    sizes = [-(-w.numel() // LINE) * LINE for w in weights]
    new = any(w.is_meta for w in weights)
    if not new and len({w.untyped_storage().data_ptr() for w in weights}) == 1 < len(parts):
        return
    if sum(sizes) < LARGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        for part, w in zip(parts, weights, strict=True):
            part.w = torch.zeros_like(w, device="cpu") if w.is_meta else w
        return
    room = mmap.mmap(-1, sum(sizes), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    room.madvise(mmap.MADV_HUGEPAGE)
    whole, start = torch.frombuffer(room, dtype=torch.uint8), 0
    for part, w, size in zip(parts, weights, sizes, strict=True):
        part.w = whole[start : start + w.numel()].view(w.shape)
        if not w.is_meta:
            part.w.copy_(w)
        start += size


def laid(q: Tensor, d: Tensor, m: Tensor, bits: int) -> Tensor:
    """What `rounded` gave as `packed.cpp` reads it: of a group of 16 rows each four columns of q, then d, then m."""
    q, d, m = (F.pad(x, (0, 0, 0, -len(x) % ROWS)) for x in (q, d, m))
    groups = grouped(q, bits).view(-1, ROWS, d.shape[1], group(bits) // 4, 4)
    blocks = groups.permute(0, 2, 3, 1, 4).flatten(3)
    if bits == 4:
        blocks = blocks[:, :, ::2] | blocks[:, :, 1::2] << 4
    scales = [x.view(-1, ROWS, x.shape[1]).transpose(1, 2).contiguous() for x in ((d,) if bits == 8 else (d, m))]
    return torch.cat([blocks.flatten(2), *(x.view(torch.uint8) for x in scales)], -1).contiguous()


def spread(w: Tensor, bits: int) -> Tensor:
    """What `laid` put together, [blocks, groups, bytes], as numbers: float32 [blocks, groups, ROWS, columns of one]."""
    if bits == HALF:
        pairs = w.view(torch.bfloat16).view(*w.shape[:-1], group(bits) // 2, ROWS, 2)
        return pairs.transpose(-3, -2).flatten(-2).float()
    whole = group(bits) * ROWS * bits // 8
    q, scales = w[..., :whole], w[..., whole:]
    if bits == 4:
        q = torch.stack([part.view(*q.shape[:-1], -1, 4 * ROWS) for part in (q & 15, q >> 4)], -2)
    turned = q.reshape(*w.shape[:-1], -1, ROWS, 4).transpose(-3, -2).flatten(-2).float()
    d, *m = scales.contiguous().view(torch.float16).float().view(*w.shape[:-1], -1, ROWS, 1).unbind(-3)
    numbers: Tensor = d * turned + (m[0] if m else -MIDDLE * d)
    return numbers


class _Sizes(ctypes.Structure):
    _fields_ = [*((name, ctypes.c_int32) for name in (*SIZES, "bits")), ("eps", ctypes.c_float)]


class _Layer(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("before", "middle", "qkv", "out", "up", "down")]


@final
class PackedLayers(nn.Module):
    """All layers of a decoder (RMSNorm, rotary places, SwiGLU, no biases) over a `Memory`, in one call."""

    def __init__(self, config: Any, layers: nn.ModuleList, bits: int) -> None:
        super().__init__()
        self.bits = bits
        self.sizes = _Sizes(*(getattr(config, name) for name in SIZES), bits, config.eps)
        products = [getattr(layer, name) for layer in layers for name in ("qkv", "out", "up", "down")]
        together(products)
        self.held: list[Tensor] = []
        rows = []
        for layer in layers:
            parts: Any = layer
            rows.append([norm.weight.detach().float().contiguous() for norm in (parts.before, parts.middle)])
            rows[-1] += [getattr(parts, name).get_buffer("w") for name in ("qkv", "out", "up", "down")]
        self.held = [x for row in rows for x in row]
        self.layers = (_Layer * len(rows))(*(_Layer(*(x.data_ptr() for x in row)) for row in rows))

    def __deepcopy__(self, memo: object) -> PackedLayers:
        return self  # it holds where numbers lie that never change

    def forward(self, h: Tensor, table: Table, memory: Memory) -> Tensor:
        """h [B, n, width], the next n cells of each row -> [B, n, width]. The memory is written, not moved."""
        batch, n, _ = h.shape
        h = h.float().contiguous().clone()
        numbers = ctypes.c_int32 * batch
        starts, like, common = (numbers(*x) for x in (memory.reserve(n), *memory.alike()))
        cos, sin = (x.squeeze(-2).float().expand(batch, n, -1).contiguous() for x in table)
        room = memory.k.shape[3]
        kernel().genus_layers(
            ctypes.byref(self.sizes), self.layers, at(h), batch, n, at(memory.k), at(memory.v),
            ctypes.c_int64(room), starts, like, common, at(cos), at(sin), torch.get_num_threads(),
        )  # fmt: skip
        return h
