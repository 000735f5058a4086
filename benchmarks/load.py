"""Clients that ask a server as fast as it answers, over HTTP/1.1: little more than sockets, so that it counts."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Ask = Callable[[int, int], tuple[str, Any]]
"""The path and body of the n-th request of a client: (client, n)."""


@dataclass
class Load:
    """What came of a load.

    Attributes:
        seconds: how long it lasted. latencies: of each answer, in seconds.
        statuses: how many answers had which status. answers: the last answer of each client, with its request.
    """

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    answers: dict[int, tuple[int, Any]] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds

    def latency(self, share: float) -> float:
        """The latency that this share of the answers kept, in seconds."""
        return sorted(self.latencies)[min(len(self.latencies) - 1, int(share * len(self.latencies)))]


class Connection:
    """One connection, kept open."""

    def __init__(self, host: str, port: int) -> None:
        self._at = host, port
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter | None = None

    async def post(self, path: str, body: Any) -> tuple[int, Any]:
        """A request; its status and its answer."""
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(*self._at)
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nhost: {self._at[0]}\r\ncontent-type: application/json\r\n"
        self._writer.write(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content)
        headers = await self._reader.readuntil(b"\r\n\r\n")
        length = int(headers.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        return int(headers[9:12]), json.loads(await self._reader.readexactly(length))

    def close(self) -> None:
        """Close it."""
        if self._writer is not None:
            self._writer.close()


async def load(host: str, port: int, clients: int, seconds: float, ask: Ask) -> Load:
    """So many clients, each asking again as soon as it is answered."""
    found, started = Load(), time.perf_counter()

    async def client(number: int) -> None:
        connection = Connection(host, port)
        count = 0
        while time.perf_counter() - started < seconds:
            path, body = ask(number, count)
            begun = time.perf_counter()
            status, answer = await connection.post(path, body)
            found.latencies.append(time.perf_counter() - begun)
            found.statuses[status] = found.statuses.get(status, 0) + 1
            found.answers[number] = (count, answer)
            count += 1
        connection.close()

    await asyncio.gather(*(client(number) for number in range(clients)))
    found.seconds = time.perf_counter() - started
    return found
