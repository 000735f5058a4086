"""A cell's step, written down: call it once with symbols and keep what it did.

The values of a program are numbered: 0 is x⟨t⟩, 1 to n are the states, and every operation adds one. A program can be
saved as JSON and made a cell again, so a trained model with a cell of one's own loads without its source, and
loading executes nothing but the operators.

A step may also call torch itself (`torch.cumsum(h, -1)`). Its outline then has opaque instructions: they say which
values go into something unknown, which is enough for the layout of the parameters and for names. Only the eager
engine, which runs the step itself, can compute such a cell.
"""

from __future__ import annotations

import inspect
import linecache
import re
import reprlib
import struct
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from types import FrameType
from typing import Any, cast

import torch
from torch import Tensor

from unrolled.cells.cell import Cell
from unrolled.cells.operators import Deferred, Operand, Value
from unrolled.errors import UserError


@dataclass(frozen=True, eq=False)
class Constant:
    """A number in a step.

    It equals only a constant of the very same bits: never the number of a value, and 0.0 is not -0.0. Python's own
    numbers would not do: 0 == 0.0, so that x > 0.0 and 0.0 < v0 would be the same program, kernel and gradient.
    """

    value: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", float(self.value))

    @property
    def bits(self) -> bytes:
        """The number as it is stored."""
        return struct.pack("<d", self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Constant) and self.bits == other.bits

    def __hash__(self) -> int:
        return hash((Constant, self.bits))


Argument = int | Constant
"""An argument of an instruction: an int is the number of a value."""

MOST_VALUES = 10_000
"""How many values a program may have: x, its states and one for each operation."""

LONGEST_TEXT = 16 * 2**20
"""How many bytes a saved program may have; the longest that can be traced takes less."""

LONGEST_NAME = 100
"""How many characters a name in a saved program may have."""

MOST_ARGUMENTS = 3 * MOST_VALUES
"""How many arguments all operations of a program may have together: affine maps take any number of vectors."""

ACTIVATIONS = frozenset({"sigmoid", "tanh", "relu", "exp", "log", "sqrt", "softplus"})
ARITY = {
    **dict.fromkeys(("negate", "square", "named", *ACTIVATIONS), 1),
    **dict.fromkeys(("add", "subtract", "multiply", "divide", "maximum", "minimum", "less", "less_equal"), 2),
    "where": 3,
    "vector": 0,
}
"""How many arguments each operation takes; affine takes any number of vectors."""

RESERVED = frozenset({"x", "bias", "bias_hidden"})
"""What the input and the biases are called among a gate's parameters; nothing of a cell's own may be."""


A_TENSOR = "a torch tensor"
"""The name of an opaque instruction that is arithmetic with a tensor of the user's own."""

KEPT = "a step may not keep values from one timestep to the next; make it a state"


class TraceError(TypeError):
    """A step does something that is not an operator, and so cannot be written down."""


@dataclass(frozen=True)
class Instruction:
    """One operation: what, on which values and constants, and for affine, vector and named under which name.

    The operation "opaque" is one that is not in `unrolled.cells`, on the values among its arguments; `name` says what
    it is, and `line` where it stands in the user's file.
    """

    operation: str
    arguments: tuple[Argument, ...]
    name: str = ""
    bias: bool = False
    gate: str | None = None
    line: str = ""

    def __post_init__(self) -> None:
        if any(type(argument) is float for argument in self.arguments):  # a plain number is never left as one
            constants = (Constant(one) if type(one) is float else one for one in self.arguments)
            object.__setattr__(self, "arguments", tuple(constants))

    @property
    def activates(self) -> bool:
        """Whether this is a function of one value alone, which makes a gate of the sum that it is applied to."""
        unknown = self.operation == "opaque" and self.name != A_TENSOR and len(self.arguments) == 1
        return unknown or self.operation in ACTIVATIONS


