"""What a step may use: affine maps, diagonal vectors, pointwise functions, comparisons and arithmetic.

Each operator asks the values that it is given to carry it out, so the same step runs on tensors (the eager engine)
and on symbols (the trace that everything else is derived from). Nothing here computes.
"""

from __future__ import annotations

from typing import Any

Operand = Any  # a Value or a number: spelling the union out would make every arithmetic operator below noise


class Value:
    """One vector of `hidden_size` numbers for every sequence of the batch, inside one timestep.

    Subclasses say what carrying out an operator means: computing it, or writing it down.
    """

    __slots__ = ()
    __array_ufunc__ = None  # a NumPy number to the left of an operator leaves it to the value

    def carry_out(self, operation: str, arguments: tuple[Operand, ...], **attributes: object) -> Value:
        """The result of `operation` on `arguments` (values of this class, or numbers)."""
        raise NotImplementedError(f"{type(self).__name__} carries out no operators")

    def __add__(self, other: Operand) -> Value:
        return _ask("add", self, other)

    def __radd__(self, other: Operand) -> Value:
        return _ask("add", other, self)

    def __sub__(self, other: Operand) -> Value:
        return _ask("subtract", self, other)

    def __rsub__(self, other: Operand) -> Value:
        return _ask("subtract", other, self)

    def __mul__(self, other: Operand) -> Value:
        return _ask("multiply", self, other)

    def __rmul__(self, other: Operand) -> Value:
        return _ask("multiply", other, self)

    def __truediv__(self, other: Operand) -> Value:
        return _ask("divide", self, other)

    def __rtruediv__(self, other: Operand) -> Value:
        return _ask("divide", other, self)

    def __neg__(self) -> Value:
        return _ask("negate", self)

    def __pow__(self, exponent: Operand) -> Value:
        if isinstance(exponent, Value) or exponent != 2:
            raise TypeError(
                f"a step may square a value (** 2), not raise it to {exponent!r}; write it with exp and log"
            )
        return _ask("square", self)

    def __lt__(self, other: Operand) -> Value:
        return _ask("less", self, other)

    def __le__(self, other: Operand) -> Value:
        return _ask("less_equal", self, other)

    def __gt__(self, other: Operand) -> Value:
        return _ask("less", other, self)

    def __ge__(self, other: Operand) -> Value:
        return _ask("less_equal", other, self)

    # Python's own == would answer False, and the step would quietly take that for a condition.
    def __eq__(self, other: object) -> bool:
        raise TypeError("a step compares with <, <=, > and >=: == of computed numbers is hardly ever true")

    def __ne__(self, other: object) -> bool:
        raise TypeError("a step compares with <, <=, > and >=: != of computed numbers is nearly always true")

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        raise TypeError(
            "a step has no branches: its values differ from unit to unit; choose with where(condition, a, b)"
        )


class Deferred(Value):
    """An expression of parameters alone: which layer's parameters, is known once it meets a value of the timestep."""

    __slots__ = ("arguments", "attributes", "operation")

    def __init__(self, operation: str, arguments: tuple[Operand, ...], attributes: dict[str, object]) -> None:
        self.operation, self.arguments, self.attributes = operation, arguments, attributes

    def resolve(self, host: Value) -> Value:
        """The same expression over the parameters that `host` belongs to; what is shared in it, carried out once."""
        found: dict[int, Value] = {}
        waiting = [self]
        while waiting:  # not by recursion: an expression may be thousands of operations deep
            one = waiting[-1]
            inner = [part for part in one.arguments if isinstance(part, Deferred) and id(part) not in found]
            if inner:
                waiting += reversed(inner)
                continue
            waiting.pop()
            if id(one) not in found:
                arguments = tuple(found.get(id(part), part) for part in one.arguments)
                found[id(one)] = host.carry_out(one.operation, arguments, **one.attributes)
        return found[id(self)]


def _resolved(argument: Operand, host: Value) -> Operand:
    return argument.resolve(host) if isinstance(argument, Deferred) else argument


def _ask(operation: str, *arguments: Operand, **attributes: object) -> Value:
    """Let the first value of the timestep among `arguments` carry the operation out."""
    for argument in arguments:
        if not isinstance(argument, Value | int | float):
            raise TypeError(f"{operation} takes values of the step and numbers, not a {type(argument).__name__}")
    hosts = [argument for argument in arguments if isinstance(argument, Value)]
    if not hosts:
        raise TypeError(f"{operation} needs a value of the step, and was given numbers alone: use the math module")
    host = next((value for value in hosts if not isinstance(value, Deferred)), None)
    if host is None:
        return Deferred(operation, arguments, attributes)
    return host.carry_out(operation, tuple(_resolved(argument, host) for argument in arguments), **attributes)


def affine(name: str, *vectors: Value, bias: bool = True) -> Value:
    """W_name[v₁, v₂, ...] + b_name: one weight matrix a vector, summed, and one bias.

    Args:
        name: the gate whose pre-activation this is; each name may be used once in a step.
        vectors: x, previous states, or values computed in this same timestep (Γ_r * c).
        bias: whether b_name is there.

    `affine("update", c, x)` is the W_u[c, x] + b_u of the course notes.
    """
    if not vectors:
        raise TypeError(f'affine("{name}") needs at least one vector; a bias alone is vector("{name}")')
    return _ask("affine", *vectors, name=name, bias=bias)


def vector(name: str, *, gate: str | None = None) -> Value:
    """A learned vector of `hidden_size` numbers, used element by element: a diagonal weight matrix, a leak, a scale.

    Args:
        name: the parameter's name. Using it twice means the same numbers.
        gate: the gate that this diagonal belongs to. Diagonals of one name and several gates are kept as one
            parameter, stacked in gate order: `vector("peephole", gate="forget") * c`.
    """
    return Deferred("vector", (), {"name": name, "gate": gate})


def named(value: Value, name: str) -> Value:
    """`value`, under a name: `observe=True` then returns it, and an affine map's weights on it are found by it."""
    return _ask("named", value, name=name)


def sigmoid(value: Value) -> Value:
    """σ(v) = 1 / (1 + exp(-v)): between 0 and 1, a gate."""
    return _ask("sigmoid", value)


def tanh(value: Value) -> Value:
    """tanh(v): between -1 and 1, a candidate."""
    return _ask("tanh", value)


def relu(value: Value) -> Value:
    """max(v, 0), its derivative at 0 being 0."""
    return _ask("relu", value)


def exp(value: Value) -> Value:
    """exp(v)."""
    return _ask("exp", value)


def log(value: Value) -> Value:
    """The natural logarithm of v."""
    return _ask("log", value)


def sqrt(value: Value) -> Value:
    """The square root of v."""
    return _ask("sqrt", value)


def softplus(value: Value) -> Value:
    """log(1 + exp(v)): a smooth max(v, 0)."""
    return _ask("softplus", value)


def maximum(left: Operand, right: Operand) -> Value:
    """The larger of two values, unit by unit; where they are equal, each gets half of the gradient."""
    return _ask("maximum", left, right)


def minimum(left: Operand, right: Operand) -> Value:
    """The smaller of two values, unit by unit; where they are equal, each gets half of the gradient."""
    return _ask("minimum", left, right)


def where(condition: Value, then: Operand, otherwise: Operand) -> Value:
    """`then` where the condition is not zero, `otherwise` elsewhere, unit by unit; a comparison is 1 or 0.

    No gradient flows to the condition.
    """
    return _ask("where", condition, then, otherwise)
