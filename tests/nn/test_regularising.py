"""Dropout on inputs, recurrent vectors and weights, and zoneout: off when not training, masks constant over time."""

from typing import Any

import pytest
import torch

from cell_table import NAMES, OF, x_of
from tolerances import assert_equal
from unrolled.cells import affine, cell, named
from unrolled.cells.operators import Value
from unrolled.nn import GRU, LSTM, RNN, Recurrent

OPTIONS = ["input_dropout", "recurrent_dropout", "weight_drop"]


@cell("adding")
def adding(x: Value, a: Value, b: Value) -> tuple[Value, Value]:
    """Linear, so that what a mask does is plain to see: a⟨t⟩ = W x⟨t⟩ and b⟨t⟩ = R a⟨t-1⟩."""
    return affine("inward", x, bias=False) + 0 * b, named(affine("recurrent", a, bias=False), "through")


def adding_layer(**options: Any) -> Recurrent:
    layer = Recurrent(adding, 50, 50, **options)
    with torch.no_grad():
        layer.parameters_of("inward")["x"].copy_(torch.eye(50))
        layer.parameters_of("recurrent")["a"].copy_(torch.eye(50))
    return layer


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", NAMES)
def test_dropout_is_off_when_not_training_and_on_when_it_is(name: str, option: str) -> None:
    torch.manual_seed(41)
    layer = OF[name].layer(4, 8, 2, **{option: 0.5})
    plain = OF[name].layer(4, 8, 2)
    plain.load_state_dict(layer.state_dict())
    x = x_of(layer, 3, 2)
    assert not layer(x)[0].equal(layer(x)[0])
    assert_equal(layer.eval()(x)[0], plain(x)[0])


@pytest.mark.parametrize("option", OPTIONS)
def test_a_rate_of_one_drops_everything(option: str) -> None:
    layer = LSTM(3, 4, **{option: 1.0})  # type: ignore[arg-type]
    plain = LSTM(3, 4)
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(3, 2, 3)
    if option == "input_dropout":
        expected = plain(torch.zeros_like(x))[0]
    else:
        for gate in ("update", "forget", "candidate", "output"):
            plain.parameters_of(gate)["a"].zero_()
        expected = plain(x)[0]
    output, _ = layer(x)
    assert_equal(output, expected)
    output.sum().backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in layer.parameters())


def is_a_mask(values: torch.Tensor, rate: float) -> bool:
    return values.unique().tolist() == [0.0, pytest.approx(1 / (1 - rate))]


def test_input_dropout_keeps_one_mask_a_sequence() -> None:
    output, _ = adding_layer(input_dropout=0.25)(torch.ones(6, 4, 50))
    assert is_a_mask(output, 0.25)
    assert all(output[t].equal(output[0]) for t in range(6))
    assert not output[0, 0].equal(output[0, 1])


def test_recurrent_dropout_keeps_one_mask_a_sequence() -> None:
    _, _, seen = adding_layer(recurrent_dropout=0.25)(torch.ones(6, 4, 50), observe=True)
    through = seen["through"][1:]
    assert is_a_mask(through, 0.25)
    assert all(through[t].equal(through[0]) for t in range(5))
    assert not through[0, 0].equal(through[0, 1])
    assert (seen["a"] == 1).all()  # the state itself is not dropped, only its way into affine maps


def test_weight_drop_drops_recurrent_weights_once_a_call() -> None:
    layer = adding_layer(weight_drop=0.25)
    _, _, seen = layer(torch.ones(6, 4, 50), observe=True)
    through = seen["through"][1:]
    assert is_a_mask(through, 0.25)
    assert (through == through[0, 0]).all()  # one mask for all sequences and timesteps: it is the weights'
    assert layer.parameters_of("recurrent")["a"].equal(torch.eye(50))  # the weights themselves stay


def test_weight_drop_runs_on_either_engine_alike() -> None:
    found = []
    for engine in ("eager", "vendor"):
        torch.manual_seed(42)
        layer = LSTM(3, 4, 2, bidirectional=True, weight_drop=0.4, input_dropout=0.3, engine=engine)
        output, _ = layer(torch.ones(4, 2, 3))
        found.append((output, torch.autograd.grad(output.sum(), list(layer.parameters()))))
    assert_equal(found[0], found[1])


