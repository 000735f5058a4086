"""The weights' gradients: Σ over timesteps and batch of δ vᵀ, a product over the long side of two tall matrices.

The sum is cut into blocks of rows. A thread copies its units' δ and the whole of v of a block side by side, where
caches and address translation like them, and adds the block's product tile by tile. Threads divide units, never sums.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from unrolled.recurrence.kernels.builder import IR, Builder, i64, pointer, void
from unrolled.recurrence.kernels.frame import Frame

ROWS = 128
"""Timesteps × batch in one block."""

SIDE = 4
"""Vectors of columns in a tile."""


def tile_units(registers: int) -> int:
    """Units in a tile: accumulators, one block of v and one number of δ fill the registers."""
    return (registers - 1 - SIDE) // SIDE if registers > 16 else 2


def scratch_size(hidden: int, widest: int, lanes: int) -> int:
    """How many numbers one thread needs for a block's copies."""
    return ROWS * (_up(hidden, lanes) + 2 * lanes + _up(widest, SIDE * lanes))


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def add_outer(frame: Frame, packed: Any, planes: Mapping[int, int]) -> None:
    """Add the gradient of the weights of every affine map that takes one vector."""
    _Outer(frame, packed, planes).write()


class _Outer:
    def __init__(self, frame: Frame, packed: Any, planes: Mapping[int, int]) -> None:
        self.frame, self.b, self.packed, self.planes = frame, frame.b, packed, planes
        b = self.b
        self.columns = frame.inputs if packed.operand == 0 else frame.hidden
        self.first = b.mul(frame.first_panel, b.lanes)
        self.units = b.maximum(b.sub(b.minimum(b.mul(frame.last_panel, b.lanes), frame.hidden), self.first), 0)
        vectors = b.sub(frame.last_panel, frame.first_panel)
        # An odd number of vectors from row to row: an even one would crowd the same few sets of the cache.
        self.stride = b.mul(b.ir.or_(vectors, i64(1)), b.lanes)
        self.left = b.at(b.address("scratch"), b.mul(b.thread, b.argument("scratch_stride")))
        self.right = b.at(self.left, b.mul(ROWS, self.stride))

    def write(self) -> None:
        b = self.b
        with b.loop(0, b.argument("active"), ROWS) as block:
            rows = b.minimum(b.sub(b.argument("active"), block.index), ROWS)
            self._copy_vector(block.index, rows)
            for affine in self.packed.affines:
                self._copy_deltas(affine, block.index, rows)
                self._multiply(affine, rows)

    def _vector(self, row: IR) -> IR:
        """The vector of one active row: of x, of a state before the timestep, or of a value inside it."""
        b, frame, form, operand = self.b, self.frame, self.frame.form, self.packed.operand
        if operand == 0:
            return b.at(b.address("x"), frame.table("xrows", row))
        inner = operand >= form.program.first
        kind = "operand" if form.masked else "state"
        name = f"inner_{operand}" if inner else f"{kind}_{operand - 1}"
        return b.at(b.address(name), b.mul(frame.table("inner", row), frame.padded))

    def _copy_vector(self, first: IR, rows: IR) -> None:
        """v of a block: [tile of columns][row][column], zero beyond the last column."""
        b, width = self.b, SIDE * self.b.lanes
        with b.loop(0, rows) as row:
            source = self._vector(b.add(first, row.index))
            with b.loop(0, b.div(b.add(self.columns, width - 1), width)) as tile:
                for side in range(SIDE):
                    panel = b.add(b.mul(tile.index, SIDE), side)
                    place = b.add(b.mul(b.add(b.mul(tile.index, ROWS), row.index), width), side * b.lanes)
                    value = self.frame.load_outside(source, panel, self.columns)
                    b.store(value, b.at(self.right, place), b.target.vector_bytes)

    def _copy_deltas(self, affine: int, first: IR, rows: IR) -> None:
        """This thread's units of δ of a block: [row][unit]."""
        b, frame = self.b, self.frame
        with b.loop(0, rows) as row:
            line = b.add(b.mul(frame.table("inner", b.add(first, row.index)), len(self.planes)), self.planes[affine])
            source = b.at(b.address("delta"), b.mul(line, frame.padded))
            place = b.at(self.left, b.mul(row.index, self.stride))
            with b.loop(0, b.sub(frame.last_panel, frame.first_panel)) as panel:
                frame.store(frame.load(source, b.add(frame.first_panel, panel.index)), place, panel.index)

    def _multiply(self, affine: int, rows: IR) -> None:
        b, frame = self.b, self.frame
        parameter, position = frame.form.row(affine, frame.form.program.label(self.packed.operand) or "")
        start = b.add(b.mul(frame.hidden, position), self.first)
        gradient = b.at(b.address(f"gradient_{parameter}"), b.mul(start, self.columns))
        arguments = [gradient, self.left, self.right, rows, self.units, self.columns, self.stride]
        b.ir.call(_product(b), arguments)


