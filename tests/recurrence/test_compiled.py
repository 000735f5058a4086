"""The compiled engine beyond its numbers: bit-for-bit laws, torch's operator contract, memory, threads, processes."""

import copy
import threading
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from cell_table import NAMES, OF, given, states_of, tuple_of, x_of
from tolerances import assert_equal
from unrolled import cores
from unrolled.nn import GRU, LSTM, Recurrent
from unrolled.recurrence import compiled, native

SHAPES = [(1, 1, 1, 1), (5, 3, 17, 3), (4, 9, 16, 7), (3, 2, 40, 33), (2, 70, 20, 5)]
"""Steps, batch, hidden size, input size: one of everything, no multiple of a vector, more rows than a tile."""


def compiled_layer(name: str, input_size: int = 5, hidden_size: int = 7, *rest: Any, **options: Any) -> Recurrent:
    torch.manual_seed(3)
    options = {"dtype": torch.float32, **options}
    return OF[name].layer(input_size, hidden_size, *rest, engine="compiled", **options)


def everything(layer: Recurrent, x: Tensor, lengths: Tensor | None = None, **options: Any) -> dict[str, Tensor]:
    """Outputs, what is observed, and every gradient."""
    x = x.detach().clone().requires_grad_(x.is_floating_point())
    layer.zero_grad()
    output, final, seen = layer(x, lengths=lengths, observe=True, **options)
    names = [*layer._program.observed, *layer.cell.states]
    torch.manual_seed(4)
    values = [output, *tuple_of(final), *(seen.layer(0)[name] for name in names)]
    sum((value * torch.randn_like(value)).sum() for value in values).backward()
    found = {str(number): value for number, value in enumerate(values)}
    return found | {"x": x.grad} | {name: value.grad for name, value in layer.named_parameters()}


def assert_same_bits(found: Any, expected: Any) -> None:
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("steps", "batch", "hidden", "inputs"), SHAPES)
def test_every_shape_and_what_is_observed_equals_eager(
    name: str, steps: int, batch: int, hidden: int, inputs: int
) -> None:
    layer = compiled_layer(name, inputs, hidden, dtype=torch.float64)
    x = x_of(layer, steps, batch)
    found = everything(layer, x)
    layer.engine = "eager"
    for key, value in everything(layer, x).items():
        assert_equal(found[key], value, key)


@pytest.mark.parametrize("name", ["lstm", "gru", "gru-torch", "leaky", "saturating"])
@pytest.mark.parametrize("reverse", [False, True])
def test_lengths_masks_zoneout_and_observation_at_once(name: str, reverse: bool) -> None:
    options = {"recurrent_dropout": 0.4, "zoneout": 0.3, "bidirectional": reverse, "dtype": torch.float64}
    layer = compiled_layer(name, **options)
    x, lengths = x_of(layer, 6, 5), torch.tensor([3, 0, 6, 1, 5])
    torch.manual_seed(9)
    found = everything(layer, x, lengths)
    layer.engine = "eager"
    torch.manual_seed(9)
    for key, value in everything(layer, x, lengths).items():
        assert_equal(found[key], value, key)


@pytest.mark.parametrize("name", NAMES)
def test_stepwise_is_whole_bit_for_bit(name: str) -> None:
    row, layer = OF[name], None
    layer = compiled_layer(name, 19, 19, 2) if row.takes(2) else compiled_layer(name, 19, 19)
    x, states = x_of(layer, 5, 3), states_of(layer, 3)
    with torch.no_grad():
        output, final = layer(x, given(states))
        for packed in (False, True):
            state, outputs = given(states), []
            with layer.packed() if packed else torch.no_grad():
                for x_t in x:
                    state = layer.step(x_t, state)
                    outputs.append(tuple_of(state)[0][-1])
            assert_same_bits([torch.stack(outputs), *tuple_of(state)], [output, *tuple_of(final)])


@pytest.mark.parametrize("name", ["lstm", "gru", "minimal"])
def test_alone_is_in_a_batch_bit_for_bit(name: str) -> None:
    layer = compiled_layer(name, 9, 21, bidirectional=True)
    x, lengths = x_of(layer, 7, 33), torch.arange(33) % 8
    output, final = layer(x, lengths=lengths)
    for row in (0, 1, 7, 20, 32):
        length = int(lengths[row])
        if length:
            alone, state = layer(x[:length, row])
            assert_same_bits([alone], [output[:length, row]])
            assert_same_bits(tuple_of(state), [value[:, row] for value in tuple_of(final)])


@pytest.mark.parametrize("name", ["lstm", "gru", "leaky"])
def test_any_number_of_threads_gives_the_same_bits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "SHARED_WORK", 0)
    layer = compiled_layer(name, 40, 70)
    x, lengths = x_of(layer, 4, 11), torch.tensor([4, 3, 0, 4, 1, 2, 4, 4, 3, 2, 1])
    before, results = torch.get_num_threads(), []
    try:
        for threads, usable in ((1, 8), (2, 8), (4, 8), (4, 3)):
            torch.set_num_threads(threads)
            monkeypatch.setattr(cores, "usable", lambda usable=usable: usable)
            results.append(everything(layer, x, lengths))
    finally:
        torch.set_num_threads(before)
    for found in results[1:]:
        assert_same_bits(found.values(), results[0].values())


