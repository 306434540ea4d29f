from __future__ import annotations

import base64
import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import uvicorn
from deploy_toys import gated, image_run, text_run

from genus import files
from genus.deploy import app, completions, generate, reproduce, serve
from genus.deploy.server import _listen, served
from genus.errors import GenusError, UsageError
from genus.media import image
from genus.run import Run


class Live:
    """The application behind a real server on a free port of the loopback."""

    def __init__(self, runs: list[Run], **options: Any) -> None:
        self.app = app(runs, **options)
        self.runs = {run.name: run for run in runs}
        self.listener = _listen("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.server = uvicorn.Server(uvicorn.Config(self.app, log_level="error", timeout_graceful_shutdown=2))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.listener]})
        self.thread.start()
        while not self.server.started:
            time.sleep(0.005)
        self.client = openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=30)

    def close(self) -> None:
        self.client.close()
        self.server.should_exit = True
        self.thread.join()
        self.listener.close()

    def idle(self) -> None:
        until = time.monotonic() + 20
        while len(self.app.state.worker):
            assert time.monotonic() < until, "work goes on that nobody waits for"
            time.sleep(0.01)

    def post(self, path: str, **body: Any) -> httpx.Response:
        return httpx.post(self.url + path, json=body, timeout=30)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    home = tmp_path_factory.mktemp("home")
    live = Live([text_run(home / "tales"), image_run(home / "shapes"), image_run(home / "pets", labels=True)])
    yield live
    live.close()


@pytest.fixture
def slow(live: Live) -> Iterator[Any]:
    net: Any = live.runs["tales"].model().nets["net"]
    net.delay = 0.01
    yield net
    net.delay, net.broken = 0.0, False


def streamed(live: Live, **asked: Any) -> tuple[dict[int, str], list[Any]]:
    chunks = list(live.client.completions.create(stream=True, **asked))
    texts: dict[int, str] = {}
    for chunk in chunks:
        for choice in chunk.choices:
            texts[choice.index] = texts.get(choice.index, "") + choice.text
    return texts, chunks


# ---------------------------------------------------------------------------------------------------------- models


def test_models(live: Live) -> None:
    models = live.client.models.list().data
    assert [model.id for model in models] == ["tales", "shapes", "pets"]
    assert models[1].model_extra["genus"]["endpoint"] == "/v1/images/generations"
    assert live.client.models.retrieve("pets").owned_by == "genus"
    with pytest.raises(openai.NotFoundError) as caught:
        live.client.models.retrieve("nobody")
    assert caught.value.code == "model_not_found"
    assert httpx.get(f"{live.url}/health").json()["status"] == "ok"


# ----------------------------------------------------------------------------------------------------- completions


def test_a_completion_is_the_sample_of_its_seed(live: Live) -> None:
    answer = live.client.completions.create(model="tales", prompt="Gr", max_tokens=40, n=10, seed=3)
    wanted = generate(live.runs["tales"], "Gr", 10, 3, None, {"tokens": 40}).items
    assert ["Gr" + choice.text for choice in answer.choices] == wanted
    assert [choice.index for choice in answer.choices] == list(range(10))
    assert {choice.finish_reason for choice in answer.choices} == {"stop", "length"}
    assert all(choice.logprobs is None for choice in answer.choices)
    assert answer.object == "text_completion"
    assert answer.usage is not None
    drawn = sum(len(c.text.encode()) if c.finish_reason == "stop" else 40 for c in answer.choices)
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (2, drawn)
    assert answer.usage.total_tokens == drawn + 2
    again = live.client.completions.create(model="tales", prompt="Gr", max_tokens=40, n=10, seed=3)
    assert again.choices == answer.choices
    assert again.system_fingerprint == answer.system_fingerprint


def test_without_a_seed_the_answer_says_which(live: Live) -> None:
    first, second = (live.client.completions.create(model="tales", prompt="", max_tokens=30, n=8) for _ in "ab")
    assert [c.text for c in first.choices] != [c.text for c in second.choices]
    seed = first.model_extra["genus"]["seed"]
    again = live.client.completions.create(model="tales", prompt="", max_tokens=30, n=8, seed=seed)
    assert again.choices == first.choices


