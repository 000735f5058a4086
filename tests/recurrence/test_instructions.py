"""The choice of instructions: UNROLLED_CPU takes a level that the machine has, and nothing else."""

import os
import subprocess
import sys

import pytest

from unrolled.errors import UserError
from unrolled.recurrence.kernels import store
from unrolled.recurrence.kernels.target import AVX2, AVX512, CHOICES, LEVELS, NEEDED, NEON, SSE2, chosen, host

X86, ARM = "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"
V3 = dict.fromkeys(NEEDED["x86-64-v3"], True)
V4 = V3 | dict.fromkeys(NEEDED["x86-64-v4"], True)


@pytest.mark.parametrize(
    ("features", "native"), [({}, SSE2), (V3, AVX2), (V4, AVX512), (V4 | {"avx512dq": False}, AVX2)]
)
def test_native_is_the_best_that_the_machine_has(features: dict[str, bool], native: object) -> None:
    found = chosen("native", X86, "somelake", features)
    assert (found.name, found.cpu, found.vector_bytes) == (native.name, "somelake", native.vector_bytes)
    assert chosen("native", ARM, "somecore", {"neon": True}).name == NEON.name


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_is_what_its_name_says_and_no_more(level: str) -> None:
    found = chosen(level, X86, "somelake", V4 | {"amx-tile": True})
    assert (found.cpu, found.features, found.name) == (level, "", LEVELS[level].name)
    assert (found.vector_bytes, found.registers) == (LEVELS[level].vector_bytes, LEVELS[level].registers)


def test_a_word_that_is_no_level_is_refused_with_the_choices() -> None:
    for word in ("avx2", "x86-64-v2", "NATIVE", " ", "\0"):
        with pytest.raises(UserError, match="must be one of x86-64, x86-64-v3, x86-64-v4, native"):
            chosen(word, X86, "somelake", V4)


def test_more_than_the_machine_has_is_refused() -> None:
    with pytest.raises(UserError, match=r"UNROLLED_CPU=x86-64-v4: this machine's processor has no avx512f, .*native"):
        chosen("x86-64-v4", X86, "somelake", V3)
    with pytest.raises(UserError, match="has no fma; use native"):
        chosen("x86-64-v4", X86, "somelake", V4 | {"fma": False})
    for level in LEVELS:
        with pytest.raises(UserError, match="this machine's processor is aarch64; use native"):
            chosen(level, ARM, "somecore", {"neon": True})


def test_kernels_of_two_levels_are_kept_apart() -> None:
    targets = [chosen(level, X86, "somelake", V4) for level in CHOICES]
    assert len({store.key_of("forward", "form", target) for target in targets}) == len(CHOICES)


@pytest.mark.skipif(not host().triple.startswith("x86_64"), reason="levels are those of x86-64 processors")
def test_the_variable_chooses_for_a_process() -> None:
    code = """
import torch
from unrolled.nn import LSTM
from unrolled.recurrence.kernels.target import host
torch.manual_seed(1)
ours, theirs = LSTM(5, 19), torch.nn.LSTM(5, 19)
theirs.load_state_dict(ours.state_dict())
x = torch.randn(7, 3, 5)
torch.testing.assert_close(ours(x)[0], theirs(x)[0])
print(host().name, ours.engine_for(x).name)
"""
    variables = {**os.environ, "UNROLLED_CPU": "x86-64"}
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, timeout=240)
    assert (done.stdout, done.stderr) == ("SSE2 compiled\n", "")
