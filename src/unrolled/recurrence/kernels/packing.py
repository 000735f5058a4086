"""Rearranging weights into panels: [panel][k][gate][lane], so that a product reads them straight through."""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from unrolled.recurrence.kernels.builder import IR, Builder, i32, i64, pointer, void


def pack_rows(b: Builder, panel: IR, blocks: Sequence[IR], units: IR, depth: IR, stride: IR, packed: IR) -> None:
    """One panel of a product whose units are rows: each gate's block is (units, depth), `stride` from row to row.

    `packed` is the panel's place; it has room for the depth rounded up to whole vectors.
    """
    width = len(blocks) * b.lanes
    for gate, rows in enumerate(blocks):
        place = b.weights_at(packed, gate * b.lanes)
        b.ir.call(_rows_function(b), [rows, place, b.mul(panel, b.lanes), units, depth, stride, i64(width)])


def _rows_function(b: Builder) -> IR:
    """The function that packs one gate of a panel."""
    if "pack_rows" in b.module.globals:
        return b.module.globals["pack_rows"]
    with b.inner("pack_rows", ir.FunctionType(void, [pointer, pointer, i64, i64, i64, i64, i64])) as function:
        rows, packed, first, units, depth, stride, width = function.args
        with b.loop(0, depth, b.lanes) as block:
            columns = b.lanes_below(b.sub(depth, block.index))
            lines = []
            for lane in range(b.lanes):
                unit = b.add(first, lane)
                inside = b.less(unit, units)
                row = b.ir.select(inside, unit, b.number(0))
                mask = b.ir.select(inside, columns, ir.Constant(b.conditions, [0] * b.lanes))
                lines.append(b.load_some(b.at(rows, b.add(b.mul(row, stride), block.index)), mask))
            for k, line in enumerate(_transposed(b, lines)):
                b.store_weights(line, b.weights_at(packed, b.mul(b.add(block.index, k), width)))
    return function


def pack_columns(b: Builder, panel: IR, blocks: Sequence[IR], units: IR, depth: IR, stride: IR, packed: IR) -> None:
    """One panel of a product whose units are columns: each segment's block is (depth, units), one after the other."""
    first = b.mul(panel, b.lanes)
    mask = b.lanes_below(b.sub(units, first))
    for segment, rows in enumerate(blocks):
        with b.loop(0, depth) as k:
            line = b.load_some(b.at(rows, b.add(b.mul(k.index, stride), first)), mask)
            place = b.at(packed, b.mul(b.add(b.mul(depth, segment), k.index), b.lanes))
            b.store(line, place, b.target.vector_bytes)


def _transposed(b: Builder, lines: list[IR]) -> list[IR]:
    """A square of vectors, rows and columns exchanged, by log2(lanes) rounds of interleaving."""
    half = b.lanes // 2
    low = [lane // 2 + (lane % 2) * b.lanes for lane in range(b.lanes)]
    high = [number + half for number in low]
    pick = ir.VectorType(i32, b.lanes)
    rounds = b.lanes.bit_length() - 1
    for _ in range(rounds):
        mixed = []
        for one, other in zip(lines[:half], lines[half:], strict=True):
            mixed += [b.ir.shuffle_vector(one, other, ir.Constant(pick, order)) for order in (low, high)]
        lines = mixed
    return lines
