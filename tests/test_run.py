"""A trained run in use: scores, samples and next symbols agree with each other and with the model."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import unrolled
from unrolled.data.corpus import open_corpus
from unrolled.data.vocabulary import BOS, EOS, PAD, UNK
from unrolled.errors import UserError
from unrolled.models.build import build_model
from unrolled.models.ngram import WittenBell
from unrolled.tasks.language_model.run import LanguageModelRun
from unrolled.training.recipe import recipe_from_mapping
from unrolled.training.session import begin

LEVELS = {
    "character": {"level": "character"},
    "byte": {"level": "byte"},
    "word": {"level": "word", "min_count": 2},
    "bpe": {"level": "bpe", "vocabulary_size": 300},
    "lines": {"level": "character", "format": "lines"},
    "spelt": {"level": "word"},
}


@pytest.fixture(scope="module")
def runs(story: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, LanguageModelRun]:
    """One tiny run of every level."""
    folder = tmp_path_factory.mktemp("runs")
    made = {}
    for name, data in LEVELS.items():
        model = {"hidden": 24, "layers": 1, "embedding": 12, "characters": 6 if name == "spelt" else 0}
        training = {"steps": 40, "batch": 8, "window": 20, "learning_rate": 0.02, "warmup": 2}
        recipe = recipe_from_mapping(
            {"task": "language-model", "data": {"path": str(story), **data}, "model": model, "training": training}
        )
        begin(recipe, base=Path(), name=name, folder=folder / name, quiet=True, device="cpu")
        made[name] = unrolled.load(folder / name)
    return made


@pytest.mark.parametrize("name", LEVELS)
def test_a_score_is_the_evaluation_of_the_same_text(
    runs: dict[str, LanguageModelRun], name: str, tmp_path: Path
) -> None:
    run, text = runs[name], "the cat, which ate fish, slept."
    path = tmp_path / "text.txt"
    path.write_text(text, encoding="utf-8")
    evaluation, score = run.evaluate(path), run.score(text)
    assert len(score.symbols) == evaluation.symbols
    assert -score.log_probability == pytest.approx(evaluation.nats, rel=1e-4)
    assert score.perplexity == pytest.approx(evaluation.perplexity, rel=1e-4)
    assert evaluation.characters - len(text) in (0, run.ends)  # the line's end may count


@pytest.mark.parametrize("name", LEVELS)
def test_the_pieces_of_a_stream_are_the_sample(runs: dict[str, LanguageModelRun], name: str) -> None:
    run, prefix = runs[name], "the cat"
    pieces = list(run.stream(prefix, seed=5, length=60))
    assert prefix + "".join(pieces) == run.sample(prefix, seed=5, length=60)
    assert len(pieces) > 1
    assert run.sample(prefix, seed=6, length=60) != run.sample(prefix, seed=5, length=60)
    again = run.samples(3, prefix, seed=5, length=30)
    assert again == run.samples(3, prefix, seed=5, length=30)
    assert len(set(again)) > 1


@pytest.mark.parametrize("name", ["word", "spelt"])
def test_sampled_words_are_parted_by_blanks_and_never_unknown(runs: dict[str, LanguageModelRun], name: str) -> None:
    for text in runs[name].samples(20, "the cat", seed=2, length=12):
        assert text.startswith("the cat")
        assert "<unk>" not in text
        assert "  " not in text
        known = set(runs[name].vocabulary.symbols)
        assert all(word in known for word in text.split())


def test_temperature_zero_takes_the_best_symbol_each_time(runs: dict[str, LanguageModelRun]) -> None:
    run, text = runs["character"], ""
    for _ in range(12):
        text += run.next(text, top=1)[0].symbol
    assert run.sample(temperature=0, length=12) == text


@pytest.mark.parametrize("name", LEVELS)
def test_next_is_a_distribution_and_agrees_with_the_score(runs: dict[str, LanguageModelRun], name: str) -> None:
    run = runs[name]
    candidates = run.next("the", top=10**6)
    assert sum(candidate.probability for candidate in candidates) == pytest.approx(1, abs=1e-4)
    assert candidates == sorted(candidates, key=lambda candidate: -candidate.probability)
    assert not {"<pad>", "<bos>"} & {candidate.symbol for candidate in candidates}
    second = run.score("the cat").symbols[len(run.vocabulary.encode("the"))]
    found = {candidate.symbol: candidate.probability for candidate in candidates}
    assert math.log(found[second.symbol]) == pytest.approx(second.log_probability, abs=1e-4)


def test_long_texts_are_scored_in_pieces_with_the_state_carried(
    runs: dict[str, LanguageModelRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "the dog, which was red, slept.\n" * 20
    for name in ("character", "spelt"):
        whole, drawn = runs[name].score(text).log_probability, runs[name].sample(text, seed=1, length=5)
        with monkeypatch.context() as patched:
            patched.setattr("unrolled.tasks.language_model.run.PIECE", 7)
            assert runs[name].score(text).log_probability == pytest.approx(whole, rel=1e-5)
            assert runs[name].sample(text, seed=1, length=5) == drawn


def test_unknown_words_are_counted_and_spelt(runs: dict[str, LanguageModelRun]) -> None:
    score = runs["word"].score("the zebra slept")
    assert score.unknown == 1
    assert [symbol.symbol for symbol in score.symbols][:2] == ["the", "<unk>"]
    spelt = runs["spelt"]
    assert spelt.score("zebra slept").symbols[-1] != spelt.score("qqqq slept").symbols[-1]
    plain = runs["word"]
    assert plain.score("zebra slept").symbols[-1] == plain.score("qqqq slept").symbols[-1]


@pytest.mark.parametrize("name", ["word", "spelt", "lines", "character"])
@pytest.mark.parametrize("prefix", ["zebra", "the zebra", "the qqqq", "the cat, which xylophoned fish"])
def test_unknown_words_of_a_prefix_count_as_the_score_counts_them(
    runs: dict[str, LanguageModelRun], name: str, prefix: str
) -> None:
    run = runs[name]
    candidates = {candidate.symbol: candidate.probability for candidate in run.next(prefix, top=10**6)}
    text = f"{prefix} slept" if run.vocabulary.level == "word" else f"{prefix}s"
    last = run.score(text).symbols[-2 if run.ends else -1]
    assert math.log(candidates[last.symbol]) == pytest.approx(last.log_probability, abs=1e-4)
    never = {"<unk>"} if run.ends else {"<unk>", "<eos>"}
    best = max(candidates.keys() - never, key=lambda symbol: candidates[symbol])
    ahead = run.sample(prefix, temperature=0, length=1).removeprefix(prefix)
    assert ahead.strip() == ("" if best == "<eos>" else best.strip())


def test_prefixes_that_differ_in_an_unknown_word_lead_elsewhere(
    runs: dict[str, LanguageModelRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    spelt = runs["spelt"]
    assert spelt.next("the xylophone") != spelt.next("the zzz")
    assert runs["word"].next("the xylophone") == runs["word"].next("the zzz")
    seen = []
    step = spelt.model.step
    monkeypatch.setattr(spelt.model, "step", lambda *given: (seen.append(answer := step(*given)), answer)[1])
    for prefix in ("the xylophone", "the zzz"):
        spelt.samples(2, prefix, length=2, seed=1)
    first, second = seen[0][0], seen[2][0]
    assert first.shape[0] == 2
    assert not torch.equal(first, second)
    expected = {candidate.symbol: candidate.probability for candidate in spelt.next("the zzz", top=10**6)}
    assert expected["slept"] == pytest.approx(float(second[1, spelt.vocabulary.ids["slept"]].exp()), rel=1e-4)


def test_a_word_that_means_unknown_is_spelt_as_in_training(story: Path) -> None:
    text = f"data.path={story}", "data.level=word", "data.unknown=<unk>"
    recipe = recipe_from_mapping({"task": "language-model", "model": {"characters": 6, "hidden": 8}}, text)
    vocabulary = open_corpus(recipe.data).vocabulary
    spellings = build_model(recipe.model, vocabulary).spellings
    assert spellings is not None
    assert spellings[UNK].tolist() == vocabulary.spell("<unk>") != [0] * 16
    assert not spellings[[PAD, BOS, EOS]].any()


def test_several_texts_are_scored_in_their_order(runs: dict[str, LanguageModelRun]) -> None:
    run = runs["word"]
    texts = ["zebra", "the cat", "a bird"]
    assert run.score(*texts) == [run.score(text) for text in texts]


def test_symbols_are_their_text_and_how_it_is_shown(runs: dict[str, LanguageModelRun]) -> None:
    for name in ("character", "byte"):
        symbols = runs[name].score("the cat\n").symbols
        assert "".join(symbol.symbol for symbol in symbols) == "the cat\n"
        assert "".join(symbol.shown for symbol in symbols) == "the␣cat\\n"
        found = {candidate.symbol: candidate.shown for candidate in runs[name].next("the cat", top=10**6)}
        assert found[" "] == "␣"


def test_a_run_is_evaluated_on_its_own_test_part(runs: dict[str, LanguageModelRun], story: Path) -> None:
    run = runs["character"]
    figures = run.metrics["test"]
    assert run.evaluate().perplexity == pytest.approx(figures["perplexity"], rel=1e-5)
    assert run.ngram() == pytest.approx(figures["ngram"])


def test_lines_end_by_themselves(runs: dict[str, LanguageModelRun]) -> None:
    run = runs["lines"]
    assert run.ends
    assert run.score("the cat").symbols[-1].symbol == "<eos>"
    samples = run.samples(10, seed=3, length=400)
    assert all("\n" not in text for text in samples)
    assert min(map(len, samples)) < 200


def test_figures_stand_beside_their_baseline(runs: dict[str, LanguageModelRun], story: Path) -> None:
    figures = runs["character"].metrics
    order = figures["validation"]["ngram"]["order"]
    run = runs["character"]
    text = run.vocabulary.encode(story.read_text(encoding="utf-8"))
    learned = WittenBell(order, len(run.vocabulary)).fit(np.array(text[: len(text) * 90 // 100]))
    nats = learned.nats(np.array(text))
    assert run.ngram(story) == pytest.approx({"order": order, "nats_per_symbol": nats, "perplexity": math.exp(nats)})


def test_mistakes_are_named(runs: dict[str, LanguageModelRun], tmp_path: Path) -> None:
    run = runs["character"]
    with pytest.raises(UserError, match="nothing to score"):
        run.score("")
    with pytest.raises(UserError, match=r"^temperature -1"):
        run.sample(temperature=-1)
    with pytest.raises(UserError, match=r"^count 0"):
        run.samples(0)
    with pytest.raises(UserError, match="nothing here is no run folder: there is no such folder"):
        unrolled.load(tmp_path / "nothing here")
    with pytest.raises(UserError, match=r"is no run folder: it holds no recipe\.toml"):
        unrolled.load(tmp_path)
    with pytest.raises(TypeError, match="score takes texts, not list"):
        run.score(["the cat", "the dog"])  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="not int"):
        run.score("the cat", 3)  # type: ignore[call-overload]


@pytest.mark.parametrize("file", ["recipe.toml", "vocabulary.json", "model.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "cut", "noise"])
def test_a_damaged_run_names_the_file(
    runs: dict[str, LanguageModelRun], tmp_path: Path, file: str, damage: str
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(runs["character"].folder, folder)
    path = folder / file
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        # a recipe that ends with a whole line is one, so it is cut within a line
        middle = content.index(b"=", len(content) // 2) + 1 if file == "recipe.toml" else len(content) // 2
        path.write_bytes(content[:middle] if damage == "cut" else b"\x00\xff" * 100)
    with pytest.raises(UserError, match=file):
        unrolled.load(folder)


def test_weights_of_another_model_are_refused(runs: dict[str, LanguageModelRun], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(runs["character"].folder, folder)
    shutil.copy(runs["word"].folder / "model.safetensors", folder / "model.safetensors")
    with pytest.raises(UserError, match="weights do not fit this model"):
        unrolled.load(folder)


def test_loading_leaves_the_random_state_of_the_caller_alone_when_sampling(runs: dict[str, LanguageModelRun]) -> None:
    before = torch.get_rng_state()
    runs["character"].sample(length=5, seed=1)
    runs["character"].sample(length=5)
    assert torch.equal(before, torch.get_rng_state())


def test_the_python_way_in(story: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(
        f'task = "language-model"\n[data]\npath = "{story}"\n[training]\nsteps = 2\nbatch = 4\nwindow = 8\n',
        encoding="utf-8",
    )
    run = unrolled.train(recipe, {"model.hidden": 8, "model.layers": 1}, folder=tmp_path / "run", quiet=True)
    assert run.recipe.model.hidden == 8
    assert "language-model" in repr(run)
