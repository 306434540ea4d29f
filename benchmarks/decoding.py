"""Decoding of SmolLM2-135M beside llama.cpp and transformers: greedy tokens a second, prefill, and nats beside them.

    genus import smollm2 --name smol
    genus export smol --format hf -o smol-hf
    python benchmarks/decoding.py --run RUN --hf smol-hf --gguf SmolLM2-135M-Instruct.Q4_1.gguf --llama PYTHON

PYTHON has xllamacpp. Each engine works in a process of its own (llama.cpp in its own environment too), one thread each
unless --threads says more. They take turns, and the order turns round. Ratios are of each round's pairs, by the clock;
those by the processor's time, which other load on the machine moves less, stand beside them. All read the same weights:
those of the GGUF file. Nats are those of a fixed text under genus, rounded and not.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engines import Engine, asked, by_processor, clocks, ratios, told, turned

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "proofs"))
from proof import ROOT, Row, arguments, interval, write

PROMPT = "The history of the town begins with a river, and with the people who came to live beside it."
OURS = "genus:int4"
FORMS = (OURS, "genus:int8", "genus:bf16")
LIKE = ("genus:bf16", "transformers:bf16")  # the same numbers, so a ratio of their own
PEERS = {"llama": "llama.cpp", "transformers:bf16": "transformers bf16", "transformers:fp32": "transformers float32"}
#: At least so many times as fast.
BARS = {
    ("batch 1", "llama"): 1.1, ("batch 8", "llama"): 1.4, ("batch 16", "llama"): 1.4,
    ("batch 1", "transformers:bf16"): 3.5, ("batch 1", "transformers:fp32"): 3.5, ("prefill", "transformers:bf16"): 1.0,
}  # fmt: skip


def text() -> str:
    return (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def genus(args: Any, precision: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
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
            net = model.drawing(task["precision"])["net"]
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


def transformers(args: Any, precision: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
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


def llama(args: Any, precision: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
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


def serve(args: Any) -> None:
    """A child: tasks in, results out."""
    name, _, precision = args.engine.partition(":")
    work = ENGINES[name](args, precision)
    for task in asked():
        began = clocks()
        told(began, **work(task))


def rates(task: dict[str, Any], made: list[dict[str, Any]]) -> tuple[float, float, float]:
    """Tokens a second: (median, least, most)."""
    return interval([one.get("tokens", task["tokens"] * task.get("batch", 1)) / one["seconds"] for one in made])


def main() -> None:
    extra = {
        "--run": (str, None), "--gguf": (Path, None), "--llama": (str, None), "--hf": (str, None),
        "--threads": (int, 1), "--rounds": (int, 7), "--tokens": (int, 128), "--prefill": (int, 512),
        "--batches": (str, "1,8,16"), "--engines": (str, ",".join([*FORMS, *PEERS])), "--engine": (str, ""),
    }  # fmt: skip
    args = arguments(__doc__, extra)
    if args.engine:
        serve(args)
        return
    if args.run is None or not Path(args.run).is_dir():
        raise SystemExit(f"--run {args.run}: not the folder of a run; import SmolLM2 and name it")
    started = time.monotonic()
    there = {"llama": args.llama and args.gguf, "transformers": args.hf}
    tasks: dict[str, dict[str, Any]] = {
        f"batch {b}": {"what": "decode", "batch": int(b), "tokens": args.tokens} for b in args.batches.split(",")
    }
    if args.prefill:
        tasks["prefill"] = {"what": "prefill", "tokens": args.prefill}
    rows, details = list[Row](), list[Row]()
    with tempfile.TemporaryDirectory() as folder:
        engines = []
        for name in args.engines.split(","):
            if not there.get(name.split(":")[0], True):
                print(f"{name} is left out: its environment or file was not named", flush=True)
                continue
            python = args.llama if name == "llama" else sys.executable
            command = [python, __file__, "--engine", name, "--run", args.run, "--threads", str(args.threads)]
            command += ["--gguf", str(args.gguf), "--hf", str(args.hf)]
            engines.append(Engine(name, command, Path(folder) / f"{name}.log"))
        ours = engines[0]
        rounded = [name.partition(":")[2] for name in args.engines.split(",") if name in FORMS]
        whole = ours.ask(what="nats", tokens=512, precision="fp32")["nats"] if rounded else 0.0
        for precision in rounded:
            off = ours.ask(what="nats", tokens=512, precision=precision)["nats"] - whole
            rows.append(Row(f"nats a token, {precision} above float32", off, bar="<= 0.02", baseline=f"{whole:.3f}"))
        for what, task in tasks.items():
            found = {name: made[1:] for name, made in turned(engines, args.rounds + 1, **task).items()}
            for name, made in found.items():
                details.append(Row(f"{what}: {PEERS.get(name, name)}", *rates(task, made), unit="tokens/s"))
                if name not in PEERS or (what == "prefill" and name == "llama"):
                    continue  # llama.cpp tells the tokens of its prefill and the time itself, of a text cut elsewhere
                bar = BARS.get((what, name))
                said = interval(ratios(made, found[ours.name]))
                rows.append(
                    Row(
                        f"{what}: {ours.name} over {PEERS[name]}",
                        *said,
                        bar=f">= {bar}" if bar else None,
                        baseline=by_processor(made, found[ours.name]),
                    )
                )
            if set(LIKE) <= set(found):
                said = interval(ratios(found[LIKE[1]], found[LIKE[0]]))
                rows.append(Row(f"{what}: {LIKE[0]} over {PEERS[LIKE[1]]}", *said))
            print(what, "done", flush=True)
        for engine in engines:
            engine.end()
    note = (
        f"SmolLM2-135M-Instruct of the Q4_1 file; {args.threads} thread, greedy, {args.tokens} tokens behind a "
        f"prompt of one sentence, prefill of {args.prefill}; {args.rounds} rounds after one: median, least and most"
    )
    write(args, "decoding", [*rows, *details], time.monotonic() - started, note)


if __name__ == "__main__":
    main()
