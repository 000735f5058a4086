"""Translation from files to answers: digits to words and back; what is wrong is named."""

import itertools
import math
import random
import shutil
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import unrolled
from commands import here
from sessions import assert_resumes
from unrolled.data.dates import COUNTS, LOCALES, PATTERNS, made_dates, written_date
from unrolled.data.labelled import Example
from unrolled.data.pairs import PairPart
from unrolled.data.vocabulary import UNK
from unrolled.decoding.beam import Beam
from unrolled.decoding.error_analysis import Analysis, Judged
from unrolled.errors import UserError
from unrolled.models.translator import Translator
from unrolled.tasks.translate.answers import answers, log_probabilities
from unrolled.tasks.translate.figures import Answered, by_length, quality, resampled_bleu
from unrolled.tasks.translate.memory import TranslationMemory
from unrolled.tasks.translate.run import TranslateRun
from unrolled.tasks.translate.task import TASK, part_for
from unrolled.training.recipe import Recipe, recipe_from_mapping
from unrolled.training.session import begin

WORDS = ("zero", "one", "two", "three", "four")
TINY = {"hidden": 24, "embedding": 12, "layers": 1, "dropout": 0.0, "embedding_dropout": 0.0}


def pairs(count: int, seed: int) -> list[tuple[str, str]]:
    """(digits, the same in words): an alignment that attention can learn."""
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        digits = [draw.randrange(5) for _ in range(draw.randint(1, 4))]
        found.append((" ".join(map(str, digits)), " ".join(WORDS[digit] for digit in digits)))
    return found


def recipe_for(path: Path, **overrides: object) -> Recipe:
    given = {name.replace("__", "."): value for name, value in overrides.items()}
    training = {"steps": 150, "batch": 32, "learning_rate": 0.02, "warmup": 2, "validate_every": 75}
    data = {"path": str(path), "level": "word", "vocabulary_size": 0}
    return recipe_from_mapping({"task": "translate", "data": data, "model": TINY, "training": training}, given)


