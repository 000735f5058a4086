"""How many connections there may be, of whom, and how long each part of a request may take: on a clock made by hand."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import httpx
import pytest
import uvicorn
from uvicorn.server import ServerState

from unrolled.serving.connections import HEAD_BYTES, LINGER_SECONDS, LINGERING, RESERVE, Connection, Door
from unrolled.serving.limits import Limits
from unrolled.serving.metrics import Metrics

HALF = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-"
WHOLE = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n12345"
LIMITS = Limits(head_seconds=10, body_seconds=20, request_seconds=60, connections=8, per_client=4)


class Timer:
    def __init__(self, due: float, call: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        self.due, self.call, self.arguments, self.cancelled = due, call, arguments, False

    def cancel(self) -> None:
        self.cancelled = True


class Clock:
    """An event loop's clock and tasks; time passes where a test says so."""

    def __init__(self) -> None:
        self.now, self.timers = 0.0, list[Timer]()

    def call_later(self, seconds: float, call: Callable[..., None], *arguments: Any) -> Timer:
        self.timers.append(Timer(self.now + seconds, call, arguments))
        return self.timers[-1]

    def create_task(self, coroutine: Any, **_: Any) -> Any:
        coroutine.close()  # the application is not what is tested
        return Mock()

    def passes(self, seconds: float) -> None:
        """Let time pass."""
        ends = self.now + seconds
        while due := sorted((t for t in self.timers if not t.cancelled and t.due <= ends), key=lambda t: t.due):
            self.now = due[0].due
            self.timers.remove(due[0])
            due[0].call(*due[0].arguments)
        self.now = ends


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self, address: str) -> None:
        super().__init__({"peername": (address, 1234), "sockname": ("127.0.0.1", 80)})
        self.sent, self.closed, self.aborted, self.ended = b"", False, False, False
        self.unsent = 0
        self.protocol: Connection

    def write(self, data: Any) -> None:
        self.sent += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.protocol.connection_lost(None)

    def abort(self) -> None:
        self.aborted = True
        self.close()

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    """An application."""


class Server:
    """Connections of clients by their addresses, behind one door."""

    def __init__(self, limits: Limits = LIMITS, files: int | None = None) -> None:
        self.clock, self.door = Clock(), Door(limits, Metrics(), files)
        self.config, self.state = uvicorn.Config(_nothing, timeout_keep_alive=30), ServerState()

    def connect(self, address: str = "192.0.2.1") -> Wire:
        """A new connection."""
        wire = Wire(address)
        wire.protocol = Connection(self.config, self.state, {}, self.clock, door=self.door)  # type: ignore[arg-type]
        wire.protocol.connection_made(wire)
        return wire

    def closed(self, reason: str) -> float:
        """How many connections were ended for a reason."""
        count: float = self.door.metrics.connections_closed.labels(reason)._value.get()
        return count


def test_a_head_has_a_time_limit() -> None:
    server = Server()
    silent, half, whole = (server.connect() for _ in range(3))
    server.clock.passes(5)
    half.protocol.data_received(HALF)
    half.protocol.data_received(b"a")
    whole.protocol.data_received(WHOLE)
    server.clock.passes(5)
    assert (silent.closed, half.closed, whole.closed) == (True, False, False)
    assert silent.sent == b""  # nothing was asked
    half.protocol.data_received(b"b")  # another byte gives no more time
    server.clock.passes(5)
    assert half.closed
    assert half.sent.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert b"head did not arrive within 10 s" in half.sent
    server.clock.passes(1000)
    assert not whole.closed  # its answer takes as long as the application takes
    assert server.closed("head late") == 1
    assert not server.clock.timers or all(timer.cancelled for timer in server.clock.timers)


def test_the_head_of_a_second_request_has_one_too() -> None:
    server = Server()
    wire = server.connect()
    wire.protocol.data_received(WHOLE)
    wire.protocol.cycle.response_complete = True
    wire.protocol.on_response_complete()
    server.clock.passes(20)  # uvicorn waits longer for a next request
    assert not wire.closed
    wire.protocol.data_received(HALF)
    server.clock.passes(9)
    assert not wire.closed
    server.clock.passes(1)
    assert wire.sent.startswith(b"HTTP/1.1 408")


def test_a_body_that_nobody_reads_has_a_time_limit() -> None:
    server = Server()
    wire = server.connect()
    wire.protocol.data_received(POST)
    wire.protocol.cycle.response_complete = True  # refused by its head alone
    wire.protocol.on_response_complete()
    for _ in range(4):
        server.clock.passes(7)
        assert not wire.closed
        wire.protocol.data_received(b"6")  # which stops the time between two requests
    server.clock.passes(2)
    assert wire.closed
    assert server.closed("late") == 1


