"""What grows with a request is never done in the event loop, and what fails there is answered in words."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError
from websockets.sync.client import connect

from unrolled.data.vocabulary import Vocabulary
from unrolled.serving import bodies, service
from unrolled.serving.routes import common, streams

REQUESTS = [
    ("writer/score", {"inputs": ["the cat"]}),
    ("words/score", {"inputs": ["the cat"]}),
    ("writer/next", {"prefixes": ["the"]}),
    ("writer/sample", {"prefix": "the", "length": 2}),
    ("writer/sample", {"prefix": "the", "length": 2, "stream": True}),
    ("writer/gates", {"input": "the"}),
    ("names/sample", {"prefix": "R", "label": "Italian", "length": 2}),
    ("reviews/predict", {"inputs": ["good film"]}),
    ("reviews/score", {"inputs": ["good film"], "label": "up"}),
    ("tags/predict", {"inputs": ["the old cat"]}),
    ("dates/translate", {"texts": ["4 may 1999"], "attention": True}),
    ("dates/score", {"inputs": ["1999-05-04"], "source": "4 may 1999"}),
]


@pytest.fixture
def in_the_loop(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of functions of the package that were called in an event loop though they may not be."""
    found: list[str] = []

    def watch(owner: Any, name: str) -> None:
        original: Callable[..., Any] = getattr(owner, name)

        def watched(*arguments: Any, **options: Any) -> Any:
            try:
                asyncio.get_running_loop()
                found.append(name)
            except RuntimeError:
                pass
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, watched)

    for owner, name in (
        (Vocabulary, "encode"), (Vocabulary, "split"), (Vocabulary, "spell"), (common, "read_json"),
        (streams, "read_json"), (service, "candidate_of"), (BaseModel, "model_dump_json"),
    ):  # fmt: skip
        watch(owner, name)
    return found


@pytest.mark.parametrize(("path", "body"), REQUESTS, ids=lambda value: value if isinstance(value, str) else "")
def test_no_verb_does(served, in_the_loop, path, body):
    assert served.post(path, **body).status_code == 200
    assert in_the_loop == []


@pytest.mark.parametrize(
    ("name", "piece"), [("writer", "the"), ("words", "the cat"), ("tags", ["the", "cat"]), ("origins", "R")]
)
def test_no_stream_does(served, in_the_loop, name, piece):
    held = served.told(f"{name}/streams")["id"]
    served.told(f"{name}/streams/{held}", append=piece)
    token = served.told(f"{name}/streams", held="client")["token"]
    served.told(f"{name}/streams/append", append=piece, token=token)
    with connect(served.address.replace("http", "ws") + f"/v1/models/{name}/streams/new") as line:
        line.send(json.dumps({"append": piece}))
        assert json.loads(line.recv(10))["position"]
    assert not [name for name in in_the_loop if name != "candidate_of"]  # of what follows nothing: at most 100


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b"{", "the JSON cannot be read"),
        (b"\xff\xfe", "the JSON cannot be read"),
        (b'{"inputs": [' + b"9" * 5_000 + b"]}", "thousands of digits"),
        (b'{"inputs": [[[NaN]]]}', "finite number"),
        (b"{" + b",".join(b'"k%d": 1' % number for number in range(100)) + b"}", "100 keys"),
    ],
    ids=lambda value: repr(value)[:24],
)
@pytest.mark.parametrize("path", ["/v1/models/reviews/predict", "/v1/models/writer/streams", "/v1/lab/steps"])
def test_odd_json_is_refused_in_words(served, caplog, path, content, words):
    answer = served.client.post(path, content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert set(answer.json()) == {"error"}
    assert words in answer.json()["error"] or (words == "finite number" and "inputs" in answer.json()["error"])
    assert not caplog.records


@pytest.mark.parametrize(
    ("body", "data"),
    [
        (bodies.PredictBody, {"inputs": [1] * 10_000}),
        (bodies.PredictBody, {"inputs": [[[None]] * 10_000]}),
        (bodies.PredictBody, {"inputs": [["a"] * 10_000 + [1] * 10_000]}),
        (bodies.ScoreBody, {"inputs": ["a"], "labels": [1] * 10_000}),
        (bodies.ScoreBody, {"inputs": ["a"], "labels": [[1] * 10_000] * 100}),
        (bodies.NextBody, {"prefixes": [1] * 10_000}),
        (bodies.TranslateBody, {"texts": [1] * 10_000}),
        (bodies.GatesBody, {"input": [[None] * 10_000] * 100}),
        (bodies.AppendBody, {"append": [None] * 10_000}),
        (bodies.AppendBody, {str(number): 1 for number in range(10_000)}),
    ],
)
def test_a_thousand_mistakes_are_a_few_errors(body: type[BaseModel], data: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        body.model_validate(data)
    assert caught.value.error_count() <= 4


class Heard(logging.Handler):
    """Waits for an error that is logged with where it happened."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[type[BaseException] | None] = []
        self.event = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(record.exc_info[0] if record.exc_info else None)
        self.event.set()


def test_what_fails_of_ours_is_said_in_words_and_logged(served, monkeypatch):
    monkeypatch.setattr(type(served.app.state.serving.library.get("writer")), "card", lambda self: 1 / 0)
    logger, heard = logging.getLogger("uvicorn.error"), Heard()
    logger.addHandler(heard)
    answer = served.client.get("/v1/models/writer")
    assert answer.status_code == 500
    assert answer.json() == {"error": "the server failed on this request; its log says why"}
    assert heard.event.wait(30)  # it is logged when the answer has been sent
    logger.removeHandler(heard)
    assert heard.found == [ZeroDivisionError]


def test_a_sample_that_fails_says_no_more_than_that(served, monkeypatch, caplog):
    from unrolled.serving.work import drawing

    def fail(*_: Any) -> Any:
        raise RuntimeError("secret")

    monkeypatch.setattr(drawing, "_ids", fail)
    with caplog.at_level(logging.CRITICAL):
        text = served.post("writer/sample", stream=True, length=5).text
    assert "event: problem" in text
    assert "its log says why" in text
    assert "secret" not in text
