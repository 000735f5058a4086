"""What stands before the routes: whose request it is, how many there are, how long a body may take to come."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections import Counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unrolled.serving.limits import Limits
from unrolled.serving.metrics import Metrics
from unrolled.serving.refusals import Refused, brief

OPEN = ("/healthz", "/readyz", "/", "/lab", "/docs", "/openapi.json", "/favicon.ico")
"""What needs no key: nothing of a model is in it."""
LOCAL = ("127.0.0.1", "localhost", "::1")


class Guards:
    """Refuses what is not for the routes, and counts everything.

    Args:
        key: what callers must know, None for nobody. hosts: the names that the server is called by; a page of another
            host, whose name was made to mean this machine, is not answered. None: all.
    """

    def __init__(
        self, app: ASGIApp, *, limits: Limits, metrics: Metrics, key: str | None, hosts: frozenset[str] | None
    ) -> None:
        self._app, self._limits, self._metrics, self._hosts = app, limits, metrics, hosts
        self._key = None if key is None else key.encode("utf-8", "surrogateescape")
        self._clients: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500
        client = (scope.get("client") or ("", 0))[0]

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._clients[client] += 1
        try:
            self._check(scope, client)
            await self._app(scope, self._bounded(receive) if scope["type"] == "http" else receive, sending)
        except Refused as refusal:
            status = refusal.status
            await refuse(scope, refusal, send)
        finally:
            self._clients[client] -= 1
            if not self._clients[client]:
                del self._clients[client]
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope.get("method") in ("GET", "POST", "DELETE") else "other"
            if scope["type"] == "http":
                self._metrics.request(method, route, status, time.perf_counter() - started)

    def _check(self, scope: Scope, client: str) -> None:
        headers = dict(scope["headers"])
        host = _host(headers.get(b"host", b"").decode("latin-1"))
        if self._hosts is not None and host not in self._hosts:
            raise Refused(
                400, "this server answers to " + ", ".join(sorted(self._hosts)) + ", and was called another name"
            )
        origin = headers.get(b"origin")
        if (
            origin is not None
            and scope["type"] == "websocket"
            and _host(origin.decode("latin-1").split("//")[-1]) != host
        ):
            raise Refused(403, "a page of another host may not open a WebSocket here")
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._limits.body_bytes:
            raise too_large(self._limits.body_bytes)
        path = scope["path"]
        if self._key is not None and path not in OPEN and not path.startswith("/static/"):
            self._check_key(headers)
        if self._clients.total() > self._limits.connections:
            raise Refused(503, f"{self._limits.connections} requests are open, and no more may be", retry_after=1)
        if self._clients[client] > self._limits.per_client:
            raise Refused(
                429,
                f"{self._limits.per_client} requests of one address may be open at once: wait for some",
                retry_after=1,
            )

    def _check_key(self, headers: dict[bytes, bytes]) -> None:
        given = headers.get(b"x-api-key", b"")
        scheme, _, rest = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() == b"bearer":
            given = rest.strip()
        for protocol in headers.get(b"sec-websocket-protocol", b"").split(b","):
            if protocol.strip().startswith(b"key."):  # a browser cannot send other headers with a WebSocket
                given = protocol.strip()[4:]
        assert self._key is not None
        if not hmac.compare_digest(given, self._key):
            raise Refused(401, "an API key is needed: send it as Authorization: Bearer KEY")

    def _bounded(self, receive: Receive) -> Receive:
        """The same, but a body that is too large or trickles in ends in a refusal."""
        ends, most = time.monotonic() + self._limits.body_seconds, self._limits.body_bytes
        complete, size = False, 0

        async def receiving() -> Message:
            nonlocal complete, size
            if complete:  # what comes now is only that the client goes away
                return await receive()
            try:
                async with asyncio.timeout(max(0.0, ends - time.monotonic())):
                    message = await receive()
            except TimeoutError:
                raise Refused(408, f"the body did not arrive within {self._limits.body_seconds:g} s") from None
            complete = not message.get("more_body", False)
            size += len(message.get("body", b""))
            if size > most:
                raise too_large(most)
            return message

        return receiving


def too_large(most: int) -> Refused:
    """413: of a body."""
    return Refused(413, f"the body is too large: at most {most:,} bytes are read; send less at once")


async def refuse(scope: Scope, refusal: Refused, send: Send) -> None:
    """Answer with a refusal."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": brief(refusal.reason)})
        return
    body = json.dumps({"error": refusal.reason}).encode()
    await send({"type": "http.response.start", "status": refusal.status, "headers": [*headers_of(refusal, len(body))]})
    await send({"type": "http.response.body", "body": body})


def headers_of(refusal: Refused, length: int) -> list[tuple[bytes, bytes]]:
    """The headers of a refusal."""
    found = [(b"content-type", b"application/json"), (b"content-length", str(length).encode())]
    if refusal.retry_after is not None:
        found.append((b"retry-after", str(refusal.retry_after).encode()))
    if refusal.status == 401:
        found.append((b"www-authenticate", b"Bearer"))
    return found


def _host(header: str) -> str:
    """The name in a Host header, without its port."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()


def hosts_of(host: str) -> frozenset[str] | None:
    """The names that a server bound to `host` is called by; None where that cannot be known."""
    return frozenset(LOCAL) if host in LOCAL else None