@dataclass(frozen=True)
class Program:
    """A step as a list of instructions.

    Attributes:
        cell: the cell's name.
        states: names of the states; value i + 1 is state i of the timestep before.
        instructions: instruction i computes value 1 + len(states) + i.
        outputs: for each state, the number of its new value.
        two_biases: see `Cell`.
    """

    cell: str
    states: tuple[str, ...]
    instructions: tuple[Instruction, ...]
    outputs: tuple[int, ...]
    two_biases: bool = False
    observed: Mapping[str, int] = field(init=False, compare=False)
    """Every gate and named value, and the number of the value that people see under that name."""
    depth: int = field(init=False, compare=False)
    """The longest chain of affine maps within a timestep each of which needs the one before."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "observed", _observed(self))
        object.__setattr__(self, "depth", _depth(self))

    @property
    def first(self) -> int:
        """The number of the first instruction's value."""
        return 1 + len(self.states)

    def instruction(self, value: int) -> Instruction | None:
        """The instruction that computes `value`, or None for x and the states."""
        return self.instructions[value - self.first] if value >= self.first else None

    @property
    def affines(self) -> list[Instruction]:
        """The affine maps, in the order in which the step names them: gate order."""
        return [instruction for instruction in self.instructions if instruction.operation == "affine"]

    @cached_property
    def opaque(self) -> str | None:
        """The first operation that is not in `unrolled.cells`, in words and with its line; None if all are."""
        for instruction in self.instructions:
            if instruction.operation == "opaque":
                return f"{instruction.name}, which is not an operator of unrolled.cells{instruction.line}"
        return None

    @cached_property
    def _users(self) -> Mapping[int, tuple[int, ...]]:
        """For each value that is used, the numbers of the instructions that take it, each once."""
        found: dict[int, list[int]] = {}
        for number, instruction in enumerate(self.instructions, self.first):
            for argument in dict.fromkeys(values_of(instruction)):
                found.setdefault(argument, []).append(number)
        return {value: tuple(numbers) for value, numbers in found.items()}

    def users(self, value: int) -> Iterator[tuple[int, Instruction]]:
        """Every (number, instruction) that takes `value` as an argument."""
        return ((number, self.instructions[number - self.first]) for number in self._users.get(value, ()))

    @cached_property
    def gates(self) -> Mapping[int, str]:
        """The values that are observed, and the first name of each."""
        return {number: name for name, number in reversed([*self.observed.items()])}

    @cached_property
    def _labels(self) -> list[str | None]:
        labels: list[str | None] = ["x", *self.states]
        states = set(self.states)
        for number, instruction in enumerate(self.instructions, self.first):
            below = [labels[argument] for argument in values_of(instruction)]
            inherited = next((label for label in below if label in states), None) or next(
                (label for label in below if label not in (None, "x")), None
            )
            named = instruction.name if instruction.operation == "named" else self.gates.get(number)
            labels.append(named or inherited)
        return labels

    def label(self, value: int) -> str | None:
        """What a vector that enters an affine map is called: x, a state, a name, a gate, or the state it scales."""
        return self._labels[value]

    @property
    def pointwise_input(self) -> bool:
        """Whether x is used outside affine maps, which needs an input as wide as the state."""
        return 0 in self.outputs or any(instruction.operation != "affine" for _, instruction in self.users(0))


def values_of(instruction: Instruction) -> list[int]:
    """The numbers of the values that an instruction takes, in order; a value may be there twice."""
    return [argument for argument in instruction.arguments if type(argument) is int]


def _observed(program: Program) -> dict[str, int]:
    """The gate of an affine map is the activation applied to the sum that holds it; without one, the map itself."""
    gates: dict[int, int | None] = {}  # of every value on its way to an activation, that activation
    for number in reversed(range(program.first, program.first + len(program.instructions))):
        users = program._users.get(number, ())
        if len(users) == 1:
            taker = program.instructions[users[0] - program.first]
            if taker.activates:
                gates[number] = users[0]
            elif taker.operation in ("add", "subtract", "negate"):
                gates[number] = gates.get(users[0])
    found: dict[str, int] = {}
    for number, instruction in enumerate(program.instructions, program.first):
        if instruction.operation == "affine":
            found[instruction.name] = gates.get(number) or number
        elif instruction.operation == "named":
            found[instruction.name] = number
    return found


def _depth(program: Program) -> int:
    depths = [0] * program.first
    for made in program.instructions:
        below = max((depths[value] for value in values_of(made)), default=0)
        depths.append(below + (made.operation == "affine"))
    return max(depths)


