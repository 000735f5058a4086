"""Classification from files to predictions: classes, stars, numbers and frames; what is wrong is named."""

import json
import math
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import unrolled
from commands import here
from sessions import assert_resumes
from unrolled.data.labels import Labels
from unrolled.errors import UserError
from unrolled.models.classifier import balanced
from unrolled.models.naive_bayes import NaiveBayes
from unrolled.tasks.classify.figures import ClassFigures
from unrolled.tasks.classify.run import ClassifyRun
from unrolled.tasks.classify.task import TASK, fitted_temperature
from unrolled.training.recipe import Recipe, recipe_from_mapping
from unrolled.training.session import begin

GOOD, BAD = ("fine", "lovely", "great"), ("dull", "poor", "awful")
PLAIN = ("the", "film", "is", "a", "plot", "and", "it")
TINY = {"hidden": 12, "embedding": 8, "layers": 1, "dropout": 0.0, "embedding_dropout": 0.0}


def sentences(count: int, seed: int) -> list[tuple[str, str]]:
    """(label, text): one word decides."""
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        label = draw.choice(("good", "bad"))
        words = draw.choices(PLAIN, k=draw.randint(2, 9))
        words.insert(draw.randint(0, len(words)), draw.choice(GOOD if label == "good" else BAD))
        found.append((label, " ".join(words)))
    return found


def recipe_for(path: Path, **overrides: object) -> Recipe:
    given = {name.replace("__", "."): value for name, value in overrides.items()}
    training = {"steps": 60, "batch": 16, "learning_rate": 0.02, "warmup": 2, "validate_every": 20}
    return recipe_from_mapping(
        {"task": "classify", "data": {"path": str(path)}, "model": TINY, "training": training}, given
    )


def trained(recipe: Recipe, folder: Path) -> ClassifyRun:
    begin(recipe, base=Path(), name="run", folder=folder, quiet=True, device="cpu")
    run = unrolled.load(folder)
    assert isinstance(run, ClassifyRun)
    return run


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("classify") / "films.tsv"
    path.write_text("".join(f"{label}\t{text}\n" for label, text in sentences(300, 1)))
    return path


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> ClassifyRun:
    return trained(recipe_for(data), tmp_path_factory.mktemp("runs") / "films")


def test_what_decides_is_learned_and_figures_stand_beside_baselines(run: ClassifyRun) -> None:
    figures = run.metrics["test"]
    assert figures["accuracy"] > 0.95
    low, high = figures["interval"] or (figures["accuracy"],) * 2
    assert low <= figures["accuracy"] <= high
    assert 0.3 < figures["baselines"]["majority"]["accuracy"] < 0.7
    assert figures["baselines"]["naive Bayes, 1- to 2-grams"]["accuracy"] > 0.9
    assert sum(map(sum, figures["confusions"])) == figures["examples"] == 30
    again = run.evaluate().as_dict()
    assert again["confusions"] == figures["confusions"]
    assert again["nats_per_example"] == pytest.approx(figures["nats_per_example"])
    assert run.model.temperature != 1


def test_nats_are_those_of_the_probabilities_that_are_given(run: ClassifyRun) -> None:
    part = run.part()
    labels = run.symbols.labels.names
    logs = [
        run.score(one.x, label=labels[int(y)]).log_probability
        for one, y in zip(part.examples, part.targets, strict=True)
    ]
    figures = run.evaluate()
    assert figures.loss == pytest.approx(-sum(logs) / len(logs), rel=1e-5)
    assert run.metrics["test"]["nats_per_example"] == pytest.approx(figures.loss)
    assert figures.scores[np.arange(len(logs)), figures.truth].tolist() == pytest.approx(logs, rel=1e-5)


def test_predictions_are_probabilities_and_alone_as_in_a_batch(run: ClassifyRun) -> None:
    texts = [text for _, text in sentences(40, 9)]
    together = run.predict(texts)
    for text, one in zip(texts, together, strict=True):
        assert math.fsum(one.probabilities.values()) == pytest.approx(1)
        assert list(one.probabilities.values()) == sorted(one.probabilities.values(), reverse=True)
        alone = run.predict(text)
        assert alone.label == one.label
        assert alone.probabilities == pytest.approx(one.probabilities, abs=1e-6)
    assert run.predict([]) == []


