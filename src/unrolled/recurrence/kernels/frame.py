"""What the forward and the backward kernel share: buffers, rows, panels, the unit-by-unit part of a level, barriers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

from unrolled.recurrence.kernels.builder import IR, Builder, i64, pointer, void
from unrolled.recurrence.kernels.functions import FUNCTIONS
from unrolled.recurrence.kernels.tiles import Unit
from unrolled.recurrence.plan import Form
from unrolled.recurrence.program import Argument, Constant, Instruction, values_of

SPINS = 2_000
"""How often a waiting thread looks before it sleeps: some 100 µs, more than threads are apart that each have a core of
their own, and not much more than it costs to sleep and to be woken."""

APART = 16
"""int64 from one shared number to the next: what one thread writes shall not take the cache line of another's."""

FUTEX = {"x86_64": 202, "aarch64": 98}
"""The number of Linux's system call by which a thread sleeps until a number changes."""

WAIT, WAKE = 128, 129
"""What that call is to do, among the threads of one process."""


def barrier(b: Builder) -> IR:
    """The function that waits until every thread of the team is there; one team at a time runs a module's kernel.

    The runtime's own barrier wakes sleepers by a call into the system, every time: with a level's work of a few
    microseconds that is a good part. Here the last to arrive turns a number that the others look at. Whoever looks in
    vain sleeps, since the one that is missing does not run: another process has its core, or it is to have this one.
    Offering the core (sched_yield) would not do: a stranger could take it for milliseconds, while a sleeper that is
    woken runs at once.
    """
    if "barrier" in b.module.globals:
        return b.module.globals["barrier"]
    kind = ir.ArrayType(i64, 3 * APART)
    shared = ir.GlobalVariable(b.module, kind, "barrier_numbers")
    shared.linkage, shared.initializer, shared.align = "internal", ir.Constant(kind, None), 8 * APART
    with b.inner("barrier", ir.FunctionType(void, [i64])) as function:
        numbers = b.ir.inttoptr(b.ir.ptrtoint(shared, i64), pointer)
        arrived, turn, sleepers = (b.ir.gep(numbers, [i64(n * APART)], source_etype=i64) for n in range(3))
        before = b.ir.load_atomic(turn, "acquire", 8, typ=i64)
        number = b.ir.atomic_rmw("add", arrived, i64(1), "acq_rel")
        with b.ir.if_else(b.equal(b.add(number, 1), function.args[0])) as (last, others):
            with last:
                b.ir.atomic_rmw("xchg", arrived, i64(0), "monotonic")
                # A thread that goes to sleep says so before it looks at the turn for the last time, and here the turn
                # changes before the sleepers are counted: one of the two sees the other.
                b.ir.atomic_rmw("xchg", turn, b.add(before, 1), "seq_cst")
                sleeping = b.ir.load_atomic(sleepers, "seq_cst", 8, typ=i64)
                with b.when(b.less(0, sleeping)):
                    _futex(b, turn, WAKE, i64(2**31 - 1))
            with others:
                _wait(b, turn, before, sleepers)
    return b.module.globals["barrier"]


def _wait(b: Builder, turn: IR, before: IR, sleepers: IR) -> None:
    """Until a number is no longer what it was."""
    start = b.ir.block
    look, again, sleep, done = (b.ir.append_basic_block(name) for name in ("look", "again", "sleep", "turned"))
    b.ir.branch(look)
    b.ir.position_at_end(look)
    spins = b.ir.phi(i64)
    spins.add_incoming(i64(0), start)
    b.ir.cbranch(b.equal(b.ir.load_atomic(turn, "acquire", 8, typ=i64), before), again, done)
    b.ir.position_at_end(again)
    b.pause()
    more = b.add(spins, 1)
    spins.add_incoming(more, again)
    b.ir.cbranch(b.less(more, SPINS), look, sleep)
    b.ir.position_at_end(sleep)
    b.ir.atomic_rmw("add", sleepers, i64(1), "seq_cst")
    _futex(b, turn, WAIT, before)  # returns at once where the number is another by now
    b.ir.atomic_rmw("sub", sleepers, i64(1), "seq_cst")
    spins.add_incoming(spins, sleep)
    b.ir.branch(look)
    b.ir.position_at_end(done)


def _futex(b: Builder, number: IR, what: int, value: IR) -> None:
    """Call the system about the lower half of an int64: sleep while it is `value`, or wake as many sleepers."""
    kind = ir.FunctionType(i64, [i64], var_arg=True)
    known = b.module.globals.get("syscall")
    call = ir.Function(b.module, kind, "syscall") if known is None else known
    architecture = b.target.triple.partition("-")[0].replace("arm64", "aarch64")
    arguments = [b.ir.ptrtoint(number, i64), i64(what), b.ir.and_(value, i64(0xFFFFFFFF)), i64(0), i64(0), i64(0)]
    b.ir.call(call, [i64(FUTEX[architecture]), *arguments])


