"""RNN, GRU and LSTM in torch.nn's place: the same arguments, names, weights, outputs, states and gradients."""

import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch import nn as torch_nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence

from cell_table import given, states_of, tuple_of
from tolerances import assert_equal
from unrolled.nn import GRU, LSTM, RNN, Recurrent

Make = Callable[..., Any]
LAYERS: dict[str, tuple[Make, Make]] = {
    "RNN": (torch_nn.RNN, RNN),
    "RNN, relu": (
        lambda *sizes, **options: torch_nn.RNN(*sizes, nonlinearity="relu", **options),
        lambda *sizes, **options: RNN(*sizes, nonlinearity="relu", **options),
    ),
    "GRU": (torch_nn.GRU, GRU),
    "LSTM": (torch_nn.LSTM, LSTM),
}
SHAPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "no bias": {"bias": False},
    "three layers": {"num_layers": 3},
    "two directions": {"bidirectional": True},
    "two layers, two directions, batch first": {"num_layers": 2, "bidirectional": True, "batch_first": True},
}
every_layer = pytest.mark.parametrize("kind", LAYERS)
every_engine = pytest.mark.parametrize("engine", ["eager", "vendor"])


def pair(kind: str, engine: str = "auto", **options: Any) -> tuple[Any, Recurrent]:
    """torch's layer and ours with its weights, in double precision."""
    torch.manual_seed(21)
    theirs, ours = (make(3, 4, **options) for make in LAYERS[kind])
    ours.engine = engine
    assert ours.load_state_dict(theirs.state_dict()) == torch_nn.modules.module._IncompatibleKeys([], [])
    return theirs.double(), ours.double()


def gradients(layer: torch_nn.Module, results: list[Tensor], inputs: list[Tensor]) -> dict[str, Tensor]:
    """The gradient of every parameter and input, each number of the results weighing differently."""
    torch.manual_seed(22)
    total = sum(((value * torch.randn_like(value)).sum() for value in results), torch.zeros(()).double())
    names = [name for name, _ in layer.named_parameters()] + [f"input {i}" for i in range(len(inputs))]
    return dict(zip(names, torch.autograd.grad(total, [*layer.parameters(), *inputs]), strict=True))


def compare(theirs: Any, ours: Recurrent, x: Tensor, states: tuple[Tensor, ...] = ()) -> None:
    """The same on both: output, final states, every gradient."""
    x.requires_grad_()
    for state in states:
        state.requires_grad_()
    found = []
    for layer in (theirs, ours):
        output, final = layer(x, given(states) if states else None)
        results = [output, *tuple_of(final)]
        found.append((results, gradients(layer, results, [x, *states])))
    (expected, expected_gradients), (actual, actual_gradients) = found
    assert [value.shape for value in actual] == [value.shape for value in expected]
    assert_equal(actual, expected)
    for name, value in expected_gradients.items():
        assert_equal(actual_gradients[name], value, name)


@every_engine
@pytest.mark.parametrize("shape", SHAPES)
@every_layer
def test_equal_to_torch(kind: str, shape: str, engine: str) -> None:
    theirs, ours = pair(kind, engine, **SHAPES[shape])
    compare(theirs, ours, torch.randn(5, 2, 3).double())
    batch = 5 if ours.batch_first else 2
    compare(theirs, ours, torch.randn(5, 2, 3).double(), states_of(ours, batch))


@every_engine
@every_layer
def test_equal_to_torch_without_a_batch(kind: str, engine: str) -> None:
    for batch_first in (False, True):
        theirs, ours = pair(kind, engine, num_layers=2, bidirectional=True, batch_first=batch_first)
        states = tuple(state.squeeze(1) for state in states_of(ours, 1))
        compare(theirs, ours, torch.randn(5, 3).double())
        compare(theirs, ours, torch.randn(5, 3).double(), states)