def test_a_score_is_the_log_probability_of_a_class(run: ClassifyRun) -> None:
    found = run.predict("a great film")
    for label, probability in found.probabilities.items():
        assert run.score("a great film", label=label).log_probability == pytest.approx(math.log(probability))
    with pytest.raises(UserError, match="has no class 'middling'; its classes: bad, good"):
        run.score("a great film", label="middling")
    ranked = here("score", str(run.folder), "a great film", "an awful plot", "--class", "good").out
    assert ranked.index("a great film") < ranked.index("an awful plot")
    assert "give --class NAME" in here("score", str(run.folder), "a great film").err


def test_a_file_is_predicted_with_labels_or_without(run: ClassifyRun, data: Path, tmp_path: Path) -> None:
    assert len(run.predict_file(data)) == 300
    (tmp_path / "new.txt").write_text("the plot is fine\n")
    (tmp_path / "new.jsonl").write_text('{"text": "the plot is awful"}\n{"text": "a great film"}\n')
    labels = [one.label for one in run.predict_file(tmp_path / "new.jsonl")]
    assert labels == ["bad", "good"]


def test_mistakes_are_named(run: ClassifyRun, data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the text is empty: there is nothing to predict"):
        run.predict("  ")
    with pytest.raises(UserError, match="`sample` is not for it"):
        run.check_can("sample")
    other = tmp_path / "other.tsv"
    other.write_text("good\ta fine film\nmixed\tfine but dull\nbad\tawful\ngood\tgreat\n")
    with pytest.raises(UserError, match=r"other\.tsv, line 2: the label 'mixed' does not occur"):
        run.evaluate(other)
    other.write_text("".join(f"good\tfilm {number}\n" for number in range(20)))
    with pytest.raises(UserError, match="nothing to learn"):
        TASK.open(recipe_for(other, data__text="2", data__label="1"), Path())
    with pytest.raises(UserError, match="no built-in data"):
        TASK.open(recipe_from_mapping({"task": "classify", "model": TINY}), Path())
    with pytest.raises(UserError, match="is no number"):
        TASK.open(recipe_for(data, model__predicts="stars"), Path())


def test_resume_is_uninterrupted(data: Path, tmp_path: Path) -> None:
    recipe = recipe_for(data, training__steps=30, training__validate_every=10)
    assert_resumes(recipe, tmp_path, 14)


@pytest.mark.parametrize(
    "overrides",
    [
        {"model__cell": "none", "model__pooling": "mean"},
        {"model__pooling": "max", "model__bidirectional": False, "model__cell": "gru"},
        {"model__pooling": "attention", "model__head_layers": 1, "model__class_weights": "balanced"},
        {"data__level": "character", "model__embedding": 0, "model__label_smoothing": 0.1},
        {"data__level": "bpe", "data__vocabulary_size": 270},
        {"data__level": "byte"},
        {"model__characters": 8, "training__average": 0.9},
    ],
    ids=["no recurrence", "max, one way", "attention, balanced", "one-hot", "bpe", "bytes", "spelt, averaged"],
)
def test_every_kind_of_model_trains_and_loads(data: Path, tmp_path: Path, overrides: dict[str, object]) -> None:
    run = trained(recipe_for(data, training__steps=6, training__validate_every=3, **overrides), tmp_path / "run")
    assert run.predict("the film is fine").label in ("good", "bad")


def test_stars_have_an_order_and_numbers_a_scale(tmp_path: Path) -> None:
    draw = random.Random(3)
    words = {1: "awful", 2: "dull", 3: "plain", 4: "fine", 5: "great"}
    stars = [draw.randint(1, 5) for _ in range(300)]
    path = tmp_path / "stars.csv"
    path.write_text("stars,text\n" + "".join(f"{s},{draw.choice(PLAIN)} film is {words[s]}\n" for s in stars))
    columns = {"data__text": "text", "data__label": "stars"}
    run = trained(recipe_for(path, **columns, model__predicts="stars"), tmp_path / "stars")
    assert run.symbols.labels.names == ("1", "2", "3", "4", "5")
    assert run.metrics["test"]["mean_absolute_error"] < 0.3
    prediction = run.predict("the film is great")
    assert prediction.label == "5"
    assert prediction.value is not None
    assert 4 < prediction.value <= 5
    recipe = recipe_for(path, **columns, model__predicts="number", training__steps=120)
    number = trained(recipe, tmp_path / "number")
    assert number.metrics["test"]["mean_absolute_error"] < number.metrics["test"]["mean"]["mean_absolute_error"] / 2
    found = number.predict("the film is awful")
    assert found.value is not None
    assert abs(found.value - 1) < 1
    assert found.probabilities == {}


def test_frames_are_standardised_and_classified(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    y = np.array([f"class {n % 2}" for n in range(80)])
    x = draw.normal(size=(80, 12, 3)).astype(np.float32) * [1, 100, 0.01] + [5, -300, 0]
    x[1::2, 4:8, 1] += 300
    path = tmp_path / "motions.npz"
    np.savez(path, x=x.astype(np.float32), y=y)
    run = trained(recipe_for(path, model__embedding=0, data__split="50/25/25"), tmp_path / "run")
    train = run.material.train
    frames = np.concatenate(train.inputs)
    assert frames.mean(axis=0) == pytest.approx(0, abs=1e-4)
    assert frames.std(axis=0) == pytest.approx(1, abs=1e-4)
    assert run.metrics["test"]["accuracy"] > 0.9
    assert run.predict(x[1].astype(np.float32)).label == "class 1"
    with pytest.raises(UserError, match="frames of 2 numbers, and the model reads 3"):
        run.predict(x[1, :, :2].astype(np.float32))
    with pytest.raises(UserError, match="holds text"):
        run.predict("a text")


@pytest.mark.parametrize("file", ["labels.json", "calibration.json", "vocabulary.json"])
def test_a_damaged_run_names_the_file(run: ClassifyRun, tmp_path: Path, file: str) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder)
    (folder / file).write_text("{}")
    with pytest.raises(UserError, match=file):
        unrolled.load(folder)


def test_labels_come_back(tmp_path: Path) -> None:
    for kind, given in (("class", ["b", "a", "b"]), ("stars", ["10", "9", "1"]), ("number", ["1.5", "-2", "7"])):
        labels = Labels.of(kind, given, "data")
        labels.save(tmp_path)
        assert Labels.load(tmp_path) == labels
    assert Labels.of("stars", ["10", "9", "1"], "data").names == ("1", "9", "10")
    assert Labels.of("class", ["b", "a", "b"], "data").rare() == ["a"]
    assert Labels.of("number", ["1", "3"], "data").target("2", "here") == 0


def test_the_temperature_is_the_most_likely_one() -> None:
    torch.manual_seed(0)
    scores = torch.randn(2000, 3, dtype=torch.float64)
    targets = torch.distributions.Categorical(logits=scores).sample()
    assert fitted_temperature(scores, targets) == pytest.approx(1, abs=0.1)
    assert fitted_temperature(4 * scores, targets) == pytest.approx(4, abs=0.4)


def test_balanced_weights_make_every_class_cost_the_same() -> None:
    counts = torch.tensor([10, 30, 60])
    assert (balanced(counts) * counts).tolist() == pytest.approx([100 / 3] * 3)


def test_naive_bayes_by_hand() -> None:
    bayes = NaiveBayes(1).fit([[1, 1, 2], [3, 3]], [0, 1])
    assert bayes.predict([1]) == 0
    assert bayes.predict([3, 3, 1]) == 1
    assert bayes.predict([9]) == 0  # says nothing: the classes are equally frequent


def test_figures_by_hand() -> None:
    labels = Labels("class", ("a", "b"), (1, 1))
    scores = np.log(np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]]))
    figures = ClassFigures(labels, 2.0, np.array([0, 1, 1, 0]), scores)
    assert figures.accuracy == 0.5
    assert figures.confusions.tolist() == [[1, 1], [1, 1]]
    assert [row["f1"] for row in figures.by_class()] == [0.5, 0.5]
    # each prediction has a bin of its own: |0.9 - 1|, |0.8 - 1|, |0.6 - 0|, |0.7 - 0|
    assert figures.calibration_error() == pytest.approx((0.1 + 0.2 + 0.6 + 0.7) / 4)
    assert json.dumps(figures.as_dict())
