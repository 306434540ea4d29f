"""POST /v1/completions and /v1/chat/completions: texts, whole or as server-sent events, in OpenAI's shapes.

Completion j of a request with seed s is sample j of s, so it can be made again by `genus generate --seed s`; the answer
carries the seed. Prompts are texts; token ids mean nothing outside this model and are refused, as is what no sampler
here can do (tools): an option that is silently ignored would be a wrong answer. All requests of a model are
drawn together (`chorus`).
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Annotated, Any, Literal, final

from fastapi import APIRouter, Body, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from genus.core import Conversing
from genus.deploy import samples
from genus.deploy.chat import answering
from genus.deploy.passage import Growth, Prompt, asked, best, grow
from genus.deploy.protocol import Asked, Endpoint, Find, Refusal, Served, all_of, body, explain, first_of
from genus.deploy.worker import Job, Worker
from genus.errors import UsageError

PATH, CHAT = "/v1/completions", "/v1/chat/completions"
#: As in OpenAI's reference; a chat's answer is as long as it likes there, and a model of a few words never ends here.
TOKENS, REPLY = 16, 512
#: Texts that one request may ask for.
MOST = 128
STOPS, STOP_LENGTH = 16, 256
Penalty = Annotated[float | None, Field(ge=-2, le=2)]


@final
class Options(BaseModel):
    """stream_options."""

    include_usage: bool = False


@final
class Schema(BaseModel):
    """response_format.json_schema. `strict` is how it always is."""

    model_config = ConfigDict(extra="ignore")

    schema_: dict[str, Any] = Field(alias="schema")


@final
class Format(BaseModel):
    """response_format."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: Schema | None = None


class Texts(Asked):
    """What both kinds of request have. None is the same as leaving a field out.

    regex, grammar (Lark's notation), thinking_budget (ids of a thought at most): not OpenAI's.
    """

    model: str
    temperature: float | None = Field(None, ge=0)
    top_p: float | None = Field(None, gt=0, le=1)
    n: int | None = Field(None, ge=1, le=MOST)
    seed: int | None = Field(None, ge=-(1 << 63), lt=1 << 63)
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: Options | None = None
    user: str | None = None
    presence_penalty: Penalty = None
    frequency_penalty: Penalty = None
    logit_bias: dict[int, Annotated[float, Field(ge=-100, le=100)]] | None = None
    response_format: Format | None = None
    regex: str | None = None
    grammar: str | None = None
    thinking_budget: int | None = Field(None, ge=0)

    def order(self, prompts: list[Prompt], tokens: int, **more: Any) -> Order:
        """Check what the fields' types cannot say. Raises `Refusal`."""
        if self.stream_options is not None and not self.stream:
            raise Refusal("stream_options needs stream = true", param="stream_options")
        stops = [self.stop] if isinstance(self.stop, str) else list(self.stop or ())
        if len(stops) > STOPS or not all(1 <= len(stop) <= STOP_LENGTH for stop in stops):
            raise Refusal(f"stop: at most {STOPS} strings of 1 to {STOP_LENGTH} characters", param="stop")
        n, drawn = self.n or 1, more.pop("drawn", None) or self.n or 1
        if not 1 <= len(prompts) * drawn <= MOST:
            raise Refusal(
                f"{len(prompts)} prompts times n = {drawn}: ask for 1 to {MOST} texts at a time", param="prompt"
            )
        names = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "logit_bias")
        ours = ("regex", "grammar", "thinking_budget")
        knobs = {name: value for name in (*names, *ours) if (value := getattr(self, name)) is not None}
        form = self.response_format
        if form is not None and form.type != "text":
            if form.type == "json_schema" and form.json_schema is None:
                raise Refusal("response_format: type json_schema needs json_schema.schema", param="response_format")
            knobs["schema"] = form.json_schema.schema_ if form.json_schema is not None else {"type": "object"}
        if (suffix := more.pop("suffix", None)) is not None:
            knobs["suffix"] = suffix
        seed = secrets.randbits(53) if self.seed is None else self.seed  # 53: exact in every JSON reader
        likeliest = more.pop("likeliest", None)
        if likeliest is not None or drawn > n:
            knobs["likeliest"] = likeliest or 0
        return Order(prompts, n, drawn, seed, stops, likeliest, knobs={**self.knobs, **knobs, "tokens": tokens}, **more)


