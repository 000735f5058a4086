"""Native functions in PyTorch's own OpenMP threads: the addresses of a kernel go in, a team of threads runs it.

A second pool of threads would fight with PyTorch's for the cores; and two OpenMP runtimes in one process are worse than
slow: a kernel whose numbers of threads come from one and whose threads belong to the other computes a part twice, or
never. So the one runtime that torch itself uses is found among those that the process has loaded, everything is taken
from it, and it is tested once, at the first use. Where there is none, after a fork, and while another Python thread is
inside, a kernel runs on the calling thread alone.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from unrolled import cores

NEEDED = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")
"""The entry points that starting a kernel, and a kernel itself, call."""

SETTINGS = ("omp_get_max_threads", "omp_set_num_threads")
"""The entry points that tell whether torch uses a runtime."""

LIBRARY = re.compile(r"lib(?:gomp|iomp5|omp)\b[^/]*")
"""The file names of OpenMP runtimes: GNU's, Intel's, LLVM's."""

DELETED = " (deleted)"
"""What the kernel appends to the path of a mapped file that is no longer there."""


@dataclass(frozen=True)
class OpenMP:
    """The OpenMP runtime that kernels run in.

    Attributes:
        path: its library; None where torch's could not be found.
        flavour: whose it is: "GNU", or "LLVM" (Intel's too); "none" without a path.
        usable: whether kernels run on several threads in it.
        reason: why, or why not.
    """

    path: str | None
    flavour: str
    usable: bool
    reason: str


@dataclass(frozen=True)
class Runtime:
    """What is known of the runtime, and how to start a team in it: None where kernels run alone."""

    state: OpenMP
    start: Callable[[int, Any, int, int], None] | None = None
    symbols: dict[str, int] | None = None


_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_PARALLEL = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_uint)

_runtime: Runtime | None = None
# Both locks let the thread that holds them in again: an interrupt that arrives between taking and `try` leaves a lock
# taken, and then that thread goes on as before, and the others run alone.
_binding = threading.RLock()
_inside = threading.RLock()


def run(alone: int, parallel: int, arguments: Any, threads: int) -> None:
    """Run a kernel, without Python's lock, on a team of PyTorch's OpenMP threads or on this thread alone.

    Args:
        alone: the address of `void alone(int64_t *arguments)`, which does all the work.
        parallel: the address of `void parallel(int64_t *arguments)`, which every thread of the team runs once. The team
            can be smaller than `threads` (OMP_THREAD_LIMIT, OMP_DYNAMIC), and is as large as torch's number where that
            is larger: a change of size makes the runtime end and start threads, every time. The function asks
            `omp_get_num_threads`, and lets the surplus return.
        arguments: the address of the arguments, or a ctypes array of them.
        threads: how many to run on, from `threads_for`; at 1, and wherever a team cannot run, `alone` is called.
    """
    if threads > 1:
        start, inside = (_runtime or _bound()).start, _inside
        if start is not None and inside.acquire(False):
            try:
                start(parallel, arguments, max(threads, torch.get_num_threads()), 0)
                return
            finally:
                inside.release()
    _function(alone)(arguments)


def threads_for(wanted: int | None = None) -> int:
    """How many threads a call may use now: torch's number, at most `wanted`, at most the cores of this process."""
    threads = torch.get_num_threads()
    if wanted is not None:
        threads = min(threads, wanted)
    if threads > 1:
        threads = min(threads, cores.usable())
    return threads if threads > 1 and (_runtime or _bound()).start is not None else 1


def symbols() -> dict[str, int]:
    """The addresses of what a kernel may call (`NEEDED` without GOMP_parallel); empty where no runtime was usable."""
    return dict(_bound().symbols or {})


def state() -> OpenMP:
    """The runtime that kernels run in, whether it is usable, and why."""
    return _bound().state


@cache
def _function(address: int) -> Callable[[Any], None]:
    """The function at an address, for Python. Kernels are kept, so these are too."""
    return _FUNCTION(address)


def _bound() -> Runtime:
    """The runtime, found and tested at the first call."""
    global _runtime
    if _runtime is None:
        with _binding:
            if _runtime is None:
                _runtime = search(_maps(), refusal(sys.platform, _c_library()))
    return _runtime


def refusal(platform: str, c_library: str) -> str | None:
    """Why this kind of system runs kernels on one thread, or None: GNU/Linux alone has been measured."""
    if platform != "linux":
        return f"kernels run on several threads on Linux only, and this is {platform}"
    return None if c_library.startswith("glibc") else "kernels run on several threads with the GNU C library only"


def _c_library() -> str:
    """The C library and its version, as "glibc 2.36"; empty where it is not GNU's."""
    known = "CS_GNU_LIBC_VERSION" in getattr(os, "confstr_names", ())
    return (os.confstr("CS_GNU_LIBC_VERSION") or "") if known else ""


def _maps() -> str:
    """The memory map of this process, a region a line; empty where the system does not say."""
    try:
        return Path("/proc/self/maps").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""


def loaded(maps: str | None = None) -> list[str]:
    """The paths of the OpenMP runtimes in a memory map: this process's, unless another is given."""
    lines = (_maps() if maps is None else maps).splitlines()
    paths = [parts[5].removesuffix(DELETED) for line in lines if len(parts := line.split(maxsplit=5)) == 6]
    return [path for path in dict.fromkeys(paths) if LIBRARY.match(path.rpartition("/")[2])]


