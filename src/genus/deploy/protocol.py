"""What the endpoints share: a served run, errors in OpenAI's shape, the checks of a request. Knows no medium.

Error objects follow the published OpenAI API reference: {"error": {"message", "type", "param", "code"}}.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, TypeVar, final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, model_validator

from genus.core import Model, Spelled
from genus.deploy.chorus import Chorus
from genus.deploy.worker import Job, Worker
from genus.errors import GenusError, UsageError
from genus.media import Medium
from genus.provenance.manifest import Maker

T = TypeVar("T")
#: Seconds between looks whether the client of a request that does not stream is still there.
LOOK = 0.25


@final
class Refusal(GenusError):
    """A request that is answered with an error. param: the field that is at fault, if one is."""

    def __init__(self, message: str, status: int = 400, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.param, self.code = status, param, code


@final
@dataclass(frozen=True)
class Served:
    """A run behind an endpoint. path: of that endpoint. knobs: of requests that say nothing else."""

    name: str
    model: Model
    medium: Medium
    maker: Maker
    path: str
    created: int
    knobs: Mapping[str, Any] = field(default_factory=dict)
    chorus: Chorus = field(default_factory=Chorus)

    @cached_property
    def spelling(self) -> Sequence[bytes]:
        """Of each id of its codec. Raises `UsageError` for a codec whose ids are no bytes."""
        if not isinstance(self.model.codec, Spelled):
            raise UsageError(f"the ids of model {self.name!r} stand for no bytes of text, so none can be named")
        return self.model.codec.spelling

    def card(self) -> dict[str, Any]:
        """The entry in /v1/models."""
        more = {"medium": self.medium.name, "recipe": self.maker.recipe, "endpoint": self.path}
        return {"id": self.name, "object": "model", "created": self.created, "owned_by": "genus", "genus": more}

    @property
    def fingerprint(self) -> str:
        """Changes when the weights do."""
        return f"genus-{self.maker.weights_sha256[:12]}"


class Find(Protocol):
    """Looks up a model for an endpoint. Raises `Refusal` for one that is unknown or speaks elsewhere."""

    def __call__(self, name: str | None, path: str) -> Served: ...


@final
@dataclass(frozen=True)
class Endpoint:
    """path: what it answers. router: builds its routes; two media that share an endpoint share the router."""

    path: str
    router: Callable[[Find, Worker], APIRouter]


class Asked(BaseModel):
    """A request's body. What is not declared is a knob of the sampler, which refuses what it does not have."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _text(cls, data: Any) -> Any:
        # JSON can spell half of a surrogate pair, which no encoding of text can hold.
        try:
            json.dumps(data, ensure_ascii=False, default=repr).encode()
        except UnicodeEncodeError:
            raise ValueError("a text in it holds half of a surrogate pair, which is no character") from None
        return data

    @property
    def knobs(self) -> dict[str, Any]:
        """The fields that are not OpenAI's."""
        return dict(self.model_extra or {})


def error(message: str, status: int, param: str | None = None, code: str | None = None) -> JSONResponse:
    """An answer that the official clients raise as their own error of this status."""
    return JSONResponse({"error": body(message, status, param, code)}, status)


def body(message: str, status: int, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """The error object itself, which a stream sends as an event."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {"message": message, "type": kind, "param": param, "code": code}


def explain(trouble: Exception, knobs: Mapping[str, Any]) -> Refusal:
    """What went wrong while drawing, as an answer: the request's fault (400) or ours (500)."""
    if isinstance(trouble, Refusal):
        return trouble
    if isinstance(trouble, UsageError):
        said = str(trouble)
        return Refusal(said, 400, next((k for k in knobs if repr(k) in said or f"{k} = " in said), None))
    if isinstance(trouble, GenusError):
        return Refusal(str(trouble), 503)
    return Refusal(f"the model failed: {type(trouble).__name__}: {trouble}", 500)


async def all_of(request: Request, worker: Worker, steps: Iterator[T], knobs: Mapping[str, Any]) -> list[T]:
    """The results of a request that does not stream. Stops when the client has gone. Raises `Refusal`."""
    results, looked = [], time.monotonic()
    job, head = await first_of(request, worker, steps, knobs)
    try:
        results += head
        async for result in job:
            results.append(result)
            if time.monotonic() - looked > LOOK:
                looked = time.monotonic()
                if await request.is_disconnected():
                    raise Refusal("the client has gone", 499)
    except Exception as trouble:
        raise explain(trouble, knobs) from trouble
    finally:
        job.cancel()
    return results


async def first_of(
    request: Request, worker: Worker, steps: Iterator[T], knobs: Mapping[str, Any]
) -> tuple[Job[T], list[T]]:
    """The work, begun, and its first result (or none): a bad request is refused before a stream begins.

    Until its turn comes it is only looked whether the client still waits. Raises `Refusal`.
    """
    job: Job[T] | None = None
    try:
        job = worker.submit(steps)
        while True:
            try:
                return job, [await asyncio.wait_for(anext(job), LOOK)]
            except StopAsyncIteration:
                return job, []
            except TimeoutError:
                if await request.is_disconnected():
                    raise Refusal("the client has gone", 499) from None
    except BaseException as trouble:
        if job is not None:
            job.cancel()
        if isinstance(trouble, Exception):
            raise explain(trouble, knobs) from trouble
        raise
