"""The instruction sets that kernels are written for: how wide a vector is, and how many registers there are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from llvmlite import binding as llvm

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


@lru_cache(maxsize=1)
def host() -> Target:
    """This machine's processor."""
    features = llvm.get_host_cpu_features()
    triple, cpu = llvm.get_process_triple(), llvm.get_host_cpu_name()
    if triple.startswith(("aarch64", "arm64")):
        like = NEON
    elif features.get("avx512f") and features.get("avx512vl") and features.get("avx512dq"):
        like = AVX512
    elif features.get("avx2") and features.get("fma"):
        like = AVX2
    else:
        like = SSE2
    return Target(like.name, triple, cpu, features.flatten(), like.vector_bytes, like.registers)