@pytest.mark.parametrize("checkpoint", [True, 1, 4, 100])
@pytest.mark.parametrize("name", ["lstm", "gru", "leaky"])
def test_checkpoints_change_nothing_but_the_memory(name: str, checkpoint: int | bool) -> None:
    layer = compiled_layer(name, dtype=torch.float64, bidirectional=True, zoneout=0.2, recurrent_dropout=0.2)
    x, lengths = x_of(layer, 11, 4), torch.tensor([11, 5, 0, 8])
    results = []
    for steps in (0, checkpoint):
        layer.checkpoint = steps
        torch.manual_seed(5)
        results.append(everything(layer, x, lengths))
    for key, value in results[0].items():
        assert_equal(results[1][key], value, key)


def test_checkpoints_keep_little() -> None:
    layer = compiled_layer("lstm", 8, 16, checkpoint=True)
    x = x_of(layer, 400, 2).requires_grad_()
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda value: kept.append(value.numel()) or value, lambda v: v):
        layer(x)
    steps, whole = 20, 400 * 2 * 16 * 6  # the root of T, and what would be kept of states and gates
    assert max(kept) <= max(x.numel(), steps * 2 * 2 * 16)
    assert sum(kept) < whole / 4


@pytest.mark.parametrize("lengths", [None, torch.tensor([4, 0, 2])])
@pytest.mark.parametrize("checkpoint", [0, 2])
def test_torch_accepts_the_operator(lengths: Tensor | None, checkpoint: int) -> None:
    layer = compiled_layer("lstm")
    request = layer._request(0, x_of(layer, 4, 3), states_of_first(layer, 3), lengths, True)
    parameters = list(layer.parameters())
    states = [torch.randn(3, 7, requires_grad=True) for _ in layer.cell.states]
    x = x_of(layer, 4, 3).requires_grad_()
    arguments = (request.key, x, parameters, states, None, None, lengths, True, True, True, checkpoint)
    found = torch.library.opcheck(compiled.recurrence, arguments)
    assert set(found.values()) == {"SUCCESS"}


def states_of_first(layer: Recurrent, batch: int) -> tuple[Tensor, ...]:
    return tuple(state[:1] for state in states_of(layer, batch))


@pytest.mark.parametrize("name", ["lstm", "gru", "minimal"])
def test_the_second_derivative_comes_from_the_eager_engine(name: str) -> None:
    layer = compiled_layer(name, 3, 2, dtype=torch.float64)
    parameters = dict(layer.named_parameters())

    def run(x: Tensor, *values: Tensor) -> Tensor:
        output: Tensor = functional_call(layer, dict(zip(parameters, values, strict=True)), (x,))[0]
        return output

    inputs = [x_of(layer, 3, 2), *parameters.values()]
    inputs = [value.detach().clone().requires_grad_() for value in inputs]
    assert torch.autograd.gradgradcheck(run, inputs, fast_mode=True)


def test_autocast_is_half_outside_and_single_inside() -> None:
    layer = compiled_layer("gru")
    x = x_of(layer, 4, 3)
    with torch.autocast("cpu", torch.bfloat16):
        output, state = layer(x.bfloat16())
        assert layer.engine_for(x.bfloat16()).name == "compiled"
        again, state = layer(x.bfloat16(), state.bfloat16())
    assert (output.dtype, again.dtype, state.dtype) == (torch.bfloat16, torch.bfloat16, torch.float32)
    torch.testing.assert_close(output.float(), layer(x.bfloat16().float())[0], rtol=0.01, atol=0.01)
    output.float().sum().backward()
    assert all(value.grad is not None and value.grad.dtype == torch.float32 for value in layer.parameters())


@pytest.mark.parametrize("name", ["lstm", "gru-torch"])
def test_inputs_side_by_side_or_not(name: str) -> None:
    layer = compiled_layer(name, 6, 5)
    x = x_of(layer, 4, 3)
    expected = layer(x)[0]
    for other in (x.transpose(0, 1).contiguous().transpose(0, 1), x.permute(2, 0, 1).contiguous().permute(1, 2, 0)):
        assert not other.is_contiguous()
        assert torch.equal(layer(other)[0], expected)
    wide = torch.cat([x, x], -1)[..., :6]
    assert torch.equal(layer(wide)[0], expected)
    gradient = torch.ones(()).expand(4, 3, 5)
    found = torch.autograd.grad(layer(x)[0], list(layer.parameters()), gradient)
    assert_same_bits(found, torch.autograd.grad(layer(x)[0], list(layer.parameters()), torch.ones(4, 3, 5)))


def test_only_what_is_wanted_gets_a_gradient() -> None:
    layer = compiled_layer("lstm")
    x = x_of(layer, 4, 3)
    layer(x)[0].sum().backward()
    whole = {name: value.grad.clone() for name, value in layer.named_parameters() if value.grad is not None}
    layer.zero_grad()
    layer.weight_ih_l0.requires_grad_(False)
    layer(x)[0].sum().backward()
    assert layer.weight_ih_l0.grad is None
    assert torch.equal(layer.weight_hh_l0.grad, whole["weight_hh_l0"])
    layer.requires_grad_(False)
    x.requires_grad_()
    layer(x)[0].sum().backward()
    assert x.grad is not None
    assert not layer(x.detach())[0].requires_grad


