"""The instruction sets that kernels are written for: how wide a vector is, and how many registers there are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from llvmlite import binding as llvm

from unrolled.errors import UserError

SIZES = {"float32": 4, "float64": 8}
"""Bytes of a number of each type that kernels compute in."""


@dataclass(frozen=True)
class Target:
    """One kind of processor.

    Attributes:
        name: the instruction set's.
        triple, cpu, features: what LLVM calls it.
        vector_bytes, registers: the width of a vector register, and how many there are.
    """

    name: str
    triple: str
    cpu: str
    features: str
    vector_bytes: int
    registers: int

    def lanes(self, dtype: str) -> int:
        """How many numbers of a type one vector holds."""
        return self.vector_bytes // SIZES[dtype]


AVX512 = Target("AVX-512", "x86_64-unknown-linux-gnu", "x86-64-v4", "", 64, 32)
AVX2 = Target("AVX2", "x86_64-unknown-linux-gnu", "x86-64-v3", "", 32, 16)
SSE2 = Target("SSE2", "x86_64-unknown-linux-gnu", "x86-64", "", 16, 16)
NEON = Target("NEON", "aarch64-unknown-linux-gnu", "generic", "+neon", 16, 32)


VARIABLE = "UNROLLED_CPU"
"""The environment variable that chooses an instruction set below this machine's own."""

LEVELS = {"x86-64": SSE2, "x86-64-v3": AVX2, "x86-64-v4": AVX512}
"""The levels of x86-64 that may be chosen, by the names that compilers have for them."""

CHOICES = (*LEVELS, "native")

NEEDED = {
    "x86-64": (),
    "x86-64-v3": ("avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe"),
    "x86-64-v4": ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"),
}
"""The features, by LLVM's names, that a processor of each level has."""


@lru_cache(maxsize=1)
def host() -> Target:
    """This machine's processor, or the level below it that UNROLLED_CPU chooses; read once.

    Raises:
        UserError: UNROLLED_CPU is no level, or more than this machine has.
    """
    features = llvm.get_host_cpu_features()
    return chosen(os.environ.get(VARIABLE) or "native", llvm.get_process_triple(), llvm.get_host_cpu_name(), features)


def chosen(level: str, triple: str, cpu: str, features: Mapping[str, bool]) -> Target:
    """The target of a level on a machine.

    Args:
        level: one of `CHOICES`.
        triple, cpu, features: what LLVM says of the machine.

    Raises:
        UserError: there is no such level, or the machine does not have it.
    """
    if level not in CHOICES:
        raise UserError(f"the environment variable {VARIABLE} is {level!r}; it must be one of {', '.join(CHOICES)}")
    if level == "native":
        return _native(triple, cpu, features)
    if not triple.startswith("x86_64"):
        raise UserError(f"{VARIABLE}={level}: this machine's processor is {triple.partition('-')[0]}; use native")
    if missing := _missing(level, features):
        raise UserError(f"{VARIABLE}={level}: this machine's processor has no {', '.join(missing)}; use native")
    like = LEVELS[level]
    return Target(like.name, triple, level, "", like.vector_bytes, like.registers)


def _native(triple: str, cpu: str, features: Mapping[str, bool]) -> Target:
    if triple.startswith(("aarch64", "arm64")):
        like = NEON
    elif features.get("avx512f") and features.get("avx512vl") and features.get("avx512dq"):
        like = AVX512
    elif features.get("avx2") and features.get("fma"):
        like = AVX2
    else:
        like = SSE2
    flattened = ",".join(f"{'+' if features[name] else '-'}{name}" for name in sorted(features))
    return Target(like.name, triple, cpu, flattened, like.vector_bytes, like.registers)


def _missing(level: str, features: Mapping[str, bool]) -> list[str]:
    """The features of a level, and of those below it, that a machine lacks."""
    below = list(NEEDED)[: 1 + list(NEEDED).index(level)]
    return [name for each in below for name in NEEDED[each] if not features.get(name)]