@every_engine
@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("lengths", [[5, 3, 3, 1], [2, 4, 1, 3]], ids=["sorted", "unsorted"])
@every_layer
def test_equal_to_torch_on_packed_sequences(kind: str, lengths: list[int], with_state: bool, engine: str) -> None:
    theirs, ours = pair(kind, engine, num_layers=2, bidirectional=True)
    x = torch.randn(5, 4, 3).double().requires_grad_()
    states = tuple(state.requires_grad_() for state in states_of(ours, 4)) if with_state else ()
    found = []
    for layer in (theirs, ours):
        packed = pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=lengths[0] == 5)
        output, final = layer(packed, given(states) if states else None)
        assert isinstance(output, PackedSequence)
        results = [output.data, *tuple_of(final)]
        found.append((output, results, gradients(layer, results, [x, *states])))
    (expected, expected_results, expected_gradients), (actual, actual_results, actual_gradients) = found
    for field in ("batch_sizes", "sorted_indices", "unsorted_indices"):
        one, other = getattr(actual, field), getattr(expected, field)
        assert one is other is None or one.equal(other)
    assert_equal(actual_results, expected_results)
    for name, value in expected_gradients.items():
        assert_equal(actual_gradients[name], value, name)


def test_packed_symbols_are_packed_one_hot_vectors() -> None:
    layer = LSTM(4, 3)
    sequences = [torch.tensor([1, 2, 0]), torch.tensor([3])]
    one_hot = [torch.nn.functional.one_hot(ids, 4).float() for ids in sequences]
    output, state = layer(pack_sequence(sequences))
    expected, expected_state = layer(pack_sequence(one_hot))
    assert_equal(output.data, expected.data)
    assert_equal(state, expected_state)


@pytest.mark.parametrize("shape", SHAPES)
@every_layer
def test_state_dicts_are_interchangeable_both_ways(kind: str, shape: str) -> None:
    theirs, ours = (make(3, 4, **SHAPES[shape]) for make in LAYERS[kind])
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [value.shape for value in ours.state_dict().values()] == [v.shape for v in theirs.state_dict().values()]
    x = torch.randn(3, 3, 3)
    ours.load_state_dict(theirs.state_dict())
    assert_equal(ours(x), theirs(x))
    ours.reset_parameters()
    theirs.load_state_dict(ours.state_dict())
    assert_equal(ours(x), theirs(x))


@every_layer
def test_the_same_seed_draws_the_same_weights(kind: str) -> None:
    drawn = []
    for make in LAYERS[kind]:
        torch.manual_seed(23)
        layer = make(3, 4, num_layers=2, bidirectional=True)
        drawn.append([*layer.parameters(), torch.rand(1)])
    assert all(one.equal(other) for one, other in zip(*drawn, strict=True))


def test_arguments_by_position_mean_what_they_mean_in_torch() -> None:
    arguments: dict[str, tuple[Any, ...]] = {
        "RNN": (3, 4, 2, "relu", False, True, 0.5, True),
        "GRU": (3, 4, 2, False, True, 0.5, True),
        "LSTM": (3, 4, 2, False, True, 0.5, True, 0),
    }
    for kind, values in arguments.items():
        theirs, ours = getattr(torch_nn, kind)(*values), LAYERS[kind][1](*values)
        for name in ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional"):
            assert getattr(ours, name) == getattr(theirs, name)
        assert list(ours.state_dict()) == list(theirs.state_dict())
        compare(theirs.double().eval(), _loaded(ours, theirs), torch.randn(3, 2, 3).double())


def _loaded(ours: Any, theirs: torch_nn.Module) -> Recurrent:
    ours.double().load_state_dict(theirs.state_dict())
    return ours.eval()  # type: ignore[no-any-return]


def test_everything_beyond_torchs_arguments_is_by_name() -> None:
    for kind in (RNN, GRU, LSTM):
        kinds = {parameter.name: parameter.kind for parameter in inspect.signature(kind).parameters.values()}
        for name in ("reset", "peephole"):
            assert kinds.get(name, inspect.Parameter.KEYWORD_ONLY) == inspect.Parameter.KEYWORD_ONLY


@every_engine
@every_layer
def test_dropout_between_layers_is_torchs(kind: str, engine: str) -> None:
    theirs, ours = pair(kind, engine, num_layers=2, dropout=1.0)
    x = torch.randn(4, 2, 3).double()
    assert_equal(ours(x), theirs(x))  # in training, all of layer 0 is dropped in both
    assert_equal(ours.eval()(x), theirs.eval()(x))


