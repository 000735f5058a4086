"""A cell, written down as a program: what it holds, and that it comes back from JSON as it was, or not at all."""

import copy
import json
from typing import Any

import pytest
import torch

import unrolled
from cell_table import NAMES, OF, given, states_of, x_of
from unrolled.cells import Value, affine, named, sigmoid, tanh, vector
from unrolled.errors import UserError
from unrolled.nn import Recurrent
from unrolled.recurrence import formulas
from unrolled.recurrence.adjoint import differentiate
from unrolled.recurrence.kernels import store
from unrolled.recurrence.kernels.target import host
from unrolled.recurrence.keys import key_of
from unrolled.recurrence.layout import layout_of
from unrolled.recurrence.plan import Form
from unrolled.recurrence.program import (
    ARITY,
    Constant,
    Instruction,
    TraceError,
    cell_from_json,
    program_to_json,
    trace,
)


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_cell_comes_back_bit_for_bit(name: str) -> None:
    row = OF[name]
    program = trace(row.cell)
    text = json.dumps(program_to_json(program))
    cell = cell_from_json(json.loads(text))
    assert trace(cell) == program
    assert trace(cell).observed == program.observed
    assert json.dumps(program_to_json(trace(cell))) == text

    layer = row.layer(bidirectional=True)
    loaded = Recurrent(cell, layer.input_size, layer.hidden_size, bidirectional=True, dtype=torch.float64)
    loaded.load_state_dict(layer.state_dict())
    loaded.engine = "eager"
    x, state = x_of(layer, 4, 2), given(states_of(layer, 2))
    output, _, seen = layer(x, state, observe=True)
    again, _, seen_again = loaded(x, state, observe=True)
    assert output.equal(again)
    for reverse in (False, True):
        for key, value in seen.layer(0, reverse=reverse).items():
            assert seen_again.layer(0, reverse=reverse)[key].equal(value)
    (gradient,) = torch.autograd.grad(output.sum(), layer.weight_hh_l0)
    (gradient_again,) = torch.autograd.grad(again.sum(), loaded.weight_hh_l0)
    assert gradient.equal(gradient_again)


def test_a_program_lists_what_the_step_did() -> None:
    program = trace(OF["gru-simplified"].cell)
    assert [instruction.operation for instruction in program.instructions] == [
        "affine", "sigmoid", "affine", "tanh", "multiply", "subtract", "multiply", "add",
    ]  # fmt: skip
    assert program.states == ("c",)
    assert [affine.name for affine in program.affines] == ["update", "candidate"]
    assert program.observed == {"update": 3, "candidate": 5}
    assert program.outputs == (9,)
    assert program_to_json(program)["instructions"][0] == {
        "operation": "affine", "arguments": ["v1", "v0"], "name": "update", "bias": True,
    }  # fmt: skip


def good() -> dict[str, Any]:
    return json.loads(json.dumps(program_to_json(trace(OF["lstm-peephole"].cell))))  # type: ignore[no-any-return]


def with_instruction(**changes: Any) -> dict[str, Any]:
    """The good program with its last instruction changed."""
    content = good()
    content["instructions"][-1].update(changes)
    return content


def without(*path: Any) -> dict[str, Any]:
    content = good()
    place: Any = content
    for key in path[:-1]:
        place = place[key]
    del place[path[-1]]
    return content


