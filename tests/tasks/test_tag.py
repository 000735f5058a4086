"""Tagging from files to predictions: spans and labels, words, characters and frames; what is wrong is named."""

import itertools
import json
import math
import random
from pathlib import Path

import numpy as np
import pytest

import unrolled
from commands import here
from unrolled.data.tag_labels import TagLabels
from unrolled.data.tag_schemes import check
from unrolled.errors import UserError
from unrolled.tasks.tag.run import TagRun
from unrolled.tasks.tag.task import HANDICAPS, TASK
from unrolled.training.recipe import Recipe, recipe_from_mapping
from unrolled.training.session import begin

TINY = {
    "hidden": 16, "embedding": 12, "characters": 8, "dropout": 0.0, "embedding_dropout": 0.0,
}  # fmt: skip
NAMES = ("Ann", "Bob", "Cleo", "Dan")


def sentences(count: int, seed: int) -> str:
    """CoNLL: a person is a capitalised name, of two tokens after "Dr"; places end in "ville"."""
    draw, lines = random.Random(seed), []
    for _ in range(count):
        for _ in range(draw.randint(1, 3)):
            kind = draw.randrange(4)
            if kind == 0:
                lines.append(f"{draw.choice(NAMES)}\tB-person")
            elif kind == 1:
                lines += ["Dr\tB-person", f"{draw.choice(NAMES)}\tI-person"]
            elif kind == 2:
                lines.append(f"{draw.choice('ABCDEFGH')}ville\tB-place")
            lines += [f"{draw.choice(('the', 'a', 'went', 'to', 'saw'))}\tO" for _ in range(draw.randint(1, 3))]
        lines.append("")
    return "\n".join(lines) + "\n"


def recipe_for(path: Path, **overrides: object) -> Recipe:
    given = {name.replace("__", "."): value for name, value in overrides.items()}
    training = {"steps": 60, "batch": 16, "learning_rate": 0.02, "warmup": 2, "validate_every": 20}
    return recipe_from_mapping({"task": "tag", "data": {"path": str(path)}, "model": TINY, "training": training}, given)


def trained(recipe: Recipe, folder: Path) -> TagRun:
    begin(recipe, base=Path(), name="run", folder=folder, quiet=True, device="cpu")
    run = unrolled.load(folder)
    assert isinstance(run, TagRun)
    return run


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tag") / "people.conll"
    path.write_text(sentences(240, 1))
    return path


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> TagRun:
    return trained(recipe_for(data), tmp_path_factory.mktemp("runs") / "people")


def test_spans_are_learned_and_stand_beside_the_baseline(run: TagRun) -> None:
    figures = run.metrics["test"]
    assert figures["spans"]["f1"] > 0.95
    assert set(figures["spans"]["types"]) == {"person", "place"}
    low, high = figures["interval"] or (figures["spans"]["f1"],) * 2
    assert low <= figures["spans"]["f1"] <= high
    assert 0 < figures["baselines"]["most frequent label of the word"]["f1"] < 1
    assert run.evaluate().as_dict()["spans"] == figures["spans"]


def test_a_text_tokens_and_a_file_are_labelled_alike(run: TagRun, data: Path, tmp_path: Path) -> None:
    text = run.predict("the Dr Ann went to Zville")
    assert text.labels == ("O", "B-person", "I-person", "O", "O", "B-place")
    assert [(span.text, span.type) for span in text.spans] == [("Dr Ann", "person"), ("Zville", "place")]
    assert all(0 < share <= 1 for share in text.probabilities)
    assert run.predict(("the", "Dr", "Ann", "went", "to", "Zville")) == text
    path = tmp_path / "new.conll"
    path.write_text("\n".join(text.x) + "\n")
    assert run.predict_file(path)[0].labels == text.labels
    assert len(run.predict_file(data)) == 240
    several = run.predict_all(["Ann saw Bob", "the"])
    assert several[0].labels == run.predict("Ann saw Bob").labels
    assert several[1].labels == ("O",)


def test_the_scores_of_all_labellings_sum_to_one(data: Path, tmp_path: Path) -> None:
    run = trained(recipe_for(data, training__steps=20), tmp_path / "run")
    every = [one for one in itertools.product(run.symbols.labels.names, repeat=2) if check(one, "IOB2") is None]
    logs = {one: run.score("Ann saw", labels=one).log_probability for one in every}
    assert math.fsum(map(math.exp, logs.values())) == pytest.approx(1, abs=1e-4)
    assert max(logs, key=lambda one: logs[one]) == run.predict("Ann saw").labels
    with pytest.raises(UserError, match="1 labels for 2 timesteps; give one each"):
        run.score("Ann saw", labels=["O"])
    assert "1. " in here("score", str(run.folder), "Ann saw", "--labels", "B-person O").out
    assert "give --labels" in here("score", str(run.folder), "Ann saw").err


