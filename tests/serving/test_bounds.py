"""Everything that a caller could make large has a bound, and every refusal says what was wrong."""

from __future__ import annotations

import itertools
import json
import socket
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import httpx
import pytest
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from servers import soon
from unrolled.serving.given import length_of
from unrolled.serving.limits import Limits


def refused(answer: httpx.Response, status: int, *words: str) -> str:
    """Check a refusal; its words."""
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}
    for word in words:
        assert word in answer.json()["error"]
    return str(answer.json()["error"])


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("writer/score", {}, ["inputs", "required"]),
        ("writer/score", {"inputs": []}, ["inputs"]),
        ("writer/score", {"inputs": [""]}, ["empty"]),
        ("writer/score", {"inputs": ["a"], "imputs": 1}, ["imputs"]),
        ("writer/score", {"inputs": ["a"], "label": "x"}, ["label is for"]),
        ("writer/score", {"inputs": ["\ud800"]}, ["surrogate"]),
        ("writer/score", {"inputs": [[[1.0]]]}, ["texts"]),
        ("writer/predict", {"inputs": ["a"]}, ["predict is not for it", "sample"]),
        ("writer/next", {"prefixes": ["a"], "top": 1000}, ["top"]),
        ("writer/sample", {"temperature": -1}, ["temperature"]),
        ("writer/sample", {"count": 2, "stream": True}, ["stream"]),
        ("writer/translate", {"texts": ["a"]}, ["translate"]),
        ("names/sample", {"label": "Klingon"}, ["Klingon", "Italian"]),
        ("names/next", {"prefixes": ["a"]}, ["label"]),
        ("reviews/score", {"inputs": ["a"]}, ["label"]),
        ("reviews/score", {"inputs": ["a"], "label": "sideways"}, ["sideways", "down, up"]),
        ("reviews/predict", {"inputs": [["a"]]}, ["texts"]),
        ("reviews/predict", {"inputs": [" "]}, ["empty"]),
        ("tags/predict", {"inputs": [""]}, ["empty"]),
        ("tags/predict", {"inputs": [["a", ""]]}, ["token"]),
        ("tags/predict", {"inputs": [[]]}, ["empty"]),
        ("tags/predict", {"inputs": [[[1.0], [2.0, 3.0]]]}, ["frames"]),
        ("tags/predict", {"inputs": [[[1.0]]]}, ["frames", "the other"]),
        ("tags/score", {"inputs": ["the cat"], "labels": [["DET"]]}, ["1 labels for 2"]),
        ("tags/score", {"inputs": ["the cat"]}, ["labels"]),
        ("dates/translate", {"texts": [""]}, ["empty"]),
        ("dates/translate", {"texts": ["4 may 1999"] * 2, "tree": True}, ["tree", "one text"]),
        ("dates/score", {"inputs": ["a"]}, ["source"]),
        ("dates/predict", {"inputs": [[[0.0]]]}, ["frames"]),
    ],
)
def test_what_cannot_be_used_is_named(served, path: str, body: dict[str, Any], words: list[str]) -> None:
    name = path
    content = json.dumps(body)
    answer = served.client.post(
        f"/v1/models/{name}", content=content, headers={"content-type": "application/json"}
    )  # fmt: skip
    refused(answer, 422, *words)


def test_addresses_that_are_none(served):
    refused(served.post("nobody/score", inputs=["a"]), 404, "nobody", "writer")
    refused(served.client.get("/nothing"), 404)
    refused(served.client.get("/v1/models/writer/score"), 405)
    refused(
        served.client.post("/v1/models/writer/score", content="{", headers={"content-type": "application/json"}), 422
    )
    for path in ("/static/../pyproject.toml", "/static/%2e%2e%2fpyproject.toml", "/static/docs/..%2f..%2f__init__.py",
                 "/v1/models/..%2f..%2fetc%2fpasswd", "/v1/models/%00"):  # fmt: skip
        refused(served.client.get(path), 404)


