"""One table: every engine computes what the eager one does, forward and gradient; and which engine runs, and why."""

from typing import Any

import pytest
import torch
from torch import Tensor

import unrolled
from cell_table import NAMES, OF, TORCH_NAMES, given, states_of, tuple_of, x_of
from tolerances import assert_equal
from unrolled.cells import affine, cell, sigmoid, tanh
from unrolled.cells.operators import Value
from unrolled.nn import GRU, LSTM, RNN, Recurrent
from vendor_bfloat16 import skip_without

# The cells that each engine runs.
ENGINES = {"vendor": TORCH_NAMES, "compiled": NAMES}

CASES: dict[str, dict[str, Any]] = {
    "one step": {"steps": 1, "batch": 1},
    "plain": {},
    "no bias": {"bias": False},
    "deep, both ways": {"num_layers": 2, "bidirectional": True},
    "lengths": {"lengths": [2, 4, 1]},
    "lengths, shorter than T": {"lengths": [2, 3, 1], "bidirectional": True},
    "given state": {"given": True},
    "learned state": {"initial_state": "learned"},
    "all at once": {"num_layers": 3, "bidirectional": True, "lengths": [1, 4, 3], "given": True},
}


def run(name: str, engine: str, dtype: torch.dtype, case: dict[str, Any]) -> dict[str, Tensor]:
    """Output, final states, and the gradient of everything, of one case on one engine."""
    options = dict(case)
    steps, batch = options.pop("steps", 4), options.pop("batch", 3)
    lengths, with_state = options.pop("lengths", None), options.pop("given", False)
    torch.manual_seed(11)
    layer = OF[name].layer(engine=engine, dtype=dtype, **options)
    x = x_of(layer, steps, batch).requires_grad_()
    states = tuple(state.requires_grad_() for state in states_of(layer, batch)) if with_state else ()
    lengths = None if lengths is None else torch.tensor(lengths)
    output, final = layer(x, given(states) if states else None, lengths=lengths)
    finals = tuple_of(final)
    # a different weight for every number, so that no error can cancel
    torch.manual_seed(12)
    sum((value * torch.randn_like(value)).sum() for value in (output, *finals)).backward()
    found = {"output": output, "x": x.grad} | {f"final {i}": value for i, value in enumerate(finals)}
    found |= {f"state {i}": state.grad for i, state in enumerate(states)}
    return found | {parameter: value.grad for parameter, value in layer.named_parameters()}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize(("engine", "name"), [(engine, name) for engine, names in ENGINES.items() for name in names])
def test_engine_equals_eager(engine: str, name: str, dtype: torch.dtype, case: str) -> None:
    compare(name, engine, dtype, CASES[case])


@pytest.mark.parametrize("name", NAMES)
def test_what_auto_takes_equals_eager(name: str) -> None:
    compare(name, "auto", torch.float32, CASES["all at once"])


def compare(name: str, engine: str, dtype: torch.dtype, options: dict[str, Any]) -> None:
    if not OF[name].takes(**options):
        options = {**options, "bidirectional": False}
    reference, found = run(name, "eager", dtype, options), run(name, engine, dtype, options)
    assert found.keys() == reference.keys()
    for key, value in reference.items():
        assert found[key].dtype == dtype
        assert_equal(found[key], value, key)


@pytest.mark.parametrize("name", NAMES)
def test_auto_takes_the_compiled_engine_on_the_cpu(name: str) -> None:
    layer = OF[name].layer(engine="auto")
    engine = layer.engine_for(x_of(layer, 3, 2), observe=True, lengths=torch.tensor([3, 0]))
    assert (engine.name, f"equations of {name} " in engine.reason) == ("compiled", True)


@pytest.mark.parametrize("name", NAMES)
def test_off_the_cpu_auto_takes_the_vendor_where_torch_has_the_cell(name: str) -> None:
    layer = OF[name].layer(engine="auto", device="meta")
    engine = layer.engine_for(torch.empty(3, 2, layer.input_size, device="meta", dtype=torch.float64))
    if name in TORCH_NAMES:
        assert (engine.name, name in engine.reason) == ("vendor", True)
    else:
        reason = f"compiled kernels run on the CPU; torch.nn has no kernel for the equations of {name}"
        assert (engine.name, engine.reason) == ("eager", reason)


def refused(layer: Recurrent) -> list[tuple[dict[str, Any], Tensor, str]]:
    x = x_of(layer, 3, 2)
    return [
        ({"observe": True}, x, "do not give their gates"),
        ({"lengths": torch.tensor([3, 0])}, x, "refuse sequences of length 0"),
        ({}, torch.tensor([[0, 1], [1, 2]]), "not symbol ids"),
    ]


@pytest.mark.parametrize("position", range(3))
def test_the_vendor_refuses_with_its_reason_and_auto_goes_on(position: int) -> None:
    automatic, vendor = LSTM(3, 4, dtype=torch.bfloat16), LSTM(3, 4, engine="vendor")
    options, x, reason = refused(vendor)[position]
    x = x.bfloat16() if x.is_floating_point() else x
    engine = automatic.engine_for(x, **options)
    assert engine.name == "eager"
    assert "float32 or float64, not torch.bfloat16" in engine.reason
    assert reason in engine.reason
    automatic(x, **options)
    x = x.float() if x.is_floating_point() else x
    with pytest.raises(ValueError, match=f'engine="vendor": .*{reason}; engine="auto" or "eager" runs it'):
        vendor(x, **options)