@pytest.mark.parametrize("name", ["rnn", "gru-torch", "lstm-peephole", "highway"])
def test_symbols_are_one_hot_vectors(name: str) -> None:
    layer = compiled_layer(name, 7, 7, dtype=torch.float64)
    ids = torch.tensor([[0, 6, 3], [-1, 2, 2], [5, 5, 5], [1, -1, 0]])
    found = everything_of_symbols(layer, ids)
    layer.engine = "eager"
    assert_equal(found, everything_of_symbols(layer, ids))


def everything_of_symbols(layer: Recurrent, ids: Tensor) -> list[Tensor]:
    layer.zero_grad()
    output = layer(ids, lengths=torch.tensor([4, 2, 3]))[0]
    output.square().sum().backward()
    return [output, *(value.grad for value in layer.parameters() if value.grad is not None)]


def test_two_threads_at_once() -> None:
    layer, x = compiled_layer("lstm", 64, 64, 2), torch.randn(30, 4, 64)
    expected = [value.clone() for value in gradients(layer, x)]
    found: list[list[Tensor]] = [[], []]

    def work(place: int) -> None:
        twin = copy.deepcopy(layer)
        for _ in range(5):
            found[place] = gradients(twin, x)

    threads = [threading.Thread(target=work, args=(place,)) for place in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for values in found:
        assert_same_bits(values, expected)


def gradients(layer: Recurrent, x: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(layer(x)[0].sum(), list(layer.parameters())))


def test_packed_weights_half_as_wide_are_close() -> None:
    for layer in (compiled_layer("lstm", 33, 50), compiled_layer("gru", 33, 50)):
        x = x_of(layer, 9, 2)
        with torch.no_grad(), layer.packed(weights="bfloat16"):
            found = layer(x)[0]
        rounded = copy.deepcopy(layer)
        with torch.no_grad():
            for name, value in rounded.named_parameters():
                if name.startswith("weight"):
                    value.copy_(value.bfloat16())
        assert_equal(found, rounded(x)[0])
        assert not torch.equal(found, layer(x)[0])


def test_packed_refusals() -> None:
    with (
        pytest.raises(ValueError, match='weights="float8" is none of'),
        compiled_layer("lstm").packed(weights="float8"),
    ):
        pass
    layer = LSTM(3, 4, engine="eager")
    with (
        layer.packed(weights="bfloat16"),
        torch.no_grad(),
        pytest.raises(ValueError, match="eager runs this: asked for by name"),
    ):
        layer(torch.zeros(2, 1, 3))
    layer = LSTM(3, 4)
    with layer.packed(weights="bfloat16"), pytest.raises(ValueError, match="for inference"):
        layer(torch.zeros(2, 1, 3))
    layer = GRU(3, 4, dtype=torch.float64)
    with layer.packed(weights="bfloat16"), torch.no_grad(), pytest.raises(ValueError, match="float32"):
        layer(torch.zeros(2, 1, 3, dtype=torch.float64))


def test_outside_of_packed_changed_weights_count() -> None:
    layer = compiled_layer("lstm")
    x, state = torch.randn(2, 5), states_of(layer, 2)
    with torch.no_grad():
        with layer.packed():
            before = layer.step(x, state)
        layer.weight_hh_l0.mul_(2)
        with layer.packed():
            after = layer.step(x, state)
    assert not torch.equal(before[0], after[0])
    assert torch.equal(after[0], layer.step(x, state)[0])


def test_a_layer_compiles_into_one_node() -> None:
    layer = torch.nn.Sequential(Output(compiled_layer("lstm")), torch.nn.Linear(7, 2))
    x = torch.randn(4, 3, 5)
    graphs: list[Any] = []

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph

    whole = torch.compile(layer, backend=backend, fullgraph=True)
    assert torch.equal(whole(x), layer(x))
    nodes = [node for node in graphs[0].graph.nodes if "unrolled" in str(node.target)]
    assert len(graphs) == len(nodes) == 1


class Output(torch.nn.Module):
    """A layer whose state is left."""

    def __init__(self, layer: Recurrent) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.layer(x)[0]
        return output


def test_gradients_that_vanish_become_zero_and_the_mode_is_left_as_it_was() -> None:
    torch.manual_seed(0)
    layer, x = LSTM(2, 16), torch.randn(600, 3, 2, requires_grad=True)
    layer(x)[0][-1].sum().backward()
    assert x.grad is not None
    smallest = torch.finfo(torch.float32).smallest_normal
    tiny = (x.grad != 0) & (x.grad.abs() < smallest)  # processors are many times slower with such numbers
    assert not tiny.any()
    assert (x.grad[-1] != 0).all()
    assert (x.grad[0] == 0).all()
    assert (torch.tensor(smallest) / 4).item() > 0
