"""Servers of tiny runs on loopback: in a thread of this process, or as a person starts one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from unrolled.serving.app import create_app
from unrolled.serving.library import Library
from unrolled.serving.limits import Limits
from unrolled.serving.server import config_of, listening


@dataclass
class Served:
    """A server that runs: its address, its application, and a client."""

    address: str
    app: FastAPI
    client: httpx.Client

    def post(self, path: str, **body: Any) -> httpx.Response:
        """A request to /v1/models/..., and its answer."""
        return self.client.post(f"/v1/models/{path}", json=body)

    def told(self, path: str, **body: Any) -> Any:
        """The same, where it must succeed."""
        answer = self.post(path, **body)
        assert answer.status_code == 200, answer.text
        return answer.json()


def soon(what: Callable[[], bool], seconds: float = 120) -> bool:
    """Wait until something is true; whether it became so. The time only bounds a hang."""
    ends = time.monotonic() + seconds
    while not what():
        if time.monotonic() > ends:
            return False
        time.sleep(0.02)
    return True


@contextmanager
def serving(library: Library, limits: Limits | None = None, **options: Any) -> Iterator[Served]:
    """A server of a library on a free port, in a thread, until the block ends."""
    limits = limits or Limits()
    app = create_app(library, limits=limits, **options)
    listener = listening("127.0.0.1", 0)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = uvicorn.Server(config_of(app, limits, log_level="error", grace=5))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        assert soon(lambda: server.started)
        with httpx.Client(base_url=address, timeout=60) as client:
            yield Served(address, app, client)
    finally:
        server.should_exit = True
        thread.join(timeout=60)
        listener.close()
    assert not thread.is_alive()


def _ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def started(*arguments: str, folder: Path, **environment: str) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """`unrolled serve` on a free port, and a client; killed at the block's end if it still runs."""
    command = [sys.executable, "-m", "unrolled", "serve", *arguments, "--port", "0", "--threads", "1"]
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, **environment},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if found := re.search(r"serving at (http://\S+)", line):
                break
        else:
            raise AssertionError(said)
        with httpx.Client(base_url=found[1], timeout=30) as client:
            assert soon(lambda: _ready(client))
            yield process, client
    finally:
        process.kill()
        process.wait(60)
        assert process.stdout is not None
        process.stdout.close()
