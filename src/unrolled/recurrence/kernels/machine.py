"""From LLVM IR to machine code in this process."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from llvmlite import binding as llvm
from llvmlite import ir

from unrolled.recurrence import openmp
from unrolled.recurrence.kernels import store
from unrolled.recurrence.kernels.builder import IR, i32, i64, pointer, void
from unrolled.recurrence.kernels.target import Target, host


@lru_cache(maxsize=1)
def _prepare() -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    found = openmp.symbols()
    # Where kernels run alone nothing calls these, but whatever code names must have an address.
    nowhere = ctypes.cast(ctypes.pythonapi.Py_IsInitialized, ctypes.c_void_p).value
    for name in (*openmp.NEEDED, "syscall"):
        llvm.add_symbol(name, found.get(name, nowhere))
    if found:
        llvm.add_symbol("syscall", ctypes.cast(ctypes.CDLL(None).syscall, ctypes.c_void_p).value)


def new_module(name: str, target: Target) -> IR:
    """An empty module for a target."""
    module = ir.Module(name)
    module.triple = target.triple
    return module


def add_entries(module: IR, body: IR) -> None:
    """The two functions that Python calls: `alone(arguments)`, and `parallel(arguments)` for each thread of a team.

    Before the arguments of the body comes the number of threads that share its work. A team may be smaller, and larger:
    the surplus returns at once.
    """
    alone = ir.Function(module, ir.FunctionType(void, [pointer]), "alone")
    builder = ir.IRBuilder(alone.append_basic_block())
    builder.call(body, [_behind_first(builder, alone.args[0]), i64(0), i64(1)])
    builder.ret_void()
    parallel = ir.Function(module, ir.FunctionType(void, [pointer]), "parallel")
    builder = ir.IRBuilder(parallel.append_basic_block())
    places = [
        builder.zext(builder.call(ir.Function(module, ir.FunctionType(i32, []), name), []), i64)
        for name in ("omp_get_thread_num", "omp_get_num_threads")
    ]
    limit = builder.load(parallel.args[0], typ=i64)
    thread, team = places
    team = builder.select(builder.icmp_signed("<", limit, team), limit, team)
    with builder.if_then(builder.icmp_signed("<", thread, team)):
        builder.call(body, [_behind_first(builder, parallel.args[0]), thread, team])
        # Threads also wait here: at the team's own end the runtime would look for milliseconds before it lets go.
        if "barrier" in module.globals:
            builder.call(module.globals["barrier"], [team])
    builder.ret_void()


def _behind_first(builder: IR, arguments: IR) -> IR:
    return builder.gep(arguments, [i64(1)], source_etype=i64)


def optimised(module: IR, target: Target) -> tuple[Any, Any]:
    """The module as LLVM has it, verified and optimised for a target, and the target machine."""
    _prepare()
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    machine = llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=2, jit=True
    )
    # The IR is written as it shall run: these two passes do what O1 would for its speed, in a fifth of the time.
    passes = llvm.create_new_function_pass_manager()
    passes.add_instruction_combine_pass()
    passes.add_new_gvn_pass()
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options())
    for function in parsed.functions:
        if not function.is_declaration:
            passes.run(function, builder)
    return parsed, machine


def assembly(module: IR, target: Target) -> str:
    """The machine code for a target, as text."""
    parsed, machine = optimised(module, target)
    text: str = machine.emit_assembly(parsed)
    return text


def _loaded(code: bytes) -> Any:
    """An engine that holds some machine code, ready to run."""
    _prepare()
    target = host()
    machine = llvm.Target.from_triple(target.triple).create_target_machine(cpu=target.cpu, jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine


class Kernel:
    """A compiled kernel, and the names of its arguments."""

    def __init__(self, write: Callable[[], IR], names: Sequence[str], key: str | None = None) -> None:
        """`write` gives the module; with a key it is only asked where the code is not kept from before."""
        code = store.load(key) if key else None
        if code is None:
            parsed, machine = optimised(write(), host())
            code = machine.emit_object(parsed)
            if key:
                store.save(key, code)
        self._engine = _loaded(code)
        self.names = tuple(names)
        self._alone = self._engine.get_function_address("alone")
        self._parallel = self._engine.get_function_address("parallel")
        self._kind = ctypes.c_int64 * (1 + len(self.names))

    def __call__(self, arguments: Mapping[str, int], threads: int) -> None:
        """Run once; every argument is an integer or an address."""
        values = self.values(arguments, threads)
        self.run(ctypes.addressof(values), threads)

    def values(self, arguments: Mapping[str, int], threads: int) -> Any:
        """What the kernel reads: an array of the number of threads, and of the arguments in its order."""
        return self._kind(threads, *[arguments[name] for name in self.names])

    def place(self, name: str) -> int:
        """Where an argument lies in that array."""
        return 1 + self.names.index(name)

    def run(self, address: int, threads: int) -> None:
        """Run once, with the array of arguments at an address."""
        openmp.run(self._alone, self._parallel, address, threads)
