"""Put this package's layers in the place of torch.nn's, in a model that exists."""

from __future__ import annotations

import warnings
from typing import TypeVar

from torch import nn

from unrolled.nn.recurrent import Recurrent
from unrolled.nn.torch_layers import GRU, LSTM, RNN

Model = TypeVar("Model", bound=nn.Module)


def convert(model: Model) -> Model | Recurrent:
    """Swap every torch.nn RNN, GRU and LSTM inside `model` for this package's, in place.

    The parameters stay the same objects, so an optimiser that holds them goes on working. Layers of torch's that have
    a projection (`proj_size`) are left as they are, with a warning.

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


def _converted(layer: nn.Module) -> nn.Module:
    kinds = {nn.RNN: RNN, nn.GRU: GRU, nn.LSTM: LSTM}
    if not isinstance(layer, nn.RNNBase) or type(layer) not in kinds:
        return layer
    if layer.proj_size:
        warnings.warn(
            f"left as it is: {layer} has a projection of its state, which unrolled.nn.LSTM does not", stacklevel=3
        )
        return layer
    own = {"nonlinearity": layer.nonlinearity} if isinstance(layer, nn.RNN) else {}
    new: Recurrent = kinds[type(layer)](
        layer.input_size, layer.hidden_size, layer.num_layers, bias=layer.bias, batch_first=layer.batch_first,
        dropout=layer.dropout, bidirectional=layer.bidirectional, device="meta", **own,
    )  # fmt: skip
    parameters = dict(layer.named_parameters(remove_duplicate=False))
    if parameters.keys() != dict(new.named_parameters()).keys():
        warnings.warn(f"left as it is: {layer} has parameters of another form than torch.nn's", stacklevel=3)
        return layer
    for name, parameter in parameters.items():
        setattr(new, name, parameter)
    return new.train(layer.training)
