"""Attention over cells that have places on 1, 2 or 3 axes: rotary positions, the product, the memory of decoding.

The functions with a backward of their own do in a few passes over memory what torch's composed operators do in many: a
run that is too short to pay for compilation gains a third by them, a compiled one loses nothing.

Knows neither layers nor weights. Rotary positions: Su et al. 2021 (arXiv 2104.09864), the pairs of a head divided among
the axes. Tables are computed for the places asked for, so no size is baked into a network.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor

from genus.core import State

#: Up to so many keys the probabilities are kept for the backward pass; beyond, memory decides and torch recomputes.
KEPT = 1024
BLOCK = 128  # queries whose scores are worked out at once while training

Table = tuple[Tensor, Tensor]


def places(dims: tuple[int, ...], start: int | Tensor = 0, count: int | None = None) -> Tensor:
    """Coordinates [N, axes] of cells start..start + count in raster order; the first axis may run beyond `dims`.

    start: one for all, or [B], a start a row: then [B, N, axes].
    """
    if isinstance(start, Tensor):
        assert count is not None, "rows that start apart have one count"
        flat = start[:, None] + torch.arange(count)
    else:
        flat = torch.arange(start, start + (math.prod(dims) - start if count is None else count))
    columns: list[Tensor] = []
    for size in reversed(dims[1:]):
        columns.append(flat % size)
        flat = flat // size
    return torch.stack([flat, *reversed(columns)], dim=-1)


def rotary(place: Tensor, head: int, dtype: torch.dtype = torch.float32) -> Table:
    """Tables [.., N, 1, head] for `place` [.., N, axes]; pairs that no axis gets (head / 2 % axes) stand still.

    The longest wavelength is 2 pi x 10,000 on one axis (text), 2 pi x 100 on several (pictures are short).
    """
    axes = place.shape[-1]
    pairs = head // 2 // axes
    longest = 10_000.0 if axes == 1 else 100.0
    speed = longest ** -(torch.arange(pairs, dtype=torch.float32) / max(1, pairs))
    angle = (place[..., None].float() * speed).flatten(-2)  # [.., N, axes * pairs]
    return waves(F.pad(angle, (0, head // 2 - angle.shape[-1])), dtype)


def waves(angle: Tensor, dtype: torch.dtype = torch.float32) -> Table:
    """Tables [.., N, 1, head] of angles [.., N, head / 2]."""
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([cos, cos], -1).unsqueeze(-2).to(dtype), torch.cat([-sin, sin], -1).unsqueeze(-2).to(dtype)


@final
class Normal(torch.autograd.Function):
    """RMS normalisation over the last axis, without weights (Zhang and Sennrich 2019, arXiv 1910.07467)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        scale = (math.sqrt(x.shape[-1]) / length.clamp_min(1e-6)).to(x.dtype)
        y: Tensor = x * scale
        ctx.save_for_backward(y, scale)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        y, scale = ctx.saved_tensors
        along = torch.linalg.vecdot(g, y)[..., None] * (-1 / y.shape[-1])
        dx: Tensor = torch.addcmul(g, y, along) * scale
        return dx


