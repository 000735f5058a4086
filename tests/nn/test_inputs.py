"""Symbols become vectors: zero for <pad> and <bos>, one-hot as ids, words joined with their characters."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tolerances import assert_equal
from unrolled.nn import GRU, SymbolInput, WordCharacterInput

PAD, UNK, BOS, EOS = range(4)


def test_an_embedding_gives_each_symbol_its_row_and_zero_before_the_start() -> None:
    layer = SymbolInput(7, 5)
    symbols = torch.tensor([[BOS, PAD], [UNK, EOS], [6, 4]])
    vectors = layer(symbols)
    assert (layer.output_size, vectors.shape) == (5, (3, 2, 5))
    assert (vectors[0] == 0).all()
    assert vectors[1:].equal(layer.weight[symbols[1:]])


def test_the_silent_symbols_rows_get_no_gradient() -> None:
    layer = SymbolInput(7, 5)
    layer(torch.tensor([[BOS, PAD, UNK, 5, 5]])).sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad[:, 0].tolist() == [0, 1, 0, 0, 0, 2, 0]


def test_one_hot_symbols_stay_ids_and_are_the_product() -> None:
    layer = SymbolInput(7, 0)
    symbols = torch.tensor([[BOS, PAD, UNK], [EOS, 5, 6]])
    ids = layer(symbols)
    assert ids.tolist() == [[-1, -1, UNK], [EOS, 5, 6]]
    assert layer.output_size == 7
    assert not list(layer.parameters())
    above = GRU(layer.output_size, 4, reset="before")
    dense = torch.nn.functional.one_hot(symbols, 7).float()
    dense[0, :2] = 0
    assert_equal(above(ids), above(dense))


def test_dropout_drops_numbers_and_symbol_dropout_whole_symbols() -> None:
    torch.manual_seed(61)
    symbols = torch.randint(3, 200, (30, 20))
    numbers = SymbolInput(200, 50, dropout=0.4)
    kept = numbers(symbols) / numbers.weight[symbols]
    assert (kept == 0).float().mean().item() == pytest.approx(0.4, abs=0.02)
    whole = SymbolInput(200, 50, symbol_dropout=0.4)
    kept = whole(symbols) / whole.weight[symbols]
    assert ((kept == 0).all(-1) | ((kept - 1 / 0.6).abs() < 1e-4).all(-1)).all()
    for symbol in range(3, 200):  # the same symbol, wherever it stands, has the same fate
        assert (kept[symbols == symbol] == 0).float().unique().numel() <= 1
    fates = (kept == 0).all(-1)
    assert 0.2 < fates.float().mean() < 0.6
    for layer in (numbers, whole):
        assert layer.eval()(symbols).equal(layer.weight[symbols])


def words(size: int = 6, **options: float) -> WordCharacterInput:
    torch.manual_seed(62)
    return WordCharacterInput(SymbolInput(9, 5, **options), 8, size, character_size=3)


def test_a_word_is_its_embedding_joined_with_its_characters() -> None:
    layer = words()
    symbols = torch.tensor([[4, 5], [UNK, UNK], [UNK, 4]])
    spellings = torch.tensor([[[2, 3, 0], [2, 3, 0]], [[2, 3, 4], [2, 3, 0]], [[2, 3, 4], [7, 0, 0]]])
    vectors = layer(symbols, spellings)
    assert (layer.output_size, vectors.shape) == (11, (3, 2, 11))
    assert vectors[..., :5].equal(layer.words(symbols))
    encoded = vectors[..., 5:]
    assert_equal(encoded[0, 0], encoded[0, 1])  # equally spelt
    assert_equal(encoded[0, 0], encoded[1, 1])
    assert_equal(vectors[1, 0], vectors[2, 0])
    assert not torch.allclose(vectors[1, 0], vectors[1, 1])  # unknown both, and spelt differently
    assert not torch.allclose(encoded[0, 0], encoded[2, 1])


def test_nothing_is_known_of_a_word_before_the_start() -> None:
    vectors = words()(torch.tensor([[BOS, PAD]]), torch.tensor([[[2, 3], [0, 0]]]))
    assert (vectors == 0).all()


@given(st.lists(st.lists(st.integers(1, 7), max_size=4), min_size=1, max_size=6), st.integers(0, 3))
def test_the_encoding_depends_on_the_spelling_alone(spelt: list[list[int]], more: int) -> None:
    layer = words()
    width = max(1, *(len(word) for word in spelt), 1)
    symbols = torch.full((1, len(spelt)), UNK)

    def table(columns: int) -> torch.Tensor:
        return torch.tensor([[word + [0] * (columns - len(word)) for word in spelt]])

    together = layer(symbols, table(width))
    assert_equal(layer(symbols, table(width + more)), together)  # room to the right changes nothing
    for position, word in enumerate(spelt):
        alone = layer(symbols[:, :1], torch.tensor([[word or [0]]]))
        assert_equal(alone[0, 0], together[0, position])


def test_every_part_of_the_encoder_learns() -> None:
    layer = words()
    layer(torch.tensor([[UNK, 4]]), torch.tensor([[[2, 3, 4], [5, 0, 0]]])).square().sum().backward()
    for name, value in layer.named_parameters():
        assert value.grad is not None, name
        assert value.grad.isfinite().all()
        assert (value.grad != 0).any(), name
    assert (layer.characters.weight.grad[0] == 0).all()  # type: ignore[index]


def test_the_encoding_is_dropped_as_the_embedding_is() -> None:
    layer = words(100, dropout=0.5)
    symbols, spellings = torch.full((1, 50), 4), torch.full((1, 50, 2), 3)
    encoded = layer(symbols, spellings)[..., 5:]
    assert (encoded == 0).float().mean().item() == pytest.approx(0.5, abs=0.05)
    assert (layer.eval()(symbols, spellings) != 0).all()


def test_wrong_sizes_are_told() -> None:
    with pytest.raises(ValueError, match="characters=5 must be even"):
        WordCharacterInput(SymbolInput(9, 5), 8, 5)
    with pytest.raises(ValueError, match="embedding must not be 0"):
        WordCharacterInput(SymbolInput(9, 0), 8, 4)
