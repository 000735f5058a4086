"""A stream answers what the whole sequence would be answered, bit for bit in the recurrent layers."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
import torch
from websockets.sync.client import connect

from servers import soon
from unrolled.serving.library import Library
from unrolled.serving.limits import Limits
from unrolled.serving.loaded import unstacked
from unrolled.serving.streams import Tokens

TEXT = "the cat, which saw snow, slept.\na bird, which was red, slept."


def cut(text: str, seed: int) -> list[str]:
    """A text in pieces of all sizes, some of them empty."""
    draw, pieces, place = random.Random(seed), [], 0
    while place < len(text):
        size = draw.choice([0, 1, 1, 2, 5, 40])
        pieces.append(text[place : place + size])
        place += size
    return pieces


def final_state(library: Library, text: str) -> tuple[torch.Tensor, ...]:
    """The state after a text that is read at once."""
    loaded = library.get("writer")
    with torch.no_grad():
        symbols = torch.tensor([2, *loaded.vocabulary.encode(text)]).unsqueeze(1)
        state = loaded.model.features(symbols)[1]
    return tuple(part[:, 0] for part in state)


@pytest.mark.parametrize("seed", range(3))
def test_pieces_of_any_size_are_the_whole_bit_for_bit(served, library, seed):
    stream = served.told("writer/streams")["id"]
    steps: list[Any] = []
    for piece in cut(TEXT, seed):
        told = served.told(f"writer/streams/{stream}", append=piece)
        assert len(told["steps"]) == len(piece)
        steps += told["steps"]
    expected = library.get("writer").run.surprises(TEXT, top=5)
    assert [s["log_probability"] for s in steps] == pytest.approx([one.log_probability for one in expected], rel=1e-4)
    assert [s["entropy"] for s in steps] == pytest.approx([one.entropy for one in expected], rel=1e-4)
    assert told["log_probability"] == pytest.approx(library.get("writer").run.score(TEXT).log_probability, rel=1e-5)
    held = served.app.state.serving.table.find("writer", stream)
    for ours, whole in zip(held.value.state, final_state(library, TEXT), strict=True):
        assert torch.equal(ours, whole)


@pytest.mark.parametrize("batch", [1, 3])
def test_states_of_rows_are_no_views_of_what_a_step_writes_again(batch):
    state = torch.arange(batch * 4.0).reshape(1, batch, 4), torch.zeros(1, batch, 4)
    rows = unstacked(state, batch)
    expected = [(state[0][:, row].clone(), state[1][:, row].clone()) for row in range(batch)]
    for part in state:
        part.fill_(-1.0)
    for own, before in zip(rows, expected, strict=True):
        assert torch.equal(own[0], before[0])
        assert torch.equal(own[1], before[1])


def test_a_token_goes_on_from_where_it_was_given(served, library):
    opened = served.told("writer/streams", held="client")
    assert opened["next"][0]["probability"] <= 1
    token, tokens = opened["token"], []
    for symbol in "the dog":
        told = served.told("writer/streams/append", token=token, append=symbol)
        token = told["token"]
        tokens.append(token)
    again = served.told("writer/streams/append", token=tokens[3], append="dog")
    assert again["position"] == 7
    assert again["log_probability"] == told["log_probability"]
    _, value = served.app.state.serving.tokens.read(library, "writer", again["token"])
    for ours, whole in zip(value.state, final_state(library, "the dog"), strict=True):
        assert torch.equal(ours, whole)


def test_tokens_are_signed_and_bound_to_their_model(served, library):
    token = served.told("writer/streams", held="client")["token"]
    middle = len(token) // 2
    other = token[:middle] + ("A" if token[middle] != "A" else "B") + token[middle + 1 :]
    for wrong in (other, token[:-9], "", "é", "AAAA"):
        assert served.post("writer/streams/append", token=wrong, append="a").status_code == 422
    words = served.post("words/streams/append", token=token, append="a")
    assert words.status_code == 422
    assert "writer" in words.json()["error"]
    forged = Tokens(Limits(), b"another").write(library.get("writer"), served.app.state.serving.tokens.read(
        library, "writer", token)[1])  # fmt: skip
    assert served.post("writer/streams/append", token=forged, append="a").status_code == 422


def test_words_and_their_spellings_are_streamed(served, library):
    stream = served.told("words/streams")["id"]
    text = "the cat , which zzz snow"
    steps = [s for word in text.split() for s in served.told(f"words/streams/{stream}", append=word)["steps"]]
    expected = library.get("words").run.surprises(text)
    logs = [one.log_probability for one in expected][: len(steps)]
    assert [s["log_probability"] for s in steps] == pytest.approx(logs, rel=1e-4)


def test_generators_are_streamed_under_a_class(served, library):
    assert served.post("names/streams").status_code == 422
    stream = served.told("names/streams", label="Italian")["id"]
    told = served.told(f"names/streams/{stream}", append="Rossi")
    symbols = library.get("names").run.score("Rossi", label="Italian").symbols[:5]
    assert [s["log_probability"] for s in told["steps"]] == pytest.approx(
        [s.log_probability for s in symbols], rel=1e-4
    )


def test_taggers_say_the_tags_of_just_those_tokens(served, library):
    stream = served.told("tags/streams")["id"]
    tokens = ["the", "old", "cat", "sat", "a", "dog"]
    labels = [s["label"] for token in tokens for s in served.told(f"tags/streams/{stream}", append=[token])["steps"]]
    assert labels == list(library.get("tags").run.predict(tuple(tokens)).labels)


def test_classifiers_say_the_class_so_far(served, library):
    stream = served.told("reviews/streams")["id"]
    steps = [
        s for word in ("good", "bad", "film") for s in served.told(f"reviews/streams/{stream}", append=word)["steps"]
    ]
    for count, step in enumerate(steps, start=1):
        whole = library.get("reviews").run.predict(" ".join(["good", "bad", "film"][:count]))
        assert step["probabilities"] == pytest.approx(whole.probabilities, rel=1e-3)


def test_a_blank_is_a_symbol_where_symbols_are_characters(served, library):
    whole = library.get("origins").run.predict("Ros si ")
    for pieces in (["Ros", " ", "si", " "], ["Ros ", "si "], list("Ros si ")):
        stream = served.told("origins/streams")["id"]
        for piece in pieces:
            told = served.told(f"origins/streams/{stream}", append=piece)
        assert told["position"] == 7
        assert told["steps"][-1]["probabilities"] == pytest.approx(whole.probabilities, rel=1e-4)


def test_look_ahead_answers_with_its_delay(served, library):
    stream = served.told("ahead/streams")["id"]
    tokens = ["the", "old", "cat", "sat", "a", "dog", "ran"]
    labels: list[str] = []
    shown: list[str] = []
    for token in tokens:
        told = served.told(f"ahead/streams/{stream}", append=[token])
        labels += [s["label"] for s in told["steps"]]
        shown += [s["shown"] for s in told["steps"]]
        assert told["position"] - told["answered"] <= library.get("ahead").latency
    assert len(labels) < len(tokens)
    rest = served.told(f"ahead/streams/{stream}", end=True)["steps"]
    labels += [s["label"] for s in rest]
    assert labels == list(library.get("ahead").run.predict(tuple(tokens)).labels)
    assert shown + [s["shown"] for s in rest] == tokens
    token = served.told("ahead/streams", held="client")["token"]
    joined: list[str] = []
    shown = []
    for word in tokens:
        told = served.told("ahead/streams/append", token=token, append=[word], end=word == tokens[-1])
        token = told.get("token", "")
        joined += [s["label"] for s in told["steps"]]
        shown += [s["shown"] for s in told["steps"]]
    assert joined == labels
    assert shown == tokens


@pytest.mark.parametrize(("name", "word"), [("both", "both ends"), ("dates", "whole source")])
def test_what_needs_the_whole_refuses_streams_in_one_line(served, name, word):
    told = served.post(f"{name}/streams")
    assert told.status_code == 422
    assert word in told.json()["error"]
    assert "\n" not in told.json()["error"]


def test_a_websocket_is_a_stream(served, library):
    address = served.address.replace("http", "ws") + "/v1/models/writer/streams"
    with connect(f"{address}/new") as socket:
        socket.send(json.dumps({"open": {"top": 2}}))
        opened = json.loads(socket.recv())
        assert len(opened["next"]) == 2
        socket.send("nonsense")
        assert json.loads(socket.recv())["status"] == 422
        socket.send(json.dumps({"append": "the", "topp": 1}))
        assert "topp" in json.loads(socket.recv())["error"]
        for symbol in "the cat":
            socket.send(json.dumps({"append": symbol}))
            told = json.loads(socket.recv())
        assert told["log_probability"] == pytest.approx(library.get("writer").run.score("the cat").log_probability)
    for _ in range(100):
        gone = served.post(f"writer/streams/{opened['id']}", append="x")
        if gone.status_code == 410:
            break
    assert "WebSocket" in gone.json()["error"]
    stream = served.told("writer/streams")["id"]
    with connect(f"{address}/{stream}") as socket:
        socket.send(json.dumps({"append": "a", "end": True}))
        assert json.loads(socket.recv())["ended"]
    assert served.post(f"writer/streams/{stream}", append="x").status_code == 410


def test_the_stream_unused_for_longest_makes_room(start, library):
    server = start(Limits(streams=2))
    first, second = (server.told("writer/streams")["id"] for _ in range(2))
    server.told(f"writer/streams/{first}", append="a")
    third = server.told("writer/streams")["id"]
    assert server.post(f"writer/streams/{third}", append="a").status_code == 200
    assert server.post(f"writer/streams/{first}", append="a").status_code == 200
    gone = server.post(f"writer/streams/{second}", append="a")
    assert gone.status_code == 410
    assert "longest" in gone.json()["error"]
    assert server.client.delete(f"/v1/models/writer/streams/{first}").status_code == 204
    assert server.client.delete(f"/v1/models/writer/streams/{first}").status_code == 410
    assert server.client.delete("/v1/models/writer/streams/none").status_code == 404


def test_streams_expire(start):
    server = start(Limits(stream_seconds=0.3))
    stream = server.told("writer/streams")["id"]
    assert soon(lambda: not len(server.app.state.serving.table))
    gone = server.post(f"writer/streams/{stream}", append="a")
    assert gone.status_code == 410
    assert "nothing was appended" in gone.json()["error"]


def test_gates_of_just_those_timesteps(served, library):
    stream = served.told("writer/streams")["id"]
    served.told(f"writer/streams/{stream}", append="the ")
    told = served.told(f"writer/streams/{stream}", append="cat", gates=True)
    seen = library.get("writer").run.observe("the cat").layer(1).values["forget"][-3:]
    assert torch.tensor(told["gates"][1]["forget"]).numpy() == pytest.approx(seen, abs=1e-4)


def test_a_long_append_takes_several_turns_and_is_the_same(served, library):
    text = TEXT * 12
    stream = served.told("writer/streams")["id"]
    told = served.told(f"writer/streams/{stream}", append=text, top=1)
    expected = library.get("writer").run.score(text)
    assert told["log_probability"] == pytest.approx(expected.log_probability, rel=1e-5)
    assert len(told["steps"]) == len(text)
