"""Generation from files to novel sequences: with a class, without, and back from the sequence to its class."""

import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch

import unrolled
from commands import here
from sessions import assert_resumes
from unrolled.errors import UserError
from unrolled.tasks.generate.run import GenerateRun
from unrolled.tasks.generate.task import TASK
from unrolled.training.recipe import Recipe, recipe_from_mapping
from unrolled.training.session import begin

TINY = {"hidden": 24, "embedding": 8, "layers": 1, "dropout": 0.0}
LETTERS = {"low": "aei", "high": "xyz"}


def rows(count: int, seed: int) -> list[tuple[str, str]]:
    """(word, class): a class has letters of its own; words are as long as they say at first."""
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        label = draw.choices(tuple(LETTERS), weights=(3, 1))[0]
        found.append(("".join(draw.choices(LETTERS[label], k=draw.randint(1, 4))), label))
    return found


def recipe_for(path: Path, **overrides: object) -> Recipe:
    given = {name.replace("__", "."): value for name, value in overrides.items()}
    training = {"steps": 80, "batch": 32, "learning_rate": 0.03, "warmup": 2, "validate_every": 40}
    return recipe_from_mapping(
        {"task": "generate", "data": {"path": str(path)}, "model": TINY, "training": training}, given
    )


def trained(recipe: Recipe, folder: Path) -> GenerateRun:
    begin(recipe, base=Path(), name="run", folder=folder, quiet=True, device="cpu")
    run = unrolled.load(folder)
    assert isinstance(run, GenerateRun)
    return run


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("generate") / "words.tsv"
    path.write_text("".join(f"{x}\t{y}\n" for x, y in rows(600, 1)), encoding="utf-8")
    return path


@pytest.fixture(scope="module", params=["input", "state"])
def run(request: pytest.FixtureRequest, data: Path) -> GenerateRun:
    return trained(recipe_for(data, model__condition=request.param), data.parent / request.param)


def test_sequences_are_of_their_class(run: GenerateRun) -> None:
    for label, letters in LETTERS.items():
        found = run.samples(40, label=label, seed=1)
        assert sum(set(word) <= set(letters) for word in found) >= 38
        assert found == run.samples(40, label=label, seed=1)
    assert run.metrics["test"]["accuracy"] > 0.95
    assert run.metrics["test"]["baselines"]["majority"]["accuracy"] < 0.9


def test_without_a_class_classes_come_as_often_as_training_saw_them(run: GenerateRun) -> None:
    high = sum(set(word) <= set("xyz") for word in run.samples(400, seed=2)) / 400
    assert 0.15 < high < 0.35


def test_a_stream_is_the_sample(run: GenerateRun) -> None:
    assert "a" + "".join(run.stream("a", label="low", seed=4)) == run.sample("a", label="low", seed=4)


def test_a_sample_scores_as_its_steps(run: GenerateRun) -> None:
    """The most probable sequence, drawn symbol by symbol, has the probability that one pass over it gives."""
    text = run.sample(label="low", temperature=0, length=20)
    score = run.score(text, label="low")
    assert [one.symbol for one in score.symbols] == [*text, "<eos>"]
    assert all(one.log_probability >= math.log(1 / 8) for one in score.symbols)


def test_the_score_without_a_class_is_that_of_all_classes_together(run: GenerateRun) -> None:
    priors = dict(zip(run.classes, run.symbols.priors, strict=True))
    for text in ("aei", "xz", "ax"):
        logs = run.scores_by_class(text)
        assert list(logs.values()) == sorted(logs.values(), reverse=True)
        joint = {label: priors[label] + log for label, log in logs.items()}
        total = np.logaddexp.reduce(list(joint.values()))
        assert run.score(text).log_probability == pytest.approx(total)
        assert run.score(text, label="low").log_probability == pytest.approx(logs["low"])
        predicted = run.predict(text)
        assert predicted.probabilities["low"] == pytest.approx(math.exp(joint["low"] - total))
        assert sum(predicted.probabilities.values()) == pytest.approx(1)