class Frame:
    """A kernel being written: its builder, and what every part of it needs to know."""

    def __init__(self, b: Builder, form: Form) -> None:
        self.b, self.form = b, form
        self.steps, self.batch = b.argument("steps"), b.argument("batch")
        self.hidden, self.inputs = b.argument("hidden"), b.argument("inputs")
        self.panels = b.div(b.add(self.hidden, b.lanes - 1), b.lanes)
        self.padded = b.mul(self.panels, b.lanes)
        self.first_panel, self.last_panel = self.share(self.panels)

    def share(self, count: IR) -> tuple[IR, IR]:
        """This thread's part of some panels or tiles."""
        b = self.b
        first = b.div(b.mul(count, b.thread), b.threads)
        return first, b.div(b.mul(count, b.add(b.thread, 1)), b.threads)

    def barrier(self) -> None:
        """Wait until every thread is here."""
        b = self.b
        with b.when(b.less(1, b.threads)):
            b.ir.call(barrier(b), [b.threads])

    def table(self, name: str, index: int | IR) -> IR:
        """A number from a table of integers."""
        return self.b.integer_at(self.b.address(name), index)

    def slot(self, step: IR, history: bool) -> IR:
        """Where a buffer keeps a step: every step for itself, or two by turns."""
        return step if history else self.b.ir.and_(step, i64(1))

    def plane(self, name: str, slot: int | IR, row: IR, planes: int = 1, plane: int | IR = 0) -> IR:
        """The address of one row of a padded buffer [slot][row][plane][unit]."""
        b = self.b
        line = b.add(b.mul(b.add(b.mul(slot, self.batch), row), planes), plane)
        return b.at(b.address(name), b.mul(line, self.padded))

    def unit(self, row: IR, panel: IR) -> IR:
        """The place of a panel in a row."""
        return self.b.at(row, self.b.mul(panel, self.b.lanes))

    def load(self, row: IR, panel: IR) -> IR:
        """A panel of a padded row."""
        return self.b.load(self.unit(row, panel), self.b.target.vector_bytes)

    def store(self, value: IR, row: IR, panel: IR) -> None:
        self.b.store(value, self.unit(row, panel), self.b.target.vector_bytes)

    def is_whole(self, panel: IR, units: IR | None = None) -> IR:
        """Whether all lanes of a panel are units."""
        b = self.b
        return b.ir.icmp_signed("<=", b.mul(b.add(panel, 1), b.lanes), self.hidden if units is None else units)

    def mask(self, panel: IR, units: IR | None = None) -> IR:
        b = self.b
        return b.lanes_below(b.sub(self.hidden if units is None else units, b.mul(panel, b.lanes)))

    def load_outside(self, row: IR, panel: IR, units: IR | None = None) -> IR:
        """A panel of a row of the user's, which ends with its last unit."""
        b, place = self.b, self.unit(row, panel)
        with b.ir.if_else(self.is_whole(panel, units)) as (then, otherwise):
            with then:
                whole = b.load(place)
                from_whole = b.ir.block
            with otherwise:
                part = b.load_some(place, self.mask(panel, units))
                from_part = b.ir.block
        value = b.ir.phi(b.vector)
        value.add_incoming(whole, from_whole)
        value.add_incoming(part, from_part)
        return value

    def store_outside(self, value: IR, row: IR, panel: IR, units: IR | None = None) -> None:
        b, place = self.b, self.unit(row, panel)
        with b.ir.if_else(self.is_whole(panel, units)) as (then, otherwise):
            with then:
                b.store(value, place)
            with otherwise:
                b.store_some(value, place, self.mask(panel, units))

    def vector_parameter(self, gate: str, name: str, panel: IR) -> IR:
        """A panel of a parameter that is a vector."""
        block = self.form.layout.find(gate, name)
        if block is None:
            raise AssertionError(f"no parameter {name}")
        start = self.b.at(self.b.address(f"parameter_{block.parameter}"), self.b.mul(self.hidden, block.position))
        return self.load_outside(start, panel)


class Values:
    """The values of a level for some rows and panels side by side: fetched or computed when first asked for."""

    def __init__(
        self,
        b: Builder,
        units: Sequence[Unit],
        fetch: Callable[[int, Unit], IR | None],
        instruction: Callable[[int], Instruction | None],
    ) -> None:
        self.b, self.units, self.fetch, self.instruction = b, units, fetch, instruction
        self.known: dict[int, Any] = {}
        self.asked: set[int] = set()

    def each(self, argument: Argument | None) -> list[tuple[Unit, IR]]:
        """Every unit, and a value there, by the value's number; a constant; or None for 0."""
        with self.b.of_width(len(self.units)):
            value = self._of(Constant(0.0) if argument is None else argument)
        return list(zip(self.units, self.b.parts(value), strict=True))

    def _of(self, argument: Argument) -> IR:
        if isinstance(argument, Constant):
            return self.b.splat(argument.value)
        waiting = [argument]  # not by recursion: values may depend on each other in long chains
        while waiting:
            number = waiting.pop()
            if number in self.known:
                continue
            missing = self._missing(number)
            if missing:
                waiting += [number, *reversed(missing)]
            elif number not in self.known:
                self.known[number] = self._computed(self._made(number))
        return self.known[argument]

    def _missing(self, number: int) -> list[int]:
        """What must be known before a value can be computed: nothing, where it is fetched."""
        if number not in self.asked:
            self.asked.add(number)
            with self.b.of_width(1):
                fetched = [self.fetch(number, unit) for unit in self.units]
            if fetched[0] is not None:
                self.known[number] = self.b.joined(fetched)
                return []
        return [value for value in values_of(self._made(number)) if value not in self.known]

    def _made(self, number: int) -> Instruction:
        instruction = self.instruction(number)
        if instruction is None:
            raise AssertionError(f"value {number} is not at hand")
        return instruction

    def _computed(self, made: Instruction) -> IR:
        arguments = [self.b.splat(a.value) if isinstance(a, Constant) else self.known[a] for a in made.arguments]
        return arguments[0] if made.operation == "named" else FUNCTIONS[made.operation](self.b, *arguments)


def parameter_names(form: Form) -> list[str]:
    """The arguments that are addresses of parameters."""
    return [f"parameter_{name}" for name in form.layout.parameters]


def masked_names(form: Form) -> list[str]:
    """The arguments that are addresses of masked states, as they enter affine maps."""
    states = range(len(form.program.states)) if form.masked else ()
    return [f"operand_{state}" for state in states if state + 1 in form.operands]
