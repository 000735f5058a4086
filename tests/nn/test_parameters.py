"""`parameters_of`: the parameters by equation; and how they start."""

import copy
import math

import pytest
import torch

from cell_table import NAMES, OF, leaky, saturating, x_of
from tolerances import assert_equal
from unrolled.cells import Cell, Value, affine, cell, named, sigmoid, tanh
from unrolled.nn import GRU, LSTM, RNN, Recurrent
from unrolled.recurrence.keeping import Keeping, keeping_of
from unrolled.recurrence.program import outline

ENTRIES: dict[str, dict[str, set[str]]] = {
    "rnn": {"hidden": {"x", "a", "bias", "bias_hidden"}},
    "gru-simplified": {"update": {"x", "c", "bias"}, "candidate": {"x", "c", "bias"}},
    "gru": {gate: {"x", "c", "bias"} for gate in ("relevance", "update", "candidate")},
    "gru-torch": {
        "relevance": {"x", "c", "bias", "bias_hidden"},
        "keep": {"x", "c", "bias", "bias_hidden"},
        "candidate": {"x", "bias"},
        "candidate_hidden": {"c", "bias"},
    },
    "lstm": {gate: {"x", "a", "bias", "bias_hidden"} for gate in ("update", "forget", "candidate", "output")},
    "lstm-peephole": {
        "candidate": {"x", "a", "bias"},
        **{gate: {"x", "a", "bias", "peephole"} for gate in ("update", "forget", "output")},
    },
    "minimal": {gate: {"x", "h", "bias"} for gate in ("forget", "candidate")},
    "leaky": {
        "rate": {"x", "h", "bias"},
        "drive": {"x"},
        "damping": {"product", "bias"},
        "leak": {"leak"},
    },
    "saturating": {
        "energy": {"x", "a", "bias", "bias_hidden"},
        "drive": {"x", "scaled", "bias", "bias_hidden", "gain"},
    },
}
ENTRIES["lstm-peephole-previous"] = ENTRIES["lstm-peephole"]


@pytest.mark.parametrize("name", ENTRIES)
def test_parameters_have_the_names_of_the_equations(name: str) -> None:
    layer = OF[name].layer(3, 4, 2, bidirectional=True)
    for gate, entries in ENTRIES[name].items():
        for place in ({}, {"layer": 1}, {"reverse": True}, {"layer": 1, "reverse": True}):
            found = layer.parameters_of(gate, **place)
            assert found.keys() == entries
            widths = {"x": (4, 3 if not place.get("layer") else 8)}
            square = {"a", "c", "h", "product", "scaled"}
            for entry, value in found.items():
                expected = widths.get(entry, (4, 4) if entry in square else (4,))
                assert tuple(value.shape) == expected, (gate, entry)


SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "gru": {"weight_ih_l0": (12, 3), "weight_hh_l0": (12, 4), "bias_l0": (12,)},
    "gru-simplified": {"weight_ih_l0": (8, 3), "weight_hh_l0": (8, 4), "bias_l0": (8,)},
    "lstm-peephole": {
        "weight_ih_l0": (16, 3), "weight_hh_l0": (16, 4), "bias_l0": (16,), "weight_peephole_l0": (12,),
    },
    "leaky": {"weight_ih_l0": (8, 3), "weight_hh_l0": (8, 4), "bias_l0": (8,), "leak_l0": (4,)},
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_parameters_have_torchs_names_and_one_bias(name: str) -> None:
    layer = OF[name].layer(3, 4)
    assert {key: tuple(value.shape) for key, value in layer.named_parameters()} == SHAPES[name]
    both = OF[name].layer(3, 4, bidirectional=True)
    assert {key for key in both.state_dict() if key.endswith("_reverse")} == {f"{key}_reverse" for key in SHAPES[name]}
    without = OF[name].layer(3, 4, bias=False)
    assert set(without.state_dict()) == SHAPES[name].keys() - {"bias_l0"}


def test_weights_are_stacked_in_gate_order() -> None:
    lstm, peephole = LSTM(3, 4), LSTM(3, 4, peephole=True)
    for position, gate in enumerate(("update", "forget", "candidate", "output")):
        rows = slice(4 * position, 4 * position + 4)
        assert lstm.parameters_of(gate)["x"].equal(lstm.weight_ih_l0[rows])
        assert lstm.parameters_of(gate)["a"].equal(lstm.weight_hh_l0[rows])
        assert lstm.parameters_of(gate)["bias_hidden"].equal(lstm.bias_hh_l0[rows])
    for position, gate in enumerate(("update", "forget", "output")):
        rows = slice(4 * position, 4 * position + 4)
        assert peephole.parameters_of(gate)["peephole"].equal(peephole.weight_peephole_l0[rows])


