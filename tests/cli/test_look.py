"""`show`, `cells`, `doctor`: what there is."""

import json
from pathlib import Path

import pytest
import torch

from unrolled import cores, diagnosis
from unrolled.cells import CELLS
from unrolled.cli.figures import number, size
from unrolled.recurrence import openmp
from unrolled.recurrence.kernels.target import host


def test_show(unrolled, place: Path) -> None:
    out = unrolled("show", "runs/demo").out
    vocabulary = json.loads((place / "runs/demo/vocabulary.json").read_text())["symbols"]
    assert out.startswith("runs/demo: language-model, lstm, character level\n")
    for text in (
        "../../text.txt", "running text", f"{len(vocabulary)} with <pad> <unk> <bos> <eos>", "1 layer of 16",
        "recurrent.weight_ih_l0 64 × 8", "60 of 60 steps of 8 × 20 symbols, adamw", "best at step", "symbols/s",
        "torch 2.", "validation part", "test part", "model.safetensors", "curves.png",
    ):  # fmt: skip
        assert text in out
    assert "not finished" not in out


def test_show_json(unrolled) -> None:
    facts = json.loads(unrolled("show", "runs/demo", "--json").out)
    assert facts["model"]["hidden"] == 16
    assert facts["parameters"]["recurrent.weight_hh_l0"] == [64, 16]
    assert facts["metrics"]["step"] == facts["state"]["step"] == 60
    assert facts["files"]["model.safetensors"] > 1000


def test_cells_lists_all(unrolled) -> None:
    lines = unrolled("cells").out.splitlines()
    assert lines[0].split() == ["cell", "class", "gates", "states", "engines"]
    assert [line.split()[0] for line in lines[1 : len(CELLS) + 1]] == list(CELLS)
    gru = next(line for line in lines if line.startswith("gru "))
    assert 'GRU(..., reset="before")' in gru
    assert "relevance, update, candidate" in gru


@pytest.mark.parametrize("name", list(CELLS))
def test_one_cell_in_full(unrolled, name: str) -> None:
    out = unrolled("cells", name).out
    for line in CELLS[name].equations.splitlines():
        assert f"  {line}\n" in out
    assert "weight_ih_l0" in out
    assert "engines" in out


def test_a_cells_facts(unrolled) -> None:
    facts = json.loads(unrolled("cells", "lstm-peephole", "--json").out)
    assert facts["gates"] == ["update", "forget", "candidate", "output"]
    assert facts["states"] == ["a", "c"]
    assert facts["parameters"]["weight_hh_l0"] == [512, 128]
    assert "eager" in facts["engines"]
    assert "Hochreiter" in facts["source"]


def test_a_cell_of_ones_own(unrolled, place: Path) -> None:
    (place / "own.py").write_text(
        "from unrolled import cell\nfrom unrolled.cells import affine, tanh\n"
        '@cell\ndef leaky(x, h):\n    """h⟨t⟩ = h⟨t-1⟩ / 2 + tanh(W_h[h⟨t-1⟩, x⟨t⟩] + b_h) / 2"""\n'
        '    return 0.5 * h + 0.5 * tanh(affine("hidden", h, x))\n'
    )
    out = unrolled("cells", "own.py:leaky").out
    assert "h⟨t⟩ = h⟨t-1⟩ / 2" in out
    assert unrolled("cells", "own.py:none").err.startswith("error: model.cell=own.py:none: own.py has no cell 'none'")


def test_a_cells_gradient(unrolled) -> None:
    out = unrolled("cells", "lstm", "--gradient").out
    for line in (
        "  c⟨t⟩ = Γ_u * c̃⟨t⟩ + Γ_f * c⟨t-1⟩",
        "backpropagation through time, for t = T, ..., 1",
        "  dc⟨t⟩  = da⟨t⟩ * Γ_o * (1 - tanh(c⟨t⟩)²) + dc⟨t+1⟩ * Γ_f⟨t+1⟩",
        "  δ_f⟨t⟩ = dc⟨t⟩ * c⟨t-1⟩ * Γ_f * (1 - Γ_f)",
        "  dW_f  = Σ_t δ_f⟨t⟩ [a⟨t-1⟩, x⟨t⟩]ᵀ",
    ):
        assert f"{line}\n" in out
    assert "a comparison" not in out
    assert unrolled("cells", "rnn-relu", "--gradient").out.endswith(
        "\na comparison is 1 where it holds, 0 elsewhere, and 0 times anything is 0\n"
    )


