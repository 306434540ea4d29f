"""`genus serve`: trained runs behind the OpenAI API, so that clients that exist already can call them.

Which endpoint a run answers follows from its medium, by one table. Local by default: one process, one computing thread.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from types import MappingProxyType
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

import genus
from genus.core import Network
from genus.deploy import completions, origins, pictures, release, samples
from genus.deploy.guard import LOOPBACK, Guard
from genus.deploy.protocol import Endpoint, Refusal, Served, error
from genus.deploy.worker import Worker
from genus.errors import UsageError
from genus.run import Run

#: The only place that says which medium is asked for where.
ENDPOINTS: Mapping[str, Endpoint] = MappingProxyType(
    {"text": completions.ENDPOINT, "code": completions.ENDPOINT, "image": pictures.ENDPOINT}
)
#: Seconds that open answers get after Ctrl-C.
GRACE = 3


def served(run: Run, draft: Run | None = None, amateur: Run | None = None, precision: str | None = None) -> Served:
    """A run, loaded. draft: a smaller one that guesses for it, amateur: a weaker one that it is told apart from, if it
    makes texts. precision: of requests that name none; None: the model's own.

    Raises `UsageError` if nothing here serves its medium, or it has no such precision.
    """
    kind = origins.medium(run)
    if kind.name not in ENDPOINTS:
        raise UsageError(f"run {run.name!r} makes {kind.name}; served are: {', '.join(ENDPOINTS)}")
    created = int((run.path / "model.safetensors").stat().st_mtime)
    model = run.model()
    if draft is not None and model.codec.streams:
        model = samples.drafted(model, draft.path)
    if amateur is not None and model.codec.streams:
        model, _ = samples.contrasted(model, {"amateur": amateur.path})
    for net in model.drawing(precision).values():
        if isinstance(net, Network):
            net.start(1, 1)  # weights are packed now, not while the first request waits
    knobs = {} if precision is None else {"precision": precision}
    return Served(run.name, model, kind, samples.maker(run), ENDPOINTS[kind.name].path, created, knobs)


def app(
    runs: Sequence[Run],
    *,
    api_key: str | None = None,
    origins: Sequence[str] = (),
    hosts: Sequence[str] = (),
    draft: Run | None = None,
    amateur: Run | None = None,
    precision: str | None = None,
) -> FastAPI:
    """The application; loads every run. origins: other pages that may call it; hosts: its names, empty for any.

    draft, amateur, precision: see `served`.
    """
    models: dict[str, Served] = {}
    for run in runs:
        if run.name in models:
            raise UsageError(f"two of these runs are called {run.name!r}; a request could not tell them apart")
        models[run.name] = served(run, draft, amateur, precision)
    worker = Worker()

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
        worker.close()

    # The pages that document an API load scripts from elsewhere; the schema itself stays, at /openapi.json.
    api = FastAPI(title="genus", version=genus.__version__, docs_url=None, redoc_url=None, lifespan=life)
    api.state.worker = worker
    if origins:
        api.add_middleware(CORSMiddleware, allow_origins=list(origins), allow_methods=["*"], allow_headers=["*"])
    api.add_middleware(Guard, key=api_key, origins=origins, hosts=hosts)

    def find(name: str | None, path: str) -> Served:
        here = [model for model in models.values() if model.path == path]
        if name is None:
            if len(here) != 1:
                raise Refusal(
                    f"say which model: {', '.join(m.name for m in here) or 'none serves this'}", param="model"
                )
            return here[0]
        if name not in models:
            raise Refusal(
                f"there is no model {name!r}; there are: {', '.join(models)}", 404, "model", "model_not_found"
            )
        found = models[name]
        if found.path != path:
            said = f"model {name!r} makes {found.medium.name}; ask it at {found.path}"
            raise Refusal(said, param="model", code="wrong_endpoint")
        return found

    @api.get("/health")
    async def health() -> dict[str, Any]:
        return {"status": "ok", "genus": genus.__version__, "models": list(models), "requests": len(worker)}

    @api.get("/v1/models")
    async def listed() -> dict[str, Any]:
        return {"object": "list", "data": [model.card() for model in models.values()]}

    @api.get("/v1/models/{name}")
    async def one(name: str) -> dict[str, Any]:
        if name not in models:
            raise Refusal(
                f"there is no model {name!r}; there are: {', '.join(models)}", 404, "model", "model_not_found"
            )
        return models[name].card()

    # Two media may share an endpoint; all are there, so that a wrong one can be refused by name.
    for endpoint in {e.path: e for e in ENDPOINTS.values()}.values():
        api.include_router(endpoint.router(find, worker))
    _errors(api)
    return api


def _errors(api: FastAPI) -> None:
    @api.exception_handler(Refusal)
    async def refused(_: Request, said: Refusal) -> JSONResponse:
        return error(str(said), said.status, said.param, said.code)

    @api.exception_handler(RequestValidationError)
    async def invalid(_: Request, said: RequestValidationError) -> JSONResponse:
        first = said.errors()[0]
        where = [str(part) for part in first["loc"] if part != "body"]
        name = where[0] if where and first["type"] != "json_invalid" else None
        given = f" (given: {first.get('input')!r:.80})" if name and first["type"] != "missing" else ""
        return error(f"{name or 'the body'}: {first['msg']}{given}", 400, name, first["type"])

    @api.exception_handler(Exception)
    async def ours(_: Request, said: Exception) -> JSONResponse:
        return error(f"the server failed: {type(said).__name__}", 500)

    @api.exception_handler(HTTPException)
    async def other(request: Request, said: HTTPException) -> JSONResponse:
        return error(f"{request.method} {request.url.path}: {said.detail}", said.status_code)


def serve(
    runs: Sequence[Run],
    host: str = "127.0.0.1",
    port: int = 8000,
    require_gate: bool = True,
    *,
    api_key: str | None = None,
    origins: Sequence[str] = (),
    ready: Callable[[str], object] | None = None,
    draft: Run | None = None,
    amateur: Run | None = None,
    precision: str | None = None,
) -> None:
    """Serve until Ctrl-C; `ready` is told the address once it listens. port 0: any free one.

    require_gate: refuse a run that neither passed its gate nor was published by force. Raises `UsageError` for an
    address that cannot be used, `GenusError` for a run that may not be served.
    """
    if not runs:
        raise UsageError("nothing to serve; name at least one run")
    if require_gate:
        for run in runs:
            release.admit(run)
    local = host in LOOPBACK or _loopback(host)
    hosts = (*LOOPBACK, host) if local else ()
    application = app(
        runs, api_key=api_key, origins=origins, hosts=hosts, draft=draft, amateur=amateur, precision=precision
    )
    with _listen(host, port) as listener:
        at = listener.getsockname()
        if ready is not None:
            ready(f"http://{f'[{at[0]}]' if ':' in at[0] else at[0]}:{at[1]}/v1")
        with suppress(KeyboardInterrupt):
            asyncio.run(_run(application, listener))


async def _run(application: FastAPI, listener: socket.socket) -> None:
    worker: Worker = application.state.worker
    # The second limit is for a client that does not read: by then every answer has ended.
    server = uvicorn.Server(uvicorn.Config(application, log_level="warning", timeout_graceful_shutdown=2 * GRACE))

    async def end_answers() -> None:
        while not server.should_exit:
            await asyncio.sleep(0.1)
        until = time.monotonic() + GRACE
        while len(worker) and time.monotonic() < until:
            await asyncio.sleep(0.1)
        await asyncio.to_thread(worker.close)

    watch = asyncio.create_task(end_answers())
    try:
        await server.serve(sockets=[listener])
    finally:
        watch.cancel()


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port < 1 << 16:  # the resolver would wrap it around
        raise UsageError(f"cannot listen on port {port}; choose one from 1 to 65535, or 0 for any")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(128)
        except BaseException:
            listener.close()
            raise
    except OSError as trouble:
        raise UsageError(f"cannot listen on {host}:{port} ({trouble}); choose another --host or --port") from trouble
    return listener
