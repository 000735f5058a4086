"""Matrix products held in registers: a tile is some rows of the batch × some panels of units × the gates of a level.

A panel is one vector of hidden units. Weights lie packed as [panel][k][gate][lane], so the inner loop reads them
straight through. The sum over k always runs upwards, whatever the tile: results do not depend on its shape.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from unrolled.recurrence.kernels.builder import IR, Builder, Loop, i1, i64, pointer, void

MOST_ROWS = 14
"""Two vectors of weights × 14 rows fill 32 registers, and read the fewest weights for what they compute."""

PANELS = (8, 4, 2, 1)
"""How many panels a tile may have side by side."""


@dataclass(frozen=True)
class Group:
    """Products that share their vectors: one stretch of packed weights, and the accumulators that it feeds.

    Attributes:
        weights: address of the packed weights of panel 0.
        accumulators: the positions of the accumulators, neighbours, in the order of the packed gates.
        depths: for each segment, how many k it has; the weights of all segments follow each other.
        stride: from one panel's weights to the next.
        row: (segment, row number) to the address of that row's vector.
    """

    weights: IR
    accumulators: tuple[int, ...]
    depths: tuple[IR, ...]
    stride: IR
    row: Callable[[int, IR], IR]


@dataclass(frozen=True)
class Shape:
    """What tiles a level uses for some number of rows."""

    panels: int
    rows: int


def shapes(registers: int, gates: int) -> list[Shape]:
    """The tiles for a number of gates, widest first: each leaves registers for the weights and one number of x."""
    found = [
        Shape(panels, min(MOST_ROWS, (registers - 1 - gates * panels) // (gates * panels)))
        for panels in PANELS
        if gates * panels < registers - 1
    ]
    return [shape for shape in found if shape.rows >= 1] or [Shape(1, 1)]


def bundles(positions: Sequence[int]) -> list[tuple[int, ...]]:
    """Accumulators that are fed side by side: two neighbours, or three where an odd one would be left.

    More rows with fewer gates read fewer weights, and weights come from further away than rows do.
    """
    found: list[tuple[int, ...]] = []
    rest = list(positions)
    while rest:
        run = next((n for n in range(1, len(rest)) if rest[n] != rest[n - 1] + 1), len(rest))
        count = min(run, 3 if run in (3, 5) else 2)
        found.append(tuple(rest[:count]))
        rest = rest[count:]
    return found


def classes(registers: int, gates: int) -> list[Shape]:
    """Tiles by the number of rows: the first that takes all rows at once, else the last, which is the largest tile."""
    found = shapes(registers, gates)
    best = max(found, key=lambda shape: (shape.panels * shape.rows, shape.panels))
    return [shape for shape in found if shape.rows < best.rows and shape.panels > best.panels] + [best]


@dataclass(frozen=True)
class Tile:
    """One tile of a kernel that runs: values of the kernel, not of Python.

    Attributes:
        panel, panels: the first panel, and how many there are side by side.
        row, rows: the first row of the batch, and how many.
        index: the how manieth tile of these panels it is.
    """

    panel: IR
    panels: IR
    row: IR
    rows: IR
    index: IR


@dataclass(frozen=True)
class Unit:
    """One row and panel of a tile: what is computed unit by unit, a vector at a time.

    Attributes:
        number: which one of the tile's it is, and so where its sums are.
        side, row, panel: the panel's number in the tile; the row and the panel.
    """

    number: IR
    side: IR
    row: IR
    panel: IR


TOGETHER = 2
"""How many vectors go through a level's pointwise operations side by side: in a chain of operations each waits for the
one before, some four cycles, and a processor looks only so far ahead for others."""


def for_units(b: Builder, tile: Tile, body: Callable[[list[Unit]], None]) -> None:
    """Go through a tile's rows and panels, `TOGETHER` at a time; the rest one by one."""
    count = b.mul(tile.rows, tile.panels)
    shift = b.ir.call(b.declared("llvm.cttz.i64", i64, [i64, i1]), [tile.panels, i1(True)])
    last = b.sub(tile.panels, 1)

    def units(first: IR, width: int) -> list[Unit]:
        found = []
        for number in (b.add(first, other) for other in range(width)):
            side = b.ir.and_(number, last)
            found.append(Unit(number, side, b.add(tile.row, b.ir.lshr(number, shift)), b.add(tile.panel, side)))
        return found

    most = b.mul(b.div(count, TOGETHER), TOGETHER)
    with b.loop(0, most, TOGETHER) as loop:
        body(units(loop.index, TOGETHER))
    with b.loop(most, count) as loop:
        body(units(loop.index, 1))