def test_bodies_and_sequences_have_a_size(start):
    server = start(Limits(body_bytes=2000, sequences=3, symbols=100))
    refused(server.post("writer/score", inputs=["a" * 3000]), 413, "2,000 bytes")
    pieces = (b'{"inputs": ["' + b"a" * 500 for _ in range(20))
    answer = server.client.post("/v1/models/writer/score", content=pieces, headers={"content-type": "application/json"})
    refused(answer, 413)
    refused(server.post("writer/score", inputs=["a"] * 4), 413, "4 sequences")
    refused(server.post("writer/score", inputs=["a" * 101]), 413, "101 symbols")
    refused(server.post("writer/next", prefixes=["a" * 101]), 413)
    refused(server.post("writer/sample", length=101), 413)
    refused(server.post("writer/sample", prefix="a" * 101), 413)
    refused(server.post("writer/sample", count=4), 413)
    refused(server.post("tags/predict", inputs=[["a"] * 101]), 413)
    stream = server.told("writer/streams")["id"]
    refused(server.post(f"writer/streams/{stream}", append="a" * 101), 413)


def test_answers_have_a_size(start):
    server = start(Limits(answer_numbers=5000))
    for wish in ("attention", "tree"):
        told = server.told("dates/translate", texts=["4 may 1999"], beam=2, **{wish: True})["answers"][0]
        assert told[wish]
        refused(server.post("dates/translate", texts=["4 may " * 30], beam=10, **{wish: True}), 413, "5,000")
    refused(server.post("writer/gates", input="a" * 100), 413, "5,000")


def test_a_full_queue_is_said_at_once_and_nobody_else_suffers(start, library, hold):
    server = start(Limits(queue=4))
    turns = hold(server)
    text = "the cat, which ate fish, slept. " * 40
    expected = library.get("writer").run.score(text).log_probability

    def ask() -> httpx.Response:
        return server.post("writer/score", inputs=[text])

    with ThreadPoolExecutor(24) as pool:
        asked = [pool.submit(ask) for _ in range(72)]
        refusals = itertools.islice(as_completed(asked, timeout=120), 68)  # the queue of four stays full meanwhile
        assert {one.result().status_code for one in refusals} == {503}
        turns.free()
        answers = [one.result() for one in asked]
    full = [one for one in answers if one.status_code == 503]
    done = [one for one in answers if one.status_code == 200]
    assert (len(full), len(done)) == (68, 4)
    for one in full:
        refused(one, 503, "busy")
        assert int(one.headers["retry-after"]) >= 1
    for one in done:
        assert one.json()["answers"][0]["log_probability"] == pytest.approx(expected, rel=1e-5)
    assert server.app.state.serving.scheduler.waiting == 0


def test_one_address_may_not_take_everything(start, hold):
    server = start(Limits(per_client=2))
    turns = hold(server)
    with ThreadPoolExecutor(12) as pool:
        body = {"inputs": ["the cat, which ate fish, slept. "]}
        asked = [pool.submit(server.post, "writer/score", **body) for _ in range(24)]
        refusals = itertools.islice(as_completed(asked, timeout=120), 22)  # the first two are held
        assert {one.result().status_code for one in refusals} == {429}
        turns.free()
        answers = [one.result() for one in asked]
    assert sorted(one.status_code for one in answers) == [200] * 2 + [429] * 22
    assert all(one.headers["retry-after"] for one in answers if one.status_code == 429)


def test_an_answer_that_takes_too_long_is_given_up(start, hold):
    server = start(Limits(request_seconds=0.05))
    turns = hold(server)
    answer = server.post("writer/sample", length=5000)
    refused(answer, 503, "0.05 s")
    assert answer.headers["retry-after"]
    scheduler = server.app.state.serving.scheduler
    assert soon(lambda: scheduler.waiting == 0)
    turns.free()
    scheduler.limits = Limits()
    assert server.told("writer/next", prefixes=["a"], top=1)["answers"]


def test_a_body_that_trickles_in_is_given_up(start):
    server = start(Limits(body_seconds=0.3))
    host, port = server.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as line:
        line.sendall(b"POST /v1/models/writer/next HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
                     b'content-length: 90\r\n\r\n{"prefixes"')  # fmt: skip
        answer = line.recv(10_000)
    assert answer.startswith(b"HTTP/1.1 408"), answer
    assert b"did not arrive" in answer or b"did not arrive" in line_rest(answer)


def line_rest(answer: bytes) -> bytes:
    """What stands behind the headers."""
    return answer.partition(b"\r\n\r\n")[2]