def test_writing_to_a_view_changes_the_layer_and_its_gradient_goes_on() -> None:
    layer = LSTM(3, 4, engine="eager")
    view = layer.parameters_of("forget")["bias"]
    assert not view.requires_grad
    view.fill_(7)
    assert (layer.bias_ih_l0[4:8] == 7).all()
    with torch.no_grad():
        layer.bias_ih_l0.zero_()
    assert (view == 0).all()
    layer(torch.randn(2, 1, 3))[0].sum().backward()
    layer.load_state_dict(LSTM(3, 4).state_dict())
    assert view.equal(layer.bias_ih_l0[4:8])


def test_a_forget_gate_held_open_keeps_the_cell_state() -> None:
    layer = LSTM(3, 4)
    layer.parameters_of("forget")["bias"].fill_(100)
    layer.parameters_of("update")["bias"].fill_(-100)
    c = torch.randn(1, 2, 4)
    _, (_, after) = layer(torch.randn(50, 2, 3), (torch.zeros(1, 2, 4), c))
    assert_equal(after, c)


def test_a_copy_has_parameters_of_its_own() -> None:
    layer = LSTM(3, 4, 2, peephole=True, engine="eager")
    twin = copy.deepcopy(layer)
    x = torch.randn(3, 2, 3)
    assert_equal(twin(x), layer(x))
    twin.parameters_of("forget", layer=1)["bias"].add_(1)
    assert not twin(x)[0].equal(layer(x)[0])


def test_unknown_gates_layers_and_directions_are_told() -> None:
    layer = GRU(3, 4, reset="before")
    with pytest.raises(KeyError, match='cell "gru" has no gate "reset"; there are relevance, update, candidate'):
        layer.parameters_of("reset")
    for place in ({"layer": 1}, {"layer": -1}, {"reverse": True}):
        with pytest.raises(IndexError, match=r"there are 1 layers of 1 direction"):
            layer.parameters_of("update", **place)


@pytest.mark.parametrize("name", NAMES)
def test_torchs_start_is_uniform_within_its_bound(name: str) -> None:
    torch.manual_seed(31)
    layer = Recurrent(OF[name].cell, 100, 100)
    for parameter, value in layer.named_parameters():
        assert value.abs().max() <= 0.1
        assert value.abs().max() > 0.09, parameter
    before = [value.clone() for value in layer.parameters()]
    layer.reset_parameters()
    assert not any(one.equal(other) for one, other in zip(before, layer.parameters(), strict=True))


@pytest.mark.parametrize("cell", ["rnn", "gru", "gru-torch", "lstm", "lstm-peephole", leaky, saturating])
@pytest.mark.parametrize("initialiser", ["xavier", "he", "orthogonal", "identity"])
def test_initialisers_fill_every_gate_by_itself(initialiser: str, cell: str | Cell) -> None:
    torch.manual_seed(32)
    hidden, width = 40, 60
    layer = Recurrent(cell, width, hidden, 2, bidirectional=True, initialiser=initialiser)
    for number in (0, 1):
        for reverse in (False, True):
            for gate in layer_gates(layer):
                for entry, value in layer.parameters_of(gate, layer=number, reverse=reverse).items():
                    check_start(initialiser, entry, value)


def layer_gates(layer: Recurrent) -> list[str]:
    name = layer.cell.name
    return list(ENTRIES[name])


def check_start(initialiser: str, entry: str, value: torch.Tensor) -> None:
    if value.dim() == 1:
        assert (value == 0).all()
        return
    rows, columns = value.shape
    if initialiser == "he":
        assert value.std().item() == pytest.approx(math.sqrt(2 / columns), rel=0.15)
        assert value.abs().max() > 2 * math.sqrt(2 / columns)  # normal, not uniform
    elif initialiser == "xavier" or entry == "x":
        bound = math.sqrt(6 / (rows + columns))
        assert 0.9 * bound < value.abs().max() <= bound
    elif initialiser == "orthogonal":
        assert_equal(value @ value.T, torch.eye(rows))
    else:
        assert value.equal(torch.eye(rows))


