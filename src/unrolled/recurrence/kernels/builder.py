"""Writing LLVM IR: vectors, loops, memory, and the arguments of a kernel by name.

A kernel is `void kernel(int64 *arguments, int64 thread, int64 threads)`; every argument is an integer or an address.
Pointers are opaque; offsets are counted in numbers of the kernel's type unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from llvmlite import ir

from unrolled.recurrence.kernels.target import SIZES, Target

IR = Any
"""A value or type of llvmlite, whose package has no types of its own."""

i1, i8, i32, i64 = ir.IntType(1), ir.IntType(8), ir.IntType(32), ir.IntType(64)
pointer = ir.PointerType()
void = ir.VoidType()


class Loop:
    """A running loop: its index, the values it carries, and what they are when it is done."""

    def __init__(self, index: IR, carried: list[IR]) -> None:
        self.index = index
        self.carried = carried
        self.next: list[IR] = list(carried)
        self.out: list[IR] = []


class Advance:
    """A running loop whose body says how far it got."""

    def __init__(self, index: IR) -> None:
        self.index = index
        self.step: IR = i64(1)

    def advance(self, step: IR) -> None:
        self.step = step


def declared(module: IR, name: str, result: IR, arguments: Sequence[IR]) -> IR:
    """A module's one declaration of a function from elsewhere."""
    known = module.globals.get(name)
    return ir.Function(module, ir.FunctionType(result, list(arguments)), name) if known is None else known


