"""`inspect`: one command of many looks. What is computed is tested in tests/inspecting."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

import unrolled as package
from commands import TINY
from unrolled.cli.looks import registry


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


def test_models_of_frames_look_at_a_sequence_of_a_file(unrolled, place: Path) -> None:
    rows = [f"{level}.0,{level}.5,{level}.2:{-level}.0,0.5,0.1:{'up' if level > 4 else 'down'}" for level in range(9)]
    (place / "waves.ts").write_text("@dimensions 2\n@classLabel true up down\n@data\n" + "\n".join(rows * 4) + "\n")
    steps = ["--set", "training.steps=5", "--set", "model.bidirectional=false", "--set", "model.embedding=0"]
    made = unrolled("train", "classify", "--data", "waves.ts", "--run", "runs/waves", *TINY[:4], *steps)
    assert made.code == 0, made.err
    told = json.loads(unrolled("inspect", "runs/waves", "waves.ts:3", "--gates", "--json").out)
    run = package.load("runs/waves")
    seen = run.observe(run.sequences("waves.ts")[2])
    assert told["symbols"] == ["1", "2", "3"]
    np.testing.assert_allclose(told["layers"][0]["values"]["forget"], seen.layer(0).values["forget"])
    for look in ("--saliency", "--gradients"):
        assert unrolled("inspect", "runs/waves", "waves.ts", look).code == 0
    for given, words in (("a film", "frames, not texts"), ("waves.ts:0", "36 sequence(s)"), ("x.ts:1", "no file")):
        assert words in unrolled("inspect", "runs/waves", given, "--saliency").err
    assert "reads frames" in unrolled("inspect", "runs/waves", "a", "--contrast", "--against", "b").err
    labels = unrolled("predict", "runs/waves", "waves.ts").out
    assert len(labels.splitlines()) == 36


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


LOOKS = {
    "gates of a generator": (["runs/surnames", "rossa", "--gates", "--class", "Italian"], "layer 0"),
    "saliency": (["runs/reviews", "a fine film", "--saliency"], "symbol  occlusion  gradient × input"),
    "attention": (["runs/dates", "11. may 1999", "--attention"], "written  looked at"),
    "tree": (["runs/dates", "11. may 1999", "--tree", "--width", "2"], "the answer at step"),
    "embeddings": (["runs/demo", "--embeddings", "--top", "2"], "nearest by cosine"),
    "one embedding": (["runs/dates", "1 5", "--embeddings", "--target"], "11 symbols, vectors of 8 numbers"),
    "cell search": (["runs/demo", "--cell-search", "--most", "600"], "tracked best by"),
    "gradients": (["runs/demo", "--gradients", "--fresh", "own,rnn:orthogonal", "--length", "12"], "1/100 at"),
    "gradients of a generator": (["runs/surnames", "--gradients", "--length", "9"], "1/100 at"),
    "curves": (["runs/demo", "--curves", "--with", "runs/demo"], "bits per character"),
}


@pytest.mark.parametrize("name", LOOKS)
def test_looks(unrolled, place: Path, name: str) -> None:
    words, line = LOOKS[name]
    picture = place / "picture.svg"
    answer = unrolled("inspect", *words, "--picture", "picture.svg")
    assert answer.code == 0, answer.err
    assert line in answer.out
    assert answer.out.endswith("picture  picture.svg\n")
    assert "<svg" in picture.read_text()
    assert json.loads(unrolled("inspect", *words, "--json").out)


def test_contrast(unrolled) -> None:
    words = ["inspect", "runs/demo", "The cat sat", "--contrast", "--against", "The rat sat"]
    out = unrolled(*words).out
    assert "that are apart from c on" in out
    assert "c / r" in out
    told = json.loads(unrolled(*words, "--json", "--top", "2").out)
    assert told["first"] == 5
    assert told["last"] == 12
    assert len(told["units"]) == 2
    run = package.load("runs/demo")
    one, other = run.observe("The cat sat").layer(0), run.observe("The rat sat").layer(0)
    apart = np.abs(one.values["c"] - other.values["c"])[5:12].min(axis=0)
    assert told["units"][0]["unit"] == int(apart.argmax())
    assert told["units"][0]["kept"] == pytest.approx(float(apart.max()))
    assert told["units"][0]["values"]["c"][0][:5] == told["units"][0]["values"]["c"][1][:5]


def test_cell_search_of_a_file_tells_what_python_does(unrolled) -> None:
    out = unrolled("inspect", "runs/demo", "text.txt", "--cell-search", "--most", "900").out
    found = package.load("runs/demo").cell_search("text.txt", most=900)
    assert "text.txt: 900 symbols, 32 units" in out
    assert "".join(found.symbols).replace("␣", " ").startswith("The cat sat on the mat.")
    best = found.found[0][0]
    assert f"{best.feature}: {best.unit}" in out
    seen = package.load("runs/demo").observe("The cat sat on the mat. The dog")
    np.testing.assert_allclose(
        best.values[:31], seen.layer(0).values[best.unit.state][1:, best.unit.unit], atol=1e-6
    )  # fmt: skip


def test_options_of_one_name_are_one_option() -> None:
    annotations: dict[str, object] = {}
    for look in registry.LOOKS:
        for name, option in look.options.items():
            assert annotations.setdefault(name, option.annotation) is option.annotation, f"{look.flag}: {name}"


def test_a_generator_reads_under_a_class(unrolled) -> None:
    run = package.load("runs/surnames")
    seen = run.observe("ross", label="Italian")
    assert seen.symbols == ("Italian", *"ross")
    other = run.observe("ross", label="French")
    assert not np.array_equal(seen.layer(0).values["c"][0], other.layer(0).values["c"][0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["runs/demo", "a"], "say what to look at: one of --gates, --contrast, --next, --saliency"),
        (["runs/demo", "a", "--gates", "--next"], "say what to look at"),
        (["runs/demo", "--gates"], "give the text to look at"),
        (["runs/demo", "", "--next"], "give the text to look at"),
        (["runs/demo", "a", "--gates", "--layer", "3"], "there is no layer 3, but layer 0"),
        (["runs/demo", "a", "--gates", "--picture", "a.gif"], "a.gif: a picture is written as .png or .svg"),
        (["runs/demo", "a", "--gates", "--picture", "a.png", "--show", "relevance"], "nothing is called 'relevance'"),
        (["runs/demo", "--beam"], "--beam is for translators"),
        (["runs/demo", "a", "--gates", "--width", "3"], "--width is for --tree and --beam, not for --gates"),
        (["runs/demo", "a", "--next", "--backwards"], "--backwards is for --gates, not for --next"),
        (["runs/reviews", "a", "--next"], "--next is for language models"),
        (["runs/surnames", "ro", "--gates"], "say which; Finnish, French, Italian"),
        (["runs/surnames", "ro", "--gates", "--class", "Greek"], "has no class 'Greek'"),
        (["runs/surnames", "ro", "--next"], "--next is for language models"),
        (["runs/demo", "a", "--gates", "--class", "b"], "--class is for generators"),
        (["runs/demo", "a", "--next", "--class", "b"], "not for --next"),
        (["runs/reviews", "a film", "--saliency", "--class", "best"], "has no class 'best'"),
        (["runs/reviews", " ", "--saliency"], "the text is empty"),
        (["runs/reviews", "a film", "--attention"], 'pools by "last"'),
        (["runs/reviews", "a film", "--attention", "--answer", "b"], "--answer is for translators"),
        (["runs/dates", " ", "--tree"], "the text is empty"),
        (["runs/dates", " ", "--attention"], "the text is empty"),
        (["runs/demo", "a", "--labels"], "--labels is for taggers"),
        (["runs/demo", "nosuchsymbol", "--embeddings"], "no symbol 'nosuchsymbol'"),
        (["runs/demo", " \t", "--embeddings"], "name symbols"),
        (["runs/demo", "--embeddings", "--target"], "only translators read targets"),
        (["runs/demo", "The cat", "--contrast"], "say what to compare with"),
        (["runs/demo", "The cat", "--contrast", "--against", "The cats"], "8 and 9"),
        (["runs/demo", "The cat", "--contrast", "--against", "The cat"], "the same to the model"),
        (["runs/demo", "The cat", "--contrast", "--against", "The rat", "--layer", "4"], "no layer 4"),
        (["runs/demo", "a", "--gradients"], "at least 2 symbols"),
        (["runs/demo", "--gradients", "--fresh", "lsmt"], "lsmt"),
        (["runs/demo", "--gradients", "--fresh", "rnn:big"], "big"),
        (["runs/demo", "--gradients", "--fresh", "rnn:orthogonal:big"], "the gain 'big' is no positive number"),
        (["runs/demo", "--gradients", "--fresh", "rnn:orthogonal:-1"], "the gain '-1' is no positive number"),
        (["runs/reviews", "a film", "--gradients"], "reads from both ends"),
        (["runs/dates", "a", "--gradients"], "--gradients is for language models"),
        (["runs/demo", "a", "--curves"], "--curves reads no text: leave 'a' out"),
        (["runs/demo", "--curves", "--with", "runs/dates"], "different tasks, language-model and translate"),
        (["runs/demo", "--curves", "--with", "runs/none"], "runs/none is no run folder"),
        (["runs/demo", "none.txt", "--cell-search"], "none.txt"),
        (["runs/none", "--tree", "a", "--picture", "a.jpg"], "a.jpg: a picture is written as .png or .svg"),
    ],
)
def test_mistakes(unrolled, arguments: list[str], message: str) -> None:
    answer = unrolled("inspect", *arguments)
    assert answer.code == 1
    assert message in answer.err