def _opened(path: str) -> ctypes.CDLL | None:
    """The library at a path if this process has loaded it: the loader compares files, not names, and loads nothing."""
    try:
        return ctypes.CDLL(path, mode=os.RTLD_NOLOAD)
    except OSError:
        return None


def is_torchs(library: Any) -> bool:
    """Whether torch uses a runtime: a number of threads that is set through it is then what torch answers.

    No name and no place on disk can tell: which of several runtimes torch's calls went to depends on what was loaded
    before it (LD_PRELOAD, another package's copy). The number is this thread's own, and is set back at once.
    """
    own, before = library.omp_get_max_threads(), torch.get_num_threads()
    probe = before - 1 if before > 1 else 2  # a smaller number, since a larger could be past a limit
    library.omp_set_num_threads(probe)
    try:
        return torch.get_num_threads() == probe
    finally:
        library.omp_set_num_threads(own)


def search(maps: str, refused: str | None = None, opened: Callable[[str], Any] = _opened) -> Runtime:
    """The runtime that torch uses, tested, among those in a memory map.

    Args:
        maps: the text of /proc/self/maps.
        refused: why not to look at all (`refusal`).
        opened: gives the library at a path if it is loaded, else None.
    """
    if refused:
        return _none(refused)
    reasons = []
    for path in loaded(maps):
        library = opened(path)
        if library is None:
            reasons.append(f"{path} was replaced after it was loaded")
        elif missing := [name for name in (*NEEDED, *SETTINGS) if not hasattr(library, name)]:
            reasons.append(f"{path} has no {', '.join(missing)}")
        elif not is_torchs(library):
            reasons.append(f"{path} is not the one that torch uses")
        else:
            return _tested(path, library)
    return _none("; ".join(reasons) or "this process has loaded no OpenMP runtime that torch could share")


def _none(reason: str) -> Runtime:
    return Runtime(OpenMP(None, "none", False, reason))


def _tested(path: str, library: Any) -> Runtime:
    addresses = {name: ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0 for name in NEEDED}
    start = _PARALLEL(addresses.pop("GOMP_parallel"))
    asked = max(2, torch.get_num_threads())
    flavour = "LLVM" if hasattr(library, "__kmpc_fork_call") else "GNU"
    if (fault := fault_of(start, addresses, asked)) is not None:
        return Runtime(OpenMP(path, flavour, False, fault))
    reason = "torch uses it, and a team of it passed a test"
    return Runtime(OpenMP(path, flavour, True, reason), start, addresses)


TEST = """
define void @test(ptr %arrived) {{
start:
  %thread.32 = call i32 inttoptr (i64 {omp_get_thread_num} to ptr)()
  %team.32 = call i32 inttoptr (i64 {omp_get_num_threads} to ptr)()
  %thread = sext i32 %thread.32 to i64
  %team = sext i32 %team.32 to i64
  %answers = getelementptr i64, ptr %arrived, i64 1
  %before = atomicrmw add ptr %arrived, i64 1 acq_rel
  br label %wait
wait:
  %turn = phi i64 [0, %start], [%turn.next, %wait]
  %here = load atomic i64, ptr %arrived acquire, align 8
  %turn.next = add i64 %turn, 1
  %missing = icmp slt i64 %here, %team
  %patient = icmp slt i64 %turn.next, {turns}
  %waiting = and i1 %missing, %patient
  br i1 %waiting, label %wait, label %done
done:
  %answer.at = getelementptr i64, ptr %answers, i64 %thread
  store i64 %here, ptr %answer.at
  ret void
}}
"""
"""What every thread of the test does: say that it came, and wait for as many as the runtime says there are. The
arguments are how many came, and for each thread the number that it saw in the end."""

TURNS = 500_000_000
"""How often a thread looks before it gives the others up, some tenths of a second: a team that waits for one another,
as a kernel's threads do, has to run at once."""


def fault_of(start: Callable[[int, Any, int, int], None], symbols: dict[str, int], asked: int) -> str | None:
    """What is wrong with a team of `asked` threads, or None: it is tried."""
    engine, address = _compiled(TEST.format(turns=TURNS, **symbols))
    arguments = (ctypes.c_int64 * (1 + asked))()
    start(address, arguments, asked, 0)
    team, answers = arguments[0], arguments[1:]
    del engine  # it owns the function until here
    if team < 2 and answers[0] < 2:
        return f"a team of {asked} threads was asked for, and {team} ran (OMP_THREAD_LIMIT and OMP_DYNAMIC can do that)"
    if answers[:team] != [team] * team:
        return "the threads of its team do not run at once, or have no numbers of their own"
    return None


def _compiled(text: str) -> tuple[Any, int]:
    """The address of a module's function `test`, and the engine that owns it."""
    from llvmlite import binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(opt=1)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(text), machine)
    engine.finalize_object()
    return engine, engine.get_function_address("test")


def _forked() -> None:
    """Run alone from here on: a forked child has only the thread that forked, and a team would wait for the others."""
    global _runtime, _binding, _inside
    before = _runtime or _none("")
    reason = "this process was forked, and the OpenMP threads stayed with its parent"
    _runtime = Runtime(replace(before.state, usable=False, reason=reason), None, before.symbols)
    _binding, _inside = threading.RLock(), threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