class Builder:
    """Writes one function for one instruction set and one type of number."""

    def __init__(self, module: IR, name: str, target: Target, dtype: str, arguments: Sequence[str]) -> None:
        self.module, self.target, self.dtype = module, target, dtype
        self.half_weights = False
        self.of_gradients = False
        self.lanes = target.lanes(dtype)
        self.size = SIZES[dtype]
        self.real = ir.FloatType() if dtype == "float32" else ir.DoubleType()
        self.bits = i32 if dtype == "float32" else i64
        self.width = 1
        self.function = ir.Function(module, ir.FunctionType(void, [pointer, i64, i64]), name)
        self.function.linkage = "internal"
        self.function.args[0].add_attribute("noalias")
        self.ir = ir.IRBuilder(self.function.append_basic_block("entry"))
        self.thread, self.threads = self.function.args[1:]
        self._arguments = {
            name: self.ir.load(self.ir.gep(self.function.args[0], [i64(number)], source_etype=i64), typ=i64)
            for number, name in enumerate(arguments)
        }

    # -- the width of values: one vector, or several side by side

    @property
    def vector(self) -> IR:
        """The type of a value: a vector of numbers, or as many of them as `width` says."""
        return ir.VectorType(self.real, self.lanes * self.width)

    @property
    def integers(self) -> IR:
        """The type of a value's bits, or of as many integers."""
        return ir.VectorType(self.bits, self.lanes * self.width)

    @property
    def conditions(self) -> IR:
        """The type of a comparison's answers."""
        return ir.VectorType(i1, self.lanes * self.width)

    @contextmanager
    def of_width(self, width: int) -> Iterator[None]:
        """Inside the block values have so many vectors: every operation on them is done for all, one after the other,
        and so none waits for the one before it."""
        before, self.width = self.width, width
        yield
        self.width = before

    def joined(self, parts: Sequence[IR]) -> IR:
        """Vectors as one value; the number of them is a power of 2."""
        values = list(parts)
        while len(values) > 1:
            lanes = ir.Constant(ir.VectorType(i32, 2 * values[0].type.count), list(range(2 * values[0].type.count)))
            values = [self.ir.shuffle_vector(*pair, lanes) for pair in zip(values[::2], values[1::2], strict=True)]
        return values[0]

    def parts(self, value: IR) -> list[IR]:
        """The vectors of a value."""
        count = value.type.count // self.lanes
        if count == 1:
            return [value]
        undefined = ir.Constant(value.type, ir.Undefined)
        places = [range(part * self.lanes, (part + 1) * self.lanes) for part in range(count)]
        kinds = [ir.Constant(ir.VectorType(i32, self.lanes), list(place)) for place in places]
        return [self.ir.shuffle_vector(value, undefined, kind) for kind in kinds]

    # -- constants and arguments

    def splat(self, value: float) -> IR:
        """A vector of one number."""
        with np.errstate(over="ignore"):  # what is too large for a type is infinite in it
            exact = float(np.float32(value)) if self.dtype == "float32" else float(value)
        return ir.Constant(self.vector, [exact] * self.lanes * self.width)

    def int_splat(self, value: int) -> IR:
        """A vector of one integer, as wide as the numbers."""
        return ir.Constant(self.integers, [value] * self.lanes * self.width)

    def argument(self, name: str) -> IR:
        """An integer argument, or an address as an integer."""
        return self._arguments[name]

    def address(self, name: str) -> IR:
        """An argument as a pointer."""
        return self.ir.inttoptr(self._arguments[name], pointer)

    def flag(self, name: str) -> IR:
        """Whether an argument is not zero."""
        return self.ir.icmp_signed("!=", self.argument(name), i64(0))

    # -- integers

    def number(self, value: int | IR) -> IR:
        """A Python integer as one of the kernel's."""
        return i64(value) if isinstance(value, int) else value

    def add(self, *values: int | IR) -> IR:
        total, constant = None, 0
        for value in values:
            if isinstance(value, int):
                constant += value
            else:
                total = value if total is None else self.ir.add(total, value)
        if total is None:
            return i64(constant)
        return self.ir.add(total, i64(constant)) if constant else total

    def sub(self, left: int | IR, right: int | IR) -> IR:
        return self.ir.sub(self.number(left), self.number(right))

    def mul(self, *values: int | IR) -> IR:
        product, constant = None, 1
        for value in values:
            if isinstance(value, int):
                constant *= value
            else:
                product = value if product is None else self.ir.mul(product, value)
        if product is None:
            return i64(constant)
        return self.ir.mul(product, i64(constant)) if constant != 1 else product

    def div(self, left: int | IR, right: int | IR) -> IR:
        """The quotient of two integers that are not negative."""
        return self.ir.udiv(self.number(left), self.number(right))

    def round_up(self, value: IR, multiple: int) -> IR:
        return self.mul(self.div(self.add(value, multiple - 1), multiple), multiple)

    def less(self, left: int | IR, right: int | IR) -> IR:
        return self.ir.icmp_signed("<", self.number(left), self.number(right))

    def equal(self, left: int | IR, right: int | IR) -> IR:
        return self.ir.icmp_signed("==", self.number(left), self.number(right))

    def minimum(self, left: int | IR, right: int | IR) -> IR:
        return self.ir.select(self.less(left, right), self.number(left), self.number(right))

    def maximum(self, left: int | IR, right: int | IR) -> IR:
        return self.ir.select(self.less(left, right), self.number(right), self.number(left))

    # -- control

    @contextmanager
    def loop(self, start: int | IR, stop: int | IR, step: int | IR = 1, carry: Sequence[IR] = ()) -> Iterator[Loop]:
        """for (i = start; i < stop; i += step): set `.next`, and read `.out` after the block."""
        b, before = self.ir, self.ir.block
        body, done = b.append_basic_block("loop"), b.append_basic_block("done")
        start, stop, step = self.number(start), self.number(stop), self.number(step)
        b.cbranch(b.icmp_signed("<", start, stop), body, done)
        b.position_at_end(body)
        index = b.phi(i64)
        index.add_incoming(start, before)
        carried = []
        for value in carry:
            phi = b.phi(value.type)
            phi.add_incoming(value, before)
            carried.append(phi)
        loop = Loop(index, carried)
        yield loop
        following, end = b.add(index, step), b.block
        index.add_incoming(following, end)
        for phi, value in zip(carried, loop.next, strict=True):
            phi.add_incoming(value, end)
        b.cbranch(b.icmp_signed("<", following, stop), body, done)
        b.position_at_end(done)
        for value, final in zip(carry, loop.next, strict=True):
            phi = b.phi(value.type)
            phi.add_incoming(value, before)
            phi.add_incoming(final, end)
            loop.out.append(phi)

    @contextmanager
    def repeat(self, start: IR, stop: IR) -> Iterator[Advance]:
        """while i < stop, i being advanced by the body, by a number of at least 1 that it finds."""
        b, before = self.ir, self.ir.block
        body, done = b.append_basic_block("repeat"), b.append_basic_block("done")
        b.cbranch(b.icmp_signed("<", start, stop), body, done)
        b.position_at_end(body)
        index = b.phi(i64)
        index.add_incoming(start, before)
        state = Advance(index)
        yield state
        following = b.add(index, state.step)
        index.add_incoming(following, b.block)
        b.cbranch(b.icmp_signed("<", following, stop), body, done)
        b.position_at_end(done)

    @contextmanager
    def when(self, condition: IR) -> Iterator[None]:
        with self.ir.if_then(condition):
            yield

    def finish(self) -> None:
        self.ir.ret_void()

    # -- memory

    def at(self, base: IR, offset: int | IR) -> IR:
        """The address of a number."""
        return self.ir.gep(base, [self.number(offset)], source_etype=self.real)

    def integer_at(self, base: IR, offset: int | IR) -> IR:
        """An int64 from a table."""
        return self.ir.load(self.ir.gep(base, [self.number(offset)], source_etype=i64), typ=i64)

    def store_integer(self, value: IR, base: IR, offset: int | IR) -> None:
        """An int64 into a table."""
        self.ir.store(value, self.ir.gep(base, [self.number(offset)], source_etype=i64))

    def load(self, place: IR, align: int | None = None) -> IR:
        value = self.ir.load(place, typ=self.vector)
        value.align = align or self.size
        return value

    def store(self, value: IR, place: IR, align: int | None = None) -> None:
        self.ir.store(value, place).align = align or self.size

    def load_scalar(self, place: IR) -> IR:
        value = self.ir.load(place, typ=self.real)
        value.align = self.size
        return value

    def lanes_below(self, count: IR) -> IR:
        """The condition that a lane's number is below an integer count."""
        narrow = self.ir.trunc(count, self.bits) if self.bits is i32 else count
        lanes = ir.Constant(self.integers, list(range(self.lanes)))
        return self.ir.icmp_signed("<", lanes, self.broadcast(narrow, self.integers))

    def load_some(self, place: IR, mask: IR) -> IR:
        """A vector of which only the lanes in the mask are read; the others are 0."""
        name = f"llvm.masked.load.v{self.lanes}f{8 * self.size}.p0"
        call = self.declared(name, self.vector, [pointer, i32, self.conditions, self.vector])
        return self.ir.call(call, [place, i32(self.size), mask, self.splat(0.0)])

    def store_some(self, value: IR, place: IR, mask: IR) -> None:
        """Write only the lanes in the mask."""
        name = f"llvm.masked.store.v{self.lanes}f{8 * self.size}.p0"
        call = self.declared(name, void, [self.vector, pointer, i32, self.conditions])
        self.ir.call(call, [value, place, i32(self.size), mask])

    def fetch(self, place: IR) -> None:
        """Ask for a cache line that will be needed: to the second level, and never a fault."""
        call = self.declared("llvm.prefetch.p0", void, [pointer, i32, i32, i32])
        self.ir.call(call, [place, i32(0), i32(2), i32(1)])

    def pause(self) -> None:
        """Tell the processor that this thread only looks whether others are ready."""
        if self.target.triple.startswith("x86_64"):
            self.ir.call(self.declared("llvm.x86.sse2.pause", void, []), [])
        else:
            self.ir.call(self.declared("llvm.aarch64.hint", void, [i32]), [i32(1)])

    # -- weights, which may be stored half as wide: bfloat16 is the upper half of a float32

    def weights_at(self, base: IR, offset: int | IR) -> IR:
        """The address of a packed weight."""
        kind = ir.IntType(16) if self.half_weights else self.real
        return self.ir.gep(base, [self.number(offset)], source_etype=kind)

    def load_weights(self, place: IR) -> IR:
        """A vector of packed weights."""
        if not self.half_weights:
            return self.load(place, self.target.vector_bytes)
        halves = self.ir.load(place, typ=ir.VectorType(ir.IntType(16), self.lanes))
        halves.align = self.target.vector_bytes // 2
        return self.to_reals(self.ir.shl(self.ir.zext(halves, self.integers), self.int_splat(16)))

    def store_weights(self, value: IR, place: IR) -> None:
        """Store a vector of weights, rounded to the nearest where they are stored half as wide."""
        if not self.half_weights:
            self.store(value, place, self.target.vector_bytes)
            return
        bits = self.to_integers(value)
        odd = self.ir.and_(self.ir.lshr(bits, self.int_splat(16)), self.int_splat(1))
        rounded = self.ir.add(bits, self.ir.add(odd, self.int_splat(0x7FFF)))
        nan = self.ir.fcmp_unordered("uno", value, value)
        rounded = self.ir.select(nan, self.int_splat(0x7FC00000), rounded)
        halves = self.ir.trunc(self.ir.lshr(rounded, self.int_splat(16)), ir.VectorType(ir.IntType(16), self.lanes))
        self.ir.store(halves, place).align = self.target.vector_bytes // 2

    def scratch(self, vectors: int) -> IR:
        """Room on the stack for some vectors, aligned."""
        with self.ir.goto_entry_block():
            room = self.ir.alloca(self.vector, vectors)
        room.align = self.target.vector_bytes
        return room

    def scratch_integers(self, count: int) -> IR:
        """Room on the stack for some int64."""
        with self.ir.goto_entry_block():
            return self.ir.alloca(i64, count)

    @contextmanager
    def inner(self, name: str, kind: IR) -> Iterator[IR]:
        """A function of its own, to be called from this one: what is written inside the block goes into it."""
        function = ir.Function(self.module, kind, name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        outside, self.ir = self.ir, ir.IRBuilder(function.append_basic_block("entry"))
        yield function
        self.ir.ret_void()
        self.ir = outside

    # -- numbers too small to be normal: below 1.2e-38 in float32, 2.2e-308 in float64

    @contextmanager
    def tiny_sums_are_zero(self) -> Iterator[None]:
        """In a function of a kernel of gradients: results too small to be normal are zero until the block ends.

        Processors compute many times slower with such numbers, and a gradient that vanishes over a long sequence passes
        through them. What the block takes in stays as it is (on x86), so only gradients are lost, and only such small
        ones; whatever a step computes unit by unit, and may divide by, is computed outside, as in the forward pass.
        """
        if not self.of_gradients:
            yield
        elif self.target.triple.startswith("x86_64"):
            with self.ir.goto_entry_block():
                before, within = self.ir.alloca(i32), self.ir.alloca(i32)
            read, write = (self.declared(f"llvm.x86.sse.{name}mxcsr", void, [pointer]) for name in ("st", "ld"))
            self.ir.call(read, [before])
            self.ir.store(self.ir.or_(self.ir.load(before, typ=i32), i32(0x8000)), within)
            self.ir.call(write, [within])
            yield
            self.ir.call(write, [before])
        else:
            mode = self.ir.call(self.declared("llvm.aarch64.get.fpcr", i64, []), [])
            write = self.declared("llvm.aarch64.set.fpcr", void, [i64])
            self.ir.call(write, [self.ir.or_(mode, i64(1 << 24))])
            yield
            self.ir.call(write, [mode])

    def normal(self, value: IR) -> IR:
        """A gradient, or 0 where it is too small to be a normal number; NaN stays."""
        tiny = self.splat(float(np.finfo(self.dtype).smallest_normal))
        size = self.ir.and_(self.to_integers(value), self.int_splat((1 << (8 * self.size - 1)) - 1))
        return self.select(self.compare("<", self.to_reals(size), tiny), self.splat(0.0), value)

    # -- vectors

    def declared(self, name: str, result: IR, arguments: Sequence[IR]) -> IR:
        """A function from elsewhere: an intrinsic of LLVM's, or a symbol of the process."""
        return declared(self.module, name, result, arguments)

    def intrinsic(self, name: str, *values: IR) -> IR:
        """A pointwise intrinsic of LLVM's on vectors, such as fma or fabs."""
        kind = f"v{self.lanes * self.width}f{8 * self.size}"
        return self.ir.call(
            self.declared(f"llvm.{name}.{kind}", self.vector, [value.type for value in values]), list(values)
        )

    def fma(self, left: IR, right: IR, addend: IR) -> IR:
        """left * right + addend: rounded once where the processor can; elsewhere twice (a true fma would be a call)."""
        return self.intrinsic("fmuladd", left, right, addend)

    def broadcast(self, scalar: IR, kind: IR | None = None) -> IR:
        kind = kind or self.vector
        undefined = ir.Constant(kind, ir.Undefined)
        one = self.ir.insert_element(undefined, scalar, i32(0))
        return self.ir.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(i32, self.lanes), [0] * self.lanes))

    def fadd(self, left: IR, right: IR) -> IR:
        return self.ir.fadd(left, right)

    def fsub(self, left: IR, right: IR) -> IR:
        return self.ir.fsub(left, right)

    def fmul(self, left: IR, right: IR) -> IR:
        return self.ir.fmul(left, right)

    def fdiv(self, left: IR, right: IR) -> IR:
        return self.ir.fdiv(left, right)

    def compare(self, relation: str, left: IR, right: IR) -> IR:
        """An ordered comparison of two vectors: false where one is NaN."""
        return self.ir.fcmp_ordered(relation, left, right)

    def select(self, condition: IR, then: IR, otherwise: IR) -> IR:
        return self.ir.select(condition, then, otherwise)

    def to_integers(self, value: IR) -> IR:
        """The bits of a vector of numbers, as integers."""
        return self.ir.bitcast(value, self.integers)

    def to_reals(self, value: IR) -> IR:
        """Integers' bits as a vector of numbers."""
        return self.ir.bitcast(value, self.vector)
