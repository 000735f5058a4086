"""The gradient of every cell against finite differences, in double precision."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from cell_table import NAMES, OF, given, states_of, tuple_of, x_of
from unrolled.nn import Recurrent


def check(layer: Recurrent, x: Tensor, lengths: list[int], second: bool = False, fast: bool = False) -> None:
    """Check the gradient with respect to the input, the initial states and every parameter."""
    names = list(dict(layer.named_parameters()))
    states = states_of(layer, x.shape[1])

    def run(*inputs: Tensor) -> tuple[Tensor, ...]:
        parameters = dict(zip(names, inputs[: len(names)], strict=True))
        rest = inputs[len(names) :]
        if x.is_floating_point():
            first, rest = rest[0], rest[1:]
        else:
            first = x
        arguments = (first, given(rest))
        output, final = functional_call(layer, parameters, arguments, {"lengths": torch.tensor(lengths)})
        return (output, *tuple_of(final))

    inputs = [*layer.parameters(), *([x] if x.is_floating_point() else []), *states]
    inputs = [value.detach().clone().requires_grad_() for value in inputs]
    test = torch.autograd.gradgradcheck if second else torch.autograd.gradcheck
    assert test(run, inputs, fast_mode=fast)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    torch.manual_seed(5)
    layer = OF[name].layer(2, 2)
    check(layer, x_of(layer, 3, 2), lengths=[3, 2])


@pytest.mark.parametrize("name", [name for name in NAMES if OF[name].takes(2, True)])
def test_gradients_through_two_layers_and_an_empty_sequence(name: str) -> None:
    torch.manual_seed(6)
    layer = OF[name].layer(3, 2, 2, bidirectional=True)
    check(layer, x_of(layer, 4, 4), lengths=[1, 4, 0, 2], fast=True)


@pytest.mark.parametrize("options", [{"bias": False}, {"residual": True, "input_size": 2, "num_layers": 2}])
@pytest.mark.parametrize("name", ["gru", "lstm-peephole", "leaky"])
def test_gradients_without_biases_and_with_residuals(name: str, options: dict[str, Any]) -> None:
    layer = OF[name].layer(hidden_size=2, **options)
    check(layer, x_of(layer, 3, 2), lengths=[2, 3], fast=True)


@pytest.mark.parametrize("name", ["gru-torch", "lstm-peephole", "saturating", "highway"])
def test_gradients_of_symbols(name: str) -> None:
    layer = OF[name].layer(3, 3)
    check(layer, torch.tensor([[0, 2], [-1, 2], [1, 0]]), lengths=[3, 2], fast=True)


@pytest.mark.parametrize("name", ["gru", "lstm-peephole", "minimal"])
def test_second_derivatives(name: str) -> None:
    torch.manual_seed(7)
    layer = OF[name].layer(2, 2)
    check(layer, x_of(layer, 2, 2), lengths=[2, 1], second=True, fast=True)


def test_the_learned_initial_state_has_a_gradient() -> None:
    layer = OF["lstm-peephole"].layer(2, 3, 2, bidirectional=True, initial_state="learned")
    initial = {name: value for name, value in layer.named_parameters() if name.startswith("initial_")}
    assert sorted(initial) == sorted(
        f"initial_{state}_l{number}{way}" for state in "ac" for number in (0, 1) for way in ("", "_reverse")
    )
    x = x_of(layer, 3, 2)

    def run(*values: Tensor) -> Tensor:
        output: Tensor = functional_call(layer, dict(zip(initial, values, strict=True)), (x,))[0]
        return output

    assert torch.autograd.gradcheck(run, [torch.randn_like(value, requires_grad=True) for value in initial.values()])