@final
class CompletionRequest(Texts):
    """The fields of OpenAI's reference."""

    prompt: str | list[str] | None = None
    max_tokens: int | None = Field(None, ge=0, le=1 << 16)
    echo: bool | None = None
    best_of: int | None = Field(None, ge=1, le=MOST)
    logprobs: int | None = Field(None, ge=0, le=20)
    suffix: str | None = None

    def checked(self, served: Served) -> Order:
        """See `order`."""
        n = self.n or 1
        if self.suffix:
            try:
                served.model.ask("", 1, self.suffix)
            except UsageError as trouble:
                raise Refusal(str(trouble), param="suffix") from trouble
        if self.best_of is not None and self.best_of < n:
            raise Refusal(f"best_of = {self.best_of} is fewer than n = {n}; ask for as many at least", param="best_of")
        if self.best_of is not None and self.best_of > n and self.stream:
            raise Refusal("best_of compares whole texts, which cannot be streamed; leave one out", param="best_of")
        if self.logprobs is not None and self.echo:
            raise Refusal("logprobs of a prompt are not told; leave out echo or logprobs", param="logprobs")
        prompts: list[Prompt] = (
            [p or None for p in self.prompt] if isinstance(self.prompt, list) else [self.prompt or None]
        )
        tokens = TOKENS if self.max_tokens is None else self.max_tokens
        more = {"drawn": self.best_of, "likeliest": self.logprobs, "echo": bool(self.echo)}
        return self.order(prompts, tokens, suffix=self.suffix or None, **more)


@final
class Part(BaseModel):
    """A part of a message's content."""

    type: Literal["text"]
    text: str


@final
class Message(BaseModel):
    """One turn. Further fields (name) are the template's."""

    model_config = ConfigDict(extra="allow")

    role: str
    content: str | list[Part] | None = None

    def json(self) -> dict[str, Any]:  # type: ignore[override]
        """As a template reads it."""
        said = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content or ())
        return {**(self.model_extra or {}), "role": self.role, "content": said}


@final
class ChatRequest(Texts):
    """The fields of OpenAI's reference."""

    messages: list[Message] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1, le=1 << 16)
    max_completion_tokens: int | None = Field(None, ge=1, le=1 << 16)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    tools: list[Any] | None = None

    def checked(self, served: Served) -> Order:
        """See `order`."""
        if self.tools:
            raise Refusal("tools is not supported; leave it out", param="tools")
        if self.top_logprobs is not None and not self.logprobs:
            raise Refusal("top_logprobs needs logprobs = true", param="top_logprobs")
        codec = served.model.codec
        templated = isinstance(codec, Conversing) and codec.converses
        if not templated and served.model.prompt != "turn":
            raise Refusal(f"model {served.name!r} learned no conversations; ask it at {PATH}", param="model")
        try:
            told = [message.json() for message in self.messages]
            ids = codec.conversation(told) if isinstance(codec, Conversing) and templated else answering(codec, told)
        except UsageError as trouble:
            raise Refusal(str(trouble), param="messages") from trouble
        tokens = self.max_completion_tokens or self.max_tokens or REPLY
        return self.order([ids], tokens, likeliest=(self.top_logprobs or 0) if self.logprobs else None)


@final
@dataclass(frozen=True)
class Order:
    """A request, checked: which samples of which prompts, and how they are drawn.

    n: texts of each prompt that are wanted; drawn: of which these are the likeliest. likeliest: so many ids are told of
    each place, with their log p; None: not even those drawn are.
    """

    prompts: list[Prompt]
    n: int
    drawn: int
    seed: int
    stops: list[str]
    likeliest: int | None = None
    echo: bool = False
    knobs: dict[str, Any] = field(default_factory=dict)

    def run(self, served: Served) -> Iterator[list[Growth]]:
        """All choices' growth, prompt after prompt; a choice's index is its sample's."""
        knobs = {**served.knobs, **self.knobs}
        for i, prompt in enumerate(self.prompts):
            indices = range(i * self.drawn, (i + 1) * self.drawn)
            if self.echo and isinstance(prompt, str):
                yield [Growth(index, prompt) for index in indices]
            for batch in samples.pieces(indices, streams=True):
                if knobs["tokens"]:
                    yield from grow(served.model, prompt, self.seed, batch, self.stops, knobs, served.chorus)
                else:
                    yield [Growth(index, "", "length") for index in batch]

    def chosen(self, done: Mapping[int, Growth]) -> list[Growth]:
        """Of each prompt the n likeliest, in order; all of them where no more were drawn."""
        found = []
        for i in range(len(self.prompts)):
            texts = [done[index] for index in range(i * self.drawn, (i + 1) * self.drawn)]
            found += texts if self.drawn == self.n else best(texts, self.n)
        return found


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


@final
@dataclass
class Shape:
    """How one of the two paths says its answer. offsets, begun: of the streamed choices so far."""

    served: Served
    order: Order
    chat: bool
    offsets: dict[int, int] = field(default_factory=dict)

    def head(self) -> dict[str, Any]:
        """What an answer and all events of a stream begin with."""
        return {
            "id": f"{'chatcmpl' if self.chat else 'cmpl'}-{secrets.token_hex(12)}",
            "object": ("chat.completion" if self.chat else "text_completion"),
            "created": int(time.time()),
            "model": self.served.name,
            "system_fingerprint": self.served.fingerprint,
            "genus": {"seed": self.order.seed},
        }

    def choice(self, index: int, growth: Growth, streamed: bool) -> dict[str, Any]:
        """A text, or what it grew by."""
        first, at = index not in self.offsets, self.offsets.get(index, 0)
        self.offsets[index] = at + len(growth.text)
        said = None
        if self.order.likeliest is not None:
            said = _told(self.served, growth) if self.chat else _listed(self.served, growth, at)
        more = {"index": index, "logprobs": said, "finish_reason": growth.finish}
        if not self.chat:
            return {**more, "text": growth.text}
        message = {"role": "assistant"} if first or not streamed else {}
        return {**more, "delta" if streamed else "message": {**message, "content": growth.text}}