def trained(recipe: Recipe, folder: Path) -> TranslateRun:
    begin(recipe, base=Path(), name="run", folder=folder, quiet=True, device="cpu")
    run = unrolled.load(folder)
    assert isinstance(run, TranslateRun)
    return run


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("translate") / "digits.tsv"
    path.write_text("".join(f"{x}\t{y}\n" for x, y in pairs(1200, 1)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run(data: Path) -> TranslateRun:
    return trained(recipe_for(data), data.parent / "run")


def model_of(recipe: Recipe) -> tuple[Translator, PairPart]:
    material = TASK.open(recipe, Path())
    torch.manual_seed(1)
    return TASK.build(recipe, material.symbols).eval(), material.train


def test_it_learns_to_translate(run: TranslateRun) -> None:
    assert run.predict("3 1 4").text == "three one four"
    assert [one.text for one in run.predict(["0", "2 2"])] == ["zero", "two two"]
    assert run.metrics["test"]["exact"] > 0.7
    assert run.metrics["test"]["bleu"] > 85
    assert run.metrics["test"]["baselines"]["translation memory"]["exact"] < run.metrics["test"]["exact"]


def test_a_source_is_in_one_part_whatever_its_targets(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(f"{n // 3}\ttarget {n}\n" for n in range(300)), encoding="utf-8")
    material = TASK.open(recipe_for(path, data__split="80/10/10"), Path())
    parts = [{str(one.x) for one in part.examples} for part in (material.train, material.valid, material.test) if part]
    assert len(parts) == 3
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"model__attention": "none"},
        {"model__attention": "bilinear", "model__bidirectional": False},
        {"model__attention": "dot", "model__bidirectional": False, "model__cell": "gru"},
        {"model__input_feeding": True},
        {"model__layers": 2, "model__cell": "rnn", "model__tied": True},
        {"model__embedding": 0, "model__cell": "gru-simplified"},
        {"model__characters": 6},
    ],
)
def test_the_answers_score_is_that_of_the_sequence_and_of_no_neighbour(data: Path, settings: dict[str, object]) -> None:
    """The beam's log-probability, found symbol by symbol beside others, is that of one pass over the answer alone."""
    recipe = recipe_for(data, **settings)
    model, part = model_of(recipe)
    numbers = part.lengths.argsort()[:: len(part.examples) // 7][:7]
    batch = part.batch(numbers)
    found = answers(model, batch.source, batch.lengths, batch.spellings, Beam(3, best=2, forbidden=frozenset([UNK])))
    symbols = TASK.open(recipe, Path()).symbols
    for row, number in enumerate(numbers.tolist()):
        for one in filter(lambda one: one.ended, found[row]):
            text = " ".join(symbols.target.symbols[id] for id in one.symbols)
            own = part_for(recipe, symbols, "own", [Example(part.examples[number].x, text, 1)])
            (logs,) = log_probabilities(model, own.batch(torch.tensor([0]).numpy()))
            assert math.fsum(logs) == pytest.approx(one.log_probability, abs=2e-4)


@torch.no_grad()
def test_padding_changes_no_loss(data: Path) -> None:
    model, part = model_of(recipe_for(data))
    numbers = torch.arange(12).numpy()
    together = float(model(*part.batch(numbers).arguments(None)).total)
    alone = sum(float(model(*part.batch(numbers[n : n + 1]).arguments(None)).total) for n in range(12))
    assert together == pytest.approx(alone, rel=1e-5)


@torch.no_grad()
def test_input_feeding_reads_stepwise_as_a_whole(data: Path) -> None:
    model, part = model_of(recipe_for(data, model__input_feeding=True))
    batch = part.batch(torch.arange(5).numpy())
    state = model.start(batch.source, batch.lengths)
    whole, _ = model.features(batch.inputs, state)
    for symbols, expected in zip(batch.inputs, model.output.log_probabilities(whole), strict=True):
        found, state = model.step(symbols, state)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_scheduled_sampling_reads_some_draws_and_only_while_training(data: Path) -> None:
    model, part = model_of(recipe_for(data, model__scheduled_sampling=0.5))
    batch = part.batch(torch.arange(32).numpy())
    start = model.start(batch.source, batch.lengths)
    torch.manual_seed(3)
    mixed = model._with_draws(batch.inputs, start)
    assert torch.equal(mixed[0], batch.inputs[0])
    assert torch.equal(mixed == 0, batch.inputs == 0)
    share = (mixed != batch.inputs)[1:][batch.inputs[1:] != 0].float().mean()
    assert 0.2 < float(share) < 0.55
    losses = [float(model(*batch.arguments(None)).total) for _ in range(2)]
    assert losses[0] == losses[1]
    model.train()
    assert len({float(model(*batch.arguments(None)).total) for _ in range(3)}) == 3


@torch.no_grad()
def test_label_smoothing_is_for_training_alone(data: Path) -> None:
    plain, part = model_of(recipe_for(data))
    smooth, _ = model_of(recipe_for(data, model__label_smoothing=0.2))
    batch = part.batch(torch.arange(8).numpy())
    assert float(smooth(*batch.arguments(None)).total) == float(plain(*batch.arguments(None)).total)
    smooth.train()
    logs = smooth.output.log_probabilities(smooth.features(batch.inputs, smooth.start(batch.source, batch.lengths))[0])
    counted = batch.targets != 0
    possible = logs[counted][:, torch.isfinite(logs[counted][0])]
    truth = logs[counted].gather(-1, batch.targets[counted].unsqueeze(-1))
    expected = -(0.8 * truth.sum() + 0.2 * possible.mean(-1).sum())
    assert float(smooth(*batch.arguments(None)).total) == pytest.approx(float(expected), rel=1e-5)


def test_the_coverage_penalty_is_zero_when_everything_was_looked_at(run: TranslateRun) -> None:
    _, target, weights = run.attention("3 1 4", "three one four")
    assert target == ["three", "one", "four", "<eos>"]
    torch.testing.assert_close(weights.sum(-1), torch.ones(4))
    assert weights[:3].argmax(-1).tolist() == [0, 1, 2]
    assert run.predict("3 1 4", coverage=0.5).candidates[0].score <= run.predict("3 1 4").candidates[0].score


def test_several_answers_come_best_first(run: TranslateRun) -> None:
    found = run.predict("3 1 4", beam=4, best=4)
    scores = [one.score for one in found.candidates]
    assert scores == sorted(scores, reverse=True)
    assert len({one.text for one in found.candidates}) == 4
    assert found.probability == pytest.approx(math.exp(found.log_probability))


def test_a_score_is_of_a_target_given_its_source(run: TranslateRun) -> None:
    right, wrong = run.score("three one", "one three", source="3 1")
    assert right.log_probability > wrong.log_probability + 3
    assert [one.symbol for one in right.symbols] == ["three", "one", "<eos>"]
    assert run.score("three one", source="3 1") == right
    assert run.score("three nine", source="3 1").unknown == 1


def test_a_resumed_run_is_the_uninterrupted_one(data: Path, tmp_path: Path) -> None:
    recipe = recipe_for(data, training__steps=12, training__validate_every=4, model__dropout=0.3)
    assert_resumes(recipe, tmp_path, 5)


# -- who is to blame


def judged(reference: float, score: float, *, right: bool = False, wider: float | None = None) -> Judged:
    wide = score if wider is None else wider
    return Judged("a b c", "y*", reference, reference, "ŷ", score, score, right, "w", wide, False)


def test_the_search_is_to_blame_where_the_reference_scores_higher() -> None:
    cases = [judged(-1, -2), judged(-2, -1), judged(-2, -1, right=True), judged(-1, -1), judged(-1, -3, wider=-1)]
    assert [one.verdict for one in cases] == ["search", "model", "right", "model", "search"]
    found = Analysis("part", Beam(), 20, tuple(cases), 10.0, 11.0)
    assert found.shares() == {"right": 0.2, "search": 0.4, "model": 0.4}
    assert found.worst("search")[0] is cases[4]
    assert found.change() == {"differs": 5, "higher": 1, "faults": 2, "found": 1, "mended": 0, "spoilt": 1}
    assert found.by_length() == [{"words": "1-4", "sources": 5, **found.shares()}]


def test_the_analysis_judges_a_run(run: TranslateRun, data: Path) -> None:
    found = run.blame(data, most=40, beam=1)
    assert found.beam.width == 1
    assert found.wider == 4
    assert len(found.judged) == 40
    for one in found.judged:
        assert one.wider_score >= one.score - 1e-5 or one.answer != one.wider_answer
        if one.answer == one.reference:
            assert one.reference_log_probability == pytest.approx(one.log_probability, abs=1e-3)
    with pytest.raises(UserError, match="--wider 3: must be more than the beam's width, 5"):
        run.blame(data, most=2, wider=3)


# -- figures and baseline


def test_bleu_takes_all_references_of_a_source() -> None:
    answered = [
        Answered("x", "the cat sat on the mat", ("a cat sat on a mat", "the cat sat on the mat")),
        Answered("y", "it is a very good day", ("it is a very good day",)),
    ]
    assert quality(answered)["bleu"] == pytest.approx(100)
    assert quality(answered)["exact"] == 1
    assert [row["sources"] for row in by_length(answered)] == [2]


def test_the_interval_is_around_the_corpus_score() -> None:
    draw = random.Random(2)
    words = ["a", "b", "c", "d", "e", "f", "g", "h"]
    answered = []
    for number in range(60):
        text = [draw.choice(words) for _ in range(draw.randint(5, 12))]
        said = [word if draw.random() < 0.8 else "x" for word in text]
        answered.append(Answered(str(number), " ".join(said), (" ".join(text), "a b c d")))
    interval = quality(answered, interval=True)["interval"]
    assert interval[0] < quality(answered)["bleu"] < interval[1]
    assert quality(answered[:1], interval=True)["interval"] is None


PHRASES = st.lists(st.sampled_from(["a", "b", "c", "d", "e"]), max_size=7).map(" ".join)


@given(st.lists(st.tuples(PHRASES, st.lists(PHRASES, min_size=1, max_size=2)), min_size=1, max_size=6), st.data())
def test_resamplings_are_scored_as_the_corpus_is(pairs: list[tuple[str, list[str]]], data: st.DataObject) -> None:
    answered = [Answered(str(number), said, tuple(texts)) for number, (said, texts) in enumerate(pairs)]
    draws = data.draw(st.lists(st.integers(0, len(pairs) - 1), min_size=len(pairs), max_size=len(pairs)))
    for numbers in (list(range(len(pairs))), draws):
        (found,) = resampled_bleu(answered)(np.array([numbers]))
        assert found == pytest.approx(quality([answered[number] for number in numbers])["bleu"])


def test_the_memory_finds_the_nearest_source() -> None:
    rows = [torch.tensor(row).numpy() for row in ([4, 5, 6], [4, 4, 4], [7, 8])]
    memory = TranslationMemory(rows, 2)
    assert [memory.nearest(torch.tensor(row).numpy()) for row in ([5, 6], [8], [4, 4])] == [0, 2, 1]


def test_built_in_dates_are_iso_and_each_is_in_one_part() -> None:
    parts = made_dates()
    assert tuple(map(len, parts)) == COUNTS
    written = [x for part in parts for x, _ in part]
    assert len(set(written)) == len(written)
    assert parts == made_dates()
    assert all(len(y) == 10 and y[4] == y[7] == "-" for _, y in parts[2])


def test_no_written_date_means_two_days() -> None:
    days = [date(2003, 1, 1) + timedelta(days=number) for number in range(0, 365, 7)]
    meant: dict[str, date] = {}
    for day, pattern, locale in itertools.product(days, PATTERNS, LOCALES):
        assert meant.setdefault(written_date(day, pattern, locale), day) == day


# -- from the command line


def test_the_verbs_of_a_translator(run: TranslateRun, data: Path) -> None:
    folder = str(run.folder)
    assert here("predict", folder, "3 1 4", "--output", "tsv").out.startswith("three one four\t")
    several = here("predict", folder, "3 1 4", "--best", "3", "--output", "pretty").out
    assert several.splitlines()[0] == "3 1 4"
    assert len(several.splitlines()) == 4
    scored = here("score", folder, "three one", "one three", "--source", "3 1").out
    assert "1." in scored
    assert '"three one" is' in scored
    evaluated = here("evaluate", folder, str(data), "--beam", "1").out
    assert "greedy" in evaluated
    assert "sacrebleu: BLEU|nrefs:" in evaluated
    blamed = here("inspect", folder, str(data), "--beam", "--most", "30").out
    assert "the search's fault" in blamed
    assert "with a beam of 20" in blamed
    assert "target.json" in here("show", folder).out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["score", "RUN", "three"], "what are the texts translations of? Give --source TEXT"),
        (["predict", "RUN", " "], "text 1 is empty: there is nothing to predict"),
        (["sample", "RUN"], "is a run of the task translate: `sample` is not for it, but predict, score, evaluate"),
        (["inspect", "RUN"], "say what to look at: one of --gates, --contrast"),
        (["predict", "RUN", "3", "--best", "9"], None),
    ],
)
def test_mistakes_are_named(run: TranslateRun, words: list[str], message: str | None) -> None:
    found = here(*[str(run.folder) if word == "RUN" else word for word in words])
    assert (found.code == 0) == (message is None)
    assert message is None or message in found.err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model__cell": "none"}, "model.cell 'none' is no known cell"),
        ({"decoding__coverage": 0.2, "model__attention": "none"}, "decoding.coverage asks what attention has covered"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(data: Path, settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        recipe_for(data, **settings)


def test_dot_attention_needs_equal_widths(data: Path) -> None:
    with pytest.raises(UserError, match='kind="dot" needs a query as wide as the memory'):
        model_of(recipe_for(data, model__attention="dot"))


def test_a_damaged_target_vocabulary_is_named(run: TranslateRun, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(run.folder, folder)
    (folder / "target.json").write_text("{}")
    with pytest.raises(UserError, match=r"target\.json"):
        unrolled.load(folder)
