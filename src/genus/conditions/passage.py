"""A passage in the same ids as x, read both ways by an encoder: tokens for a network that attends to what it is told.

The encoder's side of Vaswani et al. 2017 (arXiv 1706.03762) and Raffel et al. 2019 (arXiv 1910.10683), whose decoder is
any causal network that asks tokens apart. The passage is read behind a begin mark, so nothing told is a token too. What
a source gives is ids already; what is asked for is media, which the model encodes (`Conditioner.cells`). Where it is
missing, nothing is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, Self, final

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from genus.core import Cond, Conditioner, ConditionerConfig, NetworkConfig, Noise, Roads, Several, Space
from genus.errors import UsageError
from genus.parts import Any_

PASSAGE = "passage"


@final
class Passage(Conditioner):
    """fields["passage"], ids [n] or [1, n] each -> tokens [B, 1 + longest, width]; zeros behind shorter ones."""

    cells = PASSAGE

    def __init__(self, config: PassageConfig, space: Space) -> None:
        super().__init__()
        if space.vocab is None or len(space.dims) != 1 or space.channels != 1:
            raise UsageError(f"{config.kind} reads one sequence of tokens, not {space}; choose another conditioner")
        width, self.begin, self.most = config.width, space.vocab, config.most or space.dims[0]
        self.roads = Roads(tokens=width)
        self.embedding = nn.Embedding(space.vocab + 1, width)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        encoder = config.encoder.build(Space((1 + self.most,), width), Roads())
        if not isinstance(encoder, Several):
            raise UsageError(
                f"{config.kind}: {config.encoder.kind} cannot be kept from padding; use networks.transformer"
            )
        self.encoder = encoder

    def forward(self, fields: Mapping[str, Sequence[Any]], noise: Noise | None = None) -> Cond:
        """See the class. Of a passage that is too long the end is read."""
        column = fields.get(PASSAGE)
        size = len(next(iter(fields.values())))
        return self.read([None] * size if column is None else column)

    def null(self, batch: int) -> Cond:
        """Nothing told."""
        return self.read([None] * batch)

    def read(self, passages: Sequence[Tensor | None]) -> Cond:
        """Ids each, None: nothing."""
        rows = [torch.zeros(0, dtype=torch.long) if ids is None else ids.flatten()[-self.most :] for ids in passages]
        sizes = torch.tensor([1 + len(row) for row in rows])
        ids = torch.stack([F.pad(row.long(), (1, int(sizes.max()) - 1 - len(row)), value=self.begin) for row in rows])
        cells = torch.arange(ids.shape[1])
        # What stands behind a passage is a text of its own: nothing in the passage sees it.
        starts = (cells == 0) | (cells == sizes[:, None])
        device = self.embedding.weight.device
        x = self.embedding(ids.to(device))
        h = F.rms_norm(x + self.encoder.several(x.mT, starts.to(device)).mT.to(x.dtype), x.shape[-1:])
        return Cond(tokens=h * (cells < sizes[:, None]).to(device)[..., None])


@final
class PassageConfig(ConditionerConfig):
    """encoder: a network of numbers that reads several texts apart, looking both ways. width: of the tokens.

    most: ids that are read, the last ones; None: as many as x has cells.
    """

    kind: Literal["conditions.passage"] = "conditions.passage"
    encoder: Any_[NetworkConfig]
    width: int = Field(128, gt=0)
    most: int | None = Field(None, ge=1)

    @property
    def reads(self) -> tuple[str, ...]:
        """Nothing of a record: the passage is a part of the item."""
        return ()

    def fit(self, fields: Callable[[], Iterator[Mapping[str, Any]]]) -> Self:
        """Nothing is to be found in the data."""
        return self

    def sized(self, dial: int) -> Self:
        """Encoder and tokens, as wide as a network of this dial."""
        return self.but(encoder=self.encoder.sized(dial), width=32 * dial)

    def build(self, space: Space) -> Passage:
        """The module. Raises `UsageError` for x that is no sequence of ids, or an encoder that would read padding."""
        return Passage(self, space)
