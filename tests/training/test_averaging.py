"""The moving average of the weights: its formula, its visit to the model, its state."""

import pytest
import torch
from torch import Tensor, nn

from unrolled.errors import UserError
from unrolled.training.averaging import WeightAverage


def random_model(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).double()


def move(model: nn.Module) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))


def weights(model: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def test_the_average_follows_its_formula() -> None:
    model = random_model()
    average, expected = WeightAverage(model, decay=0.5), weights(model)
    for n in range(12):
        move(model)
        average.update(model)
        decay = min(0.5, (1 + n) / (10 + n))
        expected = [decay * m + (1 - decay) * w for m, w in zip(expected, weights(model), strict=True)]
    with average.applied_to(model):
        torch.testing.assert_close(weights(model), expected)


def test_equal_weights_have_themselves_as_average() -> None:
    model = random_model()
    average, own = WeightAverage(model, decay=0.999), weights(model)
    for _ in range(5):
        average.update(model)
    with average.applied_to(model):
        assert all(map(torch.equal, weights(model), own))


def test_the_models_own_weights_come_back_bit_for_bit() -> None:
    model = random_model()
    average = WeightAverage(model, decay=0.9)
    move(model)
    own, places = weights(model), [parameter.data_ptr() for parameter in model.parameters()]

    def failing_validation() -> None:
        with average.applied_to(model):
            assert not torch.equal(weights(model)[0], own[0])
            raise RuntimeError("validation failed")

    with pytest.raises(RuntimeError, match="validation failed"):
        failing_validation()
    assert all(map(torch.equal, weights(model), own))
    assert places == [parameter.data_ptr() for parameter in model.parameters()]


def test_tied_weights_are_averaged_once_and_stay_tied() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    average = WeightAverage(model, decay=0.9)
    move(model)
    average.update(model)
    assert sum("weight.0.weight" in name or "weight.1.weight" in name for name in average.state()) == 1
    with average.applied_to(model):
        assert model[1].weight is model[0].weight


def test_a_restored_average_goes_on_bit_for_bit() -> None:
    model = random_model()
    whole = WeightAverage(model, decay=0.9)
    for _ in range(3):
        move(model)
        whole.update(model)
    resumed = WeightAverage(random_model(seed=1), decay=0.9)
    resumed.restore({name: tensor.clone() for name, tensor in whole.state().items()})
    move(model)
    whole.update(model)
    resumed.update(model)
    assert resumed.updates == whole.updates == 4
    assert all(torch.equal(tensor, resumed.state()[name]) for name, tensor in whole.state().items())


def test_a_state_of_another_model_is_refused() -> None:
    average = WeightAverage(random_model(), decay=0.9)
    with pytest.raises(UserError, match="does not fit this model \\(updates is on one side only\\)"):
        average.restore({name: tensor for name, tensor in average.state().items() if name != "updates"})
    with pytest.raises(UserError, match=r"0\.weight is \(1,\), not \(4, 3\); resume with the recipe"):
        average.restore({**average.state(), "weight.0.weight": torch.zeros(1)})