def test_a_stream_says_the_same(live: Live) -> None:
    asked = {"model": "tales", "prompt": "Gr", "max_tokens": 40, "n": 9, "seed": 3}
    whole = live.client.completions.create(**asked)
    texts, chunks = streamed(live, **asked, stream_options={"include_usage": True})
    assert [texts[i] for i in range(9)] == [choice.text for choice in whole.choices]
    assert len(chunks) > 50
    assert not any("\ufffd" in choice.text for chunk in chunks for choice in chunk.choices)
    ends = {c.index: c.finish_reason for chunk in chunks for c in chunk.choices if c.finish_reason}
    assert ends == {choice.index: choice.finish_reason for choice in whole.choices}
    assert chunks[-1].usage == whole.usage
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert len({chunk.id for chunk in chunks}) == 1
    assert any("🌍" in text for text in texts.values())


def test_a_stream_arrives_while_it_is_drawn(live: Live, slow: Any) -> None:
    stream = live.client.completions.create(model="tales", prompt="", max_tokens=40, n=2, seed=1, stream=True)
    times = [time.monotonic() for _ in stream]
    assert times[-1] - times[0] > 0.15
    assert len(times) > 8


def test_the_end_of_a_raw_stream(live: Live) -> None:
    said = live.post("/v1/completions", model="tales", max_tokens=8, seed=0, stream=True)
    assert said.headers["content-type"].startswith("text/event-stream")
    assert said.text.endswith("data: [DONE]\n\n")
    assert said.text.isascii()
    for line in filter(None, said.text.split("\n\n")[:-2]):
        assert json.loads(line.removeprefix("data: "))["object"] == "text_completion"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("stop", ["STOP", ["TEP ", "🌍"], ["a", "b", " "]])
def test_stop_strings_never_leak(live: Live, stop: Any, stream: bool) -> None:
    stops = [stop] if isinstance(stop, str) else stop
    plain = live.client.completions.create(model="tales", prompt="", max_tokens=60, n=12, seed=0)
    asked = {"model": "tales", "prompt": "", "max_tokens": 60, "n": 12, "seed": 0, "stop": stop}
    if stream:
        texts, _ = streamed(live, **asked)
    else:
        texts = {choice.index: choice.text for choice in live.client.completions.create(**asked).choices}
    cut = 0
    for choice in plain.choices:
        at = min((i for s in stops if (i := choice.text.find(s)) >= 0), default=len(choice.text))
        assert texts[choice.index] == choice.text[:at]
        cut += at < len(choice.text)
    assert cut > 2


def test_several_prompts(live: Live) -> None:
    answer = live.client.completions.create(model="tales", prompt=["Gr", "na"], max_tokens=12, n=2, seed=0, echo=True)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert [choice.text[:3] for choice in answer.choices] == ["Grü", "Grü", "naï", "naï"]
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 4
    texts, _ = streamed(live, model="tales", prompt=["Gr", "na"], max_tokens=12, n=2, seed=0, echo=True)
    assert [texts[i] for i in range(4)] == [choice.text for choice in answer.choices]


def test_knobs(live: Live) -> None:
    asked: dict[str, Any] = {"model": "tales", "prompt": "", "max_tokens": 30, "n": 4}
    greedy = live.client.completions.create(**asked, temperature=0)
    assert len({choice.text for choice in greedy.choices}) == 1
    narrow = live.client.completions.create(**asked, seed=1, extra_body={"top_k": 1})
    assert len({choice.text for choice in narrow.choices}) == 1
    default = live.client.completions.create(model="tales", prompt="Gr", seed=2)
    assert len(default.choices[0].text.encode()) <= 16
    nothing = live.client.completions.create(model="tales", prompt="Gr", max_tokens=0, echo=True)
    assert nothing.choices[0].text == "Gr"
    assert nothing.usage is not None
    assert nothing.usage.completion_tokens == 0


