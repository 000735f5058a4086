"""Run the application by uvicorn; stop so that what runs is finished."""

from __future__ import annotations

import logging
import socket
from contextlib import suppress
from typing import Any

import uvicorn
from fastapi import FastAPI

from unrolled.errors import UserError
from unrolled.serving.connections import RESERVE, Door, connections, files_allowed
from unrolled.serving.limits import Limits

GRACE = 30
"""Seconds that requests which run have to end, when the server stops."""
PING = 10
"""Seconds between two pings over a WebSocket, and for an answer, which cannot come in the middle of a message."""


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens; 0 takes a free port.

    Raises:
        UserError: the address is taken, or none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
    except (OSError, OverflowError) as error:
        listener.close()
        raise UserError(f"cannot listen on {host}, port {port}: {getattr(error, 'strerror', None) or error}") from None
    return listener


def config_of(app: FastAPI, limits: Limits, *, log_level: str = "info", grace: int = GRACE) -> uvicorn.Config:
    """How uvicorn runs the application; `grace`: seconds that requests which run have to end when it stops."""
    files = files_allowed(2 * limits.connections + RESERVE)
    logging.getLogger("uvicorn.error").addFilter(in_one_line)
    http: Any = connections(Door(limits, app.state.serving.metrics, files))
    return uvicorn.Config(
        app, log_level=log_level, access_log=False, http=http, backlog=2048,
        timeout_keep_alive=30, timeout_graceful_shutdown=grace, ws_max_size=limits.body_bytes,
        server_header=False, proxy_headers=False, ws_ping_interval=PING, ws_ping_timeout=PING,
    )  # fmt: skip


def in_one_line(record: logging.LogRecord) -> bool:
    """Log a text of a WebSocket that is not UTF-8, the client's mistake, without uvicorn's traceback."""
    if (
        record.exc_info
        and isinstance(record.exc_info[1], UnicodeDecodeError)
        and record.msg.startswith("Invalid UTF-8")
    ):
        record.exc_info = record.exc_text = None
    return True


def serve(app: FastAPI, listener: socket.socket, limits: Limits, *, log_level: str = "info") -> None:
    """Serve until SIGINT or SIGTERM; then finish what runs, within `GRACE` seconds.

    Raises:
        UserError: it could not start.
    """
    server = _Graceful(config_of(app, limits, log_level=log_level), app)
    with suppress(KeyboardInterrupt):  # how a server ends; uvicorn has stopped by then, and says it again
        server.run(sockets=[listener])
    if not server.started:
        raise UserError("the server could not start; the lines above say why")


class _Graceful(uvicorn.Server):
    """Says that it takes no more requests as soon as it is told to stop."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    def handle_exit(self, sig: int, frame: Any) -> None:
        self._app.state.serving.ready = False
        super().handle_exit(sig, frame)
