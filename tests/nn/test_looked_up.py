"""Symbols whose vectors were multiplied by the first layer's weights ahead are read as their vectors are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unrolled import nn
from unrolled.data.vocabulary import BOS, PAD
from unrolled.nn.inputs import LARGEST_TABLE

T, B, V, WIDTH, H = 7, 3, 11, 5, 6
NAMES = ("rnn", "gru-simplified", "gru", "gru-torch", "lstm", "lstm-peephole", "lstm-peephole-previous")


def small(layer: nn.Recurrent) -> nn.Recurrent:
    """The layer with weights so small that exp does not overflow."""
    for parameter in layer.parameters():
        parameter.data *= 0.3
    return layer.eval()


def drawn(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """A table (V, WIDTH), ids (T, B) with some that mean zero, and their vectors."""
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(V, WIDTH, generator=generator)
    ids = torch.randint(-1, V, (T, B), generator=generator)
    return table, ids, table[ids.clamp(min=0)] * (ids >= 0).unsqueeze(-1)


@pytest.mark.parametrize(("name", "engine"), [*((name, "compiled") for name in NAMES), ("lstm", "eager")])
def test_ids_of_a_table_are_its_rows(name: str, engine: str) -> None:
    table, ids, vectors = drawn()
    layer = small(nn.Recurrent(name, WIDTH, H, num_layers=2, bidirectional=True, engine=engine))
    lengths = torch.tensor([T, 2, 5])
    with torch.no_grad():
        expected = layer(vectors, lengths=lengths)
        with layer.packed(table=table):
            for _ in range(2):  # what was packed at first is used again
                found = layer(ids, lengths=lengths)
            of_vectors = layer(vectors, lengths=lengths)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(of_vectors[0], expected[0], rtol=0, atol=0)


def test_what_is_observed_is_the_same() -> None:
    table, ids, vectors = drawn()
    layer = nn.Recurrent("lstm", WIDTH, H).eval()
    with torch.no_grad(), layer.packed(table=table):
        torch.testing.assert_close(dict(layer(ids, observe=True)[2]), dict(layer(vectors, observe=True)[2]))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("with_table", [True, False])
def test_steps_by_ids_are_the_whole_bit_for_bit(name: str, with_table: bool) -> None:
    table, ids, _ = drawn(1)
    layer = small(nn.Recurrent(name, WIDTH if with_table else V, H, num_layers=2))
    with torch.no_grad(), layer.packed(table=table if with_table else None):
        output, final = layer(ids)
        state = layer.begin(B)
        for step, symbols in enumerate(ids):
            state = layer.step(symbols, state)
            first = state[0] if isinstance(state, tuple) else state
            assert torch.equal(first[-1], output[step])
        assert output.isfinite().all()
        for ours, whole in zip(state, final, strict=True):
            assert torch.equal(ours, whole)


def test_ids_beyond_the_table_are_refused() -> None:
    table, _, _ = drawn()
    layer = nn.Recurrent("lstm", WIDTH, H).eval()
    with torch.no_grad(), layer.packed(table=table):
        state = layer.step(torch.tensor([0, V - 1]), layer.begin(2))
        for wrong in ([0, V], [-2, 0]):
            with pytest.raises(ValueError, match=f"takes 0 to {V - 1}"):
                layer.step(torch.tensor(wrong), state)
            with pytest.raises(ValueError, match=f"takes 0 to {V - 1}"):
                layer(torch.tensor([wrong]))


def test_a_block_in_a_block_keeps_the_table() -> None:
    table, ids, vectors = drawn()
    layer = nn.Recurrent("gru", WIDTH, H).eval()
    with torch.no_grad():
        expected = layer(vectors)[0]
        with layer.packed(table=table):
            outer = layer._packed
            with layer.packed():
                assert layer._packed is outer
                torch.testing.assert_close(layer(ids)[0], expected)
            with layer.packed(weights="bfloat16"):
                assert layer._packed is not outer
                torch.testing.assert_close(layer(ids)[0], expected, rtol=0.05, atol=0.05)
        assert layer._packed is None
    with pytest.raises(ValueError, match="takes 0 to"):
        layer(torch.full((1, 1), V - 1))  # ids are one-hot again


def test_tables_that_a_layer_cannot_use_are_refused() -> None:
    with (
        pytest.raises(ValueError, match=r"\(3, 4\), and must be \(V, 5\)"),
        nn.Recurrent("lstm", WIDTH, H).packed(table=torch.zeros(3, 4)),
    ):
        pass
    adding = nn.Recurrent("lstm", H, H, residual=True)
    assert not adding.only_multiplies
    with pytest.raises(ValueError, match="outside of affine maps"), adding.packed(table=torch.zeros(3, H)):
        pass


@pytest.mark.parametrize(("cell", "residual"), [("lstm", False), ("gru", False), ("lstm", True)])
def test_symbols_are_looked_up_where_that_is_possible(cell: str, residual: bool) -> None:
    words, layer = nn.SymbolInput(V, H).eval(), nn.Recurrent(cell, H, H, residual=residual).eval()
    symbols = torch.tensor([[BOS, 4], [5, V - 1], [3, PAD]])
    with torch.no_grad():
        expected = layer(words(symbols))[0]
        with words.looked_up(layer):
            read = words(symbols)
            assert read.is_floating_point() is residual
            torch.testing.assert_close(layer(read)[0], expected)
        assert words(symbols).is_floating_point()


def test_large_tables_and_one_hot_symbols_stay_as_they_are() -> None:
    many = LARGEST_TABLE // (4 * H) + 1
    layer = nn.Recurrent("lstm", 2, H).eval()
    words = nn.SymbolInput(many, 2).eval()
    with words.looked_up(layer):
        assert words(torch.tensor([[4]])).is_floating_point()
    one_hot, layer = nn.SymbolInput(V, 0).eval(), nn.Recurrent("lstm", V, H).eval()
    with one_hot.looked_up(layer):
        assert one_hot(torch.tensor([[4, PAD]])).tolist() == [[4, -1]]


def test_blocks_may_end_in_any_order() -> None:
    layer, table = nn.Recurrent("lstm", WIDTH, H).eval(), drawn()[0]
    one, two, three = layer.packed(), layer.packed(), layer.packed(table=table)
    one.__enter__()
    two.__enter__()
    shared = layer._packed
    three.__enter__()
    one.__exit__(None, None, None)  # as when two threads use a model
    assert layer._packed is not shared
    three.__exit__(None, None, None)
    assert layer._packed is shared  # for the second block is still open
    two.__exit__(None, None, None)
    assert layer._packed is None


def test_a_block_around_another_may_end_first() -> None:
    layer = nn.Recurrent("lstm", WIDTH, H).eval()
    outer, inner = layer.packed(), layer.packed(weights="bfloat16")
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)
    inner.__exit__(None, None, None)
    assert layer._packed is None
