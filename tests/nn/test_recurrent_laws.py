"""The laws of a recurrent layer: stepwise = whole, padded = alone, halves = whole, symbols = one-hot vectors."""

import re
from typing import Any

import pytest
import torch
from hypothesis import given as draw
from hypothesis import settings
from hypothesis import strategies as st

from cell_table import NAMES, OF, given, states_of, tuple_of, x_of
from tolerances import assert_equal
from unrolled.nn import GRU, LSTM, Recurrent

engines = st.sampled_from(["eager", "auto"])
names = st.sampled_from(NAMES)
depths = st.integers(1, 2)
seeds = st.integers(0, 999)


def layer_of(name: str, engine: str, seed: int, num_layers: int = 1, **options: Any) -> Recurrent:
    torch.manual_seed(seed)
    if not OF[name].takes(num_layers, options.get("bidirectional", False)):
        num_layers = 1
    return OF[name].layer(num_layers=num_layers, engine=engine, **options)


@settings(max_examples=40)
@draw(names, engines, depths, st.integers(1, 5), st.booleans(), seeds)
def test_stepwise_is_whole(name: str, engine: str, depth: int, steps: int, batch_first: bool, seed: int) -> None:
    layer = layer_of(name, engine, seed, depth, batch_first=batch_first)
    x, state = x_of(layer, steps, 2), given(states_of(layer, 2))
    output, final = layer(x.transpose(0, 1) if batch_first else x, state)
    for t in range(steps):
        state = layer.step(x[t], state)
        assert_equal(tuple_of(state)[0][-1], output[:, t] if batch_first else output[t])
    assert_equal(state, final)


def test_a_step_without_a_batch_or_of_symbols() -> None:
    layer = LSTM(4, 3, 2)
    ids = torch.tensor([[1], [3]])
    state = None
    for t in range(2):
        state = layer.step(ids[t], state)
    assert_equal(state, layer(ids)[1])
    alone = None
    for t in range(2):
        alone = layer.step(ids[t, 0], alone)
    assert_equal(alone, layer(ids[:, 0])[1])
    vector = torch.randn(4)
    assert_equal(layer.step(vector), layer(vector.unsqueeze(0))[1])


def test_a_layer_of_two_directions_refuses_to_step() -> None:
    with pytest.raises(ValueError, match="step: a bidirectional layer needs the whole sequence"):
        GRU(3, 4, bidirectional=True).step(torch.randn(2, 3))


@settings(max_examples=40)
@draw(names, engines, depths, st.booleans(), st.lists(st.integers(0, 5), min_size=1, max_size=4), seeds)
def test_padded_is_alone(
    name: str, engine: str, depth: int, bidirectional: bool, lengths: list[int], seed: int
) -> None:
    layer = layer_of(name, engine, seed, depth, bidirectional=bidirectional)
    x, states = x_of(layer, 5, len(lengths), seed), states_of(layer, len(lengths))
    x[torch.arange(5).unsqueeze(1) >= torch.tensor(lengths)] = float("nan")  # padding must not be looked at
    output, final = layer(x, given(states), lengths=torch.tensor(lengths))
    for row, length in enumerate(lengths):
        own = tuple(state[:, row : row + 1] for state in states)
        after = tuple(state[:, row : row + 1] for state in tuple_of(final))
        assert (output[length:, row] == 0).all()
        if length == 0:
            assert_equal(after, own)  # nothing was read: the state is the one before
        else:
            alone, alone_final = layer(x[:length, row : row + 1], given(own))
            assert_equal(output[:length, row], alone[:, 0])
            assert_equal(after, tuple_of(alone_final))


@pytest.mark.parametrize("name", NAMES)
def test_padding_of_any_kind_leaves_the_gradient_alone(name: str) -> None:
    layer = OF[name].layer(bidirectional=True)
    x, lengths = x_of(layer, 4, 3), torch.tensor([4, 1, 2])
    gradients = []
    for padding in (0.0, float("nan")):
        padded = x.masked_fill((torch.arange(4).unsqueeze(1) >= lengths).unsqueeze(-1), padding)
        output, _ = layer(padded, lengths=lengths)
        gradients.append(torch.autograd.grad(output.sum(), list(layer.parameters()), allow_unused=True))
    assert all(one.isfinite().all() for one in gradients[1] if one is not None)
    assert all(one.equal(other) for one, other in zip(*gradients, strict=True) if one is not None)


