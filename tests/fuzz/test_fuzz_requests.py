"""Random requests and messages: each answered, refused in one line or closed; the server lives and logs no fault."""

from __future__ import annotations

import json
import logging
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import unrolled
from once import made_once
from servers import Served, serving
from unrolled.serving.library import Library
from unrolled.serving.limits import Limits

pytestmark = pytest.mark.fuzz
LENIENT = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
SMALL = {"model.hidden": 8, "training.steps": 2, "training.batch": 8, "training.seed": 1}
LIMITS = Limits(head_seconds=2, body_seconds=2, request_seconds=20, symbols=500, body_bytes=400_000)


class Faults(logging.Handler):
    """What the server logs as its own fault."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        theirs = record.getMessage().startswith("Invalid UTF-8")
        if record.exc_info or (record.levelno >= logging.ERROR and not theirs):
            self.found.append(logging.Formatter().format(record))


def train_both(folder: Path) -> None:
    """A language model of BPE pieces, and a classifier of words that answers streams."""
    (folder / "writer.txt").write_text("the cat, which ate fish, slept.\n" * 60, encoding="utf-8")
    (folder / "films.tsv").write_text("text\tlabel\n" + "a fine film\tgood\na dull film\tbad\n" * 30, encoding="utf-8")
    for name, task, data, more in (
        ("writer", "language-model", "writer.txt", {"data.level": "bpe", "data.vocabulary_size": 270}),
        ("films", "classify", "films.tsv", {"model.bidirectional": False}),
    ):
        recipe = folder / f"{name}.toml"
        recipe.write_text(f'task = "{task}"\n[data]\npath = "{data}"\n', encoding="utf-8")
        run = folder / "runs" / name
        unrolled.train(recipe, {**SMALL, **more}, folder=run, quiet=True, device="cpu")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[tuple[Served, Faults]]:
    """A server of both runs, and what it logs as its own fault."""
    runs = made_once(tmp_path_factory, worker_id, "fuzzed-requests", train_both) / "runs"
    faults, names = Faults(), ("uvicorn.error", "unrolled.serving", "asyncio")
    with serving(Library({run.name: run for run in sorted(runs.iterdir())}), LIMITS) as served:
        for name in names:
            logging.getLogger(name).addHandler(faults)
        yield served, faults
        for name in names:
            logging.getLogger(name).removeHandler(faults)


NUMBERS = st.integers(-(2**70), 2**70) | st.floats() | st.sampled_from([10**400, -1, 0, 1, 2**31, 2**63])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | NUMBERS
    | st.text(max_size=8)
    | st.sampled_from(["\ud800", "a" * 501, "the cat", "\x00"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)
LIKELY = {
    "inputs": st.lists(st.text(max_size=8) | st.lists(st.lists(NUMBERS, max_size=3), max_size=3), max_size=3),
    "prefixes": st.lists(st.text(max_size=8), max_size=3), "prefix": st.text(max_size=8),
    "length": st.integers(-1, 20), "count": st.integers(-1, 3), "top": st.integers(-1, 101),
    "append": st.text(max_size=8), "label": st.sampled_from(["good", "x", ""]), "end": st.booleans(),
    "input": st.text(max_size=8), "held": st.sampled_from(["server", "client"]), "temperature": NUMBERS,
    "seed": NUMBERS, "token": st.text(max_size=8), "gates": st.booleans(), "stream": st.just(False),
    "top_p": NUMBERS, "open": st.just({}) | VALUES, "symbols": st.booleans(),
}  # fmt: skip
BODIES = st.lists(st.sampled_from(sorted(LIKELY)), max_size=4, unique=True).flatmap(
    lambda keys: st.fixed_dictionaries({key: LIKELY[key] | VALUES for key in keys})
)
ODD = st.sampled_from(
    [b"[" * 100_000, b'{"inputs":' + b"[" * 90_000 + b"]" * 90_000 + b"}", b'{"a":' * 50_000, b"9" * 5_000, b"NaN",
     b'{"inputs": [' + b",".join([b"1"] * 100_000) + b"]}", b'{"inputs": [' + b",".join([b'"a"'] * 1_000) + b"]}",
     b'{"inputs": [[' + b",".join([b"[null]"] * 50_000) + b"]]}", b'{"append": [' + b",".join([b"1"] * 9_000) + b"]}",
     b"{" + b",".join(b'"k%d":1' % n for n in range(20_000)) + b"}", b"\xff\xfe{}", b" " * 500_000, b'{"top": 1e999}']
)  # fmt: skip
CONTENTS = (BODIES | VALUES).map(lambda value: json.dumps(value).encode()) | st.binary(max_size=30) | ODD
VERBS = ("predict", "score", "next", "sample", "translate", "gates", "streams", "streams/append", "streams/x")
TYPES = st.sampled_from(["application/json", "application/json; charset=x", "text/plain", "multipart/form-data", ""])


def check_lives(server: tuple[Served, Faults]) -> None:
    """The server answers what it answered before, and has logged no fault."""
    served, faults = server
    assert served.told("films/predict", inputs=["a fine film"])["answers"][0]["label"] in ("good", "bad")
    assert served.client.get("/healthz").status_code == 200
    assert not faults.found, faults.found[0]


@LENIENT
@given(name=st.sampled_from(["writer", "films", "none"]), verb=st.sampled_from(VERBS), content=CONTENTS, type=TYPES)
def test_bodies(server: tuple[Served, Faults], name: str, verb: str, content: bytes, type: str) -> None:
    answer = server[0].client.post(f"/v1/models/{name}/{verb}", content=content, headers={"content-type": type})
    assert answer.status_code in (200, 400, 404, 413, 422), (content[:200], answer.text)
    told = answer.json()
    if answer.status_code != 200:
        assert set(told) == {"error"}
        assert "\n" not in told["error"]
        assert len(told["error"]) < 1000
    check_lives(server)


@LENIENT
@given(
    path=st.text(max_size=40), query=st.text(max_size=10), verb=st.sampled_from(["GET", "POST", "DELETE", "PUT", "X"])
)
def test_addresses(server: tuple[Served, Faults], path: str, query: str, verb: str) -> None:
    quoted = "".join(f"%{byte:02x}" for byte in path.encode("utf-8", "surrogatepass"))
    with suppress(httpx.InvalidURL):
        answer = server[0].client.request(verb, f"/v1/models/{quoted}?{query}".replace("#", ""))
        assert answer.status_code in (200, 307, 400, 404, 405, 422), answer.text
    check_lives(server)


HEADS = st.lists(
    st.sampled_from(
        [b"GET / HTTP/1.1\r\n", b"POST /v1/models/writer/next HTTP/1.1\r\n", b"GET * HTTP/9.9\r\n",
         b"GET /v1/models/writer/streams/new HTTP/1.1\r\n", b"Host: localhost\r\n", b"Expect: 100-continue\r\n",
         b"Content-Length: 5\r\n", b"Content-Length: -1\r\n", b"Transfer-Encoding: chunked\r\n", b"\r\n",
         b"5\r\nhello\r\n", b"0\r\n\r\n", b"Upgrade: websocket\r\nConnection: Upgrade\r\n",
         b"Sec-WebSocket-Version: 13\r\n", b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n", b"a" * 70_000]
    )
    | st.binary(max_size=20),
    max_size=8,
)  # fmt: skip


@LENIENT
@given(pieces=HEADS)
def test_heads(server: tuple[Served, Faults], pieces: list[bytes]) -> None:
    with connected(server[0]) as line:
        for piece in pieces:
            with suppress(OSError):  # the server has seen enough
                line.sendall(piece)
    check_lives(server)


def frame(opcode: int, payload: bytes, final: bool, masked: bool) -> bytes:
    """A frame of a WebSocket, masked with zeros."""
    size, mask = len(payload), 0x80 * masked
    length = bytes([mask | size]) if size < 126 else bytes([mask | 127]) + struct.pack(">Q", size)
    return bytes([0x80 * final | opcode]) + length + bytes(4 * masked) + payload


FRAMES = st.lists(
    st.builds(
        frame, st.sampled_from([1, 1, 1, 2, 0, 8, 9, 10, 3]),
        BODIES.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=130) | ODD,
        st.sampled_from([True, True, False]), st.sampled_from([True, True, True, False]),
    )
    | st.binary(max_size=20),
    max_size=4,
)  # fmt: skip


@LENIENT
@given(frames=FRAMES, name=st.sampled_from(["writer", "films"]))
def test_frames(server: tuple[Served, Faults], frames: list[bytes], name: str) -> None:
    with connected(server[0]) as line:
        line.sendall(
            f"GET /v1/models/{name}/streams/new HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n".encode()
            + b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        assert line.recv(10_000).startswith(b"HTTP/1.1 101 ")
        with suppress(OSError):
            for content in frames:
                line.sendall(content)
            line.shutdown(socket.SHUT_WR)
            while line.recv(100_000):
                pass  # until it is closed
    check_lives(server)


def connected(served: Served) -> socket.socket:
    """A connection to the server."""
    host, port = served.address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)
