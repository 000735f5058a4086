"""`inspect --gates` and `--next`: what a run did, step by step. `--beam` is tested with the translators."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

import unrolled as package


def test_gates(unrolled, place: Path) -> None:
    answer = unrolled("inspect", "runs/demo", "The cat sat", "--gates", "--picture", "gates.png")
    lines = answer.out.splitlines()
    assert lines[0] == "layer 0"
    assert [line.split()[0] for line in lines[2:6]] == ["gate", "update", "forget", "output"]
    assert "c is remembered longest by" in answer.out
    assert "picture  gates.png" in answer.out
    assert (place / "gates.png").stat().st_size > 10_000


def test_gates_as_numbers_are_those_of_python(unrolled) -> None:
    told = json.loads(unrolled("inspect", "runs/demo", "The cat sat", "--gates", "--json").out)
    run = package.load("runs/demo")
    seen = run.observe("The cat sat")
    assert told["symbols"] == ["<bos>", *"The␣cat␣sat"] == list(seen.symbols)
    np.testing.assert_allclose(told["layers"][0]["values"]["forget"], seen.layer(0).values["forget"])
    assert told["summary"][0]["gates"][1]["mean"] == pytest.approx(seen.layer(0).values["forget"].mean())


def test_a_long_text_is_observed_in_pieces(unrolled) -> None:
    run = package.load("runs/demo")
    text = "The cat sat. A dog ate the hat. " * 20
    whole, half = run.observe(text).layer(0), run.observe(text[:300]).layer(0)
    assert len(whole.values["c"]) == len(text) + 1
    np.testing.assert_array_equal(whole.values["c"][:301], half.values["c"])


@pytest.mark.parametrize("name", ["reviews", "dates"])
def test_gates_of_encoders(unrolled, name: str) -> None:
    run = package.load(f"runs/{name}")
    seen = run.observe("a good film" if name == "reviews" else "3 May 2021")
    assert all(len(value) == len(seen.symbols) for value in seen.layers[0].values.values())
    assert "layer 0" in unrolled("inspect", f"runs/{name}", "a film", "--gates").out


def test_surprises_add_up_to_the_score(unrolled) -> None:
    run = package.load("runs/demo")
    text = "The cat sat. " * 30
    found = run.surprises(text, top=2)
    assert sum(one.log_probability for one in found) == pytest.approx(run.score(text).log_probability, rel=1e-5)
    assert "".join(one.symbol for one in found) == text
    most = math.log2(len(run.vocabulary.symbols))
    assert found[0].change == 0
    assert all(0 <= one.entropy <= most and one.change >= 0 and len(one.best) == 2 for one in found)
    best = run.next(text[:5], top=1)[0]
    assert found[5].best[0].symbol == best.symbol
    assert found[5].best[0].probability == pytest.approx(best.probability, rel=1e-5)


def test_next(unrolled) -> None:
    lines = unrolled("inspect", "runs/demo", "The cat", "--next", "--top", "1").out.splitlines()
    assert lines[0] == "The␣cat"
    assert lines[2].split() == ["symbol", "surprise", "entropy", "change", "expected"]
    assert [line.split()[0] for line in lines[3:]] == list("The␣cat")
    told = json.loads(unrolled("inspect", "runs/demo", "The cat", "--next", "--json").out)
    assert [one["symbol"] for one in told] == list("The cat")
    assert len(told[0]["best"]) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["runs/demo", "a"], "say what to look at: one of --gates, --next, --beam"),
        (["runs/demo", "a", "--gates", "--next"], "say what to look at"),
        (["runs/demo", "--gates"], "give the text to look at"),
        (["runs/demo", "", "--next"], "give the text to look at"),
        (["runs/demo", "a", "--gates", "--layer", "3"], "there is no layer 3, but layer 0"),
        (["runs/demo", "a", "--gates", "--picture", "a.gif"], "a.gif: a picture is written as .png or .svg"),
        (["runs/demo", "a", "--gates", "--picture", "a.png", "--show", "relevance"], "nothing is called 'relevance'"),
        (["runs/demo", "--beam"], "--beam is for translators"),
        (["runs/demo", "a", "--gates", "--width", "3"], "--width is for --beam, not for --gates"),
        (["runs/demo", "a", "--next", "--backwards"], "--backwards is for --gates, not for --next"),
        (["runs/reviews", "a", "--next"], "--next is for language models"),
        (["runs/surnames", "a", "--gates"], "`inspect` is not for it"),
    ],
)
def test_mistakes(unrolled, arguments: list[str], message: str) -> None:
    answer = unrolled("inspect", *arguments)
    assert answer.code == 1
    assert message in answer.err
