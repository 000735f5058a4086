"""Connections: how many there may be, and of whom; how long a request may take to come, and an answer to be read.

uvicorn waits for a request's head as long as the client likes, so a few hundred half-sent ones, which cost their sender
nothing, would keep everybody else out.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from enum import Enum
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from unrolled.serving.limits import Limits
from unrolled.serving.metrics import Metrics

HEAD_BYTES = 2**16
"""Of a request's head, which arrives in pieces, at most."""
RESERVE = 64
"""Files that the process opens beside its connections."""
LINGERING = 16
"""Connections that are refused in words at the same time; more of them are cut."""
LINGER_SECONDS = 1.0
"""For a refusal to be read: whoever still sends while the connection is cut may never see it."""
CROWDED = "{share} connections of one address may be open at once: close some"
PHRASES = {400: "Bad Request", 408: "Request Timeout", 429: "Too Many Requests", 431: "Request Header Fields Too Large"}


class Entry(Enum):
    """What becomes of a new connection: it is served, refused in words, or cut."""

    SERVED, REFUSED, CUT = range(3)


class Door:
    """Counts open connections, and gives each address no more than its share of them.

    Args:
        limits: twice as many connections may be open as requests may run, since most wait for their next request.
        files: how many files the process may open; None: as many as it likes.

    Attributes:
        total, share: connections of all addresses, and of one.
    """

    def __init__(self, limits: Limits, metrics: Metrics, files: int | None = None) -> None:
        self.limits, self.metrics = limits, metrics
        most = 2 * limits.connections
        self.total = most if files is None else max(2, min(most, files - RESERVE))
        one, every = 2 * min(limits.per_client, limits.connections), 2 * limits.connections
        self.share = max(1, min(one, self.total * max(one, limits.connections) // every))  # where files are few, half
        self._open: dict[str, set[asyncio.BaseTransport]] = {}
        self._count = self._lingering = 0

    def enter(self, address: str, transport: asyncio.BaseTransport) -> Entry:
        """Count a new connection, unless it is one too many."""
        if self._count >= self.total or len(self._open.get(address, ())) >= self.share:
            self._forget_closed()
        if self._count >= self.total:
            return Entry.CUT
        if len(self._open.get(address, ())) >= self.share:
            return Entry.REFUSED if self._lingering < LINGERING else Entry.CUT
        self._open.setdefault(address, set()).add(transport)
        self._count += 1
        return Entry.SERVED

    def leave(self, address: str, transport: asyncio.BaseTransport) -> None:
        """A connection is closed."""
        own = self._open.get(address, set())
        if transport in own:
            own.remove(transport)
            self._count -= 1
        if not own:
            self._open.pop(address, None)

    def linger(self, change: int) -> None:
        """So many more are being refused."""
        self._lingering += change

    def _forget_closed(self) -> None:
        """WebSockets do not say when they are closed."""
        for address, own in list(self._open.items()):
            for transport in [one for one in own if one.is_closing()]:
                self.leave(address, transport)


class Connection(HttpToolsProtocol):
    """A connection with deadlines.

    A deadline runs while a request's head is awaited or incomplete, another while its body is; uvicorn's own runs
    between two requests. Where the application waits for the body, `Guards` says in words that it is late; this one
    also ends what nobody waits for any more.
    """

    def __init__(self, *arguments: Any, door: Door, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._door, self._limits = door, door.limits
        self._address = ""
        self._refused = self._in_head = False
        self._head_size = 0
        self._arriving: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    # -- what asyncio tells

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is here."""
        super().connection_made(transport)
        self._address = self.client[0] if self.client else ""
        entry = self._door.enter(self._address, transport)
        if entry is Entry.SERVED:
            self._await(self._limits.head_seconds)
            return
        self._refused = True
        self._closed("crowded")
        if entry is Entry.CUT:
            transport.abort()
            return
        self._door.linger(1)
        self._answer(429, CROWDED.format(share=self._door.share))
        if transport.can_write_eof():
            transport.write_eof()
        self._arriving = self.loop.call_later(LINGER_SECONDS, transport.abort)

    def data_received(self, data: bytes) -> None:
        """A piece of a request."""
        if self._refused:
            return
        within = self._in_head
        super().data_received(data)
        if within and self._in_head:
            self._head_size += len(data)
            if self._head_size > HEAD_BYTES and not self.transport.is_closing():
                self._end("head too large", 431, f"the request's head has more than {HEAD_BYTES:,} bytes")

    def pause_writing(self) -> None:
        """What was answered is not read as fast as it comes."""
        super().pause_writing()
        if self._unread is None:
            self._await_reader()

    def resume_writing(self) -> None:
        """It was read."""
        super().resume_writing()
        _cancel(self._unread)
        self._unread = None

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        if self._refused and self._arriving is not None:
            self._door.linger(-1)
        _cancel(self._arriving)
        _cancel(self._unread)
        self._door.leave(self._address, self.transport)
        super().connection_lost(exc)

    # -- what the parser tells

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._in_head, self._head_size = True, 0
        self._await(self._limits.head_seconds)

    def on_headers_complete(self) -> None:
        """A request's head is complete."""
        self._in_head = False
        self._await(self._limits.head_seconds + self._limits.body_seconds)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """A request is complete."""
        _cancel(self._arriving)
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        """From here on it belongs to another protocol, whose pings end what does not answer."""
        _cancel(self._arriving)
        super().handle_websocket_upgrade()
        # The head is handed on as a whole. Of one with a body, many or long headers nothing comes, and nobody waits.
        if not getattr(self.transport.get_protocol(), "handshake_initiated", True):
            self._end("no websocket", 400, "a request with so much in its head, or with a body, opens no WebSocket")

    # -- deadlines

    def _await(self, seconds: float) -> None:
        _cancel(self._arriving)
        self._arriving = self.loop.call_later(seconds, self._late, seconds)

    def _late(self, seconds: float) -> None:
        if self.flow.read_paused:  # it is we who do not read
            self._await(seconds)
        elif self._in_head:
            self._end("head late", 408, f"the request's head did not arrive within {self._limits.head_seconds:g} s")
        else:
            self._end("late")

    def _await_reader(self) -> None:
        unsent = self.transport.get_write_buffer_size()  # the application adds nothing until it is read
        self._unread = self.loop.call_later(self._limits.request_seconds, self._unmoved, unsent)

    def _unmoved(self, before: int) -> None:
        if self.transport.get_write_buffer_size() < before:
            self._await_reader()
        else:
            self._closed("unread")
            self.transport.abort()

    def _end(self, reason: str, status: int = 0, words: str = "") -> None:
        """Close the connection, with an answer where none was begun."""
        self._closed(reason)
        if status and (self.cycle is None or self.cycle.response_complete):
            self._answer(status, words)
        self.transport.close()

    def _closed(self, reason: str) -> None:
        self._door.metrics.connections_closed.labels(reason).inc()

    def _answer(self, status: int, words: str) -> None:
        body = json.dumps({"error": words}).encode()
        head = f"HTTP/1.1 {status} {PHRASES[status]}\r\ncontent-type: application/json\r\nconnection: close\r\n"
        retry = "retry-after: 1\r\n" if status == 429 else ""
        self.transport.write(f"{head}{retry}content-length: {len(body)}\r\n\r\n".encode() + body)


def connections(door: Door) -> Callable[..., asyncio.Protocol]:
    """What makes the connections behind a door, as uvicorn's `http`."""

    def made(*arguments: Any, **options: Any) -> asyncio.Protocol:
        return Connection(*arguments, door=door, **options)

    return made


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


def files_allowed(wanted: int) -> int | None:
    """How many files the process may open, raised to `wanted` where it may be; None where nobody counts them."""
    try:
        import resource
    except ImportError:  # not on this system
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        except (OSError, ValueError):
            soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if soft == resource.RLIM_INFINITY else soft
