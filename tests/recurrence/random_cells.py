"""Random cells: Hypothesis composes them of all operators, and every way of computing them must agree.

A cell is drawn as a saved program (JSON), so one that fails can be kept, read and run again. The numbers stay tame:
every value has an interval that it lies in, and what an operator could not bear is squashed first.

    scripts/random-cells 1000        as many cells as that, the adjoint and the compiled engine against autograd
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from hypothesis import HealthCheck, Phase, assume, given, seed, settings
from hypothesis import strategies as st
from interpreter import Problem, by_autograd, interpret
from torch import Tensor

from tolerances import assert_equal
from unrolled.cells import Cell
from unrolled.errors import UserError
from unrolled.nn import Recurrent
from unrolled.recurrence.program import cell_from_json, program_to_json, trace

Json = dict[str, Any]
Interval = tuple[float, float]

STATE: Interval = (-4, 4)
"""Where states, x and whatever enters affine maps lie; standard normal numbers, cut off there, are a fair sample."""
AFFINE: Interval = (-50, 50)
CONSTANTS = [-2.0, -1.0, -0.5, 0.0, 0.1, 0.5, 1.0, 2.0]
CLOSE = 1e-7
"""Where a comparison is closer than this, rounding may decide it, and engines may differ."""

UNARY = ["negate", "square", "sigmoid", "tanh", "relu", "exp", "log", "sqrt", "softplus", "named"]
BINARY = ["add", "subtract", "multiply", "divide", "maximum", "minimum", "less", "less_equal"]
KINDS = [*UNARY, *BINARY, "where", "affine", "affine", "affine", "vector", "vector"]
AFFINES = 4


@dataclass
class Draft:
    """A program being written: its instructions as JSON, and the interval of every value."""

    states: list[str]
    intervals: list[Interval]
    instructions: list[Json] = field(default_factory=list)

    def emit(self, operation: str, interval: Interval, arguments: Sequence[Any] = (), **attributes: Any) -> int:
        """Add an instruction. Arguments: numbers of values, or constants, which are floats."""
        written = [f"v{one}" if type(one) is int else one for one in arguments]
        self.instructions.append({"operation": operation, "arguments": written, **attributes})
        self.intervals.append(interval)
        return len(self.intervals) - 1

    def count(self, operation: str) -> int:
        return sum(made["operation"] == operation for made in self.instructions)

    def interval(self, argument: int | float) -> Interval:
        return self.intervals[argument] if type(argument) is int else (argument, argument)

    def within(self, argument: Any, interval: Interval) -> Any:
        """The argument, or its tanh where it could be outside of an interval."""
        low, high = self.interval(argument)
        if type(argument) is not int or (interval[0] <= low and high <= interval[1]):
            return argument
        return self.emit("tanh", (-1, 1), [argument])

    def positive(self, argument: int) -> int:
        """The argument, or one more than its square where it could be too small for a logarithm or a quotient."""
        if self.intervals[argument][0] >= 0.1:
            return argument
        square = self.emit("square", (0, 16), [self.within(argument, STATE)])
        return self.emit("add", (1, 17), [1.0, square])

    def unary(self, operation: str, value: int) -> int:
        if operation in ("log", "sqrt"):
            value = self.positive(value)
        if operation in ("square", "exp"):
            value = self.within(value, STATE)
        low, high = self.intervals[value]
        intervals: dict[str, Interval] = {
            "negate": (-high, -low),
            "square": (0, 16),
            "sigmoid": (0, 1),
            "tanh": (-1, 1),
            "exp": (0, 55),
            "log": (-3, 4),
            "sqrt": (0.1, max(1, high)),
            "named": (low, high),
        }
        attributes = {"name": f"n{self.count('named')}"} if operation == "named" else {}
        return self.emit(operation, intervals.get(operation, (0, max(1, high + 1))), [value], **attributes)

    def binary(self, operation: str, left: Any, right: Any) -> int:
        if operation == "multiply":
            left, right = self.within(left, AFFINE), self.within(right, STATE)
        if operation == "divide":
            right = self.positive(right) if type(right) is int else right or 2.0
        (low, high), (low_right, high_right) = self.interval(left), self.interval(right)
        corners = [one * other for one in (low, high) for other in (low_right, high_right)]
        most = 10 * max(abs(low), abs(high))
        intervals: dict[str, Interval] = {
            "add": (low + low_right, high + high_right),
            "subtract": (low - high_right, high - low_right),
            "multiply": (min(corners), max(corners)),
            "divide": (-most, most),
            "maximum": (max(low, low_right), max(high, high_right)),
            "minimum": (min(low, low_right), min(high, high_right)),
        }
        return self.emit(operation, intervals.get(operation, (0, 1)), [left, right])

    def where(self, condition: int, then: Any, otherwise: Any) -> int:
        low, high = zip(self.interval(then), self.interval(otherwise), strict=True)
        return self.emit("where", (min(low), max(high)), [condition, then, otherwise])

    def affine(self, vectors: Sequence[int], bias: bool) -> int:
        vectors = [self.within(value, STATE) for value in vectors]
        return self.emit("affine", AFFINE, vectors, name=f"a{self.count('affine')}", bias=bias)


@st.composite
def random_cells(draw: st.DrawFn) -> Cell:
    """A cell of 1 to 3 states and 1 to 4 affine maps, of all operators."""
    states = [f"s{number}" for number in range(draw(st.integers(1, 3)))]
    pointwise_x = draw(st.booleans())
    draft = Draft(states, [STATE] * (1 + len(states)))
    for kind in ["affine", *draw(st.lists(st.sampled_from(KINDS), min_size=3, max_size=14))]:
        _add(draw, draft, kind, pointwise_x)
    # the last values, since what comes before them is most likely to be needed by them
    outputs = [draft.within(_value(draw, draft, pointwise_x), STATE) for _ in states]
    content = {
        "cell": "random",
        "states": states,
        "two_biases": draw(st.booleans()),
        "instructions": draft.instructions,
        "outputs": [f"v{number}" for number in outputs],
    }
    try:
        return cell_from_json(content)
    except UserError as error:  # two vectors of an affine map go by one name: which, is known only in the end
        assume("have the same name" not in str(error))
        raise


def _value(draw: st.DrawFn, draft: Draft, pointwise_x: bool = False) -> int:
    """The number of a value, more likely a late one."""
    last = len(draft.intervals) - 1
    back = st.integers(0, last)
    number = last - min(draw(back), draw(back))
    return number if number or pointwise_x else draw(st.integers(1, last))


def _operand(draw: st.DrawFn, draft: Draft, pointwise_x: bool) -> int | float:
    value = _value(draw, draft, pointwise_x)
    return draw(st.sampled_from(CONSTANTS)) if draw(st.integers(0, 3)) == 0 else value


def _add(draw: st.DrawFn, draft: Draft, kind: str, pointwise_x: bool) -> None:
    value = _value(draw, draft, pointwise_x)
    if kind in UNARY:
        draft.unary(kind, value)
    elif kind in BINARY:
        pair = [value, _operand(draw, draft, pointwise_x)]
        draft.binary(kind, *(pair if draw(st.booleans()) else pair[::-1]))
    elif kind == "where":
        draft.where(value, _operand(draw, draft, pointwise_x), _operand(draw, draft, pointwise_x))
    elif kind == "vector":
        gates = [made["name"] for made in draft.instructions if made["operation"] == "affine"]
        gate, name = draw(st.sampled_from([None, *gates])), draw(st.sampled_from(["p", "q"]))
        vector = draft.emit("vector", (-1, 1), name=name, **({"gate": gate} if gate else {}))
        draft.binary(draw(st.sampled_from(["multiply", "add"])), vector, value)
    elif draft.count("affine") < AFFINES:
        draft.affine(_vectors(draw, draft), draw(st.booleans()))


def _vectors(draw: st.DrawFn, draft: Draft) -> list[int]:
    """x, states and values of this timestep, which go by a name of their own, or by that of a state they come from."""
    vectors = [0] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(0 if vectors else 1, 2))):
        value = _value(draw, draft)
        if value > len(draft.states) and draw(st.booleans()):
            value = draft.unary("named", draft.within(value, STATE))
        vectors.append(value)
    return list(dict.fromkeys(vectors))


@dataclass(frozen=True)
class Sizes:
    """The numbers around a cell: how many of everything, and where random numbers begin."""

    steps: int
    batch: int
    inputs: int
    hidden: int
    lengths: tuple[int, ...] | None
    bias: bool
    bidirectional: bool
    seed: int


@st.composite
def random_sizes(draw: st.DrawFn) -> Sizes:
    steps, batch = draw(st.integers(1, 6)), draw(st.integers(1, 9))
    lengths = draw(st.none() | st.lists(st.integers(0, steps), min_size=batch, max_size=batch).map(tuple))
    return Sizes(
        steps, batch, draw(st.integers(1, 9)), draw(st.integers(1, 19)), lengths,
        draw(st.booleans()), draw(st.booleans()), draw(st.integers(0, 99)),
    )  # fmt: skip


def layer_of(cell: Cell, sizes: Sizes, **options: Any) -> Recurrent:
    torch.manual_seed(sizes.seed)
    inputs = sizes.hidden if trace(cell).pointwise_input else sizes.inputs
    return Recurrent(cell, inputs, sizes.hidden, bias=sizes.bias, dtype=torch.float64, **options)


def rounded(value: Tensor) -> Tensor:
    """float64 numbers that float32 has too."""
    return value.float().double()


def normal(*shape: int) -> Tensor:
    """Standard normal numbers, cut off at the ends of `STATE`."""
    return torch.randn(shape, dtype=torch.float64).clamp(*STATE)


def assert_all_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Everything is equal, in units of the largest number that was found under its name, if that is more than 1."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert value.isfinite().all(), f"{name} is not finite: the cell is no fair sample"
        scale = value.abs().max().clamp(min=1) if value.numel() else 1
        assert_equal(found[name] / scale, value / scale, name)


def check_adjoint(cell: Cell, sizes: Sizes) -> None:
    """The program and its adjoint, instruction by instruction, against autograd; masked, zoned out and observed too."""
    sizes = replace(sizes, steps=min(sizes.steps, 3))  # more would only say the same again
    layer = layer_of(cell, sizes, engine="eager")
    states = tuple(normal(sizes.batch, sizes.hidden) for _ in cell.states)
    mask = torch.rand(sizes.batch, sizes.hidden, dtype=torch.float64) if sizes.seed % 3 == 1 else None
    keep = torch.rand(sizes.steps, sizes.batch, sizes.hidden, dtype=torch.float64) if sizes.seed % 3 == 2 else None
    problem = Problem.of(layer, normal(sizes.steps, sizes.batch, layer.input_size), states, mask, keep)
    observe = sizes.seed % 2 == 1
    interpreter = problem.interpreter()
    found = interpret(problem, interpreter, observe)
    assume(interpreter.nearest > CLOSE)
    assert_all_equal(found, by_autograd(problem, observe))


def check_compiled(cell: Cell, sizes: Sizes) -> None:
    """The compiled engine against the eager one, through the layer; with lengths, both directions and observation."""
    assume(is_decided(cell, sizes))
    expected, found = (run(cell, sizes, engine) for engine in ("eager", "compiled"))
    assert_all_equal(found, expected)


def check_single(cell: Cell, sizes: Sizes) -> None:
    """The compiled engine in float32: hardly further from the results of float64 than the eager engine is."""
    assume(is_decided(cell, sizes, close=1e-4))
    exact = run(cell, sizes, "eager")
    eager, found = (run(cell, sizes, engine, torch.float32) for engine in ("eager", "compiled"))
    for name, value in exact.items():
        if value.numel():
            assert value.isfinite().all(), f"{name} is not finite: the cell is no fair sample"
            scale = float(value.abs().max().clamp(min=1))
            off, unavoidable = (float((one[name].double() - value).abs().max()) / scale for one in (found, eager))
            assert off <= 20 * unavoidable + 3e-6, f"{name} is off by {off:.2g}, eager by {unavoidable:.2g}"


def is_decided(cell: Cell, sizes: Sizes, close: float = CLOSE) -> bool:
    """Whether no comparison is so close that rounding decides it. Both directions begin with the same state."""
    layer, x, states = problem_of(cell, sizes, "eager")
    for number, way in enumerate(("", "_reverse")[: layer.num_directions]):
        parameters = {
            name.removesuffix(f"_l0{way}"): value.detach()
            for name, value in layer.named_parameters()
            if name.endswith(f"_l0{way}")
        }
        begin = tuple(state[number].detach() for state in states)
        problem = Problem(cell, sizes.bias, parameters, x.detach(), begin)
        for length in set(sizes.lengths or [sizes.steps]) - {0}:
            interpreter = problem.interpreter()
            with torch.no_grad():
                interpreter.forward(x[:length].flip(0) if way else x[:length], begin)
            if interpreter.nearest <= close:
                return False
    return True


def problem_of(
    cell: Cell, sizes: Sizes, engine: str, dtype: torch.dtype = torch.float64
) -> tuple[Recurrent, Tensor, tuple[Tensor, ...]]:
    """A layer, its input and its states: in every type the same numbers."""
    layer = layer_of(cell, sizes, engine=engine, bidirectional=sizes.bidirectional).float().to(dtype)
    x = rounded(normal(sizes.steps, sizes.batch, layer.input_size)).to(dtype).requires_grad_()
    directions = layer.num_directions
    states = tuple(
        rounded(normal(directions, sizes.batch, sizes.hidden)).to(dtype).requires_grad_() for _ in cell.states
    )
    return layer, x, states


def run(cell: Cell, sizes: Sizes, engine: str, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Values and gradients of a layer, by name; a gradient that is not there is zero."""
    layer, x, states = problem_of(cell, sizes, engine, dtype)
    lengths = None if sizes.lengths is None else torch.tensor(sizes.lengths)
    observe = sizes.seed % 2 == 1
    result = layer(x, states if len(states) > 1 else states[0], lengths=lengths, observe=observe)
    finals = result[1] if isinstance(result[1], tuple) else (result[1],)
    values = {"output": result[0]} | {f"final {name}": one for name, one in zip(cell.states, finals, strict=True)}
    if observe:
        ways = [result[2].layer(0, reverse=bool(way)) for way in range(layer.num_directions)]
        values |= {f"seen {name} {way}": one for way, seen in enumerate(ways) for name, one in seen.items()}
    torch.manual_seed(1)
    loss = sum((value * rounded(torch.randn(value.shape)).to(dtype)).sum() for value in values.values())
    if loss.requires_grad:
        loss.backward()
    wanted = {"x": x, **dict(zip(cell.states, states, strict=True)), **dict(layer.named_parameters())}
    gradients = {
        f"gradient of {name}": torch.zeros_like(one) if one.grad is None else one.grad for name, one in wanted.items()
    }
    return {name: value.detach() for name, value in values.items()} | gradients


