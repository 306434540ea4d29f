"""Who may speak to the server: an ASGI wrap around the application. Not here: encryption (put a proxy before it).

A server on the loopback is reached by every page that the browser shows, so beside the key there are three checks: a
page of another origin is refused unless it was allowed by name, a name that only resolves to this machine (DNS
rebinding) is refused, and so is a body that is larger than any honest request.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from genus.deploy.protocol import error

LOOPBACK = ("127.0.0.1", "localhost", "::1")
#: Bytes of a request's body.
BODY = 4 << 20


@final
@dataclass(frozen=True)
class Guard:
    """The app behind the checks. key: None asks for none. origins: other pages that may call. hosts: empty for any."""

    app: ASGIApp
    key: str | None = None
    origins: Sequence[str] = ()
    hosts: Sequence[str] = ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refused = self._refuse(scope["path"], scope["method"], headers)
        if refused is not None:
            await error(*refused)(scope, receive, send)
            return
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > BODY:  # no length was announced: end the connection rather than read on
                return {"type": "http.disconnect"}
            return message

        await self.app(scope, counted, send)

    def _refuse(self, path: str, method: str, headers: Headers) -> tuple[str, int, None, str] | None:
        host = headers.get("host", "")
        origin = headers.get("origin")
        if self.hosts and urlsplit(f"//{host}").hostname not in self.hosts:
            return f"this server does not answer to the name {host!r}", 403, None, "host_not_allowed"
        if origin is not None and origin not in self.origins and "*" not in self.origins:
            same = urlsplit(origin).netloc == host
            if not same:
                return (
                    f"pages of {origin} may not call this server; allow them by --origin",
                    403,
                    None,
                    "origin_not_allowed",
                )
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > BODY:
            return f"the body is larger than {BODY} bytes", 413, None, "too_large"
        if self.key is not None and path.startswith("/v1/") and method != "OPTIONS":
            given = headers.get("authorization", "").removeprefix("Bearer ")
            if not hmac.compare_digest(given.encode("latin-1"), self.key.encode()):
                return "this server needs its key: send Authorization: Bearer KEY", 401, None, "invalid_api_key"
        return None