def test_a_cell_as_latex(unrolled) -> None:
    equations = unrolled("cells", "gru", "--latex").out
    assert equations.startswith("\\begin{align*}\n\\Gamma_{r} &= \\sigma")
    gradient = unrolled("cells", "gru", "--gradient", "--latex").out
    assert gradient.startswith(equations)
    assert gradient.count("\\begin{align*}") == gradient.count("\\end{align*}") == 3


def test_json_carries_the_gradient_and_latex(unrolled) -> None:
    facts = json.loads(unrolled("cells", "lstm-peephole", "--json").out)
    assert "dp_o  = Σ_t δ_o⟨t⟩ * c⟨t⟩" in facts["gradient"]["sums"].splitlines()
    assert facts["gradient"].keys() == {"equations", "recurrence", "sums", "reading"}
    assert facts["latex"]["equations"] == facts["latex"]["gradient"]["equations"]


@pytest.mark.parametrize("option", ["--gradient", "--latex"])
def test_one_cell_at_a_time_is_derived(unrolled, option: str) -> None:
    answer = unrolled("cells", option)
    assert answer.code == 1
    assert "say which, as in `unrolled cells lstm --gradient`" in answer.err


OWN = """import torch
from unrolled import cell
from unrolled.cells import affine, sigmoid, tanh

@cell
def leaky(x, h):
    leak = sigmoid(affine("leak", h, x))
    return (1 - leak) * h + leak * tanh(affine("candidate", h, x))

@cell
def summed(x, h):
    return tanh(affine("hidden", x) + torch.cumsum(h, -1))
"""


def test_equations_and_gradient_of_a_cell_without_a_docstring(unrolled, place: Path) -> None:
    (place / "own.py").write_text(OWN)
    assert "  h⟨t⟩   = (1 - Γ_leak) * h⟨t-1⟩ + Γ_leak * h̃⟨t⟩\n" in unrolled("cells", "own.py:leaky").out
    gradient = unrolled("cells", "own.py:leaky", "--gradient").out
    assert "  δ_leak⟨t⟩ = dh⟨t⟩ * (h̃⟨t⟩ - h⟨t-1⟩) * Γ_leak * (1 - Γ_leak)\n" in gradient
    assert r"\Gamma_{\mathrm{leak}}" in unrolled("cells", "own.py:leaky", "--latex").out


def test_a_cell_that_uses_torch_has_equations_but_no_gradient(unrolled, place: Path) -> None:
    (place / "own.py").write_text(OWN)
    assert "  h⟨t⟩ = tanh(W_hx x⟨t⟩ + b_h + cumsum(h⟨t-1⟩))\n" in unrolled("cells", "own.py:summed").out
    facts = json.loads(unrolled("cells", "own.py:summed", "--json").out)
    assert facts["gradient"] is None
    answer = unrolled("cells", "own.py:summed", "--gradient")
    assert answer.code == 1
    assert "no gradient can be derived for the cell summed" in answer.err
    assert "torch's cumsum" in answer.err


def test_no_such_cell(unrolled) -> None:
    answer = unrolled("cells", "lstn")
    assert (answer.code, answer.err) == (1, "error: there is no cell 'lstn'; the nearest is lstm\n")


def test_doctor(unrolled) -> None:
    out = unrolled("doctor", "--threads", "1").out
    for text in ("processor", "memory", "torch", "1 thread", "OpenMP", "CUDA", "cache", "packages", "engine", "why"):
        assert text in out
    facts = json.loads(unrolled("doctor", "--json").out)
    cpu = {line["cell"]: line for line in facts["engines"] if line["device"] == "cpu"}
    assert list(cpu) == list(CELLS)
    assert all(line["engine"] and line["reason"] for line in cpu.values())
    assert facts["processor"]["cores"] >= facts["processor"]["usable"] >= 1
    assert facts["packages"]["torch"].startswith("2.")
    assert facts["packages"]["llvmlite"] != "not installed"


