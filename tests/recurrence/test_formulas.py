"""The printed equations and gradients, read back and computed: they are the textbook's, and autograd's."""

import re

import hypothesis
import numpy as np
import pytest
import torch
from formula_reader import Array, read, unroll
from hypothesis import HealthCheck, settings
from matplotlib.mathtext import MathTextParser
from random_cells import random_cells

import unrolled
from cell_table import NAMES, OF, given, states_of, x_of
from tolerances import assert_equal
from unrolled.cells import CELLS, Cell, affine, named, relu, sigmoid, softplus, tanh, vector
from unrolled.cells.operators import Value
from unrolled.nn import Recurrent
from unrolled.recurrence.formulas import Derivation, derive, equations, latex_of, text_of
from unrolled.recurrence.formulas.notation import Notation
from unrolled.recurrence.layout import layout_of
from unrolled.recurrence.program import TraceError, outline, trace


@unrolled.cell
def two_products(x: Value, h: Value) -> Value:
    """Two vectors go by the name of h, and both affine maps have the same δ."""
    relevance, update = sigmoid(affine("relevance", h, x)), sigmoid(affine("update", h, x))
    return tanh(affine("reset", relevance * h) + affine("kept", update * h, x))


@unrolled.cell
def swapped(x: Value, a: Value, b: Value) -> tuple[Value, Value]:
    """A state that is an old one, and one that enters no affine map."""
    return b, tanh(affine("hidden", a, x)) - 2 / (3 + b**2)


@unrolled.cell
def twins(x: Value, a: Value, b: Value, idle: Value) -> tuple[Value, Value, Value]:
    """Two states of one value, and one that nothing looks at."""
    new = relu(affine("hidden", a, b, x)) * vector("scale")
    return new, new, named(softplus(idle - a), "rest")


ODD = [two_products, swapped, twins]
EVERY = [*(OF[name].cell for name in NAMES), *ODD]


def layer_of(cell: Cell) -> Recurrent:
    torch.manual_seed(3)
    if cell.name in OF:
        return OF[cell.name].layer()
    width = 4 if trace(cell).pointwise_input else 3
    return Recurrent(cell, width, 4, dtype=torch.float64, engine="eager")


def printed(derived: Derivation) -> tuple[str, str, str]:
    return text_of(derived.equations), text_of(derived.recurrence), text_of(derived.sums)


def parameters_of(layer: Recurrent, gradients: bool = False) -> dict[str, Array]:
    """Every parameter, or its gradient, under its symbol."""
    program = layer._program
    notation, found = Notation(program), {}

    def block(gate: str, entry: str) -> Array:
        place = layout_of(program).find(gate, entry)
        assert place is not None
        tensor = getattr(layer, f"{place.parameter}_l0")
        return place.rows(tensor.grad if gradients else tensor).detach().numpy()

    for made in program.affines:
        vectors = [(v, program.label(v) or "") for v in made.arguments if type(v) is int]
        blocks = {notation.block(made, v).text: block(made.name, label) for v, label in vectors}
        found |= blocks
        found[notation.stacked(made).text] = np.concatenate(list(blocks.values()), 1)
        if made.bias:
            names = [b.entry for b in layout_of(program).of(made.name) if b.entry in ("bias", "bias_hidden")]
            both = [block(made.name, name) for name in names]
            found[notation.bias(made).text] = both[0] if gradients else np.sum(both, 0)
    for made in program.instructions:
        if made.operation == "vector":
            found[notation.vector(made.name, made.gate).text] = block(made.gate or "", made.name)
    return found


def computed(cell: Cell) -> tuple[dict[str, Array], dict[str, Array], Recurrent, dict[str, Array]]:
    """What the printed formulas give, what autograd gives, the layer, and what went in."""
    layer = layer_of(cell)
    x, states = x_of(layer, 5, 1).requires_grad_(), states_of(layer, 1)
    output, _ = layer(x, given(states))
    weights = torch.randn(output.shape, dtype=torch.float64)
    nothing = sum(value.sum() * 0 for value in [x, *layer.parameters()])  # a zero for what the output does not use
    ((output * weights).sum() + nothing).backward()
    assert x.grad is not None
    start = {name: state[0, 0].numpy() for name, state in zip(cell.states, states, strict=True)}
    inputs = {"x": x.detach()[:, 0].numpy(), "loss": weights[:, 0].numpy(), **start}
    loss = (cell.states[0], inputs["loss"])
    ours = unroll(printed(derive(layer._program)), parameters_of(layer), inputs["x"], start, loss)
    theirs = {f"d{name}": value for name, value in parameters_of(layer, gradients=True).items()}
    return ours, {**theirs, "dx⟨t⟩": x.grad[:, 0].numpy()}, layer, inputs