def test_the_vendor_refuses_masks_and_zoneout() -> None:
    x = torch.randn(3, 2, 3)
    for option in ("recurrent_dropout", "zoneout"):
        layer = GRU(3, 4, engine="vendor", **{option: 0.5})  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="no recurrent dropout and no zoneout"):
            layer(x)
    assert GRU(3, 4, engine="vendor", recurrent_dropout=0.5).eval().engine_for(x).name == "vendor"
    assert GRU(3, 4, engine="vendor", weight_drop=0.5, input_dropout=0.5).engine_for(x).name == "vendor"


def test_the_vendor_refuses_cells_that_torch_lacks() -> None:
    layer = GRU(3, 4, reset="before", engine="vendor")
    with pytest.raises(ValueError, match=r'engine="vendor": torch.nn has no kernel for the equations of gru;'):
        layer(torch.randn(3, 2, 3))


def test_a_cell_with_the_name_of_torchs_but_other_equations_runs_on_its_own() -> None:
    @cell("lstm", two_biases=True)
    def impostor(x: Value, a: Value, c: Value) -> tuple[Value, Value]:
        update, forget = sigmoid(affine("update", a, x)), sigmoid(affine("forget", a, x))
        candidate, output = tanh(affine("candidate", a, x)), sigmoid(affine("output", a, x))
        return output * candidate, forget * c + update

    layer, reference = Recurrent(impostor, 3, 4), Recurrent(impostor, 3, 4, engine="eager")
    reference.load_state_dict(layer.state_dict())
    x = torch.randn(3, 2, 3)
    assert layer.engine_for(x).name == "compiled"
    assert_equal(layer(x), reference(x))
    layer.engine = "vendor"
    with pytest.raises(ValueError, match="no kernel for the equations of lstm"):
        layer(x)


def test_the_environment_variable_overrides_auto_only(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(3, 2, 3)
    monkeypatch.setenv("UNROLLED_ENGINE", "eager")
    assert LSTM(3, 4).engine_for(x) == unrolled.nn.Engine("eager", "asked for by name")
    assert LSTM(3, 4, engine="vendor").engine_for(x).name == "vendor"
    monkeypatch.setenv("UNROLLED_ENGINE", "vendor")
    assert LSTM(3, 4).engine_for(x).name == "vendor"
    assert LSTM(3, 4, engine="eager").engine_for(x).name == "eager"
    with pytest.raises(ValueError, match=r"UNROLLED_ENGINE=vendor: .*do not give their gates"):
        LSTM(3, 4)(x, observe=True)
    monkeypatch.setenv("UNROLLED_ENGINE", "")
    assert LSTM(3, 4).engine_for(x).name == "compiled"
    monkeypatch.setenv("UNROLLED_ENGINE", "fast")
    with pytest.raises(ValueError, match='the environment variable UNROLLED_ENGINE is "fast", which is none of auto'):
        LSTM(3, 4)(x)


def test_an_unknown_engine_is_named() -> None:
    with pytest.raises(ValueError, match='engine is "cudnn", which is none of auto, compiled, eager, vendor'):
        RNN(3, 4, engine="cudnn")


def test_asking_which_engine_draws_no_random_numbers() -> None:
    layer = LSTM(3, 4, initial_state="random", recurrent_dropout=0.3, zoneout=0.2)
    before = torch.get_rng_state()
    layer.engine_for(torch.zeros(3, 2, 3))
    assert torch.get_rng_state().equal(before)


@pytest.mark.parametrize("engine", ["compiled", "eager", "vendor"])
def test_under_autocast_states_keep_their_type(engine: str) -> None:
    skip_without(engine)
    x = torch.randn(3, 2, 3)
    # RNN, GRU and LSTM have torch's types instead
    both = Recurrent("lstm", 3, 4, 2, engine=engine), Recurrent("gru-torch", 3, 4, bidirectional=True, engine=engine)
    for layer in both:
        with torch.autocast("cpu", torch.bfloat16):
            output, state = layer(x)
            again, _ = layer(x, state)
        states = tuple_of(state)
        assert output.shape == again.shape == (3, 2, layer.hidden_size * layer.num_directions)
        assert all(value.dtype == torch.float32 for value in states)
        torch.testing.assert_close(output.float(), layer(x)[0], rtol=0.02, atol=0.02)
        output.float().sum().backward()
        assert all(value.grad is not None and value.grad.isfinite().all() for value in layer.parameters())


@pytest.mark.parametrize("engine", ["compiled", "eager", "vendor"])
def test_without_gradients_the_numbers_are_the_same(engine: str) -> None:
    layer, x = LSTM(3, 4, 2, bidirectional=True, engine=engine), torch.randn(5, 2, 3)
    expected = layer(x)
    with torch.no_grad():
        assert_equal(layer(x), expected)
    with torch.inference_mode():
        output, _ = layer(x)
    assert output.is_inference()
    assert_equal(output.clone(), expected[0])
