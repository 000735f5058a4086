"""nn.convert: this package's layers in the place of torch.nn's, and nothing else changed."""

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import unrolled
from tolerances import assert_equal
from unrolled.nn import GRU, LSTM, RNN, convert


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.RNN(6, 4, nonlinearity="relu", bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x)[0]  # type: ignore[no-any-return]


class Model(nn.Module):
    """A model written for torch.nn: nested, in lists, one layer used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 3, 2, bidirectional=True, batch_first=True)
        self.stack = nn.ModuleList([nn.GRU(6, 6, dropout=0.0), nn.Linear(6, 6)])
        self.again = self.stack[0]
        self.inner = Inner()
        self.nothing = None

    def forward(self, x: Tensor) -> Tensor:
        self.lstm.flatten_parameters()
        x = self.lstm(x.transpose(0, 1))[0].transpose(0, 1)
        x = self.again(self.stack[1](self.stack[0](x)[0]))[0]
        return self.inner(x)  # type: ignore[no-any-return]


def test_a_nested_model_gives_the_same_after_conversion() -> None:
    torch.manual_seed(51)
    model = Model().eval()
    x = torch.randn(4, 2, 3)
    expected, parameters = model(x), dict(model.named_parameters())
    before = torch.get_rng_state()
    assert convert(model) is model
    assert torch.get_rng_state().equal(before)  # nothing was drawn
    kinds = [type(layer) for layer in (model.lstm, model.stack[0], model.again, model.inner.rnn)]
    assert kinds == [LSTM, GRU, GRU, RNN]
    assert model.again is model.stack[0]
    assert_equal(model(x), expected)
    after = dict(model.named_parameters())
    assert after.keys() == parameters.keys()
    assert all(after[name] is parameters[name] for name in after)
    assert list(model.state_dict()) == list(Model().state_dict())


def test_an_optimiser_made_before_goes_on() -> None:
    torch.manual_seed(52)
    model = Model().double()
    optimiser = torch.optim.SGD(model.parameters(), 0.02, momentum=0.9)
    x = torch.randn(4, 2, 3).double()
    train(model, optimiser, x)
    twin = copy.deepcopy(model)
    twin_optimiser = torch.optim.SGD(twin.parameters(), 0.02, momentum=0.9)
    twin_optimiser.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    convert(model)
    for _ in range(3):
        train(model, optimiser, x)
        train(twin, twin_optimiser, x)
    for (name, value), other in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert_equal(value, other, name)


def train(model: nn.Module, optimiser: torch.optim.Optimizer, x: Tensor) -> None:
    optimiser.zero_grad()
    model(x).square().sum().backward()
    optimiser.step()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "layer",
    [nn.RNN(3, 4), nn.RNN(3, 4, nonlinearity="relu"), nn.GRU(3, 4, 2, batch_first=True), nn.LSTM(3, 4, bias=False)],
    ids=str,
)
def test_a_layer_itself_is_replaced(layer: nn.RNNBase, training: bool) -> None:
    layer.train(training)
    new = convert(layer)
    assert type(new) is {nn.RNN: RNN, nn.GRU: GRU, nn.LSTM: LSTM}[type(layer)]
    assert new.training is training
    x = torch.randn(4, 2, 3)
    assert_equal(new(x), layer(x))
    for name, value in layer.named_parameters():
        assert getattr(new, name) is value


def test_the_settings_of_a_layer_are_kept() -> None:
    layer = nn.LSTM(3, 4, 2, bias=False, batch_first=True, dropout=0.25, bidirectional=True).double()
    layer.weight_hh_l1.requires_grad_(False)
    new: Any = convert(layer)
    for name in ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional"):
        assert getattr(new, name) == getattr(layer, name)
    assert not new.weight_hh_l1.requires_grad
    assert new.weight_hh_l0.dtype == torch.float64


def test_parts_of_a_model_are_in_the_mode_that_they_were_in() -> None:
    model = Model().train()
    model.inner.eval()
    convert(model)
    assert model.lstm.training
    assert not model.inner.rnn.training


def test_converting_twice_and_copying_change_nothing() -> None:
    model: Any = convert(Model())
    layers = list(model.modules())
    assert convert(model) is model
    assert all(one is other for one, other in zip(layers, model.modules(), strict=True))
    x = torch.randn(4, 2, 3)
    twin = copy.deepcopy(model)
    assert_equal(twin(x), model(x))
    assert not any(one is other for one, other in zip(twin.parameters(), model.parameters(), strict=True))
    assert convert(model.lstm) is model.lstm


def test_one_layer_under_two_names_of_one_module_stays_one() -> None:
    holder = nn.Module()
    holder.one = nn.LSTM(3, 4)
    holder.two = holder.one
    convert(holder)
    assert isinstance(holder.one, LSTM)
    assert holder.two is holder.one


def test_parameters_shared_between_and_within_layers_stay_shared() -> None:
    first, second = nn.LSTM(4, 4), nn.LSTM(4, 4, 2)
    second.weight_hh_l0 = first.weight_hh_l0
    second.weight_hh_l1 = second.weight_hh_l0
    x = torch.randn(3, 2, 4)
    expected = second(x)
    model: Any = convert(nn.ModuleList([first, second]))
    assert model[0].weight_hh_l0 is model[1].weight_hh_l0 is model[1].weight_hh_l1
    assert_equal(model[1](x), expected)


def test_a_projection_is_left_with_a_warning() -> None:
    model = nn.Sequential(nn.LSTM(3, 4, proj_size=2))
    layer = model[0]
    with pytest.warns(UserWarning, match=r"left as it is: LSTM\(3, 4, proj_size=2\) has a projection of its state"):
        convert(model)
    assert model[0] is layer
    with pytest.warns(UserWarning, match="left as it is"):
        assert convert(layer) is layer


class Own(nn.LSTM):
    pass


def test_layers_of_another_make_are_left() -> None:
    model = nn.ModuleList([nn.LSTMCell(3, 4), nn.Linear(3, 4)])
    layers = list(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        convert(model)
    assert all(one is other for one, other in zip(model, layers, strict=True))


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (Own(3, 4), "is a Own, a subclass of torch.nn's layer, which may compute something else"),
        (parametrizations.weight_norm(nn.GRU(3, 4), "weight_hh_l0"), "has parametrizations"),
    ],
)
def test_layers_that_may_compute_something_else_are_left_with_a_warning(layer: nn.Module, reason: str) -> None:
    model = nn.Sequential(layer)
    with pytest.warns(UserWarning, match=f"left as it is: .*{reason}"):
        convert(model)
    assert model[0] is layer


def test_buffers_of_a_users_own_are_not_lost() -> None:
    layer = nn.GRU(3, 4)
    layer.register_buffer("mask", torch.ones(3))
    with pytest.warns(UserWarning, match="has buffers or parts"):
        assert convert(layer) is layer


def test_hooks_are_kept_and_can_still_be_removed() -> None:
    model, calls = nn.Sequential(nn.LSTM(3, 4)), []
    handles = [
        model[0].register_forward_hook(lambda *_: calls.append("after")),
        model[0].register_forward_pre_hook(lambda *_: calls.append("before")),
        model[0].register_forward_hook(lambda *_, **__: calls.append("always"), with_kwargs=True, always_call=True),
    ]
    convert(model)
    assert isinstance(model[0], LSTM)
    model(torch.randn(2, 1, 3))
    assert calls == ["before", "after", "always"]
    for handle in handles:
        handle.remove()
    model(torch.randn(2, 1, 3))
    assert len(calls) == 3


def test_converting_a_layer_with_dropout_between_no_layers_warns_once() -> None:
    with pytest.warns(UserWarning, match="dropout option adds dropout"):
        layer = nn.LSTM(3, 4, dropout=0.5)
    new: Any = convert(layer)
    assert new.dropout == 0.5


def test_parameters_in_another_form_are_left_with_a_warning() -> None:
    layer = nn.LSTM(3, 4)
    weight = layer.weight_hh_l0
    del layer.weight_hh_l0
    layer.register_parameter("weight_hh_l0_orig", weight)  # as pruning leaves them
    layer.weight_hh_l0 = weight.detach() * 0.5
    with pytest.warns(UserWarning, match="has parameters of another form than torch.nn's"):
        assert convert(layer) is layer


def test_converted_layers_gain_what_the_package_adds() -> None:
    layer: Any = unrolled.nn.convert(nn.LSTM(3, 4))
    _, _, seen = layer(torch.randn(4, 2, 3), lengths=torch.tensor([0, 4]), observe=True)
    assert seen["forget"].shape == (4, 2, 4)
