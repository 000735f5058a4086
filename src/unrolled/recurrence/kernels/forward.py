"""The kernel that runs a cell forwards over whole sequences.

Every thread owns some panels of hidden units: it packs their weights, multiplies x of some timesteps at once by them,
and then goes through these timesteps level by level, with a barrier after each.

Rows of the batch are sorted by length, the longest first, so the rows that are active in a timestep are the first ones.
Tables say where an active row of a timestep lies in the user's tensors, so direction, strides and lengths do not
appear in here. States lie in padded buffers of the kernel's own, [slot][row][unit]: slot s is the state before step s.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from unrolled.recurrence.adjoint import value_seen
from unrolled.recurrence.kernels import machine, store
from unrolled.recurrence.kernels.builder import IR, Builder
from unrolled.recurrence.kernels.frame import Frame, Values, masked_names, parameter_names
from unrolled.recurrence.kernels.packing import pack_rows
from unrolled.recurrence.kernels.target import Target, host
from unrolled.recurrence.kernels.tiles import (
    Group,
    Shape,
    Tile,
    Unit,
    bundles,
    classes,
    for_tiles,
    for_units,
    most_sums,
    multiply,
    start,
)
from unrolled.recurrence.plan import Form
from unrolled.recurrence.program import Instruction


@dataclass(frozen=True)
class Packed:
    """One stretch of packed weights of a level: those on x (operand 0), or on one recurrent vector.

    Attributes:
        name: the kernel's argument.
        operand: the number of the vector's value.
        affines: the affine maps that take it in this level, one accumulator each.
    """

    name: str
    level: int
    operand: int
    affines: tuple[int, ...]

    def size(self, units: int, depth: int, lanes: int) -> int:
        """How many numbers it has."""
        panels, deep = -(-units // lanes), -(-depth // lanes) * lanes
        return panels * deep * len(self.affines) * lanes


def affines_of(form: Form, level: int) -> list[int]:
    """The affine maps of a level: those of x alone first, those without x last, so that a vector feeds neighbours."""

    def place(number: int) -> int:
        takes_x = number in form.on_input
        takes_states = any(number in takers for takers in form.operands.values())
        return (not takes_x) + (takes_states if takes_x else 1)

    here = [number for number in form.forward.values[level] if number in form.affines]
    return sorted(here, key=place)


def packs(form: Form) -> list[Packed]:
    """All packed weights of the forward pass."""
    found: list[Packed] = []
    for level in range(len(form.forward.values)):
        here = affines_of(form, level)
        operands = ([] if form.projected else [0]) + list(form.operands)
        for operand in operands:
            takers = form.on_input if operand == 0 else form.operands[operand]
            for places in bundles([place for place, number in enumerate(here) if number in takers]):
                affines = tuple(here[place] for place in places)
                found.append(Packed(f"packed_{len(found)}", level, operand, affines))
    return found


def argument_names(form: Form) -> list[str]:
    """The kernel's arguments, in order."""
    states = range(len(form.program.states))
    own = [value for value in form.operands if value >= form.program.first]
    return [
        "steps", "batch", "hidden", "inputs", "chunk", "pack", "hoist", "counts", "first", "entry", "exit", "rows",
        "x", "xrows", "y", "y_stride", "xbuffer", "between", "saved", "seen", "mask", "keep", "bias",
        *parameter_names(form), *(packed.name for packed in packs(form)),
        *(f"{kind}_{state}" for kind in ("init", "final", "state") for state in states),
        *masked_names(form),
        *(f"inner_{value}" for value in own),
    ]  # fmt: skip


def build(form: Form, target: Target) -> IR:
    """The kernel's module; its arguments are `argument_names`."""
    module = machine.new_module("forward", target)
    names = argument_names(form)
    b = Builder(module, "forward", target, form.dtype, names)
    b.half_weights = form.half_weights
    _Forward(Frame(b, form)).write()
    machine.add_entries(module, b.function)
    return module


def compiled(form: Form) -> machine.Kernel:
    """The kernel for this machine."""
    target = host()
    key = store.key_of("forward", form, target)
    return machine.Kernel(lambda: build(form, target), argument_names(form), key)


