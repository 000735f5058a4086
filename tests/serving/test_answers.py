"""What a server answers is what the run answers offline, one request or many at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from unrolled.serving.library import Library

TEXTS = ["the cat", "a", "my aunt, which saw snow, slept.\nthe dog", "ÿ", "the cat, which ate fish, slept." * 9]


def offline(library: Library, name: str) -> Any:
    return library.get(name).run


def test_models_are_listed_with_what_they_can(served, library):
    models = {model["name"]: model for model in served.client.get("/v1/models").json()["models"]}
    assert set(models) == set(library.shelves)
    assert models["both"]["streams"] is False
    assert "both ends" in models["both"]["why_no_streams"]
    card = served.client.get("/v1/models/writer").json()
    assert card["gates"] == ["update", "forget", "candidate", "output"]
    assert card["level"] == "character"


@pytest.mark.parametrize("name", ["writer", "words"])
def test_scores_are_those_of_the_run(served, library, name):
    run = offline(library, name)
    answers = served.told(f"{name}/score", inputs=TEXTS)["answers"]
    for text, answer in zip(TEXTS, answers, strict=True):
        expected = run.score(text)
        assert answer["log_probability"] == pytest.approx(expected.log_probability, rel=1e-5)
        assert [s["symbol"] for s in answer["symbols"]] == [s.symbol for s in expected.symbols]
        assert answer["unknown"] == expected.unknown


@pytest.mark.parametrize("name", ["writer", "words"])
def test_next_symbols_are_those_of_the_run(served, library, name):
    answers = served.told(f"{name}/next", prefixes=["", *TEXTS], top=4)["answers"]
    for text, answer in zip(["", *TEXTS], answers, strict=True):
        expected = offline(library, name).next(text, top=4)
        assert [one["symbol"] for one in answer] == [one.symbol for one in expected]
        assert [one["probability"] for one in answer] == pytest.approx([one.probability for one in expected], rel=1e-4)


def test_samples_are_those_of_the_run(served, library):
    settings = {"temperature": 0.8, "top_p": 0.95, "length": 40}
    told = served.told("writer/sample", prefix="the ", count=3, seed=5, **settings)
    run = offline(library, "writer")
    assert told == {"texts": [run.sample("the ", seed=5 + n, **settings) for n in range(3)], "seed": 5}


def test_repetition_looks_at_each_samples_own_past(served, library):
    told = served.told("writer/sample", count=2, seed=1, repetition=1.5, length=30)
    run = offline(library, "writer")
    assert told["texts"] == [run.sample(seed=1 + n, repetition=1.5, length=30) for n in range(2)]


@pytest.mark.parametrize("label", ["Italian", None])
def test_generators_draw_under_a_class_or_draw_one(served, library, label):
    run = offline(library, "names")
    told = served.told("names/sample", count=4, seed=2, label=label, length=9)
    assert told["texts"] == [run.sample(seed=2 + n, label=label, length=9) for n in range(4)]


def test_generators_score_and_predict(served, library):
    run = offline(library, "names")
    under = served.told("names/score", inputs=["Rossi"], label="Italian")["answers"][0]
    assert under["log_probability"] == pytest.approx(run.score("Rossi", label="Italian").log_probability, rel=1e-5)
    mixed = served.told("names/score", inputs=["Rossi"])["answers"][0]
    assert mixed["log_probability"] == pytest.approx(run.score("Rossi").log_probability, rel=1e-5)
    assert served.told("names/predict", inputs=["Rossi"])["answers"][0]["label"] == run.predict("Rossi").label


def test_classes_are_those_of_the_run(served, library):
    texts = ["good film", "bad play", "great"]
    answers = served.told("reviews/predict", inputs=texts)["answers"]
    for text, answer in zip(texts, answers, strict=True):
        expected = offline(library, "reviews").predict(text)
        assert answer["label"] == expected.label
        assert answer["probabilities"] == pytest.approx(expected.probabilities, rel=1e-4)
    score = served.told("reviews/score", inputs=texts[:1], label="up")["answers"][0]
    assert score["log_probability"] == pytest.approx(
        offline(library, "reviews").score(texts[0], label="up").log_probability, rel=1e-4
    )


@pytest.mark.parametrize("name", ["tags", "both", "ahead"])
def test_tags_are_those_of_the_run(served, library, name):
    inputs = ["the old cat sat", ["a", "dog", "ran"], "my"]
    answers = served.told(f"{name}/predict", inputs=inputs)["answers"]
    expected = offline(library, name).predict_all(inputs)
    assert [answer["labels"] for answer in answers] == [list(one.labels) for one in expected]
    labels = [list(one.labels) for one in expected]
    scores = served.told(f"{name}/score", inputs=inputs, labels=labels)["answers"]
    for x, own, score in zip(inputs, labels, scores, strict=True):
        assert score["log_probability"] == pytest.approx(
            offline(library, name).score(x, labels=own).log_probability, rel=1e-4, abs=1e-5
        )


def test_translations_are_those_of_the_run(served, library):
    texts = ["1 may 1999", "7 may 2004", "x"]
    answers = served.told("dates/translate", texts=texts, beam=3, best=2, attention=True)["answers"]
    run = offline(library, "dates")
    for text, answer in zip(texts, answers, strict=True):
        expected = run.predict(text, beam=3, best=2)
        assert [one["text"] for one in answer["candidates"]] == [one.text for one in expected.candidates]
        weights = answer["attention"]["weights"]
        assert len(weights) == len(answer["attention"]["target"])
        assert all(sum(row) == pytest.approx(1, abs=1e-4) for row in weights)
    assert [one["text"] for one in served.told("dates/predict", inputs=texts)["answers"]] == [
        one.text for one in run.predict(texts)
    ]


@pytest.mark.parametrize(("name", "text"), [("writer", "the cat"), ("both", "the old cat"), ("dates", "1 may")])
def test_gates_are_those_of_the_run(served, library, name, text):
    told = served.told(f"{name}/gates", input=text)
    seen = offline(library, name).observe(text)
    assert told["symbols"] == list(seen.symbols)
    assert told["layers"][0]["values"]["forget"][-1] == pytest.approx(seen.layer(0).values["forget"][-1].tolist())


def test_many_callers_at_once_each_get_their_own_answer(served, library):
    run = offline(library, "writer")
    texts = [text[: 1 + n % 30] + str(n) for n, text in enumerate(TEXTS * 12)]
    expected = [run.score(text).log_probability for text in texts]
    drawn = [run.sample("the ", seed=n, length=12) for n in range(30)]
    with ThreadPoolExecutor(16) as pool:
        scores = [pool.submit(served.told, "writer/score", inputs=[text]) for text in texts]
        samples = [pool.submit(served.told, "writer/sample", prefix="the ", seed=n, length=12) for n in range(30)]
        for want, got in zip(expected, scores, strict=True):
            assert got.result()["answers"][0]["log_probability"] == pytest.approx(want, rel=1e-5)
        assert [got.result()["texts"][0] for got in samples] == drawn
