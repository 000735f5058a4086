"""Witten-Bell: a distribution, equal to the formula written with dictionaries, and the floors of the real data."""

import gzip
import tracemalloc
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.models.ngram import WittenBell

SYMBOLS = (1, 3, 4, 5, 6)  # <unk>, <eos> and three more: what a vocabulary of 7 can predict
documents = st.lists(st.lists(st.sampled_from(SYMBOLS), max_size=8), min_size=1, max_size=5)
orders = st.integers(0, 4)


def joined(texts: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    ids = np.array([symbol for text in texts for symbol in text], dtype=np.int64)
    return ids, np.cumsum([0, *map(len, texts)])


class Plain:
    """The formula of the module's docstring, as it is read, with a dictionary of counters."""

    def __init__(self, order: int, texts: list[list[int]]) -> None:
        self.order = order
        self.counts: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        for text in texts:
            padded = [2] * order + text
            for place in range(order, len(padded)):
                for length in range(order):
                    self.counts[tuple(padded[place - length : place])][padded[place]] += 1

    def probability(self, history: tuple[int, ...], symbol: int) -> float:
        lower = self.probability(history[1:], symbol) if history else 1 / len(SYMBOLS)
        seen = self.counts.get(history)
        if seen is None or self.order == 0:
            return lower
        return (seen[symbol] + len(seen) * lower) / (seen.total() + len(seen))

    def log_probabilities(self, texts: list[list[int]]) -> list[float]:
        history = self.order - 1
        padded = [([2] * max(history, 0) + text, len(text)) for text in texts]
        return [
            float(np.log(self.probability(tuple(text[place : place + max(history, 0)]), text[place + max(history, 0)])))
            for text, length in padded
            for place in range(length)
        ]


@given(orders, documents, documents)
def test_equal_to_the_plain_formula_on_documents(order: int, train: list[list[int]], test: list[list[int]]) -> None:
    model = WittenBell(order, 7).fit(*joined(train))
    np.testing.assert_allclose(
        model.log_probabilities(*joined(test)), Plain(order, train).log_probabilities(test), rtol=1e-12
    )


@given(orders, documents, documents)
def test_running_text_is_one_document(order: int, train: list[list[int]], test: list[list[int]]) -> None:
    ids, other = joined(train)[0], joined(test)[0]
    found = WittenBell(order, 7).fit(ids).log_probabilities(other)
    np.testing.assert_allclose(found, Plain(order, [ids.tolist()]).log_probabilities([other.tolist()]), rtol=1e-12)


@given(orders, documents, st.lists(st.sampled_from(SYMBOLS), max_size=5))
def test_probabilities_of_all_symbols_sum_to_one(order: int, train: list[list[int]], history: list[int]) -> None:
    model = WittenBell(order, 7).fit(*joined(train))
    last = [np.exp(model.log_probabilities(np.array([*history, symbol]))[-1]) for symbol in SYMBOLS]
    assert sum(last) == pytest.approx(1, abs=1e-12)


@given(orders, documents, documents, st.integers(1, 6))
def test_blocks_change_nothing(order: int, train: list[list[int]], test: list[list[int]], block: int) -> None:
    whole = WittenBell(order, 7).fit(*joined(train))
    expected = whole.log_probabilities(*joined(test))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("unrolled.models.ngram.BLOCK", block)
        parted = WittenBell(order, 7).fit(*joined(train))
        assert (parted.log_probabilities(*joined(test)) == expected).all()
        if len(expected):
            assert parted.nats(*joined(test)) == pytest.approx(-expected.mean(), rel=1e-12)


def test_memory_is_that_of_the_distinct_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unrolled.models.ngram.BLOCK", 1 << 14)
    count, vocabulary = 1 << 20, 100

    def read(start: int, stop: int) -> np.ndarray:
        return np.random.default_rng(start).integers(3, vocabulary, stop - start, dtype=np.uint8)

    tracemalloc.start()
    try:
        WittenBell(2, vocabulary).fit_blocks(read, count).nats_of_blocks(read, count)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * count  # half of what the ids alone would take


def test_figures_by_hand() -> None:
    # Unigrams: c(4) = 2, c(5) = 1, T = 2, p_0 = 1/4. After 4: 5 once, nothing else.
    model = WittenBell(2, 6).fit(np.array([4, 5, 4]))
    unigram = {4: (2 + 2 / 4) / 5, 5: (1 + 2 / 4) / 5}
    expected = [(1 + unigram[4]) / 2, (1 + unigram[5]) / 2, (0 + unigram[5]) / 2]  # after <bos>, 4, 5
    np.testing.assert_allclose(np.exp(model.log_probabilities(np.array([4, 5, 5]))), expected)
    assert model.nats(np.array([4, 5, 5])) == pytest.approx(-np.log(expected).mean())


def test_small_integer_types_do_not_overflow() -> None:
    ids = np.random.default_rng(1).integers(3, 250, 5000)
    wide = WittenBell(4, 250).fit(ids).log_probabilities(ids)
    assert (WittenBell(4, 250).fit(ids.astype(np.uint8)).log_probabilities(ids.astype(np.uint8)) == wide).all()


def test_fitting_again_forgets() -> None:
    text, other = np.array([4, 5, 4, 5]), np.array([5, 5, 3])
    again = WittenBell(3, 6).fit(other).fit(text)
    assert (again.log_probabilities(other) == WittenBell(3, 6).fit(text).log_probabilities(other)).all()


@pytest.mark.parametrize(
    ("ids", "offsets", "message"),
    [
        ([4, 7], None, "under vocabulary_size 7"),
        ([4, -1], None, "under vocabulary_size 7"),
        ([4, 0], None, "never predicted"),
        ([2, 4], None, "never predicted"),
        ([[4]], None, "one dimension"),
        ([4, 5], [0, 1], "offsets must rise"),
        ([4, 5], [1, 2], "offsets must rise"),
        ([4, 5], [0, 2, 1, 2], "offsets must rise"),
        ([4, 5], [], "offsets must rise"),
    ],
)
def test_wrong_ids_and_offsets_are_refused(ids: list[int], offsets: list[int] | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WittenBell(2, 7).fit(np.array(ids), None if offsets is None else np.array(offsets, dtype=np.int64))


def test_wrong_use_is_refused() -> None:
    with pytest.raises(ValueError, match="order"):
        WittenBell(-1, 7)
    with pytest.raises(ValueError, match="vocabulary_size"):
        WittenBell(1, 2)
    with pytest.raises(ValueError, match="fit the model"):
        WittenBell(1, 7).log_probabilities(np.array([4]))
    with pytest.raises(ValueError, match="no symbols"):
        WittenBell(1, 7).fit(np.array([4])).nats(np.array([], dtype=np.int64))


FLOORS = {1: 3.347, 2: 2.486, 3: 2.049, 4: 1.774, 5: 1.669, 6: 1.698}


def test_the_floors_of_tiny_shakespeare(shared_data: Path) -> None:
    text = (shared_data / "tinyshakespeare" / "input.txt").read_text(encoding="utf-8")
    _, ids = np.unique(np.array(list(text)), return_inverse=True)
    train = int(0.9 * len(ids))
    for order, floor in FLOORS.items():
        # <unk> and <eos> widen the uniform base from 65 characters to 67: less than the rounding of the floors.
        nats = WittenBell(order, 69).fit(ids[:train] + 4).nats(ids[train:] + 4)
        assert nats == pytest.approx(floor, abs=0.001)


@pytest.mark.slow
def test_the_bigram_floor_of_wikitext(shared_data: Path) -> None:
    names: dict[str, int] = {}

    def read(part: str) -> np.ndarray:
        with gzip.open(shared_data / "wikitext2" / f"{part}.txt.gz", "rt", encoding="utf-8") as lines:
            return np.array(
                [names.setdefault(word, len(names) + 4) for line in lines for word in [*line.split(), "\n"]]
            )

    train, valid = read("train"), read("valid")
    perplexity = np.exp(WittenBell(2, len(names) + 4).fit(train).nats(valid))
    # 312.5 has unsmoothed unigram frequencies below the bigrams; mixed with the uniform base, as here, the same
    # counts give 311.3.
    assert perplexity == pytest.approx(312.5, rel=0.005)
