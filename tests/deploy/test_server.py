from __future__ import annotations

import base64
import json
import os
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
from genus.deploy import app, generate, reproduce, serve
from genus.deploy.server import _listen
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
        ({"logprobs": 3}, "logprobs", "not supported"),
        ({"suffix": "x"}, "suffix", "not supported"),
        ({"presence_penalty": 1.0}, "presence_penalty", "not supported"),
        ({"best_of": 5}, "best_of", "not supported"),
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
