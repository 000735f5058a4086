"""observe=True: every gate and state of every timestep, layer and direction, by name and in the input's layout."""

from typing import Any

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

from cell_table import NAMES, OF, given, states_of, x_of
from tolerances import assert_equal
from unrolled.nn import GRU, LSTM, Recurrent, Seen


@pytest.mark.parametrize("name", NAMES)
def test_observing_changes_nothing(name: str) -> None:
    layer = OF[name].layer(num_layers=2, engine="auto")
    x, state, lengths = x_of(layer, 4, 3), given(states_of(layer, 3)), torch.tensor([4, 0, 2])
    output, final, seen = layer(x, state, lengths=lengths, observe=True)
    assert_equal(layer(x, state, lengths=lengths), (output, final))
    assert_equal(seen.layer(1)[layer.cell.states[0]], output)
    for number in range(2):
        for gate in seen.layer(number).values():
            assert gate.shape == (4, 3, layer.hidden_size)
            assert (gate[:, 1] == 0).all()
            assert (gate[2:, 2] == 0).all()


def before(states: torch.Tensor) -> torch.Tensor:
    """The states of the timestep before: zero, then all but the last."""
    return torch.cat([torch.zeros_like(states[:1]), states[:-1]])


@pytest.mark.parametrize("peephole", [False, True, "previous"])
def test_the_gates_of_an_lstm_make_its_states(peephole: bool | str) -> None:
    layer = LSTM(3, 4, peephole=peephole).double()
    output, _, seen = layer(torch.randn(5, 2, 3).double(), observe=True)
    assert set(seen) == {"update", "forget", "candidate", "output", "a", "c"}
    assert len(seen) == 6
    assert_equal(seen["c"], seen["update"] * seen["candidate"] + seen["forget"] * before(seen["c"]))
    assert_equal(seen["a"], seen["output"] * seen["c"].tanh())
    assert_equal(seen["a"], output)
    assert all(((seen[gate] > 0) & (seen[gate] < 1)).all() for gate in ("update", "forget", "output"))


def test_the_gates_of_the_grus_make_their_states() -> None:
    x = torch.randn(5, 2, 3).double()
    for name in ("gru", "gru-simplified"):
        _, _, seen = Recurrent(name, 3, 4).double()(x, observe=True)
        assert_equal(seen["c"], seen["update"] * seen["candidate"] + (1 - seen["update"]) * before(seen["c"]))
    _, _, seen = GRU(3, 4).double()(x, observe=True)
    assert set(seen) == {"relevance", "keep", "candidate", "candidate_hidden", "c"}
    assert_equal(seen["c"], (1 - seen["keep"]) * seen["candidate"] + seen["keep"] * before(seen["c"]))


def test_two_directions_are_seen_one_by_one() -> None:
    layer = GRU(3, 4, 2, bidirectional=True, reset="before").double()
    x, lengths = torch.randn(4, 2, 3).double(), torch.tensor([2, 4])
    output, state, seen = layer(x, lengths=lengths, observe=True)
    assert seen.num_layers == 2
    assert_equal(output, torch.cat([seen.layer(1)["c"], seen.layer(1, reverse=True)["c"]], -1))
    # forwards the last true timestep is the final state, backwards the first one is
    for number in (0, 1):
        forwards, backwards = seen.layer(number)["c"], seen.layer(number, reverse=True)["c"]
        assert_equal(state[2 * number], torch.stack([forwards[1, 0], forwards[3, 1]]))
        assert_equal(state[2 * number + 1], backwards[0])


@pytest.mark.parametrize("batch_first", [False, True])
def test_what_is_seen_has_the_layout_of_the_input(batch_first: bool) -> None:
    layer = LSTM(3, 4, batch_first=batch_first).double()
    x, lengths = torch.randn(5, 2, 3).double(), torch.tensor([3, 5])
    plain = LSTM(3, 4).double()
    plain.load_state_dict(layer.state_dict())
    _, _, expected = plain(x, lengths=lengths, observe=True)
    laid_out = x.transpose(0, 1) if batch_first else x
    packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
    for given_x, options in ((laid_out, {"lengths": lengths}), (packed, {})):
        _, _, seen = layer(given_x, observe=True, **options)
        for name, value in expected.items():
            assert_equal(seen[name], value.transpose(0, 1) if batch_first else value, name)
    _, _, alone = layer(x[:, 1], observe=True)
    for name, value in expected.items():
        assert_equal(alone[name], value[:, 1], name)


def test_what_is_seen_carries_gradients() -> None:
    layer = LSTM(3, 4)
    x = torch.randn(4, 2, 3, requires_grad=True)
    layer(x, observe=True)[2]["forget"][-1].sum().backward()
    assert x.grad is not None
    assert (x.grad[-1] != 0).all()


def seen_of(**options: Any) -> Seen:
    return LSTM(3, 4, **options)(torch.randn(2, 2, 3), observe=True)[2]


def test_wrong_names_layers_and_directions_are_told() -> None:
    one = seen_of()
    with pytest.raises(KeyError, match='nothing is called "input"; there are update, forget, candidate, output, a, c'):
        one["input"]
    assert "input" not in one
    for number in (-1, 1):
        with pytest.raises(IndexError, match=f"layer={number}: there are 1 layers, counted from 0"):
            one.layer(number)
    with pytest.raises(IndexError, match="reverse=True: this layer runs in one direction"):
        one.layer(0, reverse=True)
    for options in ({"num_layers": 2}, {"bidirectional": True}):
        seen = seen_of(**options)
        with pytest.raises(KeyError, match=r"were seen: take one with .layer\(0\)"):
            seen["update"]
        with pytest.raises(KeyError, match="were seen"):
            list(seen)
        with pytest.raises(KeyError, match="were seen"):
            len(seen)