def test_a_key_is_needed_when_there_is_one(start):
    server = start(key="open sesame")
    answer = server.client.get("/v1/models")
    refused(answer, 401, "API key")
    assert answer.headers["www-authenticate"] == "Bearer"
    refused(server.client.get("/v1/models", headers={"authorization": "Bearer open sesam"}), 401)
    refused(server.client.get("/metrics"), 401)
    for headers in ({"authorization": "Bearer open sesame"}, {"x-api-key": "open sesame"}):
        assert server.client.get("/v1/models", headers=headers).status_code == 200
    for path in ("/healthz", "/readyz", "/docs", "/openapi.json"):
        assert server.client.get(path).status_code == 200
    address = server.address.replace("http", "ws") + "/v1/models/writer/streams/new"
    with pytest.raises(WebSocketException), connect(address):
        pass
    with connect(address, additional_headers={"authorization": "Bearer open sesame"}) as line:
        line.send('{"append": "a"}')
        assert '"position":1' in str(line.recv())


def test_pages_of_other_hosts_get_nothing(start):
    server = start(hosts=frozenset({"127.0.0.1", "localhost"}))
    refused(server.client.get("/v1/models", headers={"host": "evil.example"}), 400, "localhost")
    assert server.client.get("/v1/models", headers={"host": "localhost:8000"}).status_code == 200
    address = server.address.replace("http", "ws") + "/v1/models/writer/streams/new"
    with pytest.raises(WebSocketException), connect(address, origin="http://evil.example"):  # type: ignore[arg-type]
        pass
    plain = server.client.post(
        "/v1/models/writer/next", content='{"prefixes": ["a"]}', headers={"content-type": "text/plain"}
    )
    refused(plain, 422)


def test_the_api_describes_itself_without_the_network(served):
    described = served.client.get("/openapi.json").json()
    assert {"/v1/models/{name}/predict", "/v1/models/{name}/streams/{id}"} <= set(described["paths"])
    page = served.client.get("/docs").text
    assert "/static/docs/swagger-ui-bundle.js" in page
    assert "https://" not in page
    assert len(served.client.get("/static/docs/swagger-ui-bundle.js").content) > 100_000


def test_what_was_done_can_be_read(start):
    server = start()
    server.told("writer/next", prefixes=["a"])
    text = server.client.get("/metrics").text
    assert 'unrolled_requests_total{method="POST",route="/v1/models/{name}/next",status="200"}' in text
    assert 'unrolled_symbols_total{model="writer"}' in text
    assert "unrolled_turn_rows_bucket" in text
    assert server.client.get("/readyz").json() == {"status": "ready"}


def test_a_long_request_does_not_hold_up_short_ones(served, hold):
    turns, scheduler = hold(served), served.app.state.serving.scheduler
    text = "the cat, which ate fish, slept. " * 500
    assert 4 * len(text) > 10 * served.app.state.serving.limits.turn_positions  # the long one takes more turns than ten
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(served.told, "writer/score", inputs=[text] * 4, symbols=False)
        assert soon(lambda: turns.taken == 1)
        for asked in (1, 2):
            quick = pool.submit(served.told, "writer/next", prefixes=["a"], top=1)
            assert soon(lambda: scheduler.waiting == 5)
            turns.allow(3)  # one for the long one, and one for what came meanwhile; and the turn before is let go
            assert quick.result(timeout=120)["answers"]
            assert soon(lambda asked=asked: turns.taken == 1 + 3 * asked)
            assert not slow.done()  # in between, not behind it
        turns.free()
        assert len(slow.result(timeout=120)["answers"]) == 4


@pytest.mark.parametrize(
    ("name", "x", "expected"),
    [("writer", "the cat", 7), ("origins", "Rossi", 5), ("tags", ["the", "cat"], 2), ("tags", "the cat sat", 4)],
)
def test_timesteps_are_counted_as_the_model_reads(library, name, x, expected):
    assert length_of(library.get(name), x) == expected


def test_numbers_of_gates_are_counted_layer_by_layer(library):
    loaded = library.get("writer")
    seen = loaded.run.observe("the").as_dict()["layers"]
    shown = sum(len(rows[0]) for layer in seen for rows in layer["values"].values())
    assert loaded.seen_numbers == shown