Check = Callable[[Cell, Sizes], None]
CHECKS: dict[str, Check] = {"adjoint": check_adjoint, "compiled": check_compiled, "single": check_single}


def checked(check: Check, examples: int, **options: Any) -> Callable[[], None]:
    """A function that checks so many random cells."""
    slow = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=slow, **options)
    @given(random_cells(), random_sizes())
    def test(cell: Cell, sizes: Sizes) -> None:
        try:
            check(cell, sizes)
        except Exception as error:
            error.add_note(f"{sizes}\n{json.dumps(program_to_json(trace(cell)))}")
            raise

    return test


def main(arguments: Sequence[str]) -> int:
    """Check many random cells; print those that fail, made as small as they get."""
    parser = argparse.ArgumentParser(prog="random-cells", description=main.__doc__)
    parser.add_argument("count", type=int, help="how many cells for each check")
    parser.add_argument("seed", type=int, nargs="?", default=0, help="another seed gives other cells")
    parser.add_argument("--check", choices=CHECKS, action="append", help="this check alone")
    chosen = parser.parse_args(arguments)
    failed = False
    for name in chosen.check or CHECKS:
        phases = [Phase.generate, Phase.shrink]
        test = seed(chosen.seed)(checked(CHECKS[name], chosen.count, phases=phases))
        try:
            test()
            print(f"{name}: {chosen.count} cells, all equal", flush=True)
        except Exception as error:
            failed = True
            print(f"{name}: {type(error).__name__}: {error}", *getattr(error, "__notes__", []), sep="\n", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
