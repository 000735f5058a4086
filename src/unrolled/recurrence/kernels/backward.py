"""The kernel that runs the adjoint recurrence, from the last timestep to the first, then sums the weights' gradients.

As forwards, every thread owns some panels of hidden units, and a barrier follows each level. δ of every affine map is
kept for all timesteps, [step][row][affine map][unit]; after the loop it is multiplied by the weights (the gradient of
x) and by the vectors that the affine maps took (the gradient of the weights), in products without barriers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from unrolled.recurrence.kernels import machine, store
from unrolled.recurrence.kernels.builder import IR, Builder, i64
from unrolled.recurrence.kernels.frame import Frame, Values, masked_names, parameter_names
from unrolled.recurrence.kernels.outer import add_outer
from unrolled.recurrence.kernels.packing import pack_columns
from unrolled.recurrence.kernels.target import Target, host
from unrolled.recurrence.kernels.tiles import (
    Group,
    Shape,
    Tile,
    Unit,
    classes,
    for_tiles,
    for_units,
    most_sums,
    multiply,
    start,
)
from unrolled.recurrence.plan import Form
from unrolled.recurrence.program import Argument, Instruction


@dataclass(frozen=True)
class Packed:
    """Packed weights of one vector's gradient: Wᵀ of all affine maps that take it.

    Attributes:
        name: the kernel's argument.
        operand: the number of the vector's value, 0 for x.
        affines: the affine maps whose δ are multiplied, one segment each.
    """

    name: str
    operand: int
    affines: tuple[int, ...]

    def size(self, units: int, depth: int, lanes: int) -> int:
        """How many numbers it has; `units` is the vector's width, `depth` the hidden size."""
        return -(-units // lanes) * depth * len(self.affines) * lanes


def packs(form: Form) -> list[Packed]:
    """All packed weights of the backward pass."""
    found: list[Packed] = []
    operands = {**({} if form.projected else {0: form.on_input}), **form.operands}
    for operand, takers in operands.items():
        affines = tuple(number for number in takers if number in form.delta_of())
        if affines:
            found.append(Packed(f"packed_{len(found)}", operand, affines))
    return found


def argument_names(form: Form) -> list[str]:
    """The kernel's arguments, in order."""
    states = range(len(form.program.states))
    own = [value for value in form.operands if value >= form.program.first]
    return [
        "steps", "batch", "hidden", "inputs", "nonempty", "pack", "counts", "first", "entry", "exit", "rows", "inner",
        "x", "xrows", "dy", "dyrows", "between", "saved", "mask", "keep", "delta", "sums", "dx", "scratch",
        "scratch_stride", "want_dx", "want_weights", "active",
        *parameter_names(form), "gradient_weight_ih", "gradient_weight_hh",
        *(packed.name for packed in packs(form)),
        *(f"{kind}_{state}" for kind in ("dinit", "dfinal", "state", "carry") for state in states),
        *masked_names(form),
        *(f"inner_{value}" for value in own), *(f"dseen_{number}" for number in range(len(form.seen))),
    ]  # fmt: skip


def sums_of(form: Form) -> list[Argument]:
    """The adjoint's values that are summed over time and batch: δ of biased affine maps, then the vectors'."""
    deltas = [form.adjoint.deltas[number] for number in form.biased if number in form.delta_of()]
    vectors = [form.adjoint.vectors[key] for key in form.vectors if key in form.adjoint.vectors]
    return [value for value in [*deltas, *vectors] if value is not None]


def build(form: Form, target: Target) -> IR:
    """The kernel's module; its arguments are `argument_names`."""
    module = machine.new_module("backward", target)
    names = argument_names(form)
    b = Builder(module, "backward", target, form.dtype, names)
    b.of_gradients = True
    _Backward(Frame(b, form)).write()
    machine.add_entries(module, b.function)
    return module


def compiled(form: Form) -> machine.Kernel:
    """The kernel for this machine."""
    target = host()
    key = store.key_of("backward", form, target)
    return machine.Kernel(lambda: build(form, target), argument_names(form), key)


class _Backward:
    def __init__(self, frame: Frame) -> None:
        self.frame, self.b, self.form = frame, frame.b, frame.form
        self.adjoint, self.levels = self.form.adjoint, self.form.backward
        self.packs = {packed.operand: packed for packed in packs(self.form)}
        self.planes = self.form.delta_of()
        self.sums = sums_of(self.form)

    def write(self) -> None:
        frame, b = self.frame, self.b
        self._pack()
        self._enter()
        frame.barrier()
        with b.loop(0, frame.steps) as backwards:
            step = b.sub(b.sub(frame.steps, 1), backwards.index)
            for level in range(len(self.levels.values)):
                self._level(level, step)
                frame.barrier()
        self._leave()
        if 0 in self.packs:
            with b.when(b.flag("want_dx")):
                self._input_gradient()
        with b.when(b.flag("want_weights")):
            self._weight_gradients()
        b.finish()

    def _pack(self) -> None:
        b, frame = self.b, self.frame
        with b.when(b.flag("pack")):
            for packed in self.packs.values():
                units = frame.inputs if packed.operand == 0 else frame.hidden
                first, last = frame.share(b.div(b.add(units, b.lanes - 1), b.lanes))
                with b.loop(first, last) as panel:
                    self._pack_panel(packed, units, panel.index)

    def _pack_panel(self, packed: Packed, units: IR, panel: IR) -> None:
        b, frame, form = self.b, self.frame, self.form
        blocks = []
        for number in packed.affines:
            parameter, position = form.row(number, form.program.label(packed.operand) or "")
            blocks.append(b.at(b.address(f"parameter_{parameter}"), b.mul(frame.hidden, units, position)))
        place = b.at(b.address(packed.name), b.mul(panel, self._stride(packed)))
        pack_columns(b, panel, blocks, units, frame.hidden, units, place)

    def _stride(self, packed: Packed) -> IR:
        return self.b.mul(self.frame.hidden, len(packed.affines) * self.b.lanes)

    # -- the gradients of the states at both ends

    def _enter(self) -> None:
        """The gradient of every row's final states, where its last step looks for it; sums begin at zero."""
        b, frame = self.b, self.frame
        with b.loop(0, frame.batch) as row, b.loop(frame.first_panel, frame.last_panel) as panel:
            slot = frame.slot(frame.table("exit", row.index), history=False)
            for state in range(len(self.form.program.states)):
                outside = b.at(b.address(f"dfinal_{state}"), b.mul(row.index, frame.hidden))
                value = frame.load_outside(outside, panel.index)
                frame.store(value, frame.plane(f"carry_{state}", slot, row.index), panel.index)
        with b.loop(frame.first_panel, frame.last_panel) as panel:
            for number in range(len(self.sums)):
                frame.store(b.splat(0.0), b.at(b.address("sums"), b.mul(frame.padded, number)), panel.index)

    def _leave(self) -> None:
        """The gradient of every row's initial states: what the first step left, and Wᵀδ of it."""
        b, frame = self.b, self.frame
        choices = classes(b.target.registers, 1)
        sums = b.scratch(most_sums(choices, 1))
        with b.loop(0, 2) as part:  # the rows that have a timestep, then those that have none
            empty = b.equal(part.index, 1)
            first = b.ir.select(empty, b.argument("nonempty"), i64(0))
            count = b.sub(b.ir.select(empty, frame.batch, b.argument("nonempty")), first)
            depth = b.ir.select(empty, i64(0), frame.hidden)
            for state in range(len(self.form.program.states)):
                body = partial(self._leave_tile, state, choices, sums, depth)
                for_tiles(b, frame.first_panel, frame.last_panel, first, count, choices, body)

    def _leave_tile(self, state: int, choices: Sequence[Shape], sums: IR, depth: IR, tile: Tile) -> None:
        b, frame = self.b, self.frame
        start(b, tile, 1, sums, lambda row, panel: [b.splat(0.0)])
        if state + 1 in self.packs:
            multiply(b, [self._group(state + 1, None, depth)], 1, tile, choices, sums)
        with b.loop(0, tile.rows) as here, b.loop(0, tile.panels) as side:
            row, panel = b.add(tile.row, here.index), b.add(tile.panel, side.index)
            slot = frame.slot(frame.table("entry", row), history=False)
            value = frame.load(frame.plane(f"carry_{state}", slot, row), panel)
            place = b.mul(b.add(b.mul(here.index, tile.panels), side.index), b.lanes)
            product = self._masked(b.load(b.at(sums, place), b.target.vector_bytes), row, panel)
            outside = b.at(b.address(f"dinit_{state}"), b.mul(row, frame.hidden))
            frame.store_outside(b.fadd(value, product), outside, panel)

    def _masked(self, value: IR, row: IR, panel: IR) -> IR:
        b, frame = self.b, self.frame
        if not self.form.masked:
            return value
        mask = frame.load_outside(b.at(b.address("mask"), b.mul(row, frame.hidden)), panel)
        return b.fmul(value, mask)

    # -- products with the weights

    def _group(self, operand: int, step: IR | None, depth: IR) -> Group:
        """Wᵀδ for one vector; `step` None: δ of every row's own first step."""
        b, frame = self.b, self.frame
        packed = self.packs[operand]

        def row(segment: int, number: IR) -> IR:
            slot = frame.table("entry", number) if step is None else step
            return frame.plane("delta", slot, number, len(self.planes), self.planes[packed.affines[segment]])

        return Group(b.address(packed.name), (0,), (depth,) * len(packed.affines), self._stride(packed), row)

    def _products(self, level: int) -> list[int]:
        return [number for number in self.levels.values[level] if self._is_product(number)]

    def _is_product(self, number: int) -> bool:
        return number in self.form.carried or self._made(number).operation == "transposed"

    def _made(self, number: int) -> Instruction:
        made = self.adjoint.instruction(number)
        if made is None:
            raise AssertionError(f"value {number} is not computed")
        return made

    def _operand(self, number: int) -> int:
        """The vector whose gradient a product is part of."""
        if number in self.form.carried:
            return self.form.carried[number]
        deltas = self._made(number).arguments
        return next(
            operand
            for operand, packed in self.packs.items()
            if operand >= self.form.program.first
            and tuple(self.adjoint.deltas[affine] for affine in packed.affines) == deltas
            and self._made(number).name == self.form.program.label(operand)
        )

    # -- one level of one timestep

    def _level(self, level: int, step: IR) -> None:
        """Rows that were active in the step after this one have Wᵀδ; the others enter here, and have none."""
        b, frame = self.b, self.frame
        count = frame.table("counts", step)
        after = b.add(step, 1)
        following = frame.table("counts", b.minimum(after, b.sub(frame.steps, 1)))
        old = b.minimum(count, b.ir.select(b.less(after, frame.steps), following, i64(0)))
        products = self._products(level)
        if not any(number in self.form.carried for number in products):
            self._rows(level, step, products, b.number(0), count, frame.hidden)
            return
        with b.loop(0, 2) as part:
            entering = b.equal(part.index, 1)
            first = b.ir.select(entering, old, i64(0))
            last = b.ir.select(entering, count, old)
            self._rows(level, step, products, first, b.sub(last, first), b.ir.select(entering, i64(0), frame.hidden))

    def _rows(self, level: int, step: IR, products: list[int], first_row: IR, count: IR, depth: IR) -> None:
        b, frame = self.b, self.frame
        choices = classes(b.target.registers, 1)
        scratch = b.scratch(max(1, most_sums(choices, len(products))))
        partials = b.scratch(max(1, choices[0].panels * len(self.sums)))
        first = frame.table("first", step)
        summed = [number for number, value in enumerate(self.sums) if self._is_stored_in(level, value)]

        def body(tile: Tile) -> None:
            if products:
                start(b, tile, len(products), scratch, lambda row, panel: [b.splat(0.0)] * len(products))
                groups = self._groups(products, step, depth)
                multiply(b, groups, len(products), tile, choices, scratch)
            for_units(b, tile, partial(self._units, level, products, scratch, partials, step, first))

        around = (partial(self._begin_sums, partials, summed), partial(self._add_sums, partials, summed))
        for_tiles(b, frame.first_panel, frame.last_panel, first_row, count, choices, body, around)

    def _groups(self, products: list[int], step: IR, depth: IR) -> list[Group]:
        """The products of a level: with δ of the timestep after for a state, of this one for a value inside it."""
        groups = []
        for place, number in enumerate(products):
            carried = number in self.form.carried
            slot, deep = (self.b.add(step, 1), depth) if carried else (step, self.frame.hidden)
            groups.append(replace(self._group(self._operand(number), slot, deep), accumulators=(place,)))
        return groups

    def _begin_sums(self, partials: IR, summed: list[int], panel: IR, panels: IR) -> None:
        b = self.b
        if summed:
            with b.loop(0, panels) as side:
                for number in summed:
                    b.store(b.splat(0.0), self._partial(partials, side.index, number), b.target.vector_bytes)

    def _partial(self, partials: IR, side: IR, number: int) -> IR:
        return self.b.at(partials, self.b.mul(self.b.add(self.b.mul(side, len(self.sums)), number), self.b.lanes))

    def _add_sums(self, partials: IR, summed: list[int], panel: IR, panels: IR) -> None:
        """Sums of one timestep are added to the whole, so that the rounding of long sums stays small."""
        b, frame = self.b, self.frame
        if summed:
            with b.loop(0, panels) as side:
                for number in summed:
                    line = b.at(b.address("sums"), b.mul(frame.padded, number))
                    here = b.add(panel, side.index)
                    part = b.load(self._partial(partials, side.index, number), b.target.vector_bytes)
                    frame.store(b.fadd(frame.load(line, here), part), line, here)

    # -- unit by unit

    def _units(
        self, level: int, products: list[int], sums: IR, partials: IR, step: IR, first: IR, units: list[Unit]
    ) -> None:
        b, frame, form = self.b, self.frame, self.form
        crossing, here = self.levels.crossing, self.levels.values[level]

        def fetch(number: int, unit: Unit) -> IR | None:
            row, panel, index = unit.row, unit.panel, b.add(first, unit.row)
            if number < self.adjoint.first:
                return self._forward_value(number, step, row, index, panel)
            if number in here and self._is_product(number):
                place = b.add(b.mul(unit.number, len(products)), products.index(number))
                value = b.load(b.at(sums, b.mul(place, b.lanes)), b.target.vector_bytes)
                value = self._masked(value, row, panel)
                return (
                    b.fadd(value, self._gradient(number, step, row, index, panel)) if number in form.carried else value
                )
            if number in crossing and number not in here:
                return frame.load(frame.plane("between", 0, row, len(crossing), crossing.index(number)), panel)
            operation = self._made(number).operation
            if operation == "gradient":
                return self._gradient(number, step, row, index, panel)
            if operation == "gradient_seen":
                place = form.seen.index(self._made(number).name)
                line = b.mul(frame.table("rows", index), frame.hidden)
                return frame.load_outside(b.at(b.address(f"dseen_{place}"), line), panel)
            return None

        self._keep(level, Values(b, units, fetch, self.adjoint.instruction), partials, step, first)

    def _forward_value(self, number: int, step: IR, row: IR, index: IR, panel: IR) -> IR | None:
        """x, a state before or after this timestep, or what was saved; None if it has to be computed again."""
        b, frame, form = self.b, self.frame, self.form
        if number == 0:
            return frame.load_outside(b.at(b.address("x"), frame.table("xrows", index)), panel)
        if number < form.program.first:
            return frame.load(frame.plane(f"state_{number - 1}", step, row), panel)
        if number in form.saved:
            return frame.load(frame.plane("saved", step, row, len(form.saved), form.saved.index(number)), panel)
        if number in form.program.outputs:
            state = form.program.outputs.index(number)
            return frame.load(frame.plane(f"state_{state}", b.add(step, 1), row), panel)
        made = self._made(number)
        if made.operation == "vector":
            return frame.vector_parameter(made.gate or "", made.name, panel)
        if made.operation == "keep":
            line = b.mul(frame.table("rows", index), frame.hidden)
            return frame.load_outside(b.at(b.address("keep"), line), panel)
        return None

    def _gradient(self, number: int, step: IR, row: IR, index: IR, panel: IR) -> IR:
        """The gradient of a new state, apart from Wᵀδ: what the step after left, and that of the output."""
        b, frame = self.b, self.frame
        state = self.form.program.states.index(self._made(number).name)
        slot = frame.slot(b.add(step, 1), history=False)
        value = frame.load(frame.plane(f"carry_{state}", slot, row), panel)
        if state == 0:
            outside = b.at(b.address("dy"), frame.table("dyrows", index))
            value = b.fadd(value, frame.load_outside(outside, panel))
        return value

    def _is_stored_in(self, level: int, value: Argument | None) -> bool:
        found = self.levels.of(value) if type(value) is int else None
        return level == (len(self.levels.values) - 1 if found is None else found)

    def _keep(self, level: int, values: Values, partials: IR, step: IR, first: IR) -> None:
        b, frame, adjoint = self.b, self.frame, self.adjoint
        here = self.levels.values[level]
        for place, number in enumerate(self.levels.crossing):
            if number in here:
                for unit, value in values.each(number):
                    plane = frame.plane("between", 0, unit.row, len(self.levels.crossing), place)
                    frame.store(value, plane, unit.panel)
        for affine, plane_number in self.planes.items():
            delta = adjoint.deltas[affine]
            if delta is not None and self._is_stored_in(level, delta):
                for unit, value in values.each(delta):
                    plane = frame.plane("delta", step, unit.row, len(self.planes), plane_number)
                    frame.store(b.normal(value), plane, unit.panel)
        for number, summed in enumerate(self.sums):
            if self._is_stored_in(level, summed):
                for unit, value in values.each(summed):
                    place = self._partial(partials, unit.side, number)
                    b.store(b.fadd(b.load(place, b.target.vector_bytes), value), place, b.target.vector_bytes)
        slot = frame.slot(step, history=False)
        for state, total in enumerate(adjoint.states):
            if self._is_stored_in(level, total):
                for unit, value in values.each(total):
                    frame.store(b.normal(value), frame.plane(f"carry_{state}", slot, unit.row), unit.panel)
        if adjoint.x is not None and self._is_stored_in(level, adjoint.x):
            for unit, value in values.each(adjoint.x):
                line = b.mul(frame.table("rows", b.add(first, unit.row)), frame.inputs)
                frame.store_outside(value, b.at(b.address("dx"), line), unit.panel)

    # -- after the loop

    def _input_gradient(self) -> None:
        """dx = Σ Wᵀδ, for all rows of all timesteps; on top of what x got unit by unit."""
        b, frame = self.b, self.frame
        packed = self.packs[0]
        first, last = frame.share(b.div(b.add(frame.inputs, b.lanes - 1), b.lanes))
        choices = classes(b.target.registers, 1)
        sums = b.scratch(most_sums(choices, 1))

        def row_of(segment: int, number: IR) -> IR:
            line = b.add(b.mul(frame.table("inner", number), len(self.planes)), self.planes[packed.affines[segment]])
            return b.at(b.address("delta"), b.mul(line, frame.padded))

        depths = (frame.hidden,) * len(packed.affines)
        group = Group(b.address(packed.name), (0,), depths, self._stride(packed), row_of)

        def body(tile: Tile) -> None:
            start(b, tile, 1, sums, lambda row, panel: [b.splat(0.0)])
            multiply(b, [group], 1, tile, choices, sums)
            with b.loop(0, tile.rows) as here, b.loop(0, tile.panels) as side:
                place = b.mul(b.add(b.mul(here.index, tile.panels), side.index), b.lanes)
                value = b.load(b.at(sums, place), b.target.vector_bytes)
                line = b.mul(frame.table("rows", b.add(tile.row, here.index)), frame.inputs)
                outside, unit = b.at(b.address("dx"), line), b.add(tile.panel, side.index)
                if self.adjoint.x is not None:
                    value = b.fadd(value, frame.load_outside(outside, unit, frame.inputs))
                frame.store_outside(value, outside, unit, frame.inputs)

        for_tiles(b, first, last, b.number(0), b.argument("active"), choices, body)

    def _weight_gradients(self) -> None:
        for packed in self.packs.values():
            add_outer(self.frame, packed, self.planes)