def test_penalties_and_biases_reach_the_sampler(live: Live) -> None:
    asked: dict[str, Any] = {"model": "tales", "prompt": "", "max_tokens": 40, "n": 3, "seed": 4}
    plain = [c.text for c in live.client.completions.create(**asked).choices]
    only = live.client.completions.create(**asked, logit_bias={str(b): -100 for b in b"GnST\xf0\xe6"})
    assert all(set(c.text) <= set("ab\n") for c in only.choices)
    for more in ({"presence_penalty": 2.0}, {"frequency_penalty": 1.5}, {"extra_body": {"repetition_penalty": 3.0}}):
        knobs: dict[str, Any] = {**more.get("extra_body", more)}
        texts = [c.text for c in live.client.completions.create(**asked, **more).choices]
        assert texts == generate(live.runs["tales"], None, 3, 4, None, {"tokens": 40, **knobs}).items != plain


def test_logprobs_are_those_of_the_model(live: Live) -> None:
    asked: dict[str, Any] = {"model": "tales", "prompt": "", "max_tokens": 12, "n": 2, "seed": 3, "temperature": 0.3}
    answer = live.client.completions.create(**asked, logprobs=3)
    for choice in answer.choices:
        told = choice.logprobs
        assert told is not None and told.tokens is not None and told.token_logprobs is not None
        text = b"".join(
            bytes.fromhex(t[6:].replace("\\x", "")) if t.startswith("bytes:") else t.encode() for t in told.tokens
        )
        assert text.decode(errors="ignore") == choice.text
        assert told.top_logprobs is not None and len(told.top_logprobs[0]) == 3
        net = live.runs["tales"].model().nets["net"]
        said = b""
        for t, p in zip(text, told.token_logprobs, strict=True):
            weights = {b: math.exp(float(net.bias[b].detach())) for b in net.following(said)}
            assert abs(p - math.log(weights[t] / sum(weights.values()))) < 1e-5
            said += bytes([t])
        assert told.text_offset is not None and told.text_offset[0] == 0
    pieces = list(live.client.completions.create(**asked, logprobs=3, stream=True))
    tokens = [
        t for chunk in pieces for c in chunk.choices if c.index == 0 and c.logprobs for t in c.logprobs.tokens or ()
    ]
    assert answer.choices[0].logprobs is not None and tokens == answer.choices[0].logprobs.tokens


def test_the_likeliest_of_several(live: Live) -> None:
    asked: dict[str, Any] = {"model": "tales", "prompt": "Gr", "max_tokens": 12, "seed": 3, "logprobs": 0}
    every = live.client.completions.create(**asked, n=8).choices
    best = live.client.completions.create(**asked, n=2, best_of=8)

    def mean(choice: Any) -> float:
        return sum(choice.logprobs.token_logprobs) / max(1, len(choice.logprobs.token_logprobs))

    wanted = sorted(every, key=mean, reverse=True)[:2]
    assert [c.text for c in best.choices] == [c.text for c in wanted]
    assert best.usage is not None and best.usage.completion_tokens > 24
    made = generate(live.runs["tales"], "Gr", 2, 3, None, {"tokens": 12}, best_of=8).items
    assert made == ["Gr" + c.text for c in wanted]


def test_a_stop_string_of_generate_is_that_of_the_server(live: Live, tmp_path: Path) -> None:
    made = generate(live.runs["tales"], "Gr", 6, 3, tmp_path, {"tokens": 40, "stop": ["🌍", "ab"]})
    texts = [path.read_text() for path in made.files]
    answer = live.client.completions.create(model="tales", prompt="Gr", max_tokens=40, n=6, seed=3, stop=["🌍", "ab"])
    assert texts == ["Gr" + choice.text for choice in answer.choices]
    assert all(reproduce(path).same for path in made.files)


# ------------------------------------------------------------------------------------------------------------- chat