@settings(max_examples=25)
@draw(names, engines, depths, st.integers(2, 6), st.data(), seeds)
def test_two_halves_with_the_state_carried_are_the_whole(
    name: str, engine: str, depth: int, steps: int, data: st.DataObject, seed: int
) -> None:
    layer = layer_of(name, engine, seed, depth)
    cut = data.draw(st.integers(1, steps - 1))
    x, state = x_of(layer, steps, 2), given(states_of(layer, 2))
    output, final = layer(x, state)
    first, between = layer(x[:cut], state)
    second, after = layer(x[cut:], between)
    assert_equal(torch.cat([first, second]), output)
    assert_equal(after, final)


@settings(max_examples=25)
@draw(names, seeds, st.booleans())
def test_symbols_are_one_hot_vectors(name: str, seed: int, bidirectional: bool) -> None:
    layer = layer_of(name, "auto", seed, 2, bidirectional=bidirectional, hidden_size=4)
    ids = torch.randint(-1, layer.input_size, (5, 3), generator=torch.Generator().manual_seed(seed))
    dense = (ids.unsqueeze(-1) == torch.arange(layer.input_size)).double()
    lengths = torch.tensor([5, 2, 3])
    found = [layer(x, lengths=lengths) for x in (ids, ids.to(torch.int32), ids.to(torch.int16), dense)]
    for output, final in found[:-1]:
        assert_equal(output, found[-1][0])
        assert_equal(tuple_of(final), tuple_of(found[-1][1]))
    parameters = list(layer.parameters())
    gradients = [torch.autograd.grad(output.pow(2).sum(), parameters, allow_unused=True) for output, _ in found]
    for name_of, one, other in zip(dict(layer.named_parameters()), gradients[0], gradients[-1], strict=True):
        if other is not None:
            assert_equal(one, other, name_of)


def test_symbols_without_a_batch_and_as_bytes() -> None:
    layer = GRU(5, 3, batch_first=True)
    ids = torch.tensor([4, 0, 2])
    expected = layer(torch.nn.functional.one_hot(ids, 5).float())
    assert_equal(layer(ids), expected)
    assert_equal(layer(ids.to(torch.uint8)), expected)
    assert_equal(layer(ids.unsqueeze(0))[0][0], expected[0])


@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_state_of_an_earlier_time_gets_the_gradient_of_a_later_one(bidirectional: bool) -> None:
    layer = LSTM(2, 3, bidirectional=bidirectional).double()
    x = torch.randn(6, 2, 2).double().requires_grad_()
    _, state = layer(x[:3])
    output, _ = layer(x[3:], state)
    output.sum().backward()
    assert x.grad is not None
    assert (x.grad[:3] != 0).all()


def test_residuals_add_the_input_where_it_is_as_wide() -> None:
    layer = OF["gru"].layer(3, 4, 3, residual=True)
    plain = OF["gru"].layer(3, 4, 3)
    plain.load_state_dict(layer.state_dict())
    x, lengths = x_of(layer, 4, 2), torch.tensor([4, 2])
    _, _, seen = layer(x, lengths=lengths, observe=True)
    output, _ = layer(x, lengths=lengths)
    states = [seen.layer(number)["c"] for number in range(3)]
    assert_equal(output, states[0] + states[1] + states[2])  # layer 0 is wider than its input
    assert_equal(states[0], plain(x, lengths=lengths, observe=True)[2].layer(0)["c"])


def test_residuals_are_zero_past_the_end() -> None:
    layer = OF["lstm"].layer(4, 4, residual=True)
    output, _ = layer(torch.ones(3, 2, 4).double(), lengths=torch.tensor([1, 3]))
    assert (output[1:, 0] == 0).all()
    assert (output[:, 1] != 0).all()