def test_directions_and_layers_have_masks_of_their_own() -> None:
    torch.manual_seed(43)
    layer = Recurrent(adding, 50, 50, 1, bidirectional=True, recurrent_dropout=0.5)
    for reverse in (False, True):
        layer.parameters_of("inward", reverse=reverse)["x"].copy_(torch.eye(50))
        layer.parameters_of("recurrent", reverse=reverse)["a"].copy_(torch.eye(50))
    _, _, seen = layer(torch.ones(3, 1, 50), observe=True)
    forwards, backwards = seen.layer(0)["through"], seen.layer(0, reverse=True)["through"]
    assert not forwards[1].equal(backwards[1])


def test_dropping_symbols_is_left_to_the_embedding() -> None:
    layer = GRU(4, 3, input_dropout=0.9)
    ids = torch.tensor([[0, 1], [2, 3]])
    assert layer(ids)[0].equal(layer(ids)[0])


@pytest.mark.parametrize("name", ["lstm", "gru", "minimal"])
def test_zoneout_keeps_the_old_state_with_its_probability(name: str) -> None:
    torch.manual_seed(44)
    layer = OF[name].layer(3, 50, zoneout=0.3)
    plain = OF[name].layer(3, 50)
    plain.load_state_dict(layer.state_dict())
    x, start = x_of(layer, 1, 200), tuple(torch.randn(1, 200, 50).double() for _ in layer.cell.states)
    start_given = start if len(start) > 1 else start[0]
    _, _, seen = layer(x, start_given, observe=True)
    _, _, free = plain(x, start_given, observe=True)
    for state, old in zip(layer.cell.states, start, strict=True):
        kept = seen[state] == old
        assert (kept | (seen[state] == free[state])).all()
        assert kept.double().mean().item() == pytest.approx(0.3, abs=0.02)
    # when not training: the expected value
    _, _, expected = layer.eval()(x, start_given, observe=True)
    for state, old in zip(layer.cell.states, start, strict=True):
        assert_equal(expected[state], 0.3 * old + 0.7 * free[state])


def test_zoneout_is_drawn_anew_at_every_timestep() -> None:
    torch.manual_seed(45)
    layer = RNN(50, 50, zoneout=0.5)
    output, _ = layer(torch.randn(3, 1, 50))
    kept = [output[t, 0] == (output[t - 1, 0] if t else 0) for t in range(3)]
    assert not kept[1].equal(kept[2])
    assert all(0 < int(row.sum()) < 50 for row in kept)


def test_zoneout_of_one_keeps_the_state_for_ever() -> None:
    layer = LSTM(3, 4, zoneout=1.0)
    state = (torch.randn(1, 2, 4), torch.randn(1, 2, 4))
    for training in (True, False):
        output, after = layer.train(training)(torch.randn(5, 2, 3), state)
        assert_equal(after, state)
        assert_equal(output, state[0].expand(5, -1, -1))


@pytest.mark.parametrize("options", [{option: 0.4} for option in (*OPTIONS, "zoneout", "dropout")], ids=str)
def test_the_same_seed_drops_the_same(options: dict[str, float]) -> None:
    layer, x = LSTM(3, 4, 2, bidirectional=True, **options), torch.randn(4, 2, 3)  # type: ignore[arg-type]
    found = []
    for _ in range(2):
        torch.manual_seed(46)
        found.append(layer(x, lengths=torch.tensor([4, 2])))
    assert found[0][0].equal(found[1][0])


def test_everything_at_once_trains() -> None:
    torch.manual_seed(47)
    options = dict.fromkeys((*OPTIONS, "zoneout", "dropout"), 0.2)
    layer = LSTM(4, 4, 2, peephole=True, residual=True, initial_state="learned", forget_bias=1.0, **options)
    x = torch.randn(5, 8, 4)
    optimiser = torch.optim.Adam(layer.parameters(), 0.02)
    losses = []
    for _ in range(60):
        loss = (layer(x, lengths=torch.tensor([5, 4, 3, 2, 1, 5, 4, 3]))[0][:, :, 0] - 0.5).square().mean()
        optimiser.zero_grad()
        loss.backward()
        assert all(value.grad is not None and value.grad.isfinite().all() for value in layer.parameters())
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
