"""What goes wrong around a server leaves it whole: clients that vanish or dawdle, folders that break, kills."""

from __future__ import annotations

import gc
import json
import math
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

import unrolled
from commands import here
from servers import serving, soon, started
from unrolled.errors import UserError
from unrolled.serving.library import Library, named
from unrolled.serving.limits import Limits
from unrolled.serving.server import listening

MALFORMED = int(os.environ.get("UNROLLED_MALFORMED", "300"))
"""Requests made up by Hypothesis; more by hand, as in UNROLLED_MALFORMED=10000 ./scripts/test tests/serving."""


def events(lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
    """Server-sent events: their names and data."""
    name = ""
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def test_samples_are_streamed_symbol_by_symbol(served, library):
    body = {"prefix": "the ", "seed": 3, "length": 30, "stream": True, "alternatives": 3}
    with served.client.stream("POST", "/v1/models/writer/sample", json=body) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        found = list(events(answer.iter_lines()))
    expected = library.get("writer").run.sample("the ", seed=3, length=30)
    assert found[0] == ("begin", {"seed": 3})
    assert "the " + "".join(data["text"] for name, data in found if name == "symbol") == expected
    assert found[-1] == ("end", {"reason": "length", "text": expected})
    assert all(len(data["alternatives"]) == 3 for name, data in found if name == "symbol")


def test_a_client_that_goes_away_in_the_middle_of_a_sample_stops_it(served, hold):
    scheduler = served.app.state.serving.scheduler
    body = {"length": 20_000, "stream": True}
    with served.client.stream("POST", "/v1/models/writer/sample", json=body) as answer:
        for _, (name, _data) in zip(range(5), events(answer.iter_lines()), strict=False):
            assert name in ("begin", "symbol")
    assert soon(lambda: scheduler.waiting == 0)
    hold(served)
    with pytest.raises(httpx.ReadTimeout):
        served.client.post("/v1/models/writer/sample", json={"length": 20_000}, timeout=0.3)
    assert soon(lambda: scheduler.waiting == 0)


def test_a_slow_reader_holds_up_only_itself(served):
    host, port = served.address.removeprefix("http://").split(":")
    body = json.dumps({"length": 20_000, "stream": True, "alternatives": 50})
    drawn = lambda: served.app.state.serving.metrics.symbols.labels("writer")._value.get()  # noqa: E731
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.connect((host, int(port)))
        head = f"POST /v1/models/writer/sample HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
        line.sendall(f"{head}content-length: {len(body)}\r\n\r\n{body}".encode())
        at_first, before = drawn(), -1.0
        while before != drawn():  # until the pipe is full
            before = drawn()
            time.sleep(0.3)
        assert before - at_first < 15_000
        assert served.told("writer/next", prefixes=["a"], top=1)["answers"]
    assert soon(lambda: served.app.state.serving.scheduler.waiting == 0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)
KEYS = ("inputs", "label", "labels", "source", "prefixes", "top", "prefix", "count", "length", "seed", "temperature")
KEYS += ("texts", "beam", "input", "held", "append", "end", "token", "gates", "symbols", "best", "attention")
LIKELY = {
    "inputs": st.lists(st.text(max_size=8) | st.lists(st.text(max_size=4), max_size=3)
                       | st.lists(st.lists(st.floats(width=32), max_size=3), max_size=3), max_size=3),
    "prefixes": st.lists(st.text(max_size=8), max_size=3), "texts": st.lists(st.text(max_size=8), max_size=3),
    "length": st.integers(-1, 20), "count": st.integers(-1, 3), "top": st.integers(-1, 101),
    "input": st.text(max_size=8),
    "append": st.text(max_size=8), "prefix": st.text(max_size=8), "label": st.sampled_from(["up", "Italian", "x", ""]),
    "beam": st.integers(-1, 5), "source": st.text(max_size=8), "token": st.text(max_size=8),
    "labels": st.lists(st.lists(st.sampled_from(["DET", "NOUN", "x"]), max_size=4), max_size=3),
}  # fmt: skip
BODIES = st.lists(st.sampled_from(KEYS), max_size=4, unique=True).flatmap(
    lambda keys: st.fixed_dictionaries({key: JSON | LIKELY.get(key, JSON) for key in keys})
)
VERBS = ("predict", "score", "next", "sample", "translate", "gates", "streams", "streams/append", "streams/x")
NAMES = ("writer", "words", "names", "reviews", "tags", "both", "ahead", "dates", "none")


@settings(max_examples=MALFORMED, suppress_health_check=list(HealthCheck))
@given(name=st.sampled_from(NAMES), verb=st.sampled_from(VERBS), body=BODIES | JSON | st.binary(max_size=20))
def test_whatever_is_sent_is_answered_or_refused_in_words(served, name: str, verb: str, body: Any) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = served.client.post(
        f"/v1/models/{name}/{verb}", content=content, headers={"content-type": "application/json"}
    )
    assert answer.status_code in (200, 400, 404, 413, 422), (content, answer.text)
    if answer.headers["content-type"].startswith("application/json"):
        told = answer.json()
        assert answer.status_code == 200 or set(told) == {"error"}


def test_the_description_is_true(served):
    """Requests that schemathesis makes of the description get the answers that the description promises."""
    schemathesis = pytest.importorskip("schemathesis")
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

    schema = schemathesis.openapi.from_dict(served.client.get("/openapi.json").json())
    count = max(1, MALFORMED // 100)
    for result in schema.get_all_operations():
        operation = result.ok()
        if not operation.path.startswith("/v1"):
            continue

        @settings(max_examples=count, suppress_health_check=list(HealthCheck), database=None)
        @given(case=operation.as_strategy())
        def check(case: Any) -> None:
            case.path_parameters = {**case.path_parameters, "name": "writer"} if case.path_parameters else {}
            case.call_and_validate(
                base_url=served.address,
                checks=[not_a_server_error, response_schema_conformance, status_code_conformance],
            )

        check()


def test_a_run_that_is_replaced_is_reloaded_and_one_that_breaks_is_not(runs, tmp_path):
    folder = tmp_path / "writer"
    shutil.copytree(runs / "writer", folder)
    library = Library({"writer": folder})
    shutil.copy(folder / "model.safetensors", tmp_path / "whole.safetensors")
    with serving(library, look_every=0.05) as server:
        first = server.told("writer/score", inputs=["the cat"])
        stream = server.told("writer/streams")["id"]
        token = server.told("writer/streams", held="client")["token"]
        weights = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
        model = lambda: server.client.get("/v1/models/writer").json()  # noqa: E731
        assert soon(lambda: "stale" in model())
        assert server.told("writer/score", inputs=["the cat"]) == first
        _retrained(folder, 1)
        assert soon(lambda: model()["generation"] == 2 and "stale" not in model())
        assert server.told("writer/score", inputs=["the cat"]) != first
        assert server.told(f"writer/streams/{stream}", append="the")["position"] == 3
        assert server.told("writer/streams/append", token=token, append="the")["position"] == 3
        _retrained(folder, 2)
        assert soon(lambda: model()["generation"] == 3)
        assert soon(lambda: server.post(f"writer/streams/{stream}", append="x").status_code == 410)
        assert server.post("writer/streams/append", token=token, append="x").status_code == 410


def _retrained(folder: Path, number: int) -> None:
    """Other weights in the folder, put there as training puts them."""
    whole = folder.parent / "whole.safetensors"
    with safe_open(whole, "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) * (1 + 0.1 * number) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, folder / "new", metadata)
    os.replace(folder / "new", folder / "model.safetensors")


def test_a_kill_loses_nothing_that_travels(runs):
    secret = {"UNROLLED_TOKEN_SECRET": "the same for both"}
    with started("writer", folder=runs, **secret) as (process, client):
        opened = client.post("/v1/models/writer/streams", json={"held": "client"}).json()
        path = "/v1/models/writer/streams/append"
        told = client.post(path, json={"token": opened["token"], "append": "the c"}).json()
        process.kill()
        process.wait(60)
    with started("writer", folder=runs, **secret) as (process, client):
        again = client.post(path, json={"token": told["token"], "append": "at"}).json()
        assert again["position"] == 7
        assert again["log_probability"] == pytest.approx(
            math.fsum(s.log_probability for s in unrolled.load(runs / "writer").score("the cat").symbols[:7]), rel=1e-5
        )
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) in (0, -signal.SIGTERM)


def test_a_server_that_is_told_to_stop_finishes_what_runs(runs):
    with started("writer", folder=runs) as (process, client):
        body = {"length": 2000, "seed": 1, "stream": True}
        with client.stream("POST", "/v1/models/writer/sample", json=body) as answer:
            told = events(answer.iter_lines())
            assert next(told)[0] == "begin"
            process.send_signal(signal.SIGINT)
            name, last = list(told)[-1]
        assert (name, last["text"]) == ("end", unrolled.load(runs / "writer").sample(seed=1, length=2000))
        assert process.wait(60) == 0


def test_a_reader_who_never_reads_is_given_up_when_the_time_is_up(start, monkeypatch, hold):
    monkeypatch.setattr("unrolled.serving.routes.models.PATIENCE", 0.2)
    server = start(Limits(sample_seconds=0.3))
    turns = hold(server)
    host, port = server.address.removeprefix("http://").split(":")
    body = json.dumps({"length": 20_000, "stream": True, "alternatives": 50})
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.connect((host, int(port)))
        head = f"POST /v1/models/writer/sample HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
        line.sendall(f"{head}content-length: {len(body)}\r\n\r\n{body}".encode())
        scheduler = server.app.state.serving.scheduler
        assert soon(lambda: turns.taken == 1)
        turns.free()
        assert soon(lambda: scheduler.waiting == 0)
    turns = hold(server)
    with server.client.stream("POST", "/v1/models/writer/sample", json={"length": 20_000, "stream": True}) as answer:
        last = list(events(answer.iter_lines()))[-1]
    assert last[0] == "problem"
    assert "0.3 s" in last[1]["error"]


def test_what_cannot_be_served_is_said(runs, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="no run folder"):
        Library(named([str(tmp_path)]))
    with pytest.raises(UserError, match="two runs are called writer"):
        named([str(runs / "writer"), f"writer={runs / 'words'}"])
    with pytest.raises(UserError, match="cannot name a model"):
        named([f"a/b={runs / 'writer'}"])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match="cannot listen"):
            listening("127.0.0.1", port)
        monkeypatch.chdir(runs)
        answer = here("serve", "writer", "--port", str(port))
        assert answer.code == 1
        assert "cannot listen" in answer.err
        assert "Traceback" not in answer.err


def test_memory_stays_where_it_is(served):
    """Streams and samples that come and go leave nothing behind."""

    def turn() -> None:
        for _ in range(20):
            stream = served.told("writer/streams")["id"]
            served.told(f"writer/streams/{stream}", append="the cat")
            served.client.delete(f"/v1/models/writer/streams/{stream}")
            served.told("writer/sample", length=5)

    turn()
    gc.collect()
    before = len(gc.get_objects())
    turn()
    gc.collect()
    assert len(gc.get_objects()) - before < 500
    assert len(served.app.state.serving.table) < 100