def most_sums(choices: Sequence[Shape], gates: int) -> int:
    """How many vectors a tile's sums take."""
    return max(shape.panels * shape.rows for shape in choices) * gates


def start(b: Builder, tile: Tile, gates: int, sums: IR, first: Callable[[IR, IR], Sequence[IR]]) -> None:
    """Set a tile's sums, laid out [row][panel][gate]; `first` gives those of one row and panel."""
    with b.loop(0, tile.rows) as row, b.loop(0, tile.panels) as side:
        place = b.mul(b.add(b.mul(row.index, tile.panels), side.index), gates)
        for gate, value in enumerate(first(b.add(tile.row, row.index), b.add(tile.panel, side.index))):
            b.store(value, b.at(sums, b.mul(b.add(place, gate), b.lanes)), b.target.vector_bytes)


SEGMENT = 5
"""Integers that describe a segment to a product: weights of the first panel, numbers from panel to panel, depth, where
the rows' addresses are, and where to fetch ahead."""

LINE = 64
"""Bytes of a cache line."""


def multiply(b: Builder, groups: Sequence[Group], gates: int, tile: Tile, choices: Sequence[Shape], sums: IR) -> None:
    """Add every group's products to a tile's sums.

    The products are functions of their own, one for each size of tile: written once, called from everywhere. What is
    added to the same sums goes into one call, so that the sums stay in registers from the first to the last.
    """
    joined: dict[tuple[int, ...], list[Group]] = {}
    for group in groups:
        joined.setdefault(group.accumulators, []).append(group)
    for accumulators, parts in joined.items():
        count = sum(len(group.depths) for group in parts)
        table = b.scratch_integers(count * SEGMENT)
        place = 0
        for group in parts:
            weights = b.weights_at(group.weights, b.mul(tile.panel, group.stride))
            for segment, depth in enumerate(group.depths):
                addresses = b.scratch_integers(MOST_ROWS)
                with b.loop(0, tile.rows) as row:
                    vector = group.row(segment, b.add(tile.row, row.index))
                    b.store_integer(b.ir.ptrtoint(vector, i64), addresses, row.index)
                # A tile fetches a part of the next panels' weights, so that none has to wait for all of its own.
                ahead = b.ir.ptrtoint(b.weights_at(weights, b.mul(group.stride, tile.panels)), i64)
                ahead = b.add(ahead, b.mul(tile.index, depth, LINE))
                entry = (b.ir.ptrtoint(weights, i64), group.stride, depth, b.ir.ptrtoint(addresses, i64), ahead)
                for number, value in enumerate(entry):
                    b.store_integer(value, table, place + number)
                place += SEGMENT
                weights = b.weights_at(weights, b.mul(depth, len(accumulators) * b.lanes))
        function = _chosen(b, len(accumulators), tile, choices)
        first = b.at(sums, accumulators[0] * b.lanes)
        b.ir.call(function, [table, i64(count), first, i64(gates * b.lanes)])


_PRODUCT = ir.FunctionType(void, [pointer, i64, pointer, i64])
"""(the segments, how many, the first sum, numbers from one panel's sums to the next's)."""


def _chosen(b: Builder, width: int, tile: Tile, choices: Sequence[Shape]) -> IR:
    """The product for a tile's size, by a switch: a pointer that is called."""
    cases = _cases(choices)
    done = b.ir.append_basic_block("chosen")
    never = b.ir.append_basic_block("never")
    switch = b.ir.switch(b.add(b.mul(tile.panels, 16), tile.rows), never)
    found = []
    for panels, rows in cases:
        block = b.ir.append_basic_block(f"tile{panels}x{rows}")
        switch.add_case(i64(panels * 16 + rows), block)
        b.ir.position_at_end(block)
        b.ir.branch(done)
        found.append((_product(b, panels, rows, width), block))
    b.ir.position_at_end(never)
    b.ir.unreachable()
    b.ir.position_at_end(done)
    function = b.ir.phi(pointer)
    for product, block in found:
        function.add_incoming(product, block)
    return _Pointer(function)


class _Pointer:
    """A pointer as llvmlite's builder wants something to call: it asks the value for its function type."""

    def __init__(self, value: IR) -> None:
        self.value = value
        self.function_type = _PRODUCT

    def __getattr__(self, name: str) -> Any:
        return getattr(self.value, name)


def _product(b: Builder, panels: int, rows: int, width: int) -> IR:
    """The function that adds the products of one size of tile to its sums."""
    name = f"product_{panels}x{rows}_of_{width}"
    if name in b.module.globals:
        return b.module.globals[name]
    with b.inner(name, _PRODUCT) as function, b.tiny_sums_are_zero():
        _add_products(b, function, panels, rows, width)
    return function