def test_reading_that_we_paused_is_not_held_against_the_client() -> None:
    server = Server()
    wire = server.connect()
    wire.protocol.data_received(POST)
    wire.protocol.flow.pause_reading()
    server.clock.passes(60)
    assert not wire.closed
    wire.protocol.flow.resume_reading()
    server.clock.passes(60)
    assert wire.closed


def test_a_head_has_a_size() -> None:
    server = Server()
    wire = server.connect()
    wire.protocol.data_received(HALF)
    for _ in range(HEAD_BYTES // 1000):
        wire.protocol.data_received(b"a" * 1000)
    assert not wire.closed
    wire.protocol.data_received(b"a" * 1000)
    assert wire.closed
    assert wire.sent.startswith(b"HTTP/1.1 431 ")


def test_some_of_an_answer_is_read_within_some_time() -> None:
    server = Server()
    wire = server.connect()
    wire.protocol.data_received(WHOLE)
    wire.unsent = 1000
    wire.protocol.pause_writing()
    server.clock.passes(50)
    wire.protocol.resume_writing()
    wire.protocol.pause_writing()
    server.clock.passes(59)
    wire.unsent = 999  # slow, but it reads
    server.clock.passes(60)
    assert not wire.closed
    server.clock.passes(1)
    assert wire.aborted
    assert server.closed("unread") == 1


def test_one_address_has_a_share_of_the_connections() -> None:
    server = Server()
    assert (server.door.total, server.door.share) == (16, 8)
    own = [server.connect() for _ in range(8)]
    refused = server.connect()
    assert refused.sent.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
    assert b"retry-after: 1" in refused.sent
    assert b"8 connections of one address" in refused.sent
    refused.protocol.data_received(WHOLE)  # is not read
    assert refused.ended
    assert not refused.closed
    other = server.connect("192.0.2.2")
    assert other.sent == b""
    own.pop().close()
    assert server.connect().sent == b""
    server.clock.passes(LINGER_SECONDS)
    assert refused.aborted
    assert server.closed("crowded") == 1


def test_refusals_in_words_have_a_bound() -> None:
    server = Server()
    for _ in range(8):
        server.connect()
    refused = [server.connect() for _ in range(LINGERING + 5)]
    assert [bool(wire.sent) for wire in refused] == [True] * LINGERING + [False] * 5
    assert all(wire.aborted for wire in refused[LINGERING:])
    server.clock.passes(LINGER_SECONDS)
    assert server.connect().sent  # there is room for words again


def test_all_addresses_together_have_a_bound() -> None:
    server = Server()
    held = [server.connect(f"192.0.2.{number}") for number in range(16)]
    assert not any(wire.closed for wire in held)
    assert server.connect("192.0.2.99").aborted
    held[0].close()
    assert not server.connect("192.0.2.99").closed


def test_a_socket_that_was_upgraded_counts_until_it_is_closed() -> None:
    server = Server()
    held = [server.connect() for _ in range(8)]
    held[3].closed = True  # as another protocol closes it: its loss is told to that one
    assert server.connect().sent == b""
    assert server.connect().sent.startswith(b"HTTP/1.1 429")


@pytest.mark.parametrize(
    ("connections", "per_client", "files", "total", "share"),
    [
        (2048, 1024, None, 4096, 2048),
        (2048, 1024, 1024, 1024 - RESERVE, (1024 - RESERVE) // 2),
        (2048, 2048, 128, 128 - RESERVE, 128 - RESERVE),  # behind a proxy
        (2048, 10_000, None, 4096, 4096),
        (2048, 7, 128, 128 - RESERVE, 14),
        (8, 6, None, 16, 12),
        (1000, 750, 1064, 1000, 750),
        (2048, 1024, 10, 2, 1),
        (1, 1, None, 2, 2),
    ],
)
def test_the_share_follows_what_may_be_open(connections, per_client, files, total, share) -> None:
    door = Door(Limits(connections=connections, per_client=per_client), Metrics(), files)
    assert (door.total, door.share) == (total, share)


def test_half_sent_requests_keep_nobody_out(start) -> None:
    server = start(Limits(head_seconds=0.3, connections=8, per_client=4))
    host, port = server.address.removeprefix("http://").split(":")
    lines = [socket.create_connection((host, int(port)), timeout=10) for _ in range(20)]
    try:
        for line in lines:
            line.sendall(HALF)
        answers = [line.recv(1000)[:12] for line in lines]  # comes when the server ends them
        # how many were too many depends on how many had been ended by then
        assert set(answers) <= {b"HTTP/1.1 408", b"HTTP/1.1 429"}
        assert b"HTTP/1.1 408" in answers
        with httpx.Client() as other:
            assert other.get(server.address + "/v1/models").status_code == 200
        counted = re.search(r'connections_closed_total{reason="crowded"} (\S+)', server.client.get("/metrics").text)
        assert (float(counted[1]) if counted else 0) == answers.count(b"HTTP/1.1 429")
    finally:
        for line in lines:
            line.close()