_PRODUCT = ir.FunctionType(void, [pointer, pointer, pointer, i64, i64, i64, i64])
"""(gradient of the first unit's weights, left, right, rows, units, columns, numbers from row to row on the left)."""


def _product(b: Builder) -> IR:
    """The function that adds a block's product to the gradient."""
    if "outer" not in b.module.globals:
        with b.inner("outer", _PRODUCT) as function, b.tiny_sums_are_zero():
            _Product(b, *function.args).write()
    return b.module.globals["outer"]


@dataclass(frozen=True)
class _Product:
    """The product of one block, being written."""

    b: Builder
    gradient: IR
    left: IR
    right: IR
    rows: IR
    units: IR
    columns: IR
    stride: IR

    def write(self) -> None:
        b, width = self.b, SIDE * self.b.lanes
        most = tile_units(b.target.registers)
        with b.loop(0, self.columns, width) as column:
            block = b.at(self.right, b.mul(b.div(column.index, width), ROWS * width))
            whole = b.ir.icmp_signed("<=", b.add(column.index, width), self.columns)
            with b.ir.if_else(whole) as (then, otherwise):
                with then:
                    self._columns(block, most, self._plain(column.index))
                with otherwise:
                    self._columns(block, 1, self._partial(column.index))

    def _columns(self, block: IR, most: int, access: _Access) -> None:
        """All units of this thread for one tile of columns: whole tiles of units, then what is left, one by one."""
        b = self.b
        whole = b.mul(b.div(self.units, most), most)
        with b.loop(0, whole, most) as unit:
            self._tile(block, unit.index, most, access)
        if most > 1:
            with b.loop(whole, self.units) as unit:
                self._tile(block, unit.index, 1, access)

    def _tile(self, block: IR, unit: IR, units: int, access: _Access) -> None:
        b, load, store = self.b, *access
        lines = [b.at(self.gradient, b.mul(b.add(unit, number), self.columns)) for number in range(units)]
        sums = [load(line, side) for line in lines for side in range(SIDE)]
        left = b.at(self.left, unit)
        with b.loop(0, self.rows, carry=sums) as loop:
            row = b.at(block, b.mul(loop.index, SIDE * b.lanes))
            vectors = [b.load(b.at(row, side * b.lanes), b.target.vector_bytes) for side in range(SIDE)]
            deltas = b.at(left, b.mul(loop.index, self.stride))
            result = []
            for number in range(units):
                delta = b.broadcast(b.load_scalar(b.at(deltas, number)))
                result += [
                    b.fma(delta, vector, loop.carried[number * SIDE + side]) for side, vector in enumerate(vectors)
                ]
            loop.next[:] = result
        for number, line in enumerate(lines):
            for side in range(SIDE):
                store(loop.out[number * SIDE + side], line, side)

    def _plain(self, column: IR) -> _Access:
        b = self.b

        def place(line: IR, side: int) -> IR:
            return b.at(line, b.add(column, side * b.lanes))

        return lambda line, side: b.load(place(line, side)), lambda value, line, side: b.store(value, place(line, side))

    def _partial(self, column: IR) -> _Access:
        """Only the columns that there are."""
        b = self.b
        masks = [b.lanes_below(b.sub(self.columns, b.add(column, side * b.lanes))) for side in range(SIDE)]

        def place(line: IR, side: int) -> IR:
            return b.at(line, b.add(column, side * b.lanes))

        return (
            lambda line, side: b.load_some(place(line, side), masks[side]),
            lambda value, line, side: b.store_some(value, place(line, side), masks[side]),
        )


_Access = tuple[Callable[[IR, int], IR], Callable[[IR, IR, int], None]]
"""How a tile reads and writes its place of the gradient."""