class Symbol(Value):
    """A value that is only written down."""

    __slots__ = ("number", "recorder")

    def __init__(self, recorder: _Recorder, number: int) -> None:
        self.recorder, self.number = recorder, number

    def carry_out(self, operation: str, arguments: tuple[Operand, ...], **attributes: Any) -> Symbol:
        return self.recorder.record(operation, arguments, **attributes)

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise TraceError(f"torch's {getattr(function, '__name__', function)} is not an operator of unrolled.cells")

    def __iter__(self) -> Iterator[Any]:
        raise TraceError("a step cannot loop over the units of a value, nor take several results of one function apart")

    def __len__(self) -> int:
        raise TraceError("a step does not know how many units a value has")

    def __getattr__(self, name: str) -> Any:
        raise TraceError(f".{name} is not an operator of unrolled.cells")


class OpenValue(Value):
    """A value that torch's functions, a tensor's methods and tensors may meet too.

    Subclasses say what calling such a function means: computing it, or writing down that it was called.
    """

    __slots__ = ()

    def apply(
        self, what: str, function: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> OpenValue:
        """The one value that `function` gives; `what` is its name in messages. Values may be inside lists."""
        raise NotImplementedError(f"{type(self).__name__} calls no functions")

    def call(
        self, what: str, function: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> OpenValue:
        """Apply a function, once every expression of parameters alone among its arguments belongs to this timestep.

        Raises:
            TraceError: the function changes a tensor in place.
        """
        name = str(getattr(function, "__name__", what)).partition(".")[0]
        in_place = (name.endswith("_") and not name.endswith("__")) or name in ("__setitem__", "__set__")
        if in_place or keywords.get("inplace") or keywords.get("out") is not None:
            raise TraceError(f"{name} would change a tensor in place, perhaps the caller's; use the form that does not")

        def resolved(value: Value) -> Value:
            return value.resolve(self) if isinstance(value, Deferred) else value

        return self.apply(what, function, replaced(arguments, resolved), replaced(keywords, resolved))

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in (Tensor.eq, Tensor.ne):  # what tensor == value calls
            raise TraceError("a step compares with <, <=, > and >=: == and != of computed numbers say nothing")
        kwargs = kwargs or {}
        host = next((value for value in values_in((args, kwargs)) if isinstance(value, cls)), None)
        if host is None:
            raise TraceError(f"{_called(function)} takes values as its arguments, or in lists, tuples and dictionaries")
        return host.call(_called(function), function, args, kwargs)

    def __getattr__(self, name: str) -> Callable[..., OpenValue]:
        if name.startswith("__"):
            raise AttributeError(name)
        function = getattr(Tensor, name, None)
        if not callable(function):
            raise TraceError(f".{name} is not an operator of unrolled.cells, nor a method of a tensor")
        return lambda *arguments, **keywords: self.call(f".{name}", function, (self, *arguments), keywords)

    def __abs__(self) -> Value:
        return self.call("abs", Tensor.abs, (self,), {})

    def __pow__(self, exponent: Operand) -> Value:
        if isinstance(exponent, Value | Tensor) or exponent != 2:
            return self.call("** (other than ** 2)", Tensor.__pow__, (self, exponent), {})
        return super().__pow__(exponent)


def _arithmetic(name: str, sign: str) -> Callable[[OpenValue, Operand], Value]:
    """The method `name` of an open value: the operator's, and the tensors' own where that has none or refuses them."""
    operator, of_tensors = getattr(Value, name, None), getattr(Tensor, name)

    def method(self: OpenValue, other: Operand) -> Value:
        if isinstance(other, Tensor):
            return self.call(A_TENSOR, of_tensors, (self, other), {})
        if operator is None:
            return self.call(sign, of_tensors, (self, other), {})
        result: Value = operator(self, other)
        return result

    return method


_SIGNS = {"add": "+", "sub": "-", "mul": "*", "truediv": "/", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_SIGNS |= {"matmul": "@", "mod": "%", "floordiv": "//"}
for _name, _sign in _SIGNS.items():
    for _method in (f"__{_name}__", f"__r{_name}__"):
        if hasattr(Tensor, _method):
            setattr(OpenValue, _method, _arithmetic(_method, _sign))
OpenValue.__rpow__ = _arithmetic("__rpow__", "**")  # type: ignore[attr-defined]


def _called(function: Any) -> str:
    """What messages call a function that torch was about to carry out."""
    name = str(getattr(function, "__name__", function))
    name = name.strip("_") if name.startswith("__") else name.lstrip("_")
    if function in (getattr(Tensor, name, None), getattr(Tensor, f"__{name}__", None)):
        return A_TENSOR  # a tensor's own method, so a tensor came first: tensor * value
    package = str(getattr(function, "__module__", None) or "torch").partition(".")[0]
    return f"torch's {name}" if package == "torch" else name


def values_in(nested: Any) -> Iterator[Value]:
    """The values in some arguments, in order, inside lists, tuples and dictionaries too."""
    if isinstance(nested, Value):
        yield nested
    elif isinstance(nested, list | tuple | dict):
        for part in nested.values() if isinstance(nested, dict) else nested:
            yield from values_in(part)


def replaced(nested: Any, change: Callable[[Value], Any]) -> Any:
    """Some arguments with every value in them changed."""
    if isinstance(nested, Value):
        return change(nested)
    if type(nested) in (list, tuple):
        return type(nested)(replaced(part, change) for part in nested)
    if type(nested) is dict:
        return {key: replaced(part, change) for key, part in nested.items()}
    return nested


class OpenSymbol(OpenValue, Symbol):
    """A symbol that also writes down, as opaque, what is not an operator."""

    __slots__ = ()

    def apply(
        self, what: str, function: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> OpenValue:
        values = tuple(values_in((arguments, keywords)))
        line = _line(traceback.walk_stack(inspect.currentframe()))
        return cast(OpenSymbol, self.recorder.record("opaque", values, name=what, line=line))


class _Recorder:
    def __init__(self, first: int, kind: type[Symbol]) -> None:
        self.first, self.kind = first, kind
        self.instructions: list[Instruction] = []
        self.arguments = 0
        self.names: set[str] = set()

    def record(self, operation: str, arguments: tuple[Operand, ...], **attributes: Any) -> Symbol:
        if not torch.is_grad_enabled():
            raise TraceError(
                "gradients are switched off here, by torch.no_grad() or inside an autograd Function, and an engine "
                "could not know; stop a gradient with .detach(), and see torch.overrides.wrap_torch_function"
            )
        numbers = tuple(self._argument(argument) for argument in arguments)
        self.arguments += len(numbers)
        if self.first + len(self.instructions) >= MOST_VALUES or self.arguments > MOST_ARGUMENTS:
            raise TraceError(
                f"a step may have at most {MOST_VALUES:,} values, its operations and states, and affine maps of "
                f"{MOST_ARGUMENTS:,} vectors together"
            )
        if operation in ("affine", "named", "vector"):
            self._check_name(operation, attributes["name"], attributes.get("gate"))
        if operation == "affine" and any(isinstance(number, Constant) for number in numbers):
            raise TraceError(f'affine("{attributes["name"]}") takes vectors, not numbers')
        self.instructions.append(Instruction(operation, numbers, **attributes))
        return self.kind(self, self.first + len(self.instructions) - 1)

    def _argument(self, argument: Operand) -> Argument:
        if not isinstance(argument, Value):
            return _constant(argument)
        if not isinstance(argument, Symbol) or argument.recorder is not self:
            raise TraceError(KEPT)
        return argument.number

    def _check_name(self, operation: str, name: str, gate: str | None) -> None:
        for text in (name,) if gate is None else (name, gate):
            if not isinstance(text, str) or not text.isidentifier() or len(text) > LONGEST_NAME:
                raise TraceError(
                    f"{operation} needs a name that could be a variable's, of at most {LONGEST_NAME} characters, "
                    f"not {_short(text)}"
                )
        if name in RESERVED:
            raise TraceError(f'{operation}: the name "{name}" belongs to the input or a bias; take another')
        if operation != "vector":
            if name in self.names:
                raise TraceError(f'the name "{name}" is used twice; every affine map and named value has its own')
            self.names.add(name)


def _constant(number: float) -> Constant:
    try:
        return Constant(number)
    except OverflowError:
        raise TraceError("a number of a step is too large for any type of computed numbers") from None


@lru_cache(maxsize=256)
def trace(cell: Cell) -> Program:
    """The program of a cell's step.

    Raises:
        TraceError: the step uses something outside the operators; the message names it and its line.
    """
    return _written_down(cell, Symbol)


@lru_cache(maxsize=256)
def outline(cell: Cell) -> Program:
    """The program of a cell's step, in which functions of torch and the like are opaque.

    Without any (`Program.opaque` is None) it is the very program that `trace` gives. With some it is good for the
    layout of the parameters and for names, and for nothing else.

    Raises:
        TraceError: the step does what no engine can run, a branch on a value for example; the message names its line.
    """
    return _written_down(cell, OpenSymbol)


def _written_down(cell: Cell, kind: type[Symbol]) -> Program:
    recorder = _Recorder(1 + len(cell.states), kind)
    x, *states = (kind(recorder, number) for number in range(recorder.first))
    try:
        with torch.enable_grad():
            results = cell.step(x, *states)
        outputs = _outputs(cell, results, x)
    except TypeError as error:
        raise refusal(cell, error) from error
    program = Program(cell.name, cell.states, tuple(recorder.instructions), outputs, cell.two_biases)
    _check_names(program)
    return program


def _outputs(cell: Cell, results: object, host: Value) -> tuple[int, ...]:
    values = results if isinstance(results, tuple) else (results,)
    if len(values) != len(cell.states):
        raise TraceError(
            f"the step has {len(cell.states)} state(s) ({', '.join(cell.states)}) but returns {len(values)} value(s); "
            "it returns every state's new value, in order"
        )
    resolved = [value.resolve(host) if isinstance(value, Deferred) else value for value in values]
    for name, value in zip(cell.states, resolved, strict=True):
        if not isinstance(value, Symbol):
            raise TraceError(f'the new value of state "{name}" is a {type(value).__name__}, not a value of the step')
    return tuple(value.number for value in resolved if isinstance(value, Symbol))


def refusal(cell: Cell, error: TypeError) -> TraceError:
    """The error that a step is refused with: what was wrong, in which cell and on which line."""
    frames = list(traceback.walk_tb(error.__traceback__))
    return TraceError(f'cell "{cell.name}": {error}{_line(reversed(frames))}')


def _line(frames: Iterable[tuple[FrameType, int]]) -> str:
    """Where the user's own code is: of frames, the innermost first, the first that a step does not merely call."""
    for frame, number in frames:
        if str(frame.f_globals.get("__name__")).partition(".")[0] not in ("unrolled", "torch", "numpy"):
            file = frame.f_code.co_filename
            return f" ({file}, line {number}: {linecache.getline(file, number).strip()})"
    return ""


def _check_names(program: Program) -> None:
    for text in (program.cell, *program.states):
        if not isinstance(text, str) or not text.isprintable() or len(text) > LONGEST_NAME:
            raise TraceError(f"cells and states need printable names of at most {LONGEST_NAME} characters")
    taken = [name for name in program.observed if name in program.states]
    if taken:
        raise TraceError(f'cell "{program.cell}": "{taken[0]}" is both a state and a gate; give the gate another name')
    for name in RESERVED.intersection(program.states):
        raise TraceError(f'cell "{program.cell}": a state may not be called "{name}", as the input or a bias is')
    for instruction in program.instructions:
        if instruction.operation == "vector":
            _check_vector(program, instruction.name, instruction.gate)
    vectors = {(made.gate, made.name) for made in program.instructions if made.operation == "vector"}
    for affine in program.affines:
        labels = Counter(program.label(argument) for argument in values_of(affine))
        for label in labels:
            if (affine.name, label) in vectors:
                raise TraceError(
                    f'cell "{program.cell}": vector("{label}", gate="{affine.name}") has the name of a vector in '
                    f'affine("{affine.name}"); take another'
                )
        for label, count in labels.items():
            if label is None or count > 1:
                raise TraceError(
                    f'cell "{program.cell}": two vectors in affine("{affine.name}") have the same name, or '
                    'one has none; name the value computed in this timestep with named(value, "name")'
                )


def _check_vector(program: Program, name: str, gate: str | None) -> None:
    """A vector's parameter must not take the name of another parameter, nor of another entry of its gate."""
    parameter_taken = name in ("ih", "hh") if gate else name.startswith(("weight_", "bias_", "initial_"))
    if parameter_taken or name in program.states:
        raise TraceError(f'cell "{program.cell}": vector("{name}") has the name of another parameter; take another')


def program_to_json(program: Program) -> dict[str, Any]:
    """A program as JSON: values are written "v3", constants as numbers.

    Raises:
        TraceError: an operation is opaque.
    """
    if program.opaque:
        raise TraceError(f'cell "{program.cell}" uses {program.opaque}, and so cannot be written down')

    def argument(value: Argument) -> str | float:
        return value.value if isinstance(value, Constant) else f"v{value}"

    return {
        "cell": program.cell,
        "states": list(program.states),
        "two_biases": program.two_biases,
        "instructions": [
            {
                "operation": instruction.operation,
                "arguments": [argument(value) for value in instruction.arguments],
                **({"name": instruction.name} if instruction.name else {}),
                **({"bias": instruction.bias} if instruction.operation == "affine" else {}),
                **({"gate": instruction.gate} if instruction.gate else {}),
            }
            for instruction in program.instructions
        ],
        "outputs": [f"v{number}" for number in program.outputs],
    }


def cell_from_json(content: Mapping[str, Any]) -> Cell:
    """The cell that a saved program is. Nothing of the file is executed but the operators that it names.

    Raises:
        UserError: the content is no program.
    """
    try:
        states = tuple(_names(content["states"]))
        entries = content["instructions"]
        if not isinstance(entries, list):
            raise ValueError("its instructions are not a list")
        if 1 + len(states) + len(entries) > MOST_VALUES:
            raise ValueError(f"it has more than {MOST_VALUES:,} values, which is the most that a cell may have")
        instructions = [_instruction(entry, number) for number, entry in enumerate(entries, 1 + len(states))]
        last = len(states) + len(instructions)
        outputs = [_number(entry, last + 1) for entry in content["outputs"]]
        if not states or len(outputs) != len(states):
            raise ValueError("as many outputs as states are needed, at least one")
        name = content["cell"]
        if not isinstance(name, str) or not name.isprintable() or len(name) > LONGEST_NAME:
            raise ValueError(f"its name must be a text of at most {LONGEST_NAME} characters")
        cell = Cell(name, _replay(instructions, outputs), states, bool(content.get("two_biases", False)))
        trace(cell)
    except KeyError as error:
        raise UserError(f"this is no saved cell: it has no {error}") from error
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UserError(f"this is no saved cell: {error}") from error
    return cell


def _names(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(name, str) and name.isidentifier() for name in value):
        raise ValueError(f"{_short(value)} is no list of names")
    if len(value) > MOST_VALUES or any(len(name) > LONGEST_NAME for name in value) or len({*value}) < len(value):
        raise ValueError(f"its states need names of their own, of at most {LONGEST_NAME} characters")
    return value


def _short(value: object) -> str:
    """A value of a file as messages quote it."""
    return reprlib.repr(value)


def _number(text: object, limit: int) -> int:
    if not isinstance(text, str) or not re.fullmatch(r"v[0-9]{1,9}", text) or int(text[1:]) >= limit:
        raise ValueError(f"{_short(text)} is no value computed before")
    return int(text[1:])


def _instruction(entry: Mapping[str, Any], number: int) -> Instruction:
    operation, arguments = entry["operation"], entry["arguments"]
    if not isinstance(operation, str) or not isinstance(arguments, list):
        raise ValueError(f"instruction {_short(operation)} needs a name and a list of arguments")
    if operation != "affine" and ARITY.get(operation) != len(arguments):
        raise ValueError(f"{_short(operation)} on {len(arguments)} arguments is no operator")
    parsed = tuple(Constant(one) if isinstance(one, int | float) else _number(one, number) for one in arguments)
    if operation != "vector" and all(isinstance(one, Constant) for one in parsed):
        raise ValueError(f'"{operation}" needs a value, not numbers alone')
    name, gate = entry.get("name", ""), entry.get("gate")
    for text in (name, gate or ""):
        if not isinstance(text, str) or len(text) > LONGEST_NAME or (text and not text.isidentifier()):
            raise ValueError(f'"{operation}" has no proper name')
    return Instruction(operation, parsed, name, bool(entry.get("bias", False)), gate)


def _replay(instructions: Sequence[Instruction], outputs: Sequence[int]) -> Any:
    """A step that carries the instructions out again, on whatever values it is given."""

    def step(*inputs: Value) -> tuple[Value, ...]:
        values: list[Value] = list(inputs)
        for instruction in instructions:
            arguments = tuple(a.value if isinstance(a, Constant) else values[a] for a in instruction.arguments)
            host = next((a for a in arguments if isinstance(a, Value)), inputs[0])
            values.append(host.carry_out(instruction.operation, arguments, **attributes_of(instruction)))
        return tuple(values[number] for number in outputs)

    return step


def attributes_of(instruction: Instruction) -> dict[str, Any]:
    """The keyword arguments that an operator of this kind is recorded with."""
    if instruction.operation == "affine":
        return {"name": instruction.name, "bias": instruction.bias}
    if instruction.operation == "vector":
        return {"name": instruction.name, "gate": instruction.gate}
    return {"name": instruction.name} if instruction.operation == "named" else {}