@final
class Scaled(torch.autograd.Function):
    """RMS normalisation over the last axis, in float32, then times weights; keeps x and a number a row."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        wide = x.float()
        scale = (wide.square().mean(-1, keepdim=True) + eps).rsqrt()
        ctx.save_for_backward(x, weight, scale)
        return (wide * scale).to(x.dtype) * weight

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor | None, None]:
        x, weight, scale = ctx.saved_tensors
        n, dw = x.float() * scale, None
        if ctx.needs_input_grad[1]:
            dw = torch.mul(g, n).flatten(0, -2).sum(0).to(weight.dtype)
        along = torch.mul(g, weight).float()
        mean = torch.linalg.vecdot(along, n)[..., None] / x.shape[-1]
        return along.addcmul_(n, mean, value=-1).mul_(scale).to(x.dtype), dw, None


@final
class Turned(torch.autograd.Function):
    """Pairs (i, i + D / 2) of the last axis rotated; the gradient is the rotation back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return torch.addcmul(g * cos, g.roll(g.shape[-1] // 2, -1), sin, value=-1), None, None


@final
class Kept(torch.autograd.Function):
    """softmax(q k' / sqrt D) v with the probabilities kept: on CPUs twice as fast backward as torch's recomputation.

    q [B, N, D], k and v [B, M, D], heads counted in B; bias [B / heads, 1 or N, M] is added to the scores. Causal:
    N = M, and a bias with a row a query says itself what comes after it. In blocks of queries, whose scores stay in the
    cache; a causal block does not look at what comes after it.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, causal: bool, bias: Tensor | None = None) -> Tensor:
        scale, said, kept = 1 / math.sqrt(q.shape[-1]), [], []
        for start, stop, end in blocks(q.shape[1], k.shape[1], causal):
            some, keys = q[:, start:stop], k[:, :end].mT
            add = None
            if bias is not None:
                rows = bias[:, start:stop, :end] if bias.shape[1] > 1 else bias[:, :, :end]
                add = rows.repeat_interleave(len(q) // len(bias), 0)
            if causal and (bias is None or bias.shape[1] == 1):
                later = torch.full((stop - start, end), -1e9, dtype=q.dtype, device=q.device).triu(1 + start)
                add = later if add is None else later + add
            if add is None:
                p = torch.softmax(torch.bmm(some * scale, keys), -1)
            else:
                p = torch.softmax(torch.baddbmm(add, some, keys, alpha=scale), -1)
            kept.append(p)
            said.append(torch.bmm(p, v[:, :end]))
        ctx.save_for_backward(q, k, v, *kept)
        ctx.causal = causal
        return torch.cat(said, 1) if len(said) > 1 else said[0]

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        q, k, v, *kept = ctx.saved_tensors
        scale = 1 / math.sqrt(q.shape[-1])
        asked, keys, asks = q * scale, k * scale, []
        dk, dv = torch.zeros_like(k), torch.zeros_like(v)
        for p, (start, stop, end) in zip(kept, blocks(q.shape[1], k.shape[1], ctx.causal), strict=True):
            part = g[:, start:stop]
            ds = torch.ops.aten._softmax_backward_data(torch.bmm(part, v[:, :end].mT), p, -1, p.dtype)
            asks.append(torch.bmm(ds, keys[:, :end]))
            dk[:, :end] += torch.bmm(ds.mT, asked[:, start:stop])
            dv[:, :end] += torch.bmm(p.mT, part)
        return torch.cat(asks, 1), dk, dv, None, None


def blocks(queries: int, keys: int, causal: bool) -> list[tuple[int, int, int]]:
    """(first query, the one after the last, keys it may see) of each block."""
    ends = [(start, min(queries, start + BLOCK)) for start in range(0, queries, BLOCK)]
    return [(start, stop, stop if causal else keys) for start, stop in ends]


@final
class Relu2(torch.autograd.Function):
    """relu(x)^2 (So et al. 2021, arXiv 2109.08668)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        r = F.relu(x)
        ctx.save_for_backward(r)
        return r * r

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (r,) = ctx.saved_tensors
        return torch.addcmul(g.new_zeros(()), g, r, value=2)


def normal(x: Tensor) -> Tensor:
    """X over its root mean square along the last axis."""
    return taped(Normal, x)


def turn(x: Tensor, table: Table) -> Tensor:
    """X [B, N, heads, D] normalised (QK-norm: Henry et al. 2020, arXiv 2010.04245), then rotated."""
    return taped(Turned, taped(Normal, x), *table)


def taped(function: type[torch.autograd.Function], *args: Any) -> Tensor:
    """`function.apply`, which torch leaves untyped."""
    y: Tensor = function.apply(*args)  # type: ignore[no-untyped-call]
    return y


def begun(starts: Tensor) -> Tensor:
    """[B, N] bool, cells that begin a text -> [B, N]: where the text of each cell begins; the first one at 0."""
    cells = torch.arange(starts.shape[1], device=starts.device)
    return torch.where(starts, cells, 0).cummax(1).values


def walls(starts: Tensor, causal: bool, dtype: torch.dtype, mute: bool = False) -> Tensor:
    """[B, N, N], added to scores: a cell sees those of its own text, if causal up to itself. mute: no other cell sees
    the one that begins its text.
    """
    since, cells = begun(starts), torch.arange(starts.shape[1], device=starts.device)
    sees = since[:, :, None] == since[:, None]
    if causal:
        sees &= cells <= cells[:, None]
    if mute:
        sees &= (since != cells)[:, None] | (cells == cells[:, None])
    return torch.zeros(sees.shape, dtype=dtype, device=starts.device).masked_fill(~sees, -1e9)


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    causal: bool,
    seen: int | Tensor = 0,
    heard: Tensor | None = None,
    parted: Tensor | None = None,
) -> Tensor:
    """Q [B, N, heads, D], k and v [B, M, kv heads, D] -> [B, N, heads, D].

    causal: query i sees keys up to `seen + i`; seen: one for all, or [B], a number a row. heard: [B, M] bool, keys that
    count; None: all. parted: `walls` between the texts of a row, none of which was begun before; None: it is one text.
    Several query heads may share one key head (Ainslie et al. 2023, arXiv 2305.13245).
    """
    b, n, heads, d = q.shape
    m, shared = k.shape[1], heads // k.shape[2]
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    if shared > 1:
        k, v = k.repeat_interleave(shared, 1), v.repeat_interleave(shared, 1)
    bias = None
    if heard is not None:  # finite: a softmax over nothing must not be NaN
        bias = torch.zeros(heard.shape, dtype=q.dtype, device=q.device).masked_fill(~heard, -1e9)[:, None]
    bias = bias if parted is None else parted
    if torch.is_grad_enabled() and m <= KEPT and isinstance(seen, int) and not seen:
        flat = (q.reshape(b * heads, n, d), k.reshape(b * heads, m, d), v.reshape(b * heads, m, d))
        return taped(Kept, *flat, causal, bias).view(b, heads, n, d).transpose(1, 2)
    mask = None if bias is None else bias[:, None]
    if parted is not None:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2)
    if isinstance(seen, Tensor):
        last = seen[:, None] + torch.arange(n)
        later = (torch.arange(m) > last[..., None])[:, None].to(q.dtype) * -1e9
        mask = later if mask is None else mask + later
    elif causal and n > 1 and (seen or mask is not None):
        later = torch.full((n, m), -1e9, dtype=q.dtype, device=q.device).triu(1 + seen)
        mask = later if mask is None else mask + later
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal and n > 1 and mask is None)
    return y.transpose(1, 2)