MALFORMED: dict[str, Any] = {
    "a list": [],
    "a word": "lstm",
    "nothing": None,
    "empty": {},
    **{f"no {key}": without(key) for key in ("cell", "states", "instructions", "outputs")},
    "no operation": without("instructions", 0, "operation"),
    "no arguments": without("instructions", 0, "arguments"),
    "no name": without("instructions", 0, "name"),
    "states in one word": {**good(), "states": "ac"},
    "states that are numbers": {**good(), "states": [1, 2]},
    "a state with a blank": {**good(), "states": ["a", "c c"]},
    "a state called x": {**good(), "states": ["x", "c"]},
    "no states at all": {**good(), "states": [], "outputs": []},
    "too few outputs": {**good(), "outputs": good()["outputs"][:1]},
    "an output to come": {**good(), "outputs": ["v1", "v999"]},
    "an output that is a number": {**good(), "outputs": [1, 2]},
    "instructions that are words": {**good(), "instructions": ["tanh"]},
    "an instruction that is a list": {**good(), "instructions": [["tanh", "v1"]]},
    "an unknown operation": with_instruction(operation="softmax"),
    "an operation of Python": with_instruction(operation="__import__", arguments=["os"]),
    "an operation that is evaluated": with_instruction(operation="eval", arguments=["print(1)"]),
    "an operation that is an attribute": with_instruction(operation="carry_out"),
    "an operation that is a list": with_instruction(operation=["add"]),
    "too many arguments": with_instruction(arguments=["v1", "v1", "v1"]),
    "an argument to come": with_instruction(arguments=["v1", "v999"]),
    "an argument that is itself": with_instruction(arguments=["v1", f"v{len(good()['instructions']) + 2}"]),
    "a negative argument": with_instruction(arguments=["v1", "v-1"]),
    "an argument that is a word": with_instruction(arguments=["v1", "os.system"]),
    "an argument that is null": with_instruction(arguments=["v1", None]),
    "an endless number": with_instruction(arguments=["v1", 10**400]),
    "numbers alone": with_instruction(arguments=[1, 2]),
    "a function of a number": with_instruction(operation="tanh", arguments=[0.5]),
    "arguments that are no list": with_instruction(arguments=7),
    "an affine map of numbers": with_instruction(operation="affine", arguments=[1.0], name="more"),
    "an affine map of nothing": with_instruction(operation="affine", arguments=[], name="more"),
    "an affine map without a name": with_instruction(operation="affine", arguments=["v0"], name=""),
    "a name used twice": with_instruction(operation="affine", arguments=["v0"], name="update"),
    "a name that is no name": with_instruction(operation="named", arguments=["v1"], name="a b"),
    "a name that is a list": with_instruction(operation="named", arguments=["v1"], name=["update"]),
    "a vector without a name": with_instruction(operation="vector", arguments=[]),
    "a vector of a list": with_instruction(operation="vector", arguments=[], name="leak", gate=["update"]),
    "a vector like a weight": with_instruction(operation="vector", arguments=[], name="weight_ih"),
}


@pytest.mark.parametrize("fault", MALFORMED)
def test_a_malformed_program_is_refused(fault: str) -> None:
    with pytest.raises(UserError, match=r"this is no saved cell: ."):
        cell_from_json(copy.deepcopy(MALFORMED[fault]))


def test_the_untouched_program_is_good() -> None:
    assert cell_from_json(good()).states == ("a", "c")


def test_only_operators_can_be_named() -> None:
    """The operation is looked up in one fixed table; everything else that Python could call is refused."""
    for operation in {*dir(torch), *dir(__builtins__), *dir(Recurrent), "forward"} - ARITY.keys() - {"affine"}:
        with pytest.raises(UserError):
            cell_from_json(with_instruction(operation=operation))


def test_programs_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    row = OF["minimal"]
    assert trace(row.cell) is trace(row.cell)


def test_the_tracers_error_is_a_type_error() -> None:
    assert issubclass(TraceError, TypeError)


def rows_covered(blocks: list[tuple[str, torch.Tensor]], parameter: torch.Tensor) -> list[int]:
    """How often each number of a parameter lies inside one of the views."""
    count = torch.zeros_like(parameter, requires_grad=False)
    start, width = parameter.data_ptr(), parameter.element_size()
    flat = count.flatten()
    for _, view in blocks:
        first = (view.data_ptr() - start) // width
        if view.untyped_storage().data_ptr() == parameter.untyped_storage().data_ptr():
            assert view.is_contiguous()
            flat[first : first + view.numel()] += 1
    return flat.int().tolist()


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_the_gates_parameters_cover_every_number_once(name: str, biased: bool) -> None:
    layer = OF[name].layer(bidirectional=True, bias=biased)
    program = trace(OF[name].cell)
    instructions = [one for one in program.instructions if one.operation in ("affine", "vector")]
    gates = dict.fromkeys(one.gate or one.name for one in instructions)
    for reverse, end in ((False, "_l0"), (True, "_l0_reverse")):
        views = [item for gate in gates for item in layer.parameters_of(gate, reverse=reverse).items()]
        for parameter, value in layer.named_parameters():
            if parameter.endswith(end):
                assert set(rows_covered(views, value)) == {1}, parameter