def test_the_probabilities_of_short_sequences_sum_to_less_than_one(run: GenerateRun) -> None:
    singles = [run.score(one, label="high").log_probability for one in "aeixyz"]
    assert 0.1 < sum(map(math.exp, singles)) < 1


def test_texts_side_by_side_are_as_alone(run: GenerateRun) -> None:
    texts = [x for x, _ in rows(70, 9)]
    for one, alone in zip(run.predict(texts), map(run.predict, texts), strict=True):
        assert one.label == alone.label
        assert one.probability == pytest.approx(alone.probability, rel=1e-4)


def test_from_nothing(data: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("\n".join(x for x, _ in rows(300, 3)) + "\n", encoding="utf-8")
    run = trained(recipe_for(names, training__steps=30), tmp_path / "run")
    assert run.classes == ()
    assert set(run.sample(seed=1)) <= set("aeixyz")
    assert run.score("ae").log_probability < 0
    with pytest.raises(UserError, match="was trained without classes: leave the class out"):
        run.sample(label="low")
    with pytest.raises(UserError, match="there is none to predict"):
        run.predict("ae")
    assert "accuracy" not in run.metrics["test"]
    assert run.metrics["test"]["ngram"]["perplexity"] > 1


def test_stepwise_is_whole(run: GenerateRun) -> None:
    labels = torch.tensor([0, 1, 0])
    symbols = torch.tensor([[2, 2, 2], [4, 5, 6], [7, 4, 5]])
    with torch.no_grad():
        features, _ = run.model.features_of(symbols, labels)
        whole = run.model.output.log_probabilities(features)
        first, state = run.model.begin(3, labels)
        for read, expected in zip([first, *symbols[1:]], whole, strict=True):
            found, state = run.model.step(read, state)
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "overrides",
    [
        {"model__embedding": 0, "model__cell": "gru"},
        {"model__condition": "state", "model__tied": True, "model__layers": 2},
        {"model__condition": "state", "model__cell": "rnn"},
        {"data__level": "bpe", "data__vocabulary_size": 260},
    ],
)
def test_every_way_to_build_it_resumes(data: Path, tmp_path: Path, overrides: dict[str, object]) -> None:
    assert_resumes(recipe_for(data, training__steps=6, training__validate_every=3, **overrides), tmp_path, 4)


def test_what_is_wrong_is_named(run: GenerateRun, data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no class 'middle'; its classes: high, low"):
        run.sample(label="middle")
    with pytest.raises(UserError, match="the text is empty"):
        run.score("")
    other = tmp_path / "other.tsv"
    other.write_text("aei\tlow\nxyz\tmiddle\n" * 3)
    with pytest.raises(UserError, match=r"other\.tsv, line 2: the label 'middle' does not occur"):
        run.evaluate(other)
    other.write_text("text\tlabel\naei\tlow\nxyz\t\nxx\thigh\n" + "aa\tlow\n" * 30)
    with pytest.raises(UserError, match=r"other\.tsv \(train part\), line 3: no class, and other lines have one"):
        TASK.open(recipe_for(other), Path())
    with pytest.raises(UserError, match="classes are read by the embedding and never predicted"):
        TASK.build(recipe_for(data, model__tied=True), run.symbols)
    with pytest.raises(UserError, match="let the model see the symbol it has to predict"):
        recipe_for(data, model__bidirectional=True)


def test_the_verbs_of_a_generator(run: GenerateRun, data: Path) -> None:
    folder = str(run.folder)
    assert set(here("sample", folder, "--class", "high", "--seed", "1").out.strip()) <= set("xyz")
    assert len(here("sample", folder, "--count", "3", "--min-p", "0.1", "--repetition", "1.2").out.splitlines()) == 3
    assert "log P(text | class)" in here("score", folder, "aei", "--by-class").out
    assert "1.  " in here("score", folder, "aei", "xyz", "--class", "low").out
    assert here("predict", folder, "xyz", "--output", "tsv").out.startswith("high\t")
    assert "the class, by Bayes' rule" in here("evaluate", folder, str(data)).out
    assert "has no class" in here("sample", folder, "--class", "middle").err
    assert "vocabulary" in here("show", folder).out