@pytest.mark.parametrize("cell", EVERY)
def test_the_printed_gradient_is_that_of_autograd(cell: Cell) -> None:
    ours, theirs, _, _ = computed(cell)
    for name, value in ours.items():
        assert_equal(value, theirs[name], name)
    assert {f"d{made.text}" for made in map(Notation(trace(cell)).stacked, trace(cell).affines)} < set(ours)


@settings(max_examples=20, derandomize=True, suppress_health_check=list(HealthCheck))
@hypothesis.given(random_cells())
def test_the_printed_gradient_of_a_random_cell_is_that_of_autograd(cell: Cell) -> None:
    ours, theirs, _, _ = computed(cell)
    for name, value in ours.items():
        np.testing.assert_allclose(value, theirs[name], rtol=1e-8, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("cell", EVERY)
def test_a_gate_has_an_equation_and_its_weights_a_gradient(cell: Cell) -> None:
    program, derived = trace(cell), derive(trace(cell))
    defined = [left for text in printed(derived) for left, _ in read(text)]
    assert len(defined) == len(set(defined))
    notation = Notation(program)
    for made in program.affines:
        for symbol in (f"{notation.delta(made).text}⟨t⟩", f"d{notation.stacked(made).text}"):
            assert symbol in defined
    for symbol in filter(None, map(notation.value, program.observed.values())):
        assert {symbol.text, f"{symbol.text}⟨t⟩"} & set(defined)


@pytest.mark.parametrize("name", [name for name in CELLS if not name.startswith("rnn")])
def test_derived_equations_are_the_docstrings(name: str) -> None:
    derived = text_of(equations(trace(CELLS[name])))
    assert sorted(derived.splitlines()) == sorted(CELLS[name].equations.splitlines())


def test_the_gradient_of_the_rnn_is_the_textbooks() -> None:
    ours, _, layer, given_ = computed(CELLS["rnn"])
    w, x, zero = parameters_of(layer), given_["x"], np.zeros(4)
    a = [given_["a"]]
    for x_t in x:
        a.append(np.tanh(w["W_aa"] @ a[-1] + w["W_ax"] @ x_t + w["b_a"]))
    delta = zero
    expected = {name: np.zeros_like(ours[name]) for name in ("dW_a", "db_a", "dx⟨t⟩")}
    for t in reversed(range(len(x))):
        delta = (1 - a[t + 1] ** 2) * (given_["loss"][t] + w["W_aa"].T @ delta)
        expected["dW_a"] += np.outer(delta, np.concatenate([a[t], x[t]]))
        expected["db_a"] += delta
        expected["dx⟨t⟩"][t] = w["W_ax"].T @ delta
    for name, value in expected.items():
        assert_equal(ours[name], value, name)


def test_the_gradient_of_the_lstm_is_the_textbooks() -> None:
    ours, _, layer, given_ = computed(CELLS["lstm"])
    w, x = parameters_of(layer), given_["x"]
    a, c, gates = [given_["a"]], [given_["c"]], []
    for x_t in x:
        z = {g: w[f"W_{g}a"] @ a[-1] + w[f"W_{g}x"] @ x_t + w[f"b_{g}"] for g in "ufco"}
        g = {name: np.tanh(v) if name == "c" else 1 / (1 + np.exp(-v)) for name, v in z.items()}
        c.append(g["u"] * g["c"] + g["f"] * c[-1])
        a.append(g["o"] * np.tanh(c[-1]))
        gates.append(g)
    expected = {name: np.zeros_like(value) for name, value in ours.items()}
    da, dc = np.zeros(4), np.zeros(4)
    for t in reversed(range(len(x))):
        g, da = gates[t], da + given_["loss"][t]
        dc = dc + da * g["o"] * (1 - np.tanh(c[t + 1]) ** 2)
        delta = {
            "u": dc * g["c"] * g["u"] * (1 - g["u"]),
            "f": dc * c[t] * g["f"] * (1 - g["f"]),
            "c": dc * g["u"] * (1 - g["c"] ** 2),
            "o": da * np.tanh(c[t + 1]) * g["o"] * (1 - g["o"]),
        }
        for gate, d in delta.items():
            expected[f"dW_{gate}"] += np.outer(d, np.concatenate([a[t], x[t]]))
            expected[f"db_{gate}"] += d
        expected["dx⟨t⟩"][t] = sum(w[f"W_{gate}x"].T @ d for gate, d in delta.items())
        da, dc = sum(w[f"W_{gate}a"].T @ d for gate, d in delta.items()), dc * g["f"]
    for name, value in expected.items():
        assert_equal(ours[name], value, name)


def test_the_lstm_reads_as_in_the_textbook() -> None:
    assert text_of(derive(trace(CELLS["lstm"])).recurrence).splitlines() == [
        "da⟨t⟩  = ∂L⟨t⟩/∂a⟨t⟩ + W_uaᵀ δ_u⟨t+1⟩ + W_faᵀ δ_f⟨t+1⟩ + W_caᵀ δ_c⟨t+1⟩ + W_oaᵀ δ_o⟨t+1⟩",
        "dc⟨t⟩  = da⟨t⟩ * Γ_o * (1 - tanh(c⟨t⟩)²) + dc⟨t+1⟩ * Γ_f⟨t+1⟩",
        "δ_o⟨t⟩ = da⟨t⟩ * tanh(c⟨t⟩) * Γ_o * (1 - Γ_o)",
        "δ_c⟨t⟩ = dc⟨t⟩ * Γ_u * (1 - c̃⟨t⟩²)",
        "δ_f⟨t⟩ = dc⟨t⟩ * c⟨t-1⟩ * Γ_f * (1 - Γ_f)",
        "δ_u⟨t⟩ = dc⟨t⟩ * c̃⟨t⟩ * Γ_u * (1 - Γ_u)",
    ]


@pytest.mark.parametrize("cell", EVERY)
def test_latex_can_be_set(cell: Cell) -> None:
    derived, parser = derive(trace(cell)), MathTextParser("path")
    for group in (derived.equations, derived.recurrence, derived.sums):
        begin, *rows, end = latex_of(group).splitlines()
        assert (begin, end) == (r"\begin{align*}", r"\end{align*}")
        for row in rows:
            braces = re.sub(r"[^{}]", "", row)
            assert braces.count("{") == braces.count("}")
            parser.parse(f"${row.removesuffix(chr(92) * 2).replace('&', '').replace(chr(92) + 'quad', '')}$")


def test_a_long_equation_goes_on_in_the_next_line() -> None:
    text = text_of(derive(trace(CELLS["gru"])).recurrence)
    assert max(map(len, text.splitlines())) <= 101
    assert text.splitlines()[1].startswith(" " * 9 + "+ W_ucᵀ")


def test_what_is_no_operator_has_equations_and_no_gradient() -> None:
    @unrolled.cell
    def summed(x: Value, h: Value) -> Value:
        return tanh(torch.cumsum(h, -1) + affine("hidden", x))

    assert text_of(equations(outline(summed))) == "h⟨t⟩ = tanh(W_hx x⟨t⟩ + b_h + cumsum(h⟨t-1⟩))"
    with pytest.raises(TraceError, match=r'no gradient can be derived for the cell "summed": it uses torch.s cumsum'):
        derive(outline(summed))


@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_two_vectors_of_one_name_keep_their_own_products(engine: str) -> None:
    layer = Recurrent(two_products, 3, 4, dtype=torch.float64, engine=engine)
    layer.load_state_dict(layer_of(two_products).state_dict())
    x = x_of(layer, 5, 1)
    layer(x)[0].sum().backward()
    again = layer_of(two_products)
    again(x)[0].sum().backward()
    for name, parameter in again.named_parameters():
        assert_equal(layer.get_parameter(name).grad, parameter.grad, name)