@pytest.mark.parametrize("initialiser", ["torch", "orthogonal"])
@pytest.mark.parametrize("peephole", [False, True])
def test_the_forget_bias_is_the_gates_whole_bias(peephole: bool, initialiser: str) -> None:
    layer = LSTM(3, 4, 2, bidirectional=True, peephole=peephole, initialiser=initialiser, forget_bias=1.5)
    for number in (0, 1):
        for reverse in (False, True):
            forget = layer.parameters_of("forget", layer=number, reverse=reverse)
            total = forget["bias"] + forget.get("bias_hidden", torch.zeros(4))
            assert total.tolist() == [1.5] * 4
            other = layer.parameters_of("update", layer=number, reverse=reverse)["bias"]
            assert (other != 1.5).all()


def test_the_forget_bias_of_a_cell_of_ones_own() -> None:
    layer = Recurrent(OF["minimal"].cell, 3, 4, forget_bias=-2.0)
    assert layer.parameters_of("forget")["bias"].tolist() == [-2.0] * 4


def whole_bias(layer: Recurrent, gate: str) -> torch.Tensor:
    entries = layer.parameters_of(gate, layer=1, reverse=True)
    return entries["bias"] + entries.get("bias_hidden", torch.zeros_like(entries["bias"]))


@pytest.mark.parametrize(
    ("name", "gate", "sign", "admitting"),
    [
        ("lstm", "forget", 1, "update"), ("lstm-peephole", "forget", 1, "update"), ("gru", "update", -1, None),
        ("gru-simplified", "update", -1, None), ("gru-torch", "keep", 1, None),
    ],
)  # fmt: skip
def test_units_begin_with_memories_of_all_lengths(name: str, gate: str, sign: int, admitting: str | None) -> None:
    torch.manual_seed(3)
    layer = Recurrent(name, 3, 400, 2, bidirectional=True, chrono=1000)
    bias = whole_bias(layer, gate)
    lengths = 1 / (1 - (sign * bias).sigmoid())  # the timesteps after which a unit has forgotten
    assert 2 <= lengths.min() < 30
    assert 970 < lengths.max() <= 1000
    assert lengths.mean() == pytest.approx(500, abs=50)
    if admitting is not None:
        assert_equal(whole_bias(layer, admitting), -bias)


def test_gates_that_keep_are_found_in_the_equations() -> None:
    @cell
    def held(x: Value, h: Value, m: Value) -> tuple[Value, Value]:
        keep = named(sigmoid(affine("leak", h, x)), "hold")
        enter = sigmoid(affine("enter", h, x))
        m = keep * m + enter * tanh(affine("new", h, x)) - 0.1 * m
        return tanh(m), m

    assert keeping_of(outline(held)) == [Keeping("leak", False, ("enter",))]
    layer = Recurrent(held, 3, 50, chrono=20)
    assert_equal(layer.parameters_of("enter")["bias"], -layer.parameters_of("leak")["bias"])


def test_layers_are_made_on_any_device_and_in_any_type() -> None:
    assert all(value.is_meta for value in LSTM(3, 4, device="meta").parameters())
    for dtype in (torch.float64, torch.bfloat16):
        layer = RNN(3, 4, dtype=dtype, engine="eager")
        output, state = layer(x_of(layer, 3, 2))
        assert output.dtype == state.dtype == dtype  # type: ignore[union-attr]


def test_the_learned_initial_state_starts_at_zero_and_is_in_the_state_dict() -> None:
    layer = LSTM(3, 4, 2, bidirectional=True, initial_state="learned")
    names = [name for name in layer.state_dict() if name.startswith("initial_")]
    assert len(names) == 8
    assert all((layer.state_dict()[name] == 0).all() for name in names)
    with torch.no_grad():
        layer.get_parameter("initial_a_l1_reverse").fill_(1)
        layer.get_parameter("initial_c_l0").fill_(2)
    _, (a, c) = layer(torch.randn(3, 2, 3), lengths=torch.tensor([0, 0]))
    assert a[:, 0, 0].tolist() == [0, 0, 0, 1]
    assert c[:, 1, 3].tolist() == [2, 0, 0, 0]


def test_the_random_initial_state_is_drawn_at_every_call() -> None:
    layer = RNN(3, 100, initial_state="random")
    x, empty = torch.zeros(1, 50, 3), torch.zeros(50, dtype=torch.long)
    first, second = (layer(x, lengths=empty)[1] for _ in range(2))
    assert not first.equal(second)
    assert first.std().item() == pytest.approx(0.1, rel=0.1)
    given = torch.zeros(1, 50, 100)
    assert layer(x, given, lengths=empty)[1].equal(given)