@final
class Memory(State):
    """Keys and values of the cells read so far, a pair a layer, room made beforehand. Each row stands at its own cell.

    Those of a head lie together, [B, kv heads, cells, D]: a new cell reads them twice as fast. What is told before the
    cells takes the first places (`tell`). mute: so many cells at the front that the network gives no place here. ids:
    what was read, where it is read again. fed: cells that each row has read. family, common: rows with one number were
    copied from one, and so many of their first places hold the same.
    """

    def __init__(
        self, batch: int, cells: int, layers: int, heads: int, head: int, dtype: torch.dtype, mute: int = 0
    ) -> None:
        self.shape, self.dtype, self.mute = (layers, batch, heads, cells, head), dtype, mute
        self.k = torch.empty(self.shape, dtype=dtype)  # not touched before it is filled: a long window costs nothing
        self.v = torch.empty(self.shape, dtype=dtype)
        self.fed, self.told, self.filled = [0] * batch, 0, 0  # filled: places that hold numbers in every row
        self.family, self.common = list(range(batch)), [0] * batch
        self.heard: Tensor | None = None
        self.ids: Tensor | None = None

    def __len__(self) -> int:
        return len(self.fed)

    @property
    def size(self) -> int:
        """Bytes that are filled."""
        return 2 * self.filled * self.k[:, :, :, :1].numel() * self.k.element_size()

    def rewind(self, cells: Sequence[int]) -> None:
        """See `State`."""
        self.fed = list(cells)
        self.common = [min(n, self._place(fed)) for n, fed in zip(self.common, self.fed, strict=True)]

    def alike(self) -> tuple[list[int], list[int]]:
        """Of each row, the first one of its family, and how many places both have in common; 0 if it is alone."""
        firsts: dict[int, int] = {}
        like = [firsts.setdefault(family, row) for row, family in enumerate(self.family)]
        alone = {family for family, size in Counter(self.family).items() if size == 1}
        both = [min(self.common[row], self.common[first]) for row, first in enumerate(like)]
        return like, [0 if family in alone else n for family, n in zip(self.family, both, strict=True)]

    def take(self, rows: Sequence[int]) -> Memory:
        """See `State`."""
        return self._made([self], [list(rows)])

    def join(self, other: State) -> Memory:
        """See `State`."""
        assert isinstance(other, Memory) and other.told == self.told, "rows of one network, told as much"
        return self._made([self, other], [list(range(len(self))), list(range(len(other)))])

    def _made(self, parts: list[Memory], rows: list[list[int]]) -> Memory:
        """The rows of each part, one after another."""
        layers, _, heads, cells, head = self.shape
        made = Memory(sum(map(len, rows)), cells, layers, heads, head, self.dtype, self.mute)
        made.fed = [part.fed[row] for part, taken in zip(parts, rows, strict=True) for row in taken]
        made._kept(parts, rows)
        made.wanted, made.price = self.wanted, self.price
        if self.heard is not None:
            made.tell(
                torch.cat(
                    [part.heard[taken] for part, taken in zip(parts, rows, strict=True) if part.heard is not None]
                )[:, : self.told]
            )
        used = max((made._place(fed) for fed in made.fed), default=0)
        made._fit(used)
        at = 0
        for part, taken in zip(parts, rows, strict=True):
            if not taken:
                continue
            n, stop = min(used, part.filled), at + len(taken)
            for mine, theirs in ((made.k, part.k), (made.v, part.v)):
                mine[:, at:stop, :, :n] = theirs[:, taken, :, :n]
                mine[:, at:stop, :, n:used] = 0
            if part.ids is not None:
                if made.ids is None:
                    made.ids = part.ids.new_zeros(len(made), *part.ids.shape[1:])
                made.ids[at:stop] = part.ids[taken]
            at = stop
        made.filled = used
        return made

    def _kept(self, parts: list[Memory], rows: list[list[int]]) -> None:
        """Who is of which family, and what it has in common: all that was read, where all of it come from one row."""
        came = [(i, part.family[row], row) for i, part in enumerate(parts) for row in rows[i]]
        sources: dict[tuple[int, int], set[int]] = {}
        for i, family, row in came:
            sources.setdefault((i, family), set()).add(row)
        named = {key: number for number, key in enumerate(sources)}
        self.family = [named[i, family] for i, family, _ in came]
        self.common = [
            parts[i].common[row] if len(sources[i, family]) > 1 else parts[i]._place(parts[i].fed[row])
            for i, family, row in came
        ]

    def tell(self, heard: Tensor) -> None:
        """Make room for the tokens of a condition before the cells; those that count are `heard` [B, L]."""
        layers, batch, heads, cells, head = self.shape
        self.told = heard.shape[1]
        rest = torch.ones(batch, cells, dtype=torch.bool, device=heard.device)
        self.heard = torch.cat([heard, rest], 1)
        self.k = torch.empty(layers, batch, heads, self.told + cells, head, dtype=self.dtype)
        self.v = torch.empty_like(self.k)

    @property
    def even(self) -> bool:
        """Whether all rows have read as much."""
        return len(set(self.fed)) <= 1

    @property
    def cells(self) -> int | Tensor:
        """How many cells were read: one number if all rows are alike, else [B]."""
        return self.fed[0] if self.even else torch.tensor(self.fed)

    @property
    def seen(self) -> int | Tensor:
        """How many places are taken: one number if all rows are alike, else [B]."""
        return self._place(self.fed[0]) if self.even else torch.tensor([self._place(fed) for fed in self.fed])

    def _place(self, fed: int) -> int:
        return self.told + max(0, fed - self.mute) if fed else 0

    def _fill(self, places: int) -> None:
        """Zeros where rows apart leave gaps: what is masked must still be a number."""
        self._fit(places)
        if places > self.filled:
            stop = min(places + GAP, self.k.shape[3])
            self.k[:, :, :, self.filled : stop] = 0
            self.v[:, :, :, self.filled : stop] = 0
            self.filled = stop

    def _fit(self, places: int) -> None:
        """More room, where padding needs it."""
        more = places + GAP - self.k.shape[3]
        if more > GAP:
            self.k, self.v = F.pad(self.k, (0, 0, 0, more)), F.pad(self.v, (0, 0, 0, more))
            if self.heard is not None:
                self.heard = F.pad(self.heard, (0, more), value=True)

    def read(self, ids: Tensor) -> Tensor:
        """All ids [B, C, n] so far, these among them; behind a shorter row stand others."""
        n = ids.shape[2]
        if self.ids is None:
            self.ids = ids.new_zeros(*ids.shape[:2], self.shape[3])
        if max(self.fed) + n > self.ids.shape[2]:
            self.ids = F.pad(self.ids, (0, max(self.fed) + n - self.ids.shape[2]))
        for row, fed in enumerate(self.fed):
            self.ids[row, :, fed : fed + n] = ids[row]
        return self.ids[:, :, : max(self.fed) + n]

    def add(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Put in the new cells [B, n, heads, D]; returns all so far. The network calls `moved` after its last layer."""
        seen, n = self.seen, k.shape[1]
        if isinstance(seen, int):
            end = seen + n
            self.k[layer, :, :, seen:end] = k.transpose(1, 2)
            self.v[layer, :, :, seen:end] = v.transpose(1, 2)
        else:
            end = int(seen.max()) + n
            self._fill(end)
            rows, at = torch.arange(len(self))[:, None], seen[:, None] + torch.arange(n)
            self.k[layer][rows, :, at] = k
            self.v[layer][rows, :, at] = v
        return self.k[layer, :, :, :end].transpose(1, 2), self.v[layer, :, :, :end].transpose(1, 2)

    def reserve(self, n: int) -> list[int]:
        """Room for n cells more of each row; returns the place where those of each row go."""
        seen = [self._place(fed) for fed in self.fed]
        self._fill(max(seen, default=0) + n)
        return seen

    def moved(self, n: int) -> None:
        """All rows have read n cells more."""
        self.fed = [fed + n for fed in self.fed]
        self.filled = max(self.filled, min(map(self._place, self.fed), default=0))


GAP = 64  # places that are cleared at once
