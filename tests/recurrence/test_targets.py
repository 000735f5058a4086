"""The kernels for every instruction set, whatever this machine's is: LLVM accepts them, and they use its vectors."""

import re

import pytest

from cell_table import OF
from unrolled.recurrence.kernels import backward, forward, machine
from unrolled.recurrence.kernels.builder import Builder
from unrolled.recurrence.kernels.functions import FUNCTIONS
from unrolled.recurrence.kernels.target import AVX2, AVX512, NEON, SSE2, Target
from unrolled.recurrence.layout import layout_of
from unrolled.recurrence.plan import Form
from unrolled.recurrence.program import trace

DTYPES = ["float32", "float64"]
TARGETS = {target.name: target for target in (AVX512, AVX2, SSE2, NEON)}
BUILD = {"forward": forward.build, "backward": backward.build}
ARGUMENTS = {"forward": forward.argument_names, "backward": backward.argument_names}

FROM_OUTSIDE = {"syscall", "omp_get_thread_num", "omp_get_num_threads", "memset", "memcpy"}
"""What kernels may call: torch's OpenMP, and what LLVM makes of loops that fill or copy."""

MULTIPLIES: dict[tuple[str, str], str] = {
    ("AVX-512", "float32"): r"vfmadd\w+ps\s.*%zmm",
    ("AVX-512", "float64"): r"vfmadd\w+pd\s.*%zmm",
    ("AVX2", "float32"): r"vfmadd\w+ps\s.*%ymm",
    ("AVX2", "float64"): r"vfmadd\w+pd\s.*%ymm",
    ("SSE2", "float32"): r"mulps\s.*%xmm",
    ("SSE2", "float64"): r"mulpd\s.*%xmm",
    ("NEON", "float32"): r"fmla\s+v\d+\.4s",
    ("NEON", "float64"): r"fmla\s+v\d+\.2d",
}
"""The instruction that products are made of, on whole vectors."""

ALIEN = {"AVX-512": r"\bv\d+\.", "AVX2": r"zmm|%k[1-7]", "SSE2": r"[yz]mm|vfmadd|\tvmul", "NEON": r"[xyz]mm"}
"""What an instruction set does not have."""


CASES = [
    *[("lstm", target, "float32") for target in TARGETS],
    ("gru", "AVX2", "float64"),
    ("lstm", "NEON", "float64"),
    ("leaky", "AVX-512", "float64"),
    ("minimal", "SSE2", "float64"),
]
"""Every target in both types; one level, two, and every operator: a kernel takes half a second, so not all of all."""


def called(text: str) -> set[str]:
    """The symbols that machine code names and does not define."""
    jumps = re.findall(r"^\s+(?:bl?|callq?|jmp)[ \t]+([A-Za-z_]\w*)", text, re.MULTILINE)
    addresses = re.findall(r"(?:\$|:abs_g\d\w*:|:lo12:|\badrp[ \t]+\w+, )([A-Za-z_]\w*)", text)
    defined = re.findall(r"^(?:\t\.comm\t)?([A-Za-z_]\w*)[:,]", text, re.MULTILINE)
    return {*jumps, *addresses} - set(defined)


@pytest.mark.parametrize("direction", BUILD)
@pytest.mark.parametrize(("name", "target", "dtype"), CASES)
def test_kernels_are_emitted_for_every_instruction_set(name: str, target: str, dtype: str, direction: str) -> None:
    program = trace(OF[name].cell)
    form = Form(program, layout_of(program), dtype, saving=True)
    module = BUILD[direction](form, TARGETS[target])
    names = ARGUMENTS[direction](form)
    assert len(set(names)) == len(names)
    text = machine.assembly(module, TARGETS[target])
    products = re.findall(MULTIPLIES[target, dtype], text)
    assert len(products) > 20
    assert not re.search(ALIEN[target], text)
    assert called(text) >= {"syscall", "omp_get_thread_num", "omp_get_num_threads"}
    assert called(text) <= FROM_OUTSIDE


def arity(name: str) -> int:
    two = ("add", "subtract", "multiply", "divide", "maximum", "minimum", "less", "less_equal")
    return 3 if name == "where" else 1 + (name in two)


def all_functions(target: Target, dtype: str) -> str:
    """The machine code of every pointwise function, one after the other on the same vectors."""
    module = machine.new_module("functions", target)
    b = Builder(module, "functions", target, dtype, ["in", "out"])
    values = [b.load(b.at(b.address("in"), b.lanes * number)) for number in range(3)]
    for place, (name, function) in enumerate(FUNCTIONS.items()):
        b.store(function(b, *values[: arity(name)]), b.at(b.address("out"), b.lanes * place))
    b.finish()
    machine.add_entries(module, b.function)
    return machine.assembly(module, target)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("target", TARGETS)
def test_pointwise_functions_call_nothing_and_do_not_branch(target: str, dtype: str) -> None:
    text = all_functions(TARGETS[target], dtype)
    assert called(text) == {"omp_get_thread_num", "omp_get_num_threads"}
    assert re.search(MULTIPLIES[target, dtype], text)
    assert not re.search(ALIEN[target], text)
    body = text[: text.index("alone:")]  # behind it come the functions that Python calls
    assert re.search(MULTIPLIES[target, dtype], body)
    assert not re.findall(r"\s(?:j[a-z]+|b\.\w+|cbn?z|tbn?z)\s+\S*LBB", body)