@every_engine
def test_dropout_drops_its_share_anew_for_every_number(engine: str) -> None:
    layer = RNN(1, 200, 2, "relu", dropout=0.3, engine=engine)
    with torch.no_grad():
        for gate in ("x", "a"):
            layer.parameters_of("hidden", layer=0)[gate].zero_()
            layer.parameters_of("hidden", layer=1)[gate].zero_()
        layer.parameters_of("hidden", layer=0)["bias"].fill_(1)
        layer.parameters_of("hidden", layer=0)["bias_hidden"].zero_()
        layer.parameters_of("hidden", layer=1)["x"].copy_(torch.eye(200))
        for bias in ("bias", "bias_hidden"):
            layer.parameters_of("hidden", layer=1)[bias].zero_()
    torch.manual_seed(24)
    output, (below, _) = layer(torch.zeros(40, 5, 1))
    assert output.unique().tolist() == [0.0, pytest.approx(1 / 0.7)]
    assert (output == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)  # 40 000 draws: ± 0.0023
    assert not output[0].equal(output[1])
    assert (below == 1).all()  # the state of the lower layer is not dropped
    assert (layer.eval()(torch.zeros(3, 2, 1))[0] == 1).all()


def test_projections_are_refused_clearly() -> None:
    with pytest.raises(ValueError, match=r"proj_size=2: projections of the state are not offered; .*torch.nn.LSTM"):
        LSTM(3, 4, proj_size=2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GRU(3, 4, reset="between"), 'reset="between" is neither "before" nor "after"'),
        (lambda: LSTM(3, 4, peephole="next"), "peephole='next' is none of False, True, \"previous\""),
        (lambda: RNN(3, 4, nonlinearity="swish"), 'nonlinearity="swish" is none of tanh'),
        (lambda: Recurrent("lsmt", 3, 4), 'there is no cell "lsmt"'),
        (lambda: LSTM(0, 4), "input_size=0 must be a whole number of at least 1"),
        (lambda: LSTM(3, -1), "hidden_size=-1 must be a whole number of at least 1"),
        (lambda: LSTM(3, 4, 0), "num_layers=0 must be a whole number of at least 1"),
        (lambda: LSTM(3, 4, dropout=1.5), "dropout=1.5 must be a probability"),
        (lambda: LSTM(3, 4, zoneout=-0.1), "zoneout=-0.1 must be a probability"),
        (lambda: LSTM(3, 4, initial_state="ones"), 'initial_state="ones" is none of zeros, learned, random'),
        (lambda: LSTM(3, 4, initialiser="glorot"), 'initialiser="glorot" is none of torch, xavier, he, orthogonal'),
        (lambda: GRU(3, 4, forget_bias=1.0), "forget_bias=1.0: this layer has no forget gate with a bias"),
        (lambda: LSTM(3, 4, bias=False, forget_bias=1.0), "no forget gate with a bias"),
        (lambda: RNN(3, 4, chrono=100), "chrono=100: this layer has no gate with a bias that keeps a state"),
        (lambda: LSTM(3, 4, bias=False, chrono=100), "no gate with a bias that keeps a state"),
        (lambda: LSTM(3, 4, chrono=2), "chrono=2 must be a number of timesteps, at least 3, or 0"),
        (lambda: LSTM(3, 4, chrono=9, forget_bias=1.0), "leave forget_bias out"),
    ],
)
def test_wrong_arguments_are_named(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


def test_the_peephole_and_reset_arguments_choose_the_cell() -> None:
    assert [LSTM(3, 4, peephole=peephole).cell.name for peephole in (False, True, "previous")] == [
        "lstm", "lstm-peephole", "lstm-peephole-previous",
    ]  # fmt: skip
    assert [GRU(3, 4, reset=reset).cell.name for reset in ("after", "before")] == ["gru-torch", "gru"]


def test_models_written_for_torch_may_flatten_the_parameters() -> None:
    LSTM(3, 4).flatten_parameters()


def test_the_layers_text_names_what_is_not_the_default() -> None:
    assert repr(LSTM(3, 4, 2, bidirectional=True)) == 'LSTM("lstm", 3, 4, num_layers=2, bidirectional=True)'
    assert repr(Recurrent("gru", 3, 4, zoneout=0.1)) == 'Recurrent("gru", 3, 4, zoneout=0.1)'