def test_a_cell_that_uses_x_itself_needs_it_as_wide_as_the_state() -> None:
    row = OF["highway"]
    with pytest.raises(ValueError, match=r'cell "highway" uses x outside its affine maps, .*: 4, not \[3\]'):
        Recurrent(row.cell, 3, 4)
    with pytest.raises(ValueError, match=r"4, not \[4, 8\]"):
        Recurrent(row.cell, 4, 4, num_layers=2, bidirectional=True)


WRONG_INPUTS: dict[str, tuple[Any, dict[str, Any], str]] = {
    "too many dimensions": (torch.zeros(2, 2, 2, 3), {}, "x has shape (2, 2, 2, 3), and must be (T, B, 3)"),
    "a single vector": (torch.zeros(3), {}, "x has shape (3,)"),
    "an id alone": (torch.tensor(1), {}, "x has shape ()"),
    "another width": (torch.zeros(2, 2, 5), {}, "x has 5 numbers a timestep, and the layer takes input_size=3"),
    "no timesteps": (torch.zeros(0, 2, 3), {}, "x has no timesteps"),
    "an id too large": (torch.tensor([[3]]), {}, "x holds ids from 3 to 3, and the layer takes 0 to 2"),
    "an id too small": (torch.tensor([[-2, 1]]), {}, "x holds ids from -2 to 1"),
    "too many lengths": (torch.zeros(2, 2, 3), {"lengths": torch.ones(3).long()}, "must be 2 integers"),
    "lengths with a point": (torch.zeros(2, 2, 3), {"lengths": torch.ones(2)}, "type torch.float32"),
    "a length too large": (torch.zeros(2, 2, 3), {"lengths": torch.tensor([1, 3])}, "must lie between 0 and 2"),
    "a negative length": (torch.zeros(2, 2, 3), {"lengths": torch.tensor([1, -1])}, "lengths go from -1 to 1"),
    "one state of two": (torch.zeros(2, 2, 3), {"state": torch.zeros(1, 2, 4)}, "lstm has 2 state(s), a, c; 1 were"),
    "a state's shape": (
        torch.zeros(2, 2, 3),
        {"state": (torch.zeros(1, 2, 4), torch.zeros(2, 2, 4))},
        "state c has shape (2, 2, 4), and must have (1, 2, 4)",
    ),
    "a state with a batch": (
        torch.zeros(2, 3),
        {"state": (torch.zeros(1, 1, 4), torch.zeros(1, 1, 4))},
        "state a has shape (1, 1, 4), and must have (1, 4)",
    ),
    "lengths of a packed one": (
        torch.nn.utils.rnn.pack_sequence([torch.zeros(2, 3)]),
        {"lengths": torch.tensor([2])},
        "lengths: a PackedSequence has its own",
    ),
}


@pytest.mark.parametrize("fault", WRONG_INPUTS)
def test_wrong_inputs_are_named(fault: str) -> None:
    x, options, message = WRONG_INPUTS[fault]
    with pytest.raises(ValueError, match=re.escape(message)):
        LSTM(3, 4)(x, **options)


def test_lengths_may_be_a_list_of_integers_of_any_type() -> None:
    layer, x = LSTM(3, 4), torch.randn(3, 2, 3)
    expected = layer(x, lengths=torch.tensor([1, 3]))
    for lengths in ([1, 3], torch.tensor([1, 3], dtype=torch.int32), torch.tensor([1, 3], dtype=torch.uint8)):
        assert_equal(layer(x, lengths=lengths), expected)  # type: ignore[call-overload]


def test_a_promise_that_the_weights_stay_changes_nothing() -> None:
    layer, x = LSTM(3, 4), torch.randn(2, 3)
    with layer.packed() as packed:
        assert_equal(packed.step(x), layer.step(x))


def test_one_graph_for_the_compiler() -> None:
    layer = OF["gru"].layer(2, 3, dtype=torch.float32)
    compiled = torch.compile(layer, fullgraph=True, backend="eager")
    x = x_of(layer, 2, 2)
    output, state = compiled(x)
    assert_equal((output, state), layer(x))
    (gradient,) = torch.autograd.grad(output.sum(), layer.weight_hh_l0)
    (expected,) = torch.autograd.grad(layer(x)[0].sum(), layer.weight_hh_l0)
    assert_equal(gradient, expected)
