"""What a recipe is: a tuple of phases, how its data is cleaned, and how its model is judged. Data only, no behaviour.

A recipe file (src/genus/recipes/NAME.py) says `RECIPE = Recipe(...)`. `--set part.field=value` reaches any field of it:
`--set training.rate=0.002`, `--set net.width=256`, `--set pretrain.objective.z_loss=0` (a phase's name may come first).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from genus.core import CodecConfig, ConditionerConfig, NetworkConfig, Objective, Sampler, Wrap
from genus.parts import Any_, Part


class Training(Part):
    """What the loop is told. Units: steps, samples, fractions of the whole run; rates are per step."""

    kind: Literal["train.training"] = "train.training"
    optimiser: Literal["adamw", "muon"] = "muon"  # muon: matrices by Muon, all else by AdamW
    rate: float = Field(1e-3, gt=0)  # AdamW's peak learning rate
    muon_rate: float = Field(0.02, gt=0)  # Muon's, for orthogonalised updates
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.95)
    weight_decay: float = Field(0.1, ge=0)
    warmup: float = Field(0.02, ge=0, le=1)
    cooldown: float = Field(0.4, ge=0, le=1)  # linear to zero over this last part; constant before (WSD)
    clip: float = Field(1.0, gt=0)
    ema: float = Field(0.0, ge=0, lt=1)  # horizon as a fraction of the steps done so far (power-function EMA); 0: none
    batch: int = Field(32, gt=0)  # samples a step
    micro: int | None = Field(None, gt=0)  # samples a pass; None: the whole batch, or what the memory allows
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    products: Literal["auto", "own", "bytes"] = "auto"  # of linear layers that learn in bf16; bytes: rounded to 8 bits
    compile: Literal["auto", "yes", "no"] = "auto"
    patience: int = Field(6, ge=1)  # stop after so many evaluations in a row without progress
    evaluations: int = Field(20, ge=1)  # on the validation split, in the whole run
    seed: int = Field(0, ge=0, lt=2**63)


class Phase(Part):
    """One training run: what is built, from what, and how. A later phase may use an earlier one's model."""

    kind: Literal["recipes.phase"] = "recipes.phase"
    name: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    codec: Any_[CodecConfig]
    nets: dict[str, Any_[NetworkConfig]]
    conditioner: Any_[ConditionerConfig] | None = None
    objective: Any_[Objective]
    sampler: Any_[Sampler] | None = None  # None: the objective's natural one
    wraps: tuple[Any_[Wrap], ...] = ()
    source: Any_[Part]  # data.packed, data.stacked
    training: Training = Training()
    start: str | None = None  # an earlier phase: all that is built, and its weights, are taken over from it
    adapter: Any_[Part] | None = None  # networks.lora: what is trained in place of the weights that were taken over
    share: float = Field(1.0, gt=0)  # of the recipe's budget, beside the other phases' shares
    sizing: Any_[Part] | None = None  # train.sizing: how a budget becomes size, batch and steps; None: as written

    def after(self, earlier: Mapping[str, Path]) -> Self:
        """Conditioner and wraps told where the models of earlier phases lie; codec and source are told when they are
        fitted and read.
        """
        conditioner = None if self.conditioner is None else self.conditioner.after(earlier)
        return self.but(conditioner=conditioner, wraps=tuple(wrap.after(earlier) for wrap in self.wraps))

    @property
    def borrowed(self) -> dict[str, Path]:
        """The models of earlier phases that these use."""
        parts = self.wraps if self.conditioner is None else (self.conditioner, *self.wraps)
        return {name: place for part in parts for name, place in part.borrowed.items()}

    @model_validator(mode="after")
    def _whole(self) -> Self:
        batch, micro = self.training.batch, self.training.micro
        if self.objective.whole and micro is not None and micro < batch:
            raise ValueError(
                f"{self.objective.kind} compares the samples of a batch, so it cannot be cut into training.micro = "
                f"{micro}; set training.batch to {micro} and leave micro out"
            )
        return self


class Recipe(Part):
    """One system, whole."""

    kind: Literal["recipes.recipe"] = "recipes.recipe"
    name: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    about: str
    family: Literal[
        "autoregression", "diffusion", "flow", "adversarial", "autoencoding", "masked", "contrastive", "classification"
    ]
    media: tuple[str, ...]  # what it can learn from: names of genus.media
    prompt: str = "none"  # where a prompt goes: none, prefix, turn (what a user says), or a field's name
    clean: tuple[Any_[Part], ...] = ()  # rules in order; empty: the medium's usual ones
    phases: tuple[Phase, ...] = Field(min_length=1)
    given: dict[str, str] = Field(default_factory=dict)  # phases that were trained elsewhere: name -> folder of a run
    measures: tuple[Any_[Part], ...]
    gate: Any_[Part]