class _Forward:
    def __init__(self, frame: Frame) -> None:
        self.frame, self.b, self.form = frame, frame.b, frame.form
        self.levels = self.form.forward
        self.packs = packs(self.form)

    def write(self) -> None:
        frame, b = self.frame, self.b
        with b.when(b.flag("pack")), b.loop(frame.first_panel, frame.last_panel) as panel:
            self._pack(panel.index)
        self._enter()
        frame.barrier()
        with b.loop(0, frame.steps, b.argument("chunk")) as chunk:
            stop = b.minimum(b.add(chunk.index, b.argument("chunk")), frame.steps)
            self._project(frame.table("first", chunk.index), frame.table("first", stop))
            with b.loop(chunk.index, stop) as step:
                for level in range(len(self.levels.values)):
                    self._level(level, step.index, frame.table("first", chunk.index))
                    frame.barrier()
        self._leave()
        b.finish()

    # -- weights

    def _pack(self, panel: IR) -> None:
        b, frame = self.b, self.frame
        for packed in self.packs:
            depth = frame.inputs if packed.operand == 0 else frame.hidden
            entry = self.form.program.label(packed.operand) or ""
            blocks = []
            for number in packed.affines:
                parameter, position = self.form.row(number, entry)
                blocks.append(b.at(b.address(f"parameter_{parameter}"), b.mul(frame.hidden, depth, position)))
            place = b.weights_at(b.address(packed.name), b.mul(panel, self._stride(packed)))
            pack_rows(b, panel, blocks, frame.hidden, depth, depth, place)
        for place_number, number in enumerate(self.form.affines):
            place = b.at(b.address("bias"), b.mul(b.add(b.mul(panel, len(self.form.affines)), place_number), b.lanes))
            b.store(self._bias(number, panel), place, b.target.vector_bytes)

    def _bias(self, number: int, panel: IR) -> IR:
        """The bias of an affine map: torch's cells have two, which are added."""
        name = self.form.program.instruction(number).name  # type: ignore[union-attr]
        total = None
        for entry in ("bias", "bias_hidden"):
            if self.form.layout.find(name, entry):
                part = self.frame.vector_parameter(name, entry, panel)
                total = part if total is None else self.b.fadd(total, part)
        return self.b.splat(0.0) if total is None else total

    def _stride(self, packed: Packed) -> IR:
        depth = self.frame.inputs if packed.operand == 0 else self.frame.hidden
        return self.b.mul(self.b.round_up(depth, self.b.lanes), len(packed.affines) * self.b.lanes)

    def _bias_line(self, number: int, panel: IR) -> IR:
        return self.b.add(self.b.mul(panel, len(self.form.affines)), self.form.affines.index(number))

    def _bias_at(self, number: int, panel: IR) -> IR:
        place = self.b.at(self.b.address("bias"), self.b.mul(self._bias_line(number, panel), self.b.lanes))
        return self.b.load(place, self.b.target.vector_bytes)

    # -- the states at both ends

    def _enter(self) -> None:
        """Every row's initial states, where its first step looks for them."""
        b, frame = self.b, self.frame
        with b.loop(0, frame.batch) as row, b.loop(frame.first_panel, frame.last_panel) as panel:
            slot = frame.slot(frame.table("entry", row.index), self.form.saving)
            for state in range(len(self.form.program.states)):
                outside = b.at(b.address(f"init_{state}"), b.mul(row.index, frame.hidden))
                value = frame.load_outside(outside, panel.index)
                self._store_state(state, value, slot, row.index, panel.index)

    def _store_state(self, state: int, value: IR, slot: IR, row: IR, panel: IR) -> None:
        frame = self.frame
        frame.store(value, frame.plane(f"state_{state}", slot, row), panel)
        if self.form.masked and state + 1 in self.form.operands:
            masked = self.b.fmul(value, self._mask(row, panel))
            frame.store(masked, frame.plane(f"operand_{state}", slot, row), panel)

    def _mask(self, row: IR, panel: IR) -> IR:
        b, frame = self.b, self.frame
        return frame.load_outside(b.at(b.address("mask"), b.mul(row, frame.hidden)), panel)

    def _leave(self) -> None:
        """Every row's final states."""
        b, frame = self.b, self.frame
        with b.loop(0, frame.batch) as row, b.loop(frame.first_panel, frame.last_panel) as panel:
            slot = frame.slot(frame.table("exit", row.index), self.form.saving)
            for state in range(len(self.form.program.states)):
                value = frame.load(frame.plane(f"state_{state}", slot, row.index), panel.index)
                outside = b.at(b.address(f"final_{state}"), b.mul(row.index, frame.hidden))
                frame.store_outside(value, outside, panel.index)

    # -- x

    def _project(self, first: IR, stop: IR) -> None:
        """W x + b of some timesteps, for this thread's panels: the weights are read once for all of them."""
        b, frame, form = self.b, self.frame, self.form
        if form.projected:
            self._copy_projected(first, stop)
            return
        with b.when(b.flag("hoist")):
            for packed in self.packs:
                if packed.operand != 0:
                    continue
                group = self._input_group(packed, first)
                gates = len(packed.affines)
                choices = classes(b.target.registers, gates)
                sums = b.scratch(most_sums(choices, gates))
                for_tiles(
                    b, frame.first_panel, frame.last_panel, b.number(0), b.sub(stop, first), choices,
                    partial(self._project_tile, packed, group, choices, sums),
                )  # fmt: skip

    def _input_group(self, packed: Packed, first: IR) -> Group:
        b, frame = self.b, self.frame

        def row(segment: int, number: IR) -> IR:
            return b.at(b.address("x"), frame.table("xrows", b.add(first, number)))

        places = tuple(range(len(packed.affines)))
        return Group(b.address(packed.name), places, (frame.inputs,), self._stride(packed), row)

    def _project_tile(self, packed: Packed, group: Group, choices: list[Shape], sums: IR, tile: Tile) -> None:
        b, gates = self.b, len(packed.affines)

        def biases(row: IR, panel: IR) -> list[IR]:
            return [self._bias_at(number, panel) for number in packed.affines]

        start(b, tile, gates, sums, biases)
        multiply(b, [group], gates, tile, choices, sums)
        with b.loop(0, tile.rows) as row, b.loop(0, tile.panels) as side:
            place = b.mul(b.add(b.mul(row.index, tile.panels), side.index), gates)
            for gate, affine in enumerate(packed.affines):
                value = b.load(b.at(sums, b.mul(b.add(place, gate), b.lanes)), b.target.vector_bytes)
                outside = self._projected(affine, b.add(tile.row, row.index), b.add(tile.panel, side.index))
                b.store(value, outside, b.target.vector_bytes)

    def _projected(self, affine: int, row: IR, panel: IR) -> IR:
        """Where W x + b of one affine map is kept: [panel][row of the chunk][affine map][lane]."""
        b, gates = self.b, len(self.form.on_input)
        rows = b.mul(b.argument("chunk"), self.frame.batch)
        line = b.add(b.mul(b.add(b.mul(panel, rows), row), gates), self.form.on_input.index(affine))
        return b.at(b.address("xbuffer"), b.mul(line, b.lanes))

    def _copy_projected(self, first: IR, stop: IR) -> None:
        b, frame, gates = self.b, self.frame, len(self.form.on_input)
        with b.loop(frame.first_panel, frame.last_panel) as panel, b.loop(0, b.sub(stop, first)) as row:
            place = frame.table("xrows", b.add(first, row.index))
            for position, affine in enumerate(self.form.on_input):
                outside = b.at(b.address("x"), b.add(place, b.mul(frame.hidden, position)))
                value = b.fadd(frame.load_outside(outside, panel.index), self._bias_at(affine, panel.index))
                b.store(value, self._projected(affine, row.index, panel.index), b.target.vector_bytes)
        if not gates:
            raise AssertionError("nothing takes x")

    # -- one level of one timestep

    def _level(self, level: int, step: IR, chunk_first: IR) -> None:
        b, frame = self.b, self.frame
        affines = affines_of(self.form, level)
        widest = max((len(packed.affines) for packed in self.packs if packed.level == level), default=1)
        choices = classes(b.target.registers, widest)
        sums = b.scratch(max(1, most_sums(choices, len(affines))))
        count, first = frame.table("counts", step), frame.table("first", step)
        behind = b.sub(first, chunk_first)

        def body(tile: Tile) -> None:
            if affines:
                start(b, tile, len(affines), sums, partial(self._start, affines, behind))
                multiply(b, self._groups(level, affines, step, first), len(affines), tile, choices, sums)
            for_units(b, tile, partial(self._units, level, affines, sums, step, first))

        for_tiles(b, frame.first_panel, frame.last_panel, b.number(0), count, choices, body)

    def _start(self, affines: list[int], behind: IR, row: IR, panel: IR) -> list[IR]:
        """What the sums begin with: W x + b where x was multiplied ahead of the loop, else the bias."""
        b, found = self.b, []
        for affine in affines:
            bias = b.at(b.address("bias"), b.mul(self._bias_line(affine, panel), b.lanes))
            if affine in self.form.on_input:
                ahead = self._projected(affine, b.add(behind, row), panel)
                place = ahead if self.form.projected else b.select(b.flag("hoist"), ahead, bias)
            else:
                place = bias
            found.append(b.load(place, b.target.vector_bytes))
        return found

    def _groups(self, level: int, affines: list[int], step: IR, first: IR) -> list[Group]:
        """The products of a level. x has no depth left where it was multiplied ahead of the loop."""
        groups = []
        for packed in self.packs:
            if packed.level == level:
                group = self._group(packed, affines, step, first)
                if packed.operand == 0:
                    depth = self.b.select(self.b.flag("hoist"), self.b.number(0), self.frame.inputs)
                    group = replace(group, depths=(depth,))
                groups.append(group)
        return groups

    def _group(self, packed: Packed, affines: list[int], step: IR, first: IR) -> Group:
        b, frame, form = self.b, self.frame, self.form
        places = tuple(affines.index(number) for number in packed.affines)
        stride = self._stride(packed)
        if packed.operand == 0:
            inputs = self._input_group(packed, first)
            return Group(inputs.weights, places, inputs.depths, stride, inputs.row)

        def row(segment: int, number: IR) -> IR:
            if packed.operand >= form.program.first:
                return frame.plane(f"inner_{packed.operand}", step if form.saving else 0, number)
            kind = "operand" if form.masked else "state"
            return frame.plane(f"{kind}_{packed.operand - 1}", frame.slot(step, form.saving), number)

        return Group(b.address(packed.name), places, (frame.hidden,), stride, row)

    # -- unit by unit

    def _units(self, level: int, affines: list[int], sums: IR, step: IR, first: IR, units: list[Unit]) -> None:
        b, frame, form = self.b, self.frame, self.form
        crossing, here = self.levels.crossing, self.levels.values[level]

        def fetch(number: int, unit: Unit) -> IR | None:
            row, panel = unit.row, unit.panel
            if number in affines:
                place = b.add(b.mul(unit.number, len(affines)), affines.index(number))
                return b.load(b.at(sums, b.mul(place, b.lanes)), b.target.vector_bytes)
            if number == 0:
                outside = b.at(b.address("x"), frame.table("xrows", b.add(first, row)))
                return frame.load_outside(outside, panel)
            if number < form.program.first:
                place = frame.plane(f"state_{number - 1}", frame.slot(step, form.saving), row)
                return frame.load(place, panel)
            if number not in here and number in crossing:
                return frame.load(frame.plane("between", 0, row, len(crossing), crossing.index(number)), panel)
            return self._leaf(number, b.add(first, row), panel)

        self._keep(level, Values(b, units, fetch, form.program.instruction), step, first)

    def _leaf(self, number: int, index: IR, panel: IR) -> IR | None:
        b, frame = self.b, self.frame
        made = self._made(number)
        if made.operation == "vector":
            return frame.vector_parameter(made.gate or "", made.name, panel)
        if made.operation == "keep":
            row = frame.table("rows", index)
            return frame.load_outside(b.at(b.address("keep"), b.mul(row, frame.hidden)), panel)
        return None

    def _made(self, number: int) -> Instruction:
        made = self.form.program.instruction(number)
        if made is None:
            raise AssertionError(f"value {number} is not computed")
        return made

    def _keep(self, level: int, values: Values, step: IR, first: IR) -> None:
        """Store what this level computes for others: later levels, the next timestep, the gradient, the user."""
        b, frame, form = self.b, self.frame, self.form
        here = self.levels.values[level]
        for place, number in enumerate(self.levels.crossing):
            if number in here:
                self._keep_plane(values, number, "between", 0, len(self.levels.crossing), place)
        for number in form.operands:
            if number in here:
                for unit, value in values.each(number):
                    masked = b.fmul(value, self._mask(unit.row, unit.panel)) if form.masked else value
                    slot = step if form.saving else 0
                    frame.store(masked, frame.plane(f"inner_{number}", slot, unit.row), unit.panel)
        for place, number in enumerate(form.saved if form.saving else ()):
            if number in here:
                self._keep_plane(values, number, "saved", step, len(form.saved), place)
        for place, number in enumerate(self._seen()):
            if self._is_stored_in(level, number):
                self._keep_plane(values, number, "seen", step, len(self._seen()), place)
        following = frame.slot(b.add(step, 1), form.saving)
        for state, number in enumerate(form.program.outputs):
            if self._is_stored_in(level, number):
                for unit, value in values.each(number):
                    self._store_state(state, value, following, unit.row, unit.panel)
                    if state == 0:
                        line = b.mul(frame.table("rows", b.add(first, unit.row)), b.argument("y_stride"))
                        frame.store_outside(value, b.at(b.address("y"), line), unit.panel)

    def _keep_plane(self, values: Values, number: int, name: str, slot: int | IR, planes: int, plane: int) -> None:
        """Store a value in a plane of a buffer."""
        for unit, value in values.each(number):
            self.frame.store(value, self.frame.plane(name, slot, unit.row, planes, plane), unit.panel)

    def _seen(self) -> list[int]:
        return [value_seen(self.form.program, name) for name in self.form.seen]

    def _is_stored_in(self, level: int, number: int) -> bool:
        """A value is stored by the level that computes it; what none computes, by the last."""
        found = self.levels.of(number)
        return level == (len(self.levels.values) - 1 if found is None else found)