def router(find: Find, worker: Worker) -> APIRouter:
    """Both routes."""
    api = APIRouter()

    async def answer(request: Request, asked: CompletionRequest | ChatRequest, chat: bool) -> Response:
        served = find(asked.model, PATH)
        todo = asked.checked(served)
        suffix = todo.knobs.get("suffix")
        tally = Tally(sum(_length(served, prompt, suffix) for prompt in todo.prompts))
        shape = Shape(served, todo, chat)
        head = shape.head()
        if todo.likeliest is not None:
            try:
                _ = served.spelling
            except UsageError as trouble:
                raise Refusal(str(trouble), param="logprobs") from trouble
        if asked.stream:
            usage = asked.stream_options is not None and asked.stream_options.include_usage
            if chat:
                head["object"] = "chat.completion.chunk"
            job, some = await first_of(request, worker, todo.run(served), todo.knobs)
            events = _events(job, some, head, tally, usage, lambda growth: shape.choice(growth.index, growth, True))
            return StreamingResponse(events, media_type="text/event-stream")
        done: dict[int, Growth] = {}
        for growth in chain.from_iterable(await all_of(request, worker, todo.run(served), todo.knobs)):
            done[growth.index] = growth.after(done[growth.index]) if growth.index in done else growth
            tally.drawn += growth.cells if growth.finish else 0
        choices = [shape.choice(i, growth, False) for i, growth in enumerate(todo.chosen(done))]
        return Response(_json({**head, "choices": choices, "usage": tally.usage()}), media_type="application/json")

    @api.post(PATH)
    async def complete(request: Request, asked: Annotated[CompletionRequest, Body()]) -> Response:
        return await answer(request, asked, chat=False)

    @api.post(CHAT)
    async def chat(request: Request, asked: Annotated[ChatRequest, Body()]) -> Response:
        return await answer(request, asked, chat=True)

    return api


def _length(served: Served, prompt: Prompt, suffix: str | None) -> int:
    """Cells of a prompt that is a beginning, with what follows it; a prompt that goes elsewhere has none."""
    try:
        known = asked(served.model, prompt, 1, suffix)[1]
    except UsageError as trouble:
        raise Refusal(str(trouble), param="prompt") from trouble
    return known.x.shape[2] if known is not None else 0


async def _events(
    job: Job[list[Growth]],
    some: list[list[Growth]],
    head: dict[str, Any],
    tally: Tally,
    usage: bool,
    choice: Callable[[Growth], dict[str, Any]],
) -> AsyncIterator[str]:
    more: dict[str, Any] = {"usage": None} if usage else {}

    def event(growth: Growth) -> str:
        tally.drawn += growth.cells if growth.finish else 0
        return f"data: {_json({**head, 'choices': [choice(growth)], **more})}\n\n"

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


def _word(served: Served, i: int) -> str:
    """An id as text; bytes that are no whole character as in OpenAI's answers."""
    text = served.spelling[i]
    try:
        return text.decode() if text else f"<|{i}|>"
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{b:02x}" for b in text)


def _listed(served: Served, growth: Growth, at: int) -> dict[str, Any]:
    """logprobs of a completion; the text of this growth begins at `at`."""
    offsets, drawn = [], b""
    for i in growth.ids:
        offsets.append(at + len(drawn.decode(errors="ignore")))
        drawn += served.spelling[i]
    return {
        "tokens": [_word(served, i) for i in growth.ids],
        "token_logprobs": [said.log_p for said in growth.said],
        "top_logprobs": [{_word(served, i): p for i, p in said.best} for said in growth.said],
        "text_offset": offsets,
    }


def _told(served: Served, growth: Growth) -> dict[str, Any]:
    """logprobs of a chat's answer."""

    def one(i: int, p: float) -> dict[str, Any]:
        return {"token": _word(served, i), "logprob": p, "bytes": list(served.spelling[i])}

    each = zip(growth.ids, growth.said, strict=True)
    content = [{**one(i, said.log_p), "top_logprobs": [one(*pair) for pair in said.best]} for i, said in each]
    return {"content": content, "refusal": None}


def _json(value: Any) -> str:
    # ASCII: some clients split a stream's lines at every line separator of Unicode.
    return json.dumps(value, separators=(",", ":"))


ENDPOINT = Endpoint(PATH, router)