def test_doctor_tells_the_openmp_runtime(unrolled, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = json.loads(unrolled("doctor", "--json").out)["openmp"]
    if facts["usable"]:
        assert Path(facts["path"]).name in facts["loaded"]
        assert facts["threads"] == openmp.threads_for()
        threads = "1 thread" if facts["threads"] == 1 else f"{facts['threads']} threads"
        assert f"kernels run on {threads}, in {facts['path']} ({facts['flavour']}): torch uses it" in (
            unrolled("doctor").out
        )
    monkeypatch.setattr(openmp, "_runtime", openmp.search("", "the moon is full"))
    assert "kernels run on 1 thread: the moon is full" in unrolled("doctor").out


def test_doctor_tells_the_instruction_set(unrolled, monkeypatch: pytest.MonkeyPatch) -> None:
    assert f"kernels are compiled for {host().name} (" in unrolled("doctor").out
    assert json.loads(unrolled("doctor", "--json").out)["instructions"]["cpu"] == host().cpu
    monkeypatch.setenv("UNROLLED_CPU", "avx9")
    host.cache_clear()
    try:
        answer = unrolled("doctor")
    finally:
        monkeypatch.undo()
        host.cache_clear()
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("error: the environment variable UNROLLED_CPU is 'avx9'; it must be one of x86-64, ")
    assert answer.err.count("\n") == 1


def test_no_more_threads_than_cores(unrolled, monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    monkeypatch.setenv("RAYON_NUM_THREADS", "1")
    monkeypatch.setattr(cores, "usable", lambda: 2)
    try:
        answer = unrolled("doctor", "--threads", "5", "--json")
        assert json.loads(answer.out)["torch"]["threads"] == 2
        assert answer.err == "--threads 5 is more than the cores that this process may use; using 2\n"
        monkeypatch.setattr(cores, "usable", lambda: 1)
        assert json.loads(unrolled("doctor", "--json").out)["torch"]["threads"] == 1
    finally:
        torch.set_num_threads(before)


def test_without_a_memory_map_torch_says_what_it_was_built_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openmp, "_maps", lambda: "")
    monkeypatch.setattr(openmp, "_runtime", None)
    found = diagnosis.openmp()
    assert all(name.startswith("OpenMP ") for name in found["loaded"])
    assert (found["path"], found["usable"]) == (None, False)
    assert found["reason"]


def test_doctor_says_which_engine_was_asked_for(unrolled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNROLLED_ENGINE", "eager")
    answer = unrolled("doctor")
    assert "UNROLLED_ENGINE is set: every layer with engine auto runs on eager" in answer.out


@pytest.mark.parametrize("wanted", ["eager", "vendor"])
def test_doctor_survives_any_engine(unrolled, monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    monkeypatch.setenv("UNROLLED_ENGINE", wanted)
    assert unrolled("doctor").code == 0
    assert unrolled("cells").code == 0


@pytest.mark.parametrize(
    ("described", "expected"),
    [
        ("flags\t\t: fpu sse2 avx avx2 avx512f", "AVX-512"),
        ("flags\t\t: fpu sse2 avx avx2", "AVX2"),
        ("Features\t: fp asimd crc32", "NEON"),
        ("", "torch uses its"),
    ],
)
def test_vector_units(described: str, expected: str) -> None:
    assert diagnosis.vectors(described).startswith(expected)


def test_the_cache_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNROLLED_CACHE", str(tmp_path / "cache"))
    assert diagnosis.cache() == {"folder": str(tmp_path / "cache"), "files": 0, "bytes": 0}
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/a.bin").write_bytes(b"12345")
    assert diagnosis.cache() == {"folder": str(tmp_path / "cache"), "files": 1, "bytes": 5}


def test_figures_are_short() -> None:
    figures = [4.8512, 182.31, None, float("inf"), 2e9]
    assert [number(value) for value in figures] == ["4.851", "182.3", "-", "inf", "2e+09"]
    assert [size(value) for value in (950, 1_530_000, 5e12)] == ["950 B", "1.5 MB", "5,000.0 GB"]
