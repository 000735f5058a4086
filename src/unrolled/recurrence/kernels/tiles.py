"""Matrix products held in registers: a tile is some rows of the batch × some panels of units × the gates of a level.

A panel is one vector of hidden units. Weights lie packed as [panel][k][gate][lane], so the inner loop reads them
straight through. The sum over k always runs upwards, whatever the tile: results do not depend on its shape.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from unrolled.recurrence.kernels.builder import IR, Builder, Loop, i64

MOST_ROWS = 8
PANELS = (4, 2, 1)
"""How many panels a tile may have side by side."""


@dataclass(frozen=True)
class Group:
    """Products that share their vectors: one stretch of packed weights, and the accumulators that it feeds.

    Attributes:
        weights: address of the packed weights of panel 0.
        accumulators: the positions of the accumulators, in the order of the packed gates.
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


def classes(registers: int, gates: int) -> list[Shape]:
    """Tiles by the number of rows: the first that takes all rows at once, else the last, which is the largest tile."""
    found = shapes(registers, gates)
    best = max(found, key=lambda shape: (shape.panels * shape.rows, shape.panels))
    return [shape for shape in found if shape.rows < best.rows and shape.panels > best.panels] + [best]


def accumulate(
    b: Builder, groups: Sequence[Group], panel: IR, panels: int, rows: Sequence[IR], start: list[IR]
) -> list[IR]:
    """Add every group's products to accumulators laid out [row][panel][gate]; returns the sums."""
    gates = len(start) // (panels * len(rows))
    sums = list(start)
    for group in groups:
        width = len(group.accumulators) * b.lanes
        weights = b.at(group.weights, b.mul(panel, group.stride))
        places = [
            (row * panels + side) * gates + gate
            for row in range(len(rows))
            for side in range(panels)
            for gate in group.accumulators
        ]
        for segment, depth in enumerate(group.depths):
            vectors = [group.row(segment, row) for row in rows]
            with b.loop(0, depth, carry=[sums[place] for place in places]) as loop:
                _multiply(b, loop, weights, group.stride, vectors, panels, len(group.accumulators))
            for place, value in zip(places, loop.out, strict=True):
                sums[place] = value
            weights = b.at(weights, b.mul(depth, width))
    return sums


def _multiply(b: Builder, loop: Loop, weights: IR, stride: IR, vectors: list[IR], panels: int, gates: int) -> None:
    """One k: each row's number times the weights of all panels and gates."""
    k, carried = loop.index, loop.carried
    line = b.at(weights, b.mul(k, gates * b.lanes))
    columns = []
    for side in range(panels):
        base = line if side == 0 else b.at(line, b.mul(stride, side))
        columns += [b.load(b.at(base, gate * b.lanes), b.target.vector_bytes) for gate in range(gates)]
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
    body: Callable[[IR, int, IR, int], None],
    after: Callable[[IR, IR, IR, IR], None],
    around: tuple[Callable[[IR, IR], None], Callable[[IR, IR], None]] | None = None,
) -> None:
    """Cover rows × panels with tiles.

    Args:
        body: (panel, panels, first row, rows) computes one tile; panels and rows are Python numbers.
        after: (panel, panels, first row, rows) comes after it, emitted once: here both are values of the kernel.
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
        for option in (2, 4):
            allowed = b.ir.and_(b.ir.icmp_signed(">=", left, i64(option)), b.ir.icmp_signed(">=", widest, i64(option)))
            width = b.ir.select(allowed, i64(option), width)
        if around:
            around[0](panel, width)
        with b.loop(0, tiles) as tile:
            size = b.add(small, b.ir.zext(b.less(tile.index, extra), i64))
            row = b.add(first_row, b.mul(tile.index, small), b.minimum(tile.index, extra))
            _dispatch(b, choices, width, size, lambda panels, rows: body(panel, panels, row, rows))
            after(panel, width, row, size)
        if around:
            around[1](panel, width)
        panels_loop.advance(width)


def _dispatch(b: Builder, choices: Sequence[Shape], width: IR, size: IR, body: Callable[[int, int], None]) -> None:
    """Jump to the tile of this width and size."""
    cases = _cases(choices)
    done = b.ir.append_basic_block("tiled")
    never = b.ir.append_basic_block("never")
    switch = b.ir.switch(b.add(b.mul(width, 16), size), never)
    for panels, rows in cases:
        block = b.ir.append_basic_block(f"tile{panels}x{rows}")
        switch.add_case(i64(panels * 16 + rows), block)
        b.ir.position_at_end(block)
        body(panels, rows)
        b.ir.branch(done)
    b.ir.position_at_end(never)
    b.ir.unreachable()
    b.ir.position_at_end(done)


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
