"""Put this package's layers in the place of torch.nn's, in a model that exists."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TypeVar

from torch import nn
from torch.nn.utils import parametrize

from unrolled.nn.recurrent import Recurrent
from unrolled.nn.torch_layers import GRU, LSTM, RNN

Model = TypeVar("Model", bound=nn.Module)


def convert(model: Model) -> Model | Recurrent:
    """Swap every torch.nn RNN, GRU and LSTM inside `model` for this package's, in place.

    The parameters stay the same objects, so an optimiser that holds them goes on working; hooks stay too. What may
    compute something else is left as it is, with a warning: layers with a projection (`proj_size`), with
    parametrizations, with parameters, buffers or parts of their own, and instances of subclasses. Cells
    (torch.nn.LSTMCell) are left without one.

    Returns:
        The model; or, if it is itself one of torch's layers, the layer that takes its place.
    """
    swapped: dict[nn.Module, nn.Module] = {}
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):  # named_children leaves a second name of one module out
            if child is None:
                continue
            if child not in swapped:
                swapped[child] = _converted(child)
            if swapped[child] is not child:
                setattr(parent, name, swapped[child])
    return _converted(model)  # type: ignore[return-value]


KINDS: dict[type[nn.RNNBase], Callable[..., Recurrent]] = {nn.RNN: RNN, nn.GRU: GRU, nn.LSTM: LSTM}


def _converted(layer: nn.Module) -> nn.Module:
    if not isinstance(layer, nn.RNN | nn.GRU | nn.LSTM):
        return layer
    reason = _refusal(layer)
    if reason:
        warnings.warn(f"left as it is: {type(layer).__name__}({layer.extra_repr()}) {reason}", stacklevel=3)
        return layer
    own = {"nonlinearity": layer.nonlinearity} if isinstance(layer, nn.RNN) else {}
    new: Recurrent = KINDS[type(layer)](
        layer.input_size, layer.hidden_size, layer.num_layers, bias=layer.bias, batch_first=layer.batch_first,
        bidirectional=layer.bidirectional, device="meta", **own,
    )  # fmt: skip
    new.dropout = layer.dropout  # torch's layer has warned of dropout with one layer
    for name, parameter in layer.named_parameters(remove_duplicate=False):
        setattr(new, name, parameter)
    for name, value in layer.__dict__.items():
        if name.endswith(("_hooks", "_hooks_with_kwargs", "_hooks_always_called")):
            new.__dict__[name] = value  # the same dictionaries, so that handles still remove their hooks
    return new.train(layer.training)


def _refusal(layer: nn.RNNBase) -> str | None:
    """Why a layer has to stay, or None."""
    if parametrize.is_parametrized(layer):
        return "has parametrizations (torch.nn.utils.parametrize); convert the model before they are added"
    if type(layer) not in KINDS:
        return f"is a {type(layer).__name__}, a subclass of torch.nn's layer, which may compute something else"
    if layer.proj_size:
        return "has a projection of its state, which unrolled.nn.LSTM does not"
    if [*layer.buffers(), *layer.children()]:
        return "has buffers or parts that torch.nn's layers do not have"
    names = {name for name, _ in layer.named_parameters(remove_duplicate=False)}
    return None if names == set(layer._flat_weights_names) else "has parameters of another form than torch.nn's"
