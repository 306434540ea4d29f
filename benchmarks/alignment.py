"""Losses and gradients of DPO, KTO, PPO's clip and GRPO beside trl's, on one model and one batch, relative.

trl is in no environment of genus; install it beside one (`pip install trl peft accelerate datasets`). A small GPT-2 of
transformers is the network of both: the trainers of trl compute their loss on it, genus' objectives theirs through a
network that calls it. Prints one JSON object; exits with 1 beyond 1e-4.
"""

from __future__ import annotations

import json
import sys
import tempfile
from typing import Any

import torch
from torch import Tensor, nn

from genus.core import Batch, Cond, Network, Space, State
from genus.objectives.policy import Policy
from genus.objectives.preference import Preference
from genus.objectives.unpaired import Unpaired

VOCAB, PROMPT, ANSWER, PAIRS = 40, 5, 9, 4


class Wrapped(Network):
    """A causal model of transformers whose first id serves as the begin mark."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.space = model, Space((PROMPT + ANSWER,), 1, VOCAB)

    def forward(self, x: Tensor, t: Tensor | None = None, cond: Cond = Cond(), state: State | None = None) -> Tensor:
        """[B, 1, T] -> [B, 1, T, vocab]."""
        y: Tensor = self.model(input_ids=torch.where(x == VOCAB, 0, x)[:, 0]).logits
        return y[:, None]


def tokenizer() -> Any:
    """One that the trainers ask for and that this never uses."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(WordLevel({f"w{i}": i for i in range(VOCAB)}, unk_token="w1"))
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="w0", eos_token="w2", unk_token="w1")


def gpt2(seed: int) -> Any:
    """Two layers, no dropout."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    sizes = {"vocab_size": VOCAB, "n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 2}
    still = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return GPT2LMHeadModel(GPT2Config(**sizes, **still, bos_token_id=0, eos_token_id=2, pad_token_id=0))


def gradients(model: nn.Module, loss: Tensor) -> Tensor:
    """All gradients as one vector."""
    model.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten().clone() for p in model.parameters() if p.grad is not None])


def compared(model: Any, theirs: Tensor, ours: Tensor) -> dict[str, float]:
    """Relative differences of two losses and of their gradients."""
    a, b = gradients(model, theirs), gradients(model, ours)
    scale = max(1e-3, abs(theirs.item()))
    return {
        "loss": round(theirs.item(), 6),
        "loss_off": abs(theirs.item() - ours.item()) / scale,
        "gradient_off": float((a - b).norm() / a.norm()),
    }


def log_probs(model: Any, ids: Tensor) -> Tensor:
    """[B, T] of ids behind a begin mark."""
    begun = torch.cat([torch.zeros_like(ids[:, :1]), ids[:, :-1]], 1)
    with torch.no_grad():
        return model(input_ids=begun).logits.log_softmax(-1).gather(-1, ids[..., None])[..., 0]


def dpo(folder: str) -> dict[str, Any]:
    """trl's DPOTrainer on pairs of unequal lengths."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    model, reference = gpt2(0), gpt2(1)
    rows = Dataset.from_list([{"prompt": "w3", "chosen": " w4", "rejected": " w5"}] * 4)
    found = {}
    for name, knobs, kind in (
        ("sigmoid", {}, {}),
        ("ipo", {"shape": "squared", "normalised": True}, {"loss_type": ["ipo"]}),  # trl takes means over cells here
    ):
        config = DPOConfig(output_dir=folder, report_to=[], beta=0.3, use_cpu=True, bf16=False, **kind)
        trainer = DPOTrainer(
            model=model, ref_model=reference, args=config, train_dataset=rows, processing_class=tokenizer()
        )
        trainer.model.eval()
        torch.manual_seed(2)
        ids = torch.randint(3, VOCAB, (2 * PAIRS, PROMPT + ANSWER))
        ids[PAIRS:, :PROMPT] = ids[:PAIRS, :PROMPT]
        length = torch.randint(2, ANSWER + 1, (2 * PAIRS, 1))
        said = (torch.arange(PROMPT + ANSWER) >= PROMPT) & (torch.arange(PROMPT + ANSWER) < PROMPT + length)
        begun = torch.cat([torch.zeros_like(ids[:, :1]), ids], 1)
        mask = torch.cat([torch.zeros_like(said[:, :1]), said], 1)
        inputs = {"input_ids": begun, "attention_mask": torch.ones_like(begun), "completion_mask": mask.long()}
        theirs = trainer.compute_loss(trainer.model, inputs)
        nats = (log_probs(reference, ids) * said).sum(1)
        extra = {
            "said": said[:PAIRS, None],
            "rejected": ids[PAIRS:, None],
            "rejected_said": said[PAIRS:, None],
            "reference": torch.stack([nats[:PAIRS], nats[PAIRS:]], 1),
        }
        nets = {"net": Wrapped(model)}
        ours, _ = Preference(beta=0.3, **knobs).loss(nets, Batch(ids[:PAIRS, None], extra=extra), {}, "main")
        found[name] = compared(model, theirs, ours)
    return found