def test_a_constant_equals_no_value_and_no_other_constant() -> None:
    numbers: list[Any] = [0, 1, Constant(0.0), Constant(-0.0), Constant(1.0), Constant(float("nan")), Constant(3.0)]
    assert len({*numbers}) == len(numbers)
    for left, one in enumerate(numbers):
        for right, other in enumerate(numbers):
            assert (one == other) == (left == right)
    assert Constant(1) == Constant(1.0)  # a step's 1 and 1.0 are the same number
    assert repr(Constant(0.0)) != repr(Constant(-0.0))


def test_instructions_on_a_value_and_on_its_number_differ() -> None:
    values, constants = Instruction("less", (0, 1)), Instruction("less", (Constant(0), Constant(1)))
    assert values != constants
    assert Instruction("less", (0.0, 1.0)) == constants  # type: ignore[arg-type]
    assert len({values, constants, Instruction("less", (0, Constant(1))), Instruction("less", (Constant(0), 1))}) == 4


@unrolled.cell("twin")
def _by_a_number(x: Value, h: Value) -> Value:
    gate = sigmoid(affine("a", h, x))  # values 2 and 3
    return tanh(affine("b", named(gate * h, "r"), x)) * 3.0


@unrolled.cell("twin")
def _by_a_value(x: Value, h: Value) -> Value:
    gate = sigmoid(affine("a", h, x))
    return tanh(affine("b", named(gate * h, "r"), x)) * gate


def test_twins_share_neither_gradient_nor_kernel() -> None:
    """One name, and programs that are alike but for a constant in the one that is a value's number in the other."""
    first, second = trace(_by_a_number), trace(_by_a_value)
    assert first != second
    assert differentiate(first) != differentiate(second)
    forms = [Form(program, layout_of(program), "float32", True) for program in (first, second)]
    assert len({store.key_of("backward", form, host()) for form in forms}) == 2
    keys, texts = set(), set()
    for cell in (_by_a_number, _by_a_value):
        keys.add(key_of(trace(cell), True))
        texts.add(formulas.text_of(formulas.derive(trace(cell)).recurrence))
    assert len(keys) == len(texts) == 2


def test_kernels_of_earlier_formats_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    program = trace(_by_a_value)
    form = Form(program, layout_of(program), "float32", True)
    before = store.key_of("backward", form, host())
    monkeypatch.setattr(store, "FORMAT", store.FORMAT - 1)
    assert store.key_of("backward", form, host()) != before


def test_a_step_without_end_is_refused() -> None:
    @unrolled.cell
    def endless(x: Value, h: Value) -> Value:
        while True:
            h = tanh(h)

    with pytest.raises(TraceError, match="at most 10,000 values"):
        trace(endless)
    with pytest.raises(TraceError, match="at most 10,000 values"):
        Recurrent(endless, 4, 4)


def test_a_deep_expression_of_parameters_is_written_down_once() -> None:
    @unrolled.cell
    def deep(x: Value, h: Value) -> Value:
        scale = vector("scale")
        for _ in range(2000):
            scale = tanh(scale)
        for _ in range(40):
            scale = scale + scale
        return scale * h

    assert len(trace(deep).instructions) == 1 + 2000 + 40 + 1


def test_a_vector_of_a_gate_may_not_be_called_as_what_the_gate_takes() -> None:
    @unrolled.cell
    def confused(x: Value, h: Value) -> Value:
        scaled = named(h * 0.5, "r")
        return tanh(affine("a", scaled, x) + vector("r", gate="a") * h)

    with pytest.raises(TraceError, match="take another"):
        trace(confused)


def test_a_number_beyond_every_type_is_refused() -> None:
    @unrolled.cell
    def large(x: Value, h: Value) -> Value:
        return tanh(affine("a", h, x) * 10**400)

    with pytest.raises(TraceError, match="too large"):
        trace(large)