def _add_products(b: Builder, function: IR, panels: int, rows: int, width: int) -> None:
    table, count, sums, apart = function.args
    lines = [b.at(sums, b.mul(apart, line)) for line in range(rows * panels)]
    places = [b.at(line, gate * b.lanes) for line in lines for gate in range(width)]
    carry = [b.load(place, b.target.vector_bytes) for place in places]
    with b.loop(0, count, carry=carry) as segments:
        first = b.mul(segments.index, SEGMENT)
        weights, stride, depth, addresses, ahead = (b.integer_at(table, b.add(first, n)) for n in range(SEGMENT))
        rows_at = b.ir.inttoptr(addresses, pointer)
        vectors = [b.ir.inttoptr(b.integer_at(rows_at, row), pointer) for row in range(rows)]
        with b.loop(0, depth, carry=segments.carried) as loop:
            b.fetch(b.ir.inttoptr(b.add(ahead, b.mul(loop.index, LINE)), pointer))
            _multiply(b, loop, b.ir.inttoptr(weights, pointer), stride, vectors, panels, width)
        segments.next[:] = loop.out
    for place, value in zip(places, segments.out, strict=True):
        b.store(value, place, b.target.vector_bytes)


def _multiply(b: Builder, loop: Loop, weights: IR, stride: IR, vectors: list[IR], panels: int, gates: int) -> None:
    """One k: each row's number times the weights of all panels and gates."""
    k, carried = loop.index, loop.carried
    line = b.weights_at(weights, b.mul(k, gates * b.lanes))
    columns = []
    for side in range(panels):
        base = line if side == 0 else b.weights_at(line, b.mul(stride, side))
        columns += [b.load_weights(b.weights_at(base, gate * b.lanes)) for gate in range(gates)]
    result = []
    for row, vector in enumerate(vectors):
        number = b.broadcast(b.load_scalar(b.at(vector, k)))
        for column, weight in enumerate(columns):
            result.append(b.fma(number, weight, carried[row * len(columns) + column]))
    loop.next[:] = result


def for_tiles(
    b: Builder,
    first_panel: IR,
    last_panel: IR,
    first_row: IR,
    count: IR,
    choices: Sequence[Shape],
    body: Callable[[Tile], None],
    around: tuple[Callable[[IR, IR], None], Callable[[IR, IR], None]] | None = None,
) -> None:
    """Cover rows × panels with tiles.

    Args:
        body: computes one tile.
        around: (panel, panels), before the first and after the last tile of some panels.
    """
    widest, most = b.number(choices[-1].panels), b.number(choices[-1].rows)
    for shape in reversed(choices[:-1]):
        fits = b.ir.icmp_signed("<=", count, i64(shape.rows))
        widest, most = b.ir.select(fits, i64(shape.panels), widest), b.ir.select(fits, i64(shape.rows), most)
    tiles = b.div(b.sub(b.add(count, most), 1), most)
    small = b.ir.udiv(count, b.maximum(tiles, 1))
    extra = b.sub(count, b.mul(small, tiles))
    with b.repeat(first_panel, last_panel) as panels_loop:
        panel = panels_loop.index
        left = b.sub(last_panel, panel)
        width = b.number(1)
        for option in reversed(PANELS[:-1]):
            allowed = b.ir.and_(b.ir.icmp_signed(">=", left, i64(option)), b.ir.icmp_signed(">=", widest, i64(option)))
            width = b.ir.select(allowed, i64(option), width)
        if around:
            around[0](panel, width)
        with b.loop(0, tiles) as tile:
            size = b.add(small, b.ir.zext(b.less(tile.index, extra), i64))
            row = b.add(first_row, b.mul(tile.index, small), b.minimum(tile.index, extra))
            body(Tile(panel, width, row, size, tile.index))
        if around:
            around[1](panel, width)
        panels_loop.advance(width)


def _cases(choices: Sequence[Shape]) -> list[tuple[int, int]]:
    """The tiles that can occur: rows are spread evenly, so a class's tiles are never much smaller than its largest."""
    found = set()
    before = 0
    for shape in choices:
        smallest = before + 1 if shape is not choices[-1] else min(before + 1, (shape.rows + 1) // 2)
        for panels in PANELS:
            if panels <= shape.panels:
                found |= {(panels, rows) for rows in range(smallest, shape.rows + 1)}
        before = shape.rows
    return sorted(found)
