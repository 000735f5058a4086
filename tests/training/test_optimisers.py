"""Every optimiser by its name: it learns, decays matrices only, and comes back bit for bit."""

import pytest
import torch
from torch import nn

from unrolled.training.optimisers import CLASSES, optimiser_of, optimiser_tensors, restore_optimiser, set_learning_rate
from unrolled.training.settings import OPTIMISERS, TrainingSettings


def a_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def a_step(model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    inputs = torch.arange(12.0).view(4, 3) / 10
    model(inputs).square().sum().backward()
    optimiser.step()
    optimiser.zero_grad()


def test_every_name_has_a_class() -> None:
    assert set(OPTIMISERS) == set(CLASSES)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_state_saved_and_restored_continues_bit_for_bit(name: str) -> None:
    settings = TrainingSettings(optimiser=name, learning_rate=0.01)
    whole, parts = a_model(), a_model()
    first, second = optimiser_of(settings, whole), optimiser_of(settings, parts)
    for _ in range(6):
        a_step(whole, first)
    for _ in range(3):
        a_step(parts, second)
    saved = {key: value.clone() for key, value in optimiser_tensors(second).items()}
    third = optimiser_of(settings, parts)
    restore_optimiser(third, saved)
    for _ in range(3):
        a_step(parts, third)
    for ours, theirs in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert not torch.equal(next(whole.parameters()), next(a_model().parameters()))


def test_only_matrices_are_decayed() -> None:
    model = a_model()
    optimiser = optimiser_of(TrainingSettings(weight_decay=0.5, learning_rate=0.1), model)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    weight, bias = model.parameters()
    torch.testing.assert_close(weight.detach(), before[0] * (1 - 0.1 * 0.5))
    assert torch.equal(bias, before[1])


def test_the_learning_rate_is_set_for_every_parameter() -> None:
    optimiser = optimiser_of(TrainingSettings(), a_model())
    set_learning_rate(optimiser, 0.123)
    assert [group["lr"] for group in optimiser.param_groups] == [0.123, 0.123]
