"""Fine-tuning SmolLM2-135M beside trl's SFTTrainer, all weights and LoRA, and rollouts beside transformers' generate.

    genus import smollm2 --name smol
    genus export smol --format hf -o smol-hf
    python benchmarks/finetuning.py --run RUN --hf smol-hf --trl PYTHON_WITH_TRL

trl is in no environment of genus; install it beside one (`pip install trl peft accelerate datasets`). Both sides begin
from the same float32 weights, get the same batches of conversations (instruct_small, as `data.dialogue`
makes them: a row each, padded behind; `--packed 1`: rows that are full, cut from one stream; the loss counts what the
assistant says, or all), and take AdamW steps at one constant rate, clipped at a norm of 1, without decay. LoRA has
the same rank, scale, targets (all linear maps of the layers) and first A on both sides; where genus has one matrix
for queries, keys and values, it has one A for three.

genus is `train.loop` in bf16, as `genus train --recipe sft` runs it. trl is SFTTrainer as it comes: float32 weights,
bf16 autocast, activations worked out again in the backward pass (`trl`), and the same with activations kept
(`trl-kept`), which is faster. Each engine works in a process of its own and they take turns, a step each. Printed are
medians of the ratios inside a turn, by the clock and by the processor's time (which other load on the machine moves
less), the most memory that each process has held, and the largest distance of the loss curves.

Rollouts: `--answers` conversations, `--group` to a question as GRPO asks for them and other questions each turn,
answered by the model in training, at temperature 1 and unfiltered: up to `--longest` tokens, each answer as long as it
comes out, and once more with `--tokens` for all. Counted is what belongs to an answer, its end mark too: generate goes
on until the last one of a batch has ended. genus draws as `learned.attempts` does, with weights of 8 bits
(`source.precision=int8`) and of 16, packed anew for each batch: that is counted.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from engines import Engine, asked, by_processor, clocks, ratios, told, turned

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "proofs"))
from proof import Row, arguments, interval, shelf, write

RANK, ALPHA = 16, 32.0
RATES = {"full": 2e-5, "lora": 2e-4}
TARGETS = {
    "qkv": ("q_proj", "k_proj", "v_proj"),
    "out": ("o_proj",),
    "up": ("up_proj", "gate_proj"),
    "down": ("down_proj",),
}

# ------------------------------------------------------------------------------------------------------------ engines


def genus(args: Any, lora: bool) -> None:
    """The loop, as a phase of `sft` with `--from` would have it."""
    import torch
    from safetensors.torch import load_file

    from genus.core import Batch, Source
    from genus.networks.lora import LoraConfig
    from genus.recipe import Training
    from genus.run import load_model
    from genus.train.loop import Loop
    from genus.train.meter import Meter
    from genus.train.pace import Pace
    from genus.watch import Silent

    torch.set_num_threads(args.threads)
    data = load_file(args.shared / "batches.safetensors")

    class Fixed(Source):
        def batch(self, step: int) -> Batch:
            x, mask = data[f"x{step}"], data[f"mask{step}"]
            return Batch(x[:, None].long(), mask=mask[:, None])

    model = load_model(Path(args.run))[0]
    if lora:
        LoraConfig(rank=RANK, alpha=ALPHA).onto(model.nets, torch.bfloat16)
        first = load_file(args.shared / "lora.safetensors")
        for name, weight in model.nets.named_parameters():
            if name.endswith(".a"):
                _, _, layer, part, _ = name.split(".")
                weight.data.copy_(first[f"{layer}.{part}"])
    training = Training(
        optimiser="adamw", rate=RATES["lora" if lora else "full"], betas=(0.9, 0.999), weight_decay=0.0, warmup=0.0,
        cooldown=0.0, batch=args.batch, micro=args.micro,
    )  # fmt: skip
    loop = Loop(
        name="sft", model=model, training=training, source=Fixed(), evaluation=lambda: iter(()),
        pace=Pace(1_000_000, timed=False), precision=torch.bfloat16, folder=Path(os.devnull), meter=Meter(),
        watch=Silent(), loss=model.objective.loss,
    )  # fmt: skip
    for _ in asked():
        began = clocks()
        loss, norm = loop.step()
        told(began, loss=loss, norm=norm)


def trl(args: Any, lora: bool, kept: bool) -> None:
    """SFTTrainer, which takes a step when the parent asks for one."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    torch.set_num_threads(args.threads)
    data = load_file(args.shared / "batches.safetensors")
    rows = []
    for step in range(args.steps):
        for x, mask, length in zip(data[f"x{step}"], data[f"mask{step}"], data[f"length{step}"], strict=True):
            n = int(length)
            labels = torch.where(mask, x, -100)
            rows.append({"input_ids": x[:n].tolist(), "labels": labels[:n].tolist()})
    config = SFTConfig(
        output_dir=str(args.shared), report_to=[], use_cpu=True, bf16=True, gradient_checkpointing=not kept,
        per_device_train_batch_size=args.batch, max_steps=args.steps, learning_rate=RATES["lora" if lora else "full"],
        lr_scheduler_type="constant", warmup_steps=0, weight_decay=0.0, max_grad_norm=1.0, logging_steps=1,
        save_strategy="no", disable_tqdm=True, max_length=None, train_sampling_strategy="sequential",
        dataloader_num_workers=0,
    )  # fmt: skip
    adapter = None
    if lora:
        every = [name for names in TARGETS.values() for name in names]
        adapter = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=every, task_type="CAUSAL_LM")
    model = AutoModelForCausalLM.from_pretrained(args.hf, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(args.hf)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    trainer = SFTTrainer(
        model=model, args=config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer,
        peft_config=adapter,
    )  # fmt: skip
    if lora:
        first = load_file(args.shared / "lora.safetensors")
        place = {name: ours for ours, names in TARGETS.items() for name in names}
        for name, weight in trainer.model.named_parameters():
            if "lora_A" in name:
                words = name.split(".")
                weight.data.copy_(first[f"{words[words.index('layers') + 1]}.{place[words[-4]]}"])
    waiting = asked()

    class Turns(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            next(waiting)
            self.began = clocks()

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
            if "loss" not in logs:
                return
            told(self.began, loss=float(logs["loss"]), norm=float(logs.get("grad_norm", 0.0)))
            if next(waiting, None) is None:
                os._exit(0)
            self.began = clocks()

    trainer.add_callback(Turns())
    trainer.train()


def genus_rollouts(args: Any, precision: str, ends: bool) -> None:
    """Answers of a model whose weights stand as they do in training: in bf16."""
    from dataclasses import replace

    import torch

    from genus.core import Noise
    from genus.dialogue import Message
    from genus.learned.attempts import PLAINLY
    from genus.run import load_model

    torch.set_num_threads(args.threads)
    model = load_model(Path(args.run))[0]
    model.nets.to(torch.bfloat16)
    bias = {} if ends else dict.fromkeys(model.codec.space.stops, -1e9)
    knobs = {**PLAINLY, "logit_bias": bias, "precision": precision}
    for i, questions in enumerate(asked_of(args)):
        rows = [(Message("user", text),) for text in questions]
        noise = Noise(0).of(range(i * len(rows), (i + 1) * len(rows)))
        began = clocks()
        _, mask = replace(model).answers(noise, rows, args.longest if ends else args.tokens, **knobs)
        told(began, tokens=int(mask.sum()))


def transformers(args: Any, precision: str, ends: bool) -> None:
    """generate, with its own cache."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(args.threads)
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(args.hf, dtype=kind).eval()
    tokenizer = AutoTokenizer.from_pretrained(args.hf, padding_side="left")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    lengths = (
        {"max_new_tokens": args.longest} if ends else {"max_new_tokens": args.tokens, "min_new_tokens": args.tokens}
    )
    plain = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0, **lengths}
    stops = torch.tensor(model.generation_config.eos_token_id).flatten()
    torch.manual_seed(0)
    for questions in asked_of(args):
        texts = [
            tokenizer.apply_chat_template([{"role": "user", "content": q}], tokenize=False, add_generation_prompt=True)
            for q in questions
        ]
        inputs = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        began = clocks()
        with torch.no_grad():
            made = model.generate(**inputs, **plain)
        ended = torch.isin(made[:, inputs["input_ids"].shape[1] :], stops).long()
        told(began, tokens=int((ended.cumsum(1) - ended == 0).sum()))


def asked_of(args: Any) -> Iterator[list[str]]:
    """The questions of each turn, a turn when the parent asks for one."""
    every = json.loads((args.shared / "questions.json").read_text())
    for i, _ in enumerate(asked()):
        some = every[i * args.answers : (i + 1) * args.answers]
        assert len(some) == args.answers, "too few questions"
        yield some


ENGINES: dict[str, Callable[[Any], None]] = {
    "genus": lambda args: genus(args, False),
    "trl": lambda args: trl(args, False, False),
    "trl-kept": lambda args: trl(args, False, True),
    "genus-lora": lambda args: genus(args, True),
    "trl-lora": lambda args: trl(args, True, False),
    "trl-lora-kept": lambda args: trl(args, True, True),
}
#: Whether answers end where they come to an end, as those that a model learns from do: the bar is for these.
DRAWN = {"rollouts": True, "rollouts of one length": False}
for name, ends in DRAWN.items():
    ENGINES |= {
        f"genus, {name}, {bits}": partial(genus_rollouts, precision=bits, ends=ends) for bits in ("int8", "bf16")
    }
    ENGINES |= {f"transformers, {name}, {k}": partial(transformers, precision=k, ends=ends) for k in ("bf16", "fp32")}
GROUPS = {"full": ("genus", "trl", "trl-kept"), "lora": ("genus-lora", "trl-lora", "trl-lora-kept")}
GROUPS |= {name: tuple(engine for engine in ENGINES if f", {name}, " in engine) for name in DRAWN}


# --------------------------------------------------------------------------------------------------------- the parent


def prepared(args: Any) -> None:
    """What all engines read: batches, first corrections, questions."""
    import torch
    from safetensors.torch import save_file

    from genus.codecs.published import Published
    from genus.data.dialogue import DialogueConfig
    from genus.dialogue import Message, written
    from genus.run import in_memory, load_model

    model = load_model(Path(args.run))[0]
    codec = model.codec
    assert isinstance(codec, Published)
    folder = shelf(args, "instruct_small")
    records = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    asks = ["\n\n".join(part for part in (r["instruction"], r["input"]) if part) for r in records]
    texts = [
        written([Message("user", a), Message("assistant", r["output"])]) for a, r in zip(asks, records, strict=True)
    ]
    source = DialogueConfig(window=args.window)
    cache = in_memory(codec, texts, source)
    draws = source.over(cache, codec, 0, args.batch)
    tensors: dict[str, torch.Tensor] = {}
    stream = torch.from_numpy(cache.cells[:, 0].astype("int32"))
    for step in range(args.steps):
        if args.packed:
            size = args.batch * args.window
            x = stream.repeat(2)[torch.arange(size) + step * size % len(stream)].view(args.batch, args.window)
            mask = torch.ones_like(x, dtype=torch.bool)
            mask[:, 0] = False
            lengths = torch.full((args.batch,), args.window)
        else:
            batch = draws.batch(step)
            assert batch.mask is not None
            x, mask = batch.x[:, 0].int(), batch.mask[:, 0]
            lengths = torch.tensor([int(row.nonzero()[-1]) + 1 for row in mask])
        tensors |= {f"x{step}": x.contiguous(), f"mask{step}": mask.contiguous(), f"length{step}": lengths}
    save_file(tensors, args.shared / "batches.safetensors")
    net = model.nets["net"]
    torch.manual_seed(0)
    first = {}
    for layer, block in enumerate(net.blocks):  # type: ignore[arg-type, union-attr]
        for name in TARGETS:
            size = getattr(block, name).in_features
            first[f"{layer}.{name}"] = torch.randn(RANK, size) / size**0.5
    save_file(first, args.shared / "lora.safetensors")
    questions = [asks[i // args.group] for i in range(args.answers * (args.rounds + 1))]
    (args.shared / "questions.json").write_text(json.dumps(questions))


def command(name: str, args: Any) -> list[str]:
    """What runs an engine."""
    words = [args.trl if name.startswith("trl") else sys.executable, __file__]
    words += ["--run", args.run, "--engine", name, "--shared", str(args.shared), "--hf", str(args.hf)]
    for flag in ("threads", "steps", "batch", "tokens", "longest", "answers", "micro"):
        words += [] if getattr(args, flag) is None else [f"--{flag}", str(getattr(args, flag))]
    return words


def short(name: str) -> str:
    """An engine's name among those of its group."""
    engine, *_, kind = name.split(", ") if ", " in name else (name, "")
    return f"{engine} {kind}".strip()


def each_token(one: dict[str, Any]) -> dict[str, Any]:
    """The time of one, which is what engines are compared by where they make as many as they like."""
    return one | {clock: one[clock] / one["tokens"] for clock in ("seconds", "cpu")}


def compared(group: str, args: Any) -> tuple[list[Row], list[Row]]:
    """The engines of a group in turns: bars, and what stands behind them."""
    names = [name for name in GROUPS[group] if args.trl or not name.startswith("trl")]
    engines = [Engine(name, command(name, args), args.shared / f"{name}.log") for name in names]
    turns, warm = (args.rounds + 1, 1) if group in DRAWN else (args.steps, 2)
    whole = turned(engines, turns)
    found = {name: made[warm:] for name, made in whole.items()}
    for engine in engines:
        engine.end()
    rows, details = list[Row](), list[Row]()
    for name, made in list(found.items()):
        held = whole[name][-1]["peak"]
        said = f"{held / 1e6:,.0f} MB at most"
        if group in DRAWN:
            speeds = interval([one["tokens"] / one["seconds"] for one in made])
            said = f"{sum(one['tokens'] for one in made) / len(made) / args.answers:.1f} tokens an answer, {said}"
            made = found[name] = [each_token(one) for one in made]
            details.append(Row(f"{group}: {short(name)}", *speeds, baseline=said, unit="tokens/s"))
        else:
            details.append(
                Row(f"{group}: {name}", *interval([one["seconds"] for one in made]), baseline=said, unit="s")
            )
        if name.startswith("genus"):
            continue
        fast = (">= 5" if DRAWN[group] else None) if group in DRAWN else ">= 1.5"
        less = None if group in DRAWN else "0.8"
        ours = found[names[0]]
        times = interval(ratios(made, ours))
        rows.append(Row(f"{group}: genus over {short(name)}", *times, fast, by_processor(made, ours)))
        if less is not None:
            share = whole[names[0]][-1]["peak"] / held
            rows.append(Row(f"{group}: memory of genus, of that of {name}", share, bar=f"<= {less}"))
            off = max(abs(a["loss"] - b["loss"]) for a, b in zip(whole[names[0]], whole[name], strict=True))
            rows.append(Row(f"{group}: losses differ from {name} by at most", off, bar="<= 0.01", unit="nats"))
    return rows, details


def main() -> None:
    """See the module."""
    extra = {
        "--run": (str, None), "--hf": (str, None), "--trl": (str, None), "--groups": (str, ",".join(GROUPS)),
        "--threads": (int, 1), "--steps": (int, 12), "--batch": (int, 4), "--micro": (int, None),
        "--window": (int, 256), "--packed": (int, 0), "--answers": (int, 32), "--group": (int, 8),
        "--tokens": (int, 64), "--longest": (int, 256), "--rounds": (int, 3), "--engine": (str, ""),
        "--shared": (Path, None),
    }  # fmt: skip
    args = arguments(__doc__, extra)
    if args.engine:
        ENGINES[args.engine](args)
        return
    shelf(args, "instruct_small")
    if args.run is None or not Path(args.run).is_dir() or args.hf is None:
        raise SystemExit("name the folder of a run (--run) and of its export (--hf), as --help says")
    started, rows, details = time.monotonic(), list[Row](), list[Row]()
    with tempfile.TemporaryDirectory() as folder:
        args.shared = Path(folder)
        prepared(args)
        for group in args.groups.split(","):
            bars, rest = compared(group, args)
            rows, details = [*rows, *bars], [*details, *rest]
            print(f"{group}: done", flush=True)
    note = (
        f"SmolLM2-135M-Instruct, {args.threads} thread; {args.steps} steps of {args.batch} conversations, "
        f"{args.window} tokens at most{', packed' if args.packed else ''}, the first two not timed; rollouts: "
        f"{args.answers} answers of up to {args.longest} tokens, or of {args.tokens} each, {args.group} to a question, "
        f"{args.rounds} rounds after one, by the time of a token of an answer; genus over others: in 8 bits. "
        "Ratios by the clock, turn by turn: median, least and most"
    )
    write(args, "finetuning", [*rows, *details], time.monotonic() - started, note)


if __name__ == "__main__":
    main()
