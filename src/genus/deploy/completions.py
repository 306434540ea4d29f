"""POST /v1/completions: texts, whole or as a stream of server-sent events, in OpenAI's shape.

Completion j of a request with seed s is sample j of s, so it can be made again by `genus generate --seed s`; the answer
carries the seed. Prompts are texts; token ids mean nothing outside this model and are refused, as is what a sampler
cannot do (logprobs, penalties, suffix): an option that is silently ignored would be a wrong answer.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Annotated, Any, final

from fastapi import APIRouter, Body, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from genus.deploy import samples
from genus.deploy.passage import Growth, grow
from genus.deploy.protocol import Asked, Endpoint, Find, Refusal, Served, all_of, body, explain, first_of
from genus.deploy.worker import Job, Worker
from genus.errors import UsageError

PATH = "/v1/completions"
#: As in OpenAI's reference.
TOKENS = 16
#: Texts that one request may ask for.
MOST = 128
STOPS, STOP_LENGTH = 16, 256


@final
class Options(BaseModel):
    """stream_options."""

    include_usage: bool = False


@final
class CompletionRequest(Asked):
    """The fields of OpenAI's reference. None is the same as leaving a field out."""

    model: str
    prompt: str | list[str] | None = None
    max_tokens: int | None = Field(None, ge=0, le=1 << 16)
    temperature: float | None = Field(None, ge=0)
    top_p: float | None = Field(None, gt=0, le=1)
    n: int | None = Field(None, ge=1, le=MOST)
    seed: int | None = Field(None, ge=-(1 << 63), lt=1 << 63)
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: Options | None = None
    echo: bool | None = None
    user: str | None = None
    best_of: int | None = None
    logprobs: int | None = None
    suffix: str | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None


@final
@dataclass(frozen=True)
class Order:
    """A request, checked: which samples of which prompts, and how they are drawn."""

    prompts: list[str | None]
    n: int
    seed: int
    stops: list[str]
    echo: bool
    knobs: dict[str, Any] = field(default_factory=dict)

    def run(self, served: Served) -> Iterator[list[Growth]]:
        """All choices' growth, prompt after prompt; a choice's index is its sample's."""
        for i, prompt in enumerate(self.prompts):
            indices = range(i * self.n, (i + 1) * self.n)
            if self.echo and prompt:
                yield [Growth(index, prompt) for index in indices]
            for batch in samples.pieces(indices, streams=True):
                if self.knobs["tokens"]:
                    yield from grow(served.model, prompt, self.seed, batch, self.stops, self.knobs)
                else:
                    yield [Growth(index, "", "length") for index in batch]


def order(asked: CompletionRequest) -> Order:
    """Check what the fields' types cannot say. Raises `Refusal`."""
    n = asked.n or 1
    for name in ("suffix", "presence_penalty", "frequency_penalty", "logit_bias"):
        if getattr(asked, name):
            raise Refusal(f"{name} is not supported; leave it out", param=name)
    if asked.logprobs is not None:
        raise Refusal("logprobs is not supported; leave it out", param="logprobs")
    if asked.best_of not in (None, 1, n):
        raise Refusal("best_of is not supported; ask for n and choose yourself", param="best_of")
    if asked.stream_options is not None and not asked.stream:
        raise Refusal("stream_options needs stream = true", param="stream_options")
    stops = [asked.stop] if isinstance(asked.stop, str) else list(asked.stop or ())
    if len(stops) > STOPS or not all(1 <= len(stop) <= STOP_LENGTH for stop in stops):
        raise Refusal(f"stop: at most {STOPS} strings of 1 to {STOP_LENGTH} characters", param="stop")
    prompts = asked.prompt if isinstance(asked.prompt, list) else [asked.prompt]
    if not 1 <= len(prompts) * n <= MOST:
        raise Refusal(f"{len(prompts)} prompts times n = {n}: ask for 1 to {MOST} texts at a time", param="prompt")
    knobs = {"temperature": asked.temperature, "top_p": asked.top_p}
    knobs = {name: value for name, value in knobs.items() if value is not None}
    tokens = TOKENS if asked.max_tokens is None else asked.max_tokens
    seed = secrets.randbits(53) if asked.seed is None else asked.seed  # 53: exact in every JSON reader
    return Order(
        [p or None for p in prompts], n, seed, stops, bool(asked.echo), {**asked.knobs, **knobs, "tokens": tokens}
    )


@final
@dataclass
class Tally:
    """Counts what was read and drawn."""

    prompt: int
    drawn: int = 0

    def usage(self) -> dict[str, int]:
        """In tokens of this model."""
        total = self.prompt + self.drawn
        return {"prompt_tokens": self.prompt, "completion_tokens": self.drawn, "total_tokens": total}


def router(find: Find, worker: Worker) -> APIRouter:
    """The one route."""
    api = APIRouter()

    @api.post(PATH)
    async def complete(request: Request, asked: Annotated[CompletionRequest, Body()]) -> Response:
        served = find(asked.model, PATH)
        todo = order(asked)
        head = {
            "id": f"cmpl-{secrets.token_hex(12)}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": served.name,
            "system_fingerprint": served.fingerprint,
            "genus": {"seed": todo.seed},
        }
        tally = Tally(sum(_length(served, prompt) for prompt in todo.prompts))
        if asked.stream:
            usage = asked.stream_options is not None and asked.stream_options.include_usage
            job, some = await first_of(request, worker, todo.run(served), todo.knobs)
            return StreamingResponse(_events(job, some, head, tally, usage), media_type="text/event-stream")
        done: dict[int, Growth] = {}
        for growth in chain.from_iterable(await all_of(request, worker, todo.run(served), todo.knobs)):
            before = done[growth.index].text if growth.index in done else ""
            done[growth.index] = replace(growth, text=before + growth.text)
            tally.drawn += growth.cells
        choices = [_choice(done[index]) for index in sorted(done)]
        return Response(_json({**head, "choices": choices, "usage": tally.usage()}), media_type="application/json")

    return api


def _length(served: Served, prompt: str | None) -> int:
    """Cells of a prompt that is a beginning; a prompt that goes elsewhere has none."""
    try:
        known = served.model.ask(prompt, 1)[1]
    except UsageError as trouble:
        raise Refusal(str(trouble), param="prompt") from trouble
    return known.x.shape[2] if known is not None else 0


async def _events(
    job: Job[list[Growth]], some: list[list[Growth]], head: dict[str, Any], tally: Tally, usage: bool
) -> AsyncIterator[str]:
    more: dict[str, Any] = {"usage": None} if usage else {}

    def event(growth: Growth) -> str:
        tally.drawn += growth.cells
        return f"data: {_json({**head, 'choices': [_choice(growth)], **more})}\n\n"

    try:
        for growth in chain.from_iterable(some):
            yield event(growth)
        async for growths in job:
            for growth in growths:
                yield event(growth)
        if usage:
            yield f"data: {_json({**head, 'choices': [], 'usage': tally.usage()})}\n\n"
    except Exception as trouble:  # the status was sent long ago: the error is an event
        said = explain(trouble, {})
        yield f"data: {_json({'error': body(str(said), said.status, said.param, said.code)})}\n\n"
        return
    finally:
        job.cancel()
    yield "data: [DONE]\n\n"


def _choice(growth: Growth) -> dict[str, Any]:
    return {"index": growth.index, "text": growth.text, "logprobs": None, "finish_reason": growth.finish}


def _json(value: Any) -> str:
    # ASCII: some clients split a stream's lines at every line separator of Unicode.
    return json.dumps(value, separators=(",", ":"))


ENDPOINT = Endpoint(PATH, router)