@pytest.fixture(scope="module")
def talker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    run = text_run(tmp_path_factory.mktemp("chat") / "talker")

    def conversation(messages: Any, reply: bool = True, **more: Any) -> list[int]:
        if any(message["role"] not in ("user", "assistant", "system") for message in messages):
            raise UsageError("the chat template refuses this conversation: an odd role")
        return list("".join(f"{m['role'][0]}{END_OF_TURN}{m['content']}" for m in messages).encode() + b"Gr")

    codec: Any = run.model().codec
    codec.conversation, codec.converses = conversation, True
    live = Live([run])
    yield live
    live.close()


END_OF_TURN = ":"


def test_a_chat(talker: Live) -> None:
    said: list[Any] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hello"}]},
    ]
    asked: dict[str, Any] = {"model": "talker", "messages": said, "max_completion_tokens": 30, "n": 2, "seed": 5}
    answer = talker.client.chat.completions.create(**asked)
    wanted = generate(talker.runs["talker"], "s:Be brief.u:HelloGr", 2, 5, None, {"tokens": 30}).items
    assert ["s:Be brief.u:HelloGr" + (c.message.content or "") for c in answer.choices] == wanted
    assert {c.message.role for c in answer.choices} == {"assistant"}
    assert answer.object == "chat.completion" and answer.usage is not None
    assert answer.usage.prompt_tokens == len("s:Be brief.u:HelloGr")
    chunks = list(talker.client.chat.completions.create(**asked, stream=True))
    texts = {0: "", 1: ""}
    for chunk in chunks:
        assert chunk.object == "chat.completion.chunk"
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert [texts[0], texts[1]] == [c.message.content for c in answer.choices]
    assert chunks[0].choices[0].delta.role == "assistant"


def test_logprobs_of_a_chat(talker: Live) -> None:
    said: list[Any] = [{"role": "user", "content": "x"}]
    answer = talker.client.chat.completions.create(
        model="talker", messages=said, max_tokens=6, seed=1, logprobs=True, top_logprobs=2
    )
    told = answer.choices[0].logprobs
    assert told is not None and told.content is not None
    assert (
        b"".join(bytes(t.bytes or ()) for t in told.content).decode(errors="ignore")
        == answer.choices[0].message.content
    )
    assert all(len(t.top_logprobs) == 2 and t.logprob <= 0 for t in told.content)


def test_what_a_chat_cannot(talker: Live, live: Live) -> None:
    said: list[Any] = [{"role": "user", "content": "x"}]
    for more, param, why in (
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools", "not supported"),
        ({"top_logprobs": 2}, "top_logprobs", "needs logprobs"),
        ({"messages": []}, "messages", "at least 1"),
        ({"messages": [{"role": "poet", "content": "x"}]}, "messages", "odd role"),
    ):
        with pytest.raises(openai.BadRequestError, match=why) as caught:
            talker.client.chat.completions.create(**{"model": "talker", "messages": said, **more})  # type: ignore[call-overload]
        assert caught.value.param == param
    with pytest.raises(openai.BadRequestError, match="learned no conversations; ask it at /v1/completions"):
        live.client.chat.completions.create(model="tales", messages=said)


# ------------------------------------------------------------------------------------------------------ constraints


def test_texts_that_keep_to_something(live: Live) -> None:
    pytest.importorskip("llguidance")
    asked: dict[str, Any] = {"model": "tales", "prompt": "", "max_tokens": 200, "n": 3, "seed": 2}
    form: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"enum": ["ab", "STOP"]}}}
    for choice in live.client.completions.create(**asked, extra_body={"regex": "(naïve |STEP ){3}"}).choices:
        assert re.fullmatch("(naïve |STEP ){3}", choice.text) and choice.finish_reason == "stop"
    with pytest.raises(openai.BadRequestError, match="cannot be read") as caught:
        live.client.completions.create(**asked, extra_body={"regex": "(ab"})
    assert caught.value.param == "regex"
    with pytest.raises(openai.BadRequestError, match="keeps to one of them"):
        live.client.completions.create(**asked, extra_body={"regex": "ab", "response_format": form})