def kto(folder: str) -> dict[str, Any]:
    """trl's KTOTrainer on answers of unequal lengths."""
    from datasets import Dataset
    from trl import KTOConfig, KTOTrainer

    model, reference = gpt2(0), gpt2(1)
    rows = Dataset.from_list([{"prompt": "w3", "completion": " w4", "label": bool(i % 2)} for i in range(8)])
    weights = {"desirable_weight": 1.2, "undesirable_weight": 0.7}
    config = KTOConfig(output_dir=folder, report_to=[], beta=0.3, use_cpu=True, bf16=False, **weights)
    trainer = KTOTrainer(
        model=model, ref_model=reference, args=config, train_dataset=rows, processing_class=tokenizer()
    )
    trainer.model.eval()
    torch.manual_seed(6)
    n, cells = 8, PROMPT + ANSWER
    ids = torch.randint(3, VOCAB, (2 * n, cells))
    length = torch.randint(2, ANSWER + 1, (2 * n, 1))
    said = (torch.arange(cells) >= PROMPT) & (torch.arange(cells) < PROMPT + length)
    ids[n:, :PROMPT] = ids[:n, :PROMPT]
    begun = torch.cat([torch.zeros_like(ids[:, :1]), ids], 1)
    mask = torch.cat([torch.zeros_like(said[:, :1]), said], 1).long()
    good = torch.tensor([True, False, True, True, False, True, False, True])
    inputs = {"label": good}
    for name, part in (("", slice(0, n)), ("KL_", slice(n, 2 * n))):
        inputs |= {
            f"{name}input_ids": begun[part],
            f"{name}attention_mask": torch.ones_like(begun[part]),
            f"{name}completion_mask": mask[part],
        }
    theirs = trainer.compute_loss(trainer.model, inputs)
    nats = (log_probs(reference, ids) * said).sum(1)
    extra = {
        "good": good.float(),
        "reference": nats[:n],
        "other": ids[n:, None],
        "other_said": said[n:, None],
        "other_reference": nats[n:],
    }
    batch = Batch(ids[:n, None], mask=said[:n, None], extra=extra)
    ours, told = Unpaired(beta=0.3, wanted=1.2, unwanted=0.7).loss({"net": Wrapped(model)}, batch, {}, "main")
    return {"kto": {**compared(model, theirs, ours), "apart": round(float(told["apart"]), 3)}}


def grpo(folder: str) -> dict[str, Any]:
    """trl's GRPOTrainer, off the policy that drew, with a reference."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    model, old, reference = gpt2(0), gpt2(3), gpt2(1)
    with torch.no_grad():  # near enough that some cells are clipped and some are not
        for p, q in zip(old.parameters(), model.parameters(), strict=True):
            p.copy_(q + 0.05 * torch.randn_like(q))
    rows = Dataset.from_list([{"prompt": "w3"}] * 8)
    found = {}
    for name, kind, knobs, kl in (
        ("grpo", {"loss_type": "grpo"}, {}, 0.1),
        ("ppo", {"loss_type": "bnpo"}, {"over": "cells"}, 0.0),  # the clip by itself
        ("dapo", {"loss_type": "bnpo", "epsilon_high": 0.3}, {"over": "cells", "high": 0.3}, 0.1),
    ):
        config = GRPOConfig(
            output_dir=folder, report_to=[], use_cpu=True, bf16=False, use_bias_correction_kl=False, num_generations=4,
            per_device_train_batch_size=8, max_completion_length=ANSWER, **kind,
        )  # fmt: skip
        trainer = GRPOTrainer(
            model=model, reward_funcs=lambda completions, **_: [0.0] * len(completions), args=config,
            train_dataset=rows, processing_class=tokenizer(),
        )  # fmt: skip
        trainer.beta = kl  # set here: the trainer would look for its reference on a server
        trainer.model.eval()
        torch.manual_seed(4)
        n, cells = 8, PROMPT + ANSWER
        ids = torch.randint(3, VOCAB, (n, cells))
        length = torch.randint(2, ANSWER + 1, (n, 1))
        said = torch.arange(ANSWER) < length
        prompt = torch.cat([torch.zeros_like(ids[:, :1]), ids[:, :PROMPT]], 1)
        before, far = (log_probs(m, ids) for m in (old, reference))
        advantage = torch.randn(n)
        inputs = {
            "prompt_ids": prompt,
            "prompt_mask": torch.ones_like(prompt),
            "completion_ids": ids[:, PROMPT:],
            "completion_mask": said.long(),
            "advantages": advantage,
            "old_per_token_logps": before[:, PROMPT:],
            "ref_per_token_logps": far[:, PROMPT:],
            "num_items_in_batch": said.sum(),
        }
        theirs = trainer.compute_loss(trainer.model, inputs)
        mask = torch.cat([torch.zeros(n, PROMPT, dtype=torch.bool), said], 1)[:, None]
        extra = {"old": before[:, None], "reference": far[:, None], "reward": advantage}
        batch = Batch(ids[:, None], mask=mask, weight=advantage, extra=extra)
        ours, told = Policy(kl=kl, **knobs).loss({"net": Wrapped(model)}, batch, {}, "main")
        found[name] = {**compared(model, theirs, ours), "clipped": round(float(told["clipped"]), 3)}
    return found


def main() -> int:
    """See the module."""
    try:
        import trl
    except ImportError:
        print("skipped: this benchmark compares with trl; pip install trl peft accelerate datasets")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        found = {"trl": trl.__version__, "dpo": dpo(folder), "kto": kto(folder), "grpo": grpo(folder)}
    print(json.dumps(found, indent=1))
    rows = [*found["dpo"].values(), *found["kto"].values(), *found["grpo"].values()]
    return int(any(row["loss_off"] > 1e-4 or row["gradient_off"] > 1e-4 for row in rows))


if __name__ == "__main__":
    sys.exit(main())