def test_the_handicap_is_the_best_on_the_validation_part_and_is_kept(data: Path, tmp_path: Path) -> None:
    recipe = recipe_for(data, training__steps=12, training__learning_rate=0.004)
    run = trained(recipe, tmp_path / "run")
    kept = json.loads((run.folder / "decision.json").read_text())["handicap"]
    assert run.model.handicap == kept
    f1, found = {}, {}
    for handicap in HANDICAPS:
        run.model.handicap = handicap
        figures = TASK.measure(recipe, run.symbols, run.model, run.material.valid)
        f1[handicap], found[handicap] = figures.spans().f1, sum(labels.count("O") for labels in figures.guesses)
    assert f1[kept] == max(f1.values())
    assert list(found.values()) == sorted(found.values(), reverse=True)
    (run.folder / "decision.json").write_text('{"handicap": "much"}')
    with pytest.raises(UserError, match=r"decision\.json is not whole"):
        unrolled.load(run.folder)


@pytest.mark.parametrize("scheme", ["IO", "IOB1", "BIOES"])
def test_another_scheme_is_learned_and_answers_are_as_the_file_writes_them(
    data: Path, tmp_path: Path, scheme: str
) -> None:
    run = trained(recipe_for(data, data__scheme=scheme, training__steps=40), tmp_path / "run")
    labels = run.symbols.labels
    assert (labels.scheme, labels.written) == (scheme, "IOB2")
    assert run.metrics["test"]["spans"]["f1"] > 0.8
    prediction = run.predict("Dr Ann saw Bville")
    assert check(prediction.labels, "IOB2") is None


def test_without_recurrence_and_without_a_crf(data: Path, tmp_path: Path) -> None:
    overrides = {"model__cell": "none", "model__crf": False, "model__characters": 0}
    run = trained(recipe_for(data, **overrides), tmp_path / "run")
    assert run.model.crf is None
    # "Dr Ann" needs its neighbour: alone, a name after Dr cannot be told from another
    assert run.metrics["test"]["spans"]["f1"] < 1
    assert check(run.predict("Ann Ann Dr Bob").labels, "IOB2") is None


def test_labels_that_are_no_spans_and_one_way_models(tmp_path: Path) -> None:
    path = tmp_path / "words.conll"
    rows = [f"{word} {'V' if word.endswith('s') else 'N'}" for word in ("runs", "cat", "eats", "dog", "sees", "mat")]
    path.write_text("\n\n".join("\n".join(random.Random(n).sample(rows, 4)) for n in range(100)) + "\n")
    run = trained(recipe_for(path, model__bidirectional=False, model__cell="gru"), tmp_path / "run")
    figures = run.metrics["test"]
    assert figures["accuracy"] > 0.95
    assert {row["class"] for row in figures["classes"]} == {"N", "V"}
    assert figures["seen_words"] > 0.95
    assert run.predict("cat runs").spans == ()


def test_frames_are_labelled_step_by_step(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    x = draw.normal(size=(60, 10, 2)).astype(np.float32)
    y = np.where(np.cumsum(x[:, :, 0], axis=1) > 0, "up", "down")  # depends on all that came before
    path = tmp_path / "walks.npz"
    np.savez(path, x=x, y=y)
    overrides = {"model__characters": 0, "model__embedding": 0, "data__split": "60/20/20", "training__steps": 150}
    run = trained(recipe_for(path, **overrides), tmp_path / "run")
    assert run.metrics["test"]["accuracy"] > 0.85
    assert len(run.predict(x[0]).labels) == 10


def test_mistakes_are_named(run: TagRun, data: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.conll"
    other.write_text("Ann\tB-person\n\nRome\tB-city\n")
    with pytest.raises(UserError, match=r"other\.conll, line 3: the label 'B-city' does not occur"):
        run.evaluate(other)
    other.write_text("Ann\tO\nBob\tI-person\n")
    with pytest.raises(UserError, match=r"line 2: I-person after O in IOB2"):
        run.evaluate(other)
    with pytest.raises(UserError, match="text 1 is empty"):
        run.predict("  ")
    with pytest.raises(UserError, match="holds frames"):
        run.predict(np.zeros((3, 2), dtype=np.float32))
    words = tmp_path / "words.conll"
    words.write_text("cat N\nruns V\n\n" * 20)
    with pytest.raises(UserError, match="the labels are no spans"):
        TASK.open(recipe_for(words, data__scheme="BIOES"), Path())


def test_labels_come_back(tmp_path: Path) -> None:
    labels = TagLabels.of([["B-x", "I-x", "O"], ["B-y"]], "data", "BIOES")
    labels.save(tmp_path)
    assert TagLabels.load(tmp_path) == labels
    assert labels.answer(labels.targets(["B-x", "I-x", "O"], "here").tolist()) == ["B-x", "I-x", "O"]
    (tmp_path / "labels.json").write_text("{}")
    with pytest.raises(UserError, match=r"labels\.json is not whole"):
        TagLabels.load(tmp_path)