@pytest.mark.parametrize(
    ("change", "param", "said"),
    [
        ({"temperature": -1}, "temperature", "greater than or equal to 0"),
        ({"top_p": 1.5}, "top_p", "less than or equal to 1"),
        ({"max_tokens": -1}, "max_tokens", "greater"),
        ({"max_tokens": 10**9}, "max_tokens", "less"),
        ({"n": 0}, "n", "greater"),
        ({"n": "many"}, "n", "integer"),
        ({"prompt": [1, 2, 3]}, "prompt", "string"),
        ({"prompt": ["a"] * 129}, "prompt", "128 texts"),
        ({"prompt": []}, "prompt", "128 texts"),
        ({"stop": ""}, "stop", "1 to 256"),
        ({"stop": ["x"] * 17}, "stop", "at most 16"),
        ({"seed": 2**63}, "seed", "less"),
        ({"logprobs": 30}, "logprobs", "less than or equal to 20"),
        ({"logprobs": 3, "echo": True}, "logprobs", "leave out echo or logprobs"),
        ({"logit_bias": {"a": 1}}, "logit_bias", "integer"),
        ({"logit_bias": {"300": 1}}, "logit_bias", "ids of this model are 0 to 256"),
        ({"extra_body": {"typical_p": 0}}, "typical_p", "greater"),
        ({"suffix": "x"}, "suffix", "learned to fill no gaps"),
        ({"presence_penalty": 3.0}, "presence_penalty", "less than or equal to 2"),
        ({"n": 5, "best_of": 2}, "best_of", "fewer than n = 5"),
        ({"extra_body": {"steps": 4}}, "steps", "has no 'steps'"),
        ({"extra_body": {"top_k": 0}}, "top_k", "greater"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_bad_values_are_named(live: Live, change: dict[str, Any], param: str, said: str, stream: bool) -> None:
    asked: dict[str, Any] = {"model": "tales", "prompt": "a", "stream": stream, **change}
    with pytest.raises(openai.BadRequestError, match=said) as caught:
        live.client.completions.create(**asked)
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"


def test_the_wrong_model(live: Live) -> None:
    with pytest.raises(openai.NotFoundError, match="'gpt-7'; there are: tales") as missing:
        live.client.completions.create(model="gpt-7", prompt="a")
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError, match="makes image; ask it at /v1/images/generations"):
        live.client.completions.create(model="shapes", prompt="a")
    with pytest.raises(openai.BadRequestError, match="makes text; ask it at /v1/completions"):
        live.client.images.generate(model="tales", prompt="a")


def test_bodies_that_are_no_request(live: Live) -> None:
    for content, kind in (
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b"[" * 100_000, "application/json"),
        (b'{"model": "tales"}', "text/plain"),
        (b'{"model": "tales", "temperature": NaN}', "application/json"),
        (b'{"model": "tales", "prompt": "\\ud800"}', "application/json"),
        (b'{"model": "tales", "\\ud800": 1}', "application/json"),
    ):
        said = httpx.post(f"{live.url}/v1/completions", content=content, headers={"content-type": kind})
        assert said.status_code == 400
        assert set(said.json()["error"]) == {"message", "type", "param", "code"}
    assert httpx.post(f"{live.url}/v1/completions", content=b"x" * (5 << 20)).status_code == 413
    assert httpx.get(f"{live.url}/v1/nothing").json()["error"]["type"] == "invalid_request_error"
    assert httpx.get(f"{live.url}/v1/completions").status_code == 405


def test_a_failure_of_ours_is_an_error_of_ours(live: Live, slow: Any) -> None:
    slow.broken = True
    with pytest.raises(openai.InternalServerError, match="weights on fire"):
        live.client.completions.create(model="tales", prompt="a")
    slow.broken = False
    stream = live.client.completions.create(model="tales", prompt="", max_tokens=60, n=4, seed=0, stream=True)
    with pytest.raises(openai.APIError, match="weights on fire"):  # noqa: PT012
        for i, _ in enumerate(stream):
            slow.broken = i > 2
    slow.broken = False
    live.idle()
    assert live.client.completions.create(model="tales", prompt="Gr", max_tokens=2).choices[0].text == "ü"


def test_eight_at_once(live: Live) -> None:
    def ask(seed: int) -> tuple[Any, Any]:
        asked = {"model": "tales", "prompt": "Gr", "max_tokens": 30, "n": 2, "seed": seed}
        if seed % 4 == 3:
            pictures = live.client.images.generate(model="shapes", prompt="", n=2, extra_body={"seed": seed})
            return seed, [base64.b64decode(data.b64_json or "") for data in pictures.data or ()]
        if seed % 2:
            texts, _ = streamed(live, **asked)
            return seed, [texts[0], texts[1]]
        return seed, [choice.text for choice in live.client.completions.create(**asked).choices]

    with ThreadPoolExecutor(8) as pool:
        answers = dict(pool.map(ask, range(24)))
    for seed, got in answers.items():
        if seed % 4 == 3:
            made = generate(live.runs["shapes"], None, 2, seed, None, {})
            assert got == [path.read_bytes() for path in made.files]
        else:
            wanted = generate(live.runs["tales"], "Gr", 2, seed, None, {"tokens": 30}).items
            assert ["Gr" + text for text in got] == wanted


def test_a_short_request_does_not_wait_for_a_long_one(live: Live, slow: Any) -> None:
    long = live.client.completions.create(model="tales", prompt=["a"] * 100, max_tokens=500, stream=True)
    next(iter(long))
    start = time.monotonic()
    live.client.completions.create(model="tales", prompt="Gr", max_tokens=4)
    assert time.monotonic() - start < 5
    long.close()
    live.idle()


def test_who_leaves_the_queue_is_not_drawn(live: Live, slow: Any) -> None:
    """Eight long requests hold all turns; a ninth goes before its own comes."""
    asked = {"model": "tales", "prompt": ["a"] * 100, "max_tokens": 500, "stream": True}
    long = [live.client.completions.create(**asked) for _ in range(8)]
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{live.url}/v1/completions", json={**asked, "stream": False}, timeout=0.2)
    until = time.monotonic() + 20
    while not (live.app.state.worker._waiting and live.app.state.worker._waiting[0].cancelled):
        assert time.monotonic() < until, "the queue keeps a place for one who has gone"
        time.sleep(0.02)
    for stream in long:
        stream.close()
    live.idle()


@pytest.mark.parametrize("stream", [False, True])
def test_work_ends_when_the_client_goes(live: Live, slow: Any, stream: bool) -> None:
    asked = {"model": "tales", "prompt": ["a"] * 100, "max_tokens": 500, "stream": stream}
    if stream:
        with httpx.stream("POST", f"{live.url}/v1/completions", json=asked, timeout=5) as said:
            next(said.iter_lines())
            assert len(live.app.state.worker) == 1
    else:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{live.url}/v1/completions", json=asked, timeout=0.3)
    live.idle()


# ---------------------------------------------------------------------------------------------------------- images


def test_pictures(live: Live, tmp_path: Path) -> None:
    answer = live.client.images.generate(model="shapes", prompt="", n=3, extra_body={"seed": 5, "steps": 1})
    wanted = generate(live.runs["shapes"], None, 3, 5, tmp_path, {"steps": 1})
    assert answer.data is not None
    assert [base64.b64decode(d.b64_json or "") for d in answer.data] == [path.read_bytes() for path in wanted.files]
    assert answer.model_extra["genus"] == {"seed": 5}
    for i, data in enumerate(answer.data):
        said = data.model_extra["genus"]
        assert (said["run"], said["seed"], said["index"], said["knobs"]) == ("shapes", 5, i, {"steps": 1})


def test_a_manifest_from_the_server_reproduces(live: Live, tmp_path: Path) -> None:
    answer = live.client.images.generate(model="pets", prompt="dog", n=2, size="24x18", extra_body={"seed": 1})  # type: ignore[arg-type]
    assert answer.data is not None
    data = answer.data[1]
    path = files.write(tmp_path / "dog.png", base64.b64decode(data.b64_json or ""))
    files.write_json(tmp_path / "dog.png.json", data.model_extra["genus"])
    assert image.read(path.read_bytes()).shape == (18, 24, 3)
    assert reproduce(path).how == "identical"
    small = live.client.images.generate(model="pets", prompt="dog", n=2, size="auto", extra_body={"seed": 1})
    assert small.data is not None
    pixels = image.read(base64.b64decode(small.data[1].b64_json or ""))
    assert (image.read(path.read_bytes())[::3, ::3] == pixels).all()


def test_links(live: Live) -> None:
    answer = live.client.images.generate(model="shapes", prompt="", n=2, response_format="url", size="8x6")  # type: ignore[arg-type]
    assert answer.data is not None
    for data in answer.data:
        assert data.url is not None
        assert data.b64_json is None
        said = httpx.get(data.url)
        assert said.headers["content-type"] == "image/png"
        assert image.read(said.content).shape == (6, 8, 3)
    assert httpx.get(f"{live.url}/files/other.png").status_code == 404


@pytest.mark.parametrize(
    ("change", "param", "said"),
    [
        ({"size": "9x9"}, "size", "draws 8x6 or whole multiples"),
        ({"size": "16x6"}, "size", "whole multiples"),
        ({"size": "80000x60000"}, "size", "whole multiples"),
        ({"size": "big"}, "size", "pattern"),
        ({"n": 65}, "n", "less"),
        ({"response_format": "jpeg"}, "response_format", "b64_json"),
        ({"prompt": "a cat"}, None, "takes no prompt"),
        ({"extra_body": {"temperature": 1}}, "temperature", "has no 'temperature'"),
        ({"model": "pets", "prompt": "cow"}, None, "'cow' is not a label"),
        ({"model": None}, "model", "say which model: shapes, pets"),
    ],
)
def test_bad_pictures_are_named(live: Live, change: dict[str, Any], param: str | None, said: str) -> None:
    with pytest.raises(openai.BadRequestError, match=said) as caught:
        live.client.images.generate(**{"model": "shapes", "prompt": "", **change})
    assert caught.value.param == param


# ---------------------------------------------------------------------------------------------------------- access


def test_a_key(tmp_path: Path) -> None:
    live = Live([text_run(tmp_path / "tales")], api_key="geheim-ü")
    try:
        with pytest.raises(openai.AuthenticationError) as caught:
            live.client.models.list()
        assert caught.value.code == "invalid_api_key"
        said = httpx.get(f"{live.url}/v1/models", headers={"Authorization": "Bearer geheim-ü".encode()})
        assert said.status_code == 200
        assert httpx.get(f"{live.url}/health").status_code == 200
    finally:
        live.close()


def test_pages_of_other_origins(tmp_path: Path, live: Live) -> None:
    evil = {"Origin": "https://evil.example"}
    said = httpx.get(f"{live.url}/v1/models", headers=evil)
    assert said.status_code == 403
    assert not any(name.startswith("access-control") for name in said.headers)
    assert httpx.get(f"{live.url}/v1/models", headers={"Origin": live.url}).status_code == 200
    open_ = Live([text_run(tmp_path / "tales")], origins=["https://nice.example"], hosts=["127.0.0.1"], api_key="k")
    try:
        nice = {"Origin": "https://nice.example", "Access-Control-Request-Method": "POST"}
        said = httpx.options(f"{open_.url}/v1/completions", headers=nice)
        assert said.headers["access-control-allow-origin"] == "https://nice.example"
        assert httpx.get(f"{open_.url}/health", headers=evil).status_code == 403
        assert httpx.get(f"{open_.url}/health", headers={"Host": "rebound.example"}).status_code == 403
    finally:
        open_.close()


# ---------------------------------------------------------------------------------------------------------- serving


def test_a_run_that_did_not_pass_is_not_served(tales: Run) -> None:
    gated(tales, False, "worse than xz")
    with pytest.raises(GenusError, match="worse than xz"):
        serve([tales], port=0)


def test_addresses_and_names_that_will_not_do(tales: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to serve"):
        serve([])
    with _listen("127.0.0.1", 0) as taken, pytest.raises(UsageError, match=r"cannot listen on.*choose another"):
        serve([tales], port=taken.getsockname()[1])
    with pytest.raises(UsageError, match="port 99999"):
        serve([tales], port=99999)
    with pytest.raises(UsageError, match="two of these runs"):
        app([tales, text_run(tmp_path / "other" / "tales")])


def test_a_precision_is_that_of_requests_that_name_none(tmp_path: Path) -> None:
    run = image_run(tmp_path / "shapes")
    half = Live([run], precision="bf16")
    try:
        asked = {"model": "shapes", "n": 1, "seed": 3, "response_format": "b64_json"}
        plain, own = (
            half.post("/v1/images/generations", **asked, **more).json()["data"][0]
            for more in ({}, {"precision": "fp32"})
        )
    finally:
        half.close()
    assert plain["genus"]["knobs"] == {"precision": "bf16"} and own["genus"]["knobs"] == {"precision": "fp32"}
    for made, precision in ((plain, "bf16"), (own, "fp32")):
        wanted = generate(run, None, 1, 3, tmp_path / precision, {"precision": precision}).files[0]
        assert base64.b64decode(made["b64_json"]) == wanted.read_bytes()
    with pytest.raises(UsageError, match="precision = 'int3'; choose one of"):
        app([run], precision="int3")


def test_so_are_texts_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, whole = [], completions.grow

    def told(model: Any, prompt: Any, seed: Any, batch: Any, stops: Any, knobs: Any, chorus: Any) -> Any:
        asked.append(knobs.get("precision"))
        return whole(model, prompt, seed, batch, stops, knobs, chorus)

    monkeypatch.setattr(completions, "grow", told)
    half = Live([text_run(tmp_path / "tales")], precision="bf16")
    try:
        for more in ({}, {"precision": "fp32"}):
            half.client.completions.create(model="tales", prompt="a", max_tokens=2, extra_body=more)
    finally:
        half.close()
    assert asked == ["bf16", "fp32"]


def test_weights_are_packed_before_the_first_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, begun = text_run(tmp_path / "tales"), []
    monkeypatch.setattr(type(run.model().nets["net"]), "start", lambda net, batch, cells: begun.append((batch, cells)))
    served(run, precision="bf16")
    assert begun == [(1, 1)]


SERVER = """
import sys
from pathlib import Path
from deploy_toys import text_run
from genus.deploy import serve, server
server.GRACE = 0.3
run = text_run(Path(sys.argv[1]))
run.model().nets["net"].delay = 0.02
serve([run], port=0, ready=lambda url: print(url, flush=True))
print("ended", flush=True)
"""


def test_ctrl_c_ends_it_well(tmp_path: Path) -> None:
    """Even while a stream is running; no traceback, no thread that keeps the process."""
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    command = [sys.executable, "-c", SERVER, str(tmp_path / "tales")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths}, **pipes) as process:  # type: ignore[call-overload]
        url = process.stdout.readline().strip()
        asked = {"model": "tales", "prompt": ["a"] * 100, "max_tokens": 500, "stream": True}
        with httpx.stream("POST", f"{url}/completions", json=asked, timeout=20) as said:
            lines = said.iter_lines()
            next(lines)
            start = time.monotonic()
            process.send_signal(signal.SIGINT)
            rest = list(lines)
            out, err = process.communicate(timeout=20)
    assert time.monotonic() - start < 10
    assert (process.returncode, out, err) == (0, "ended\n", "")
    assert "the server is closing" in rest[-2]
