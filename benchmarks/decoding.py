"""Decoding of SmolLM2-135M beside llama.cpp and transformers: greedy tokens a second, prefill, and nats beside them.

    genus import smollm2 --name smol
    genus export smol --format hf -o smol-hf
    python benchmarks/decoding.py RUN --hf smol-hf --gguf SmolLM2-135M-Instruct.Q4_1.gguf --llama PYTHON_WITH_XLLAMACPP

Each engine works in a process of its own (llama.cpp in its own environment too), one thread each unless --threads says
more. They take turns, and the order turns round. Printed are medians of tokens a second by the clock and by the
processor's time (which other load on the machine moves less), and ratios of each round's pairs. All read the same
weights: those of the GGUF file. Nats are those of a fixed text under genus, rounded and not.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

PROMPT = "The history of the town begins with a river, and with the people who came to live beside it."
ROUNDS = 7


def spent() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def text() -> str:
    return (Path(__file__).resolve().parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")


def genus(args: argparse.Namespace, precision: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    import torch

    from genus.core import Known, Noise
    from genus.run import Run

    torch.set_num_threads(args.threads)
    model = Run(args.run).model()
    ends = dict.fromkeys(model.codec.space.stops, -100.0)

    def known(ids: list[int], batch: int) -> Known:
        x = torch.tensor([ids]).expand(batch, 1, -1)
        return Known(x, torch.ones_like(x, dtype=torch.bool))

    def work(task: dict[str, Any]) -> dict[str, Any]:
        if task["what"] == "nats":
            net = model.drawing(precision)["net"]
            ids = torch.tensor(model.codec.ids([text()])[0][: task["tokens"]])  # type: ignore[attr-defined]
            x = torch.cat([torch.tensor([model.space.vocab]), ids])[None, None]
            with torch.no_grad():
                said = net(x[:, :, :-1], state=net.start(1, x.shape[2]))[0, 0]
            return {"nats": float(torch.nn.functional.cross_entropy(said, x[0, 0, 1:]))}
        ids = model.codec.ids([text() if task["what"] == "prefill" else PROMPT])[0]  # type: ignore[attr-defined]
        batch, tokens = task.get("batch", 1), task["tokens"]
        if task["what"] == "prefill":
            ids, tokens = ids[: task["tokens"]], 1
        knobs = {"temperature": 0, "tokens": tokens, "precision": precision, "logit_bias": ends}
        x = None
        for x in model.stream(Noise(0, tuple(range(batch))), {}, known(ids, batch), **knobs):
            pass
        assert x is not None
        return {"ids": x[0, 0, len(ids) :].tolist()[:16]}

    return work


def transformers(args: argparse.Namespace, precision: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(args.threads)
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(args.hf, dtype=kind).eval()
    tokenizer = AutoTokenizer.from_pretrained(args.hf)

    def work(task: dict[str, Any]) -> dict[str, Any]:
        batch, tokens = task.get("batch", 1), task["tokens"]
        said = text() if task["what"] == "prefill" else PROMPT
        ids = tokenizer(said, return_tensors="pt", add_special_tokens=False).input_ids
        if task["what"] == "prefill":
            ids, tokens = ids[:, : task["tokens"]], 1
        ids = ids.expand(batch, -1)
        with torch.no_grad():
            made = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=tokens,
                min_new_tokens=tokens,
                pad_token_id=0,
            )
        return {"ids": made[0, ids.shape[1] :].tolist()[:16]}

    return work


def llama(args: argparse.Namespace, precision: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    from concurrent.futures import ThreadPoolExecutor

    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(args.gguf)
    params.n_parallel, params.n_ctx, params.warmup, params.cache_prompt = 16, 16 * 1024, False, False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = args.threads
    server = xllamacpp.Server(params)

    def ask(prompt: str, tokens: int) -> dict[str, Any]:
        asked = {"prompt": prompt, "n_predict": tokens, "temperature": 0, "ignore_eos": True, "cache_prompt": False}
        made: dict[str, Any] = server.handle_completions(asked)
        return made

    def work(task: dict[str, Any]) -> dict[str, Any]:
        if task["what"] == "prefill":
            words = text()[: task["tokens"] * 4]
            made = ask(words, 1)["timings"]
            return {"tokens": made["prompt_n"], "seconds": made["prompt_ms"] / 1e3}
        with ThreadPoolExecutor(task["batch"]) as pool:
            made = list(pool.map(lambda _: ask(PROMPT, task["tokens"]), range(task["batch"])))
        return {"text": made[0]["choices"][0]["text"][:60]}

    return work


ENGINES = {"genus": genus, "transformers": transformers, "llama": llama}


def serve(args: argparse.Namespace) -> None:
    """A child: tasks in, a line each; results out."""
    name, _, precision = args.engine.partition(":")
    work = ENGINES[name](args, precision)
    print("ready", flush=True)
    for line in sys.stdin:
        task = json.loads(line)
        clock, used = time.perf_counter(), spent()
        said = work(task)
        said = {"seconds": time.perf_counter() - clock, "cpu": spent() - used, **said}
        print("result " + json.dumps(said), flush=True)


class Engine:
    """A child process."""

    def __init__(self, name: str, args: argparse.Namespace) -> None:
        python = args.llama if name == "llama" else sys.executable
        command = [
            python,
            __file__,
            args.run,
            "--gguf",
            str(args.gguf),
            "--threads",
            str(args.threads),
            "--hf",
            str(args.hf),
            "--engine",
            name,
        ]
        self.child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.name = name
        self._read("ready")

    def _read(self, mark: str) -> str:
        assert self.child.stdout is not None
        for line in self.child.stdout:
            if line.startswith(mark):
                return line[len(mark) :]
        raise SystemExit(f"{self.name} ended; run it alone with --engine {self.name} to see why")

    def ask(self, **task: Any) -> dict[str, Any]:
        assert self.child.stdin is not None
        self.child.stdin.write(json.dumps(task) + "\n")
        self.child.stdin.flush()
        said: dict[str, Any] = json.loads(self._read("result "))
        return said


def main() -> None:
    read = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    read.add_argument("run", help="the folder of the imported run")
    read.add_argument("--gguf", type=Path, required=True)
    read.add_argument("--llama", help="a Python that has xllamacpp")
    read.add_argument("--hf", help="the run as a folder of Hugging Face, for transformers")
    read.add_argument("--threads", type=int, default=1)
    read.add_argument("--rounds", type=int, default=ROUNDS)
    read.add_argument("--tokens", type=int, default=128)
    read.add_argument("--batches", type=int, nargs="*", default=[1, 8, 16])
    read.add_argument("--prefill", type=int, default=512)
    read.add_argument(
        "--engines", nargs="*", default=["genus:int4", "genus:int8", "llama", "transformers:fp32", "transformers:bf16"]
    )
    read.add_argument("--engine", help=argparse.SUPPRESS)
    args = read.parse_args()
    if args.engine:
        serve(args)
        return
    there = {"llama": args.llama, "transformers": args.hf}
    engines = [Engine(name, args) for name in args.engines if there.get(name.split(":")[0], True)]
    tasks: dict[str, dict[str, Any]] = {
        f"batch {b}": {"what": "decode", "batch": b, "tokens": args.tokens} for b in args.batches
    }
    if args.prefill:
        tasks["prefill"] = {"what": "prefill", "tokens": args.prefill}
    found: dict[str, Any] = {}
    for engine in engines:
        if engine.name.startswith("genus"):
            found[f"nats/{engine.name}"] = engine.ask(what="nats", tokens=512)["nats"]
    print(json.dumps(found), flush=True)
    for what, task in tasks.items():
        rates: dict[str, list[tuple[float, float]]] = {engine.name: [] for engine in engines}
        for turn in range(args.rounds + 1):
            for engine in engines if turn % 2 else engines[::-1]:
                said = engine.ask(**task)
                count = said.get("tokens", task["tokens"] * task.get("batch", 1))
                if turn:  # the first one warms up
                    rates[engine.name].append((count / said["seconds"], count / max(said["cpu"], 1e-9)))
        first = engines[0].name
        for name, pairs in rates.items():
            ratio = [median(a[k] / b[k] for a, b in zip(rates[first], pairs, strict=True)) for k in (0, 1)]
            row = {
                "task": what,
                "engine": name,
                "tokens_a_second": round(median(p[0] for p in pairs), 1),
                "by_cpu_time": round(median(p[1] for p in pairs), 1),
                f"{first}_over_it": round(ratio[0], 2),
                f"{first}_over_it_by_cpu_time": round(ratio[1], 2),
            }
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
