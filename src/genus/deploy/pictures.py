"""POST /v1/images/generations: pictures as base64 or as links into memory, in OpenAI's shape, each with its manifest.

A picture comes in the model's own size or with its pixels repeated a whole number of times; any other size would be
another picture than the model made. A model without a prompt is asked with an empty one, since the field is required.
"""

from __future__ import annotations

import base64
import secrets
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Annotated, Any, Literal, final

import torch
from fastapi import APIRouter, Body, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from genus.core import Model
from genus.deploy import samples
from genus.deploy.protocol import Asked, Endpoint, Find, Refusal, Served, all_of
from genus.deploy.reproduction import scaled
from genus.deploy.worker import Worker
from genus.provenance import manifest
from genus.provenance.manifest import Manifest

PATH = "/v1/images/generations"
#: Pictures of one request, the longest side of one, and how many bytes stay in memory for links.
MOST, SIDE, KEPT = 64, 4096, 64 << 20


@final
class ImagesRequest(Asked):
    """The fields of OpenAI's reference, and seed. None is the same as leaving a field out."""

    prompt: str | None = None
    model: str | None = None
    n: int | None = Field(None, ge=1, le=MOST)
    size: str | None = Field(None, pattern=r"^(auto|[1-9][0-9]{0,4}x[1-9][0-9]{0,4})$")
    response_format: Literal["b64_json", "url"] | None = None
    output_format: Literal["png"] | None = None
    seed: int | None = Field(None, ge=-(1 << 63), lt=1 << 63)
    stream: Literal[False] | None = None
    user: str | None = None
    # About the looks or the storage of OpenAI's own models: read, and without effect here.
    quality: str | None = None
    style: str | None = None
    background: str | None = None
    moderation: str | None = None
    output_compression: int | None = None


@final
@dataclass
class Shelf:
    """Pictures behind links: the newest `KEPT` bytes. A name cannot be guessed, so to know it is to be allowed."""

    kept: OrderedDict[str, bytes] = field(default_factory=OrderedDict)
    size: int = 0

    def put(self, content: bytes, suffix: str) -> str:
        """The name under which it can be fetched."""
        name = f"{secrets.token_urlsafe(24)}{suffix}"
        self.kept[name] = content
        self.size += len(content)
        while self.size > KEPT and len(self.kept) > 1:
            self.size -= len(self.kept.popitem(last=False)[1])
        return name


def native(model: Model) -> tuple[int, int]:
    """(width, height) of what the model draws: a blank x, decoded."""
    blank = torch.zeros(1, *model.space.shape, dtype=torch.float32 if model.space.vocab is None else torch.long)
    height, width = model.codec.decode(blank)[0].shape[:2]
    return width, height


def times(size: str | None, width: int, height: int) -> int:
    """How often each pixel is repeated for this size. Raises `Refusal` if it is no whole number."""
    if size in (None, "auto"):
        return 1
    wide, high = map(int, str(size).split("x"))
    scale = wide // width
    if scale < 1 or (wide, high) != (width * scale, height * scale) or max(wide, high) > SIDE:
        more = ", ".join(f"{width * k}x{height * k}" for k in (1, 2, 4) if max(width, height) * k <= SIDE)
        raise Refusal(f"size {size}: this model draws {width}x{height} or whole multiples ({more}, ...)", param="size")
    return scale


def draw(served: Served, sample: Manifest, n: int) -> Iterator[list[tuple[bytes, Manifest]]]:
    """Pictures 0 .. n - 1 of the seed; a list, empty while one is still being drawn."""
    model = served.model
    for batch in samples.pieces(range(n), streams=False):
        fields, known = model.ask(sample.prompt, len(batch))
        x = None
        for x in model.stream(samples.noise(sample.seed, batch), fields, known, **sample.knobs):
            yield []
        assert x is not None
        made = []
        for index, media in zip(batch, model.codec.decode(x), strict=True):
            content = served.medium.write(scaled(media, sample.scale))
            made.append((content, replace(sample, index=index, batch=batch, sha256=manifest.digest(content))))
        yield made


def router(find: Find, worker: Worker) -> APIRouter:
    """The route, and the one that fetches links."""
    api, shelf = APIRouter(), Shelf()

    @api.post(PATH)
    async def generate(request: Request, asked: Annotated[ImagesRequest, Body()]) -> Response:
        served = find(asked.model, PATH)
        width, height = native(served.model)
        scale = times(asked.size, width, height)
        seed = secrets.randbits(53) if asked.seed is None else asked.seed
        prompt = asked.prompt or None
        knobs = {**served.knobs, **asked.knobs}
        plan = Manifest(served.maker, seed, 0, (0,), "", prompt, knobs, scale)
        pieces = await all_of(request, worker, draw(served, plan, asked.n or 1), knobs)
        data: list[dict[str, Any]] = []
        for content, sample in chain.from_iterable(pieces):
            if asked.response_format == "url":
                name = shelf.put(content, served.medium.suffix)
                data.append({"url": f"{str(request.base_url).rstrip('/')}/files/{name}", "genus": sample.json()})
            else:
                data.append({"b64_json": base64.b64encode(content).decode(), "genus": sample.json()})
        said = {"size": f"{width * scale}x{height * scale}", "output_format": "png", "genus": {"seed": seed}}
        return JSONResponse({"created": int(time.time()), "data": data, **said})

    @api.get("/files/{name}")
    async def fetch(name: str) -> Response:
        if name not in shelf.kept:
            raise Refusal(f"/files/{name} is not here: links live as long as the server, the newest ones only", 404)
        return Response(shelf.kept[name], media_type="image/png", headers={"X-Content-Type-Options": "nosniff"})

    return api


ENDPOINT = Endpoint(PATH, router)
