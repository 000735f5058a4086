"""Whatever comes over a WebSocket is answered or closed with a reason; never a traceback, never silence."""

from __future__ import annotations

import logging
import socket
import struct

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode, Frame, Opcode
from websockets.sync.client import connect

from servers import Served
from unrolled.serving.limits import Limits

DEEP = '{"append": ' + "[" * 100_000 + "]" * 100_000 + "}"
HANDSHAKE = (
    b"GET /v1/models/writer/streams/new HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)


def address_of(server: Served, path: str = "writer/streams/new") -> str:
    return server.address.replace("http", "ws") + f"/v1/models/{path}"


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """The server's log, which must hold no traceback when the test is over."""
    caplog.set_level(logging.INFO)
    return caplog


def assert_no_traceback(log: pytest.LogCaptureFixture) -> None:
    assert not [record for record in log.records if record.exc_info], log.text


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (b"\xff\xfe", "a binary message: send text"),
        (DEEP, "nested too deeply"),
        ("{" + '"a":{' * 50_000, "nested too deeply"),
        ("", "cannot be read"),
        ("[]", "a message is a JSON object"),
        ('{"open": []}', "a message is a JSON object"),
        ('{"append": "a", "top": ' + "9" * 5000 + "}", "thousands of digits"),
        ('{"append": "a", "top": 101}', "top: "),
        ('{"append": [[NaN]]}', "append"),
        ('{"append": [[1e999]]}', "append"),
        ('{"append": "\\ud800"}', "half of a surrogate pair"),
        ('{"\\ud800": 1}', "the body: "),
        ('{"self": 1}', "self: "),
        ('{"open": {"self": 1}}', "self: "),
        ("{" + ",".join(f'"k{number}": 1' for number in range(100)) + "}", "100 keys"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_odd_messages_are_answered_and_the_next_one_is_heard(served, quiet, message, words):
    with connect(address_of(served)) as line:
        line.send(message)
        answer = line.recv(10)
        assert isinstance(answer, str)
        assert '"error"' in answer
        assert words in answer
        assert "\n" not in answer
        line.send('{"append": "a"}')
        assert '"position":1' in line.recv(10)
    assert_no_traceback(quiet)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (bytes([0x81, 0x82]) + bytes(4) + b"\xff\xfe", CloseCode.INVALID_DATA),
        (b"\x81\xff" + struct.pack(">Q", 2**62) + bytes(4), CloseCode.MESSAGE_TOO_BIG),
        (b"\x81\x02{}", CloseCode.PROTOCOL_ERROR),  # unmasked
        (b"\xf1\x80" + bytes(4), CloseCode.PROTOCOL_ERROR),  # reserved bits
        (b"\x83\x80" + bytes(4), CloseCode.PROTOCOL_ERROR),  # no such kind
        (b"\x80\x81" + bytes(4) + b"a", CloseCode.PROTOCOL_ERROR),  # goes on with nothing
    ],
)
def test_broken_frames_close_the_socket_with_a_code(served, quiet, content, code):
    with connect(address_of(served)) as line:
        line.socket.sendall(content)
        with pytest.raises(ConnectionClosed) as caught:
            line.recv(10)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == code
    assert len(quiet.records) == (code == CloseCode.INVALID_DATA)  # which uvicorn says
    assert_no_traceback(quiet)


def test_a_message_that_is_too_large_closes_the_socket(start, quiet):
    server = start(Limits(body_bytes=1000))
    with connect(address_of(server)) as line:
        line.send('{"append": "' + "a" * 1000 + '"}')
        with pytest.raises(ConnectionClosed) as caught:
            line.recv(10)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == CloseCode.MESSAGE_TOO_BIG
    with connect(address_of(server)) as line:  # in pieces
        for number in range(11):
            opcode = Opcode.CONT if number else Opcode.TEXT
            line.socket.sendall(Frame(opcode, b"a" * 100, fin=False).serialize(mask=True))
        with pytest.raises(ConnectionClosed) as caught:
            line.recv(10)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == CloseCode.MESSAGE_TOO_BIG
    assert_no_traceback(quiet)


@pytest.mark.parametrize(
    "more",
    [
        b"".join(b"X-%d: a\r\n" % number for number in range(300)),
        b"X: " + b"a" * 20_000 + b"\r\n",
        b"Content-Length: 10\r\n",
        b"Sec-WebSocket-Protocol: \xff\xfe\r\n",
    ],
    ids=["many headers", "a long header", "a body", "no protocol"],
)
def test_heads_that_open_no_websocket_are_refused(served, quiet, more):
    host, port = served.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as line:
        line.sendall(HANDSHAKE + more + b"\r\n")
        answer = b"".join(iter(lambda: line.recv(10_000), b""))  # it is closed
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert_no_traceback(quiet)


@pytest.mark.parametrize(
    "path", ["%D0%96" * 100 + "/streams/new", "writer/streams/" + "%D0%96" * 100, "%ff/streams/new"]
)
def test_names_that_nobody_has_are_refused(served, quiet, path):
    host, port = served.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as line:
        line.sendall(HANDSHAKE.replace(b"writer/streams/new", path.encode()) + b"\r\n")
        assert line.recv(1000).startswith(b"HTTP/1.1 403 ")
    assert_no_traceback(quiet)
