"""What programs written for torch.nn's layers ask of one: attributes, warnings, names of arguments, types."""

from __future__ import annotations

import operator
import sys
import warnings
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from unrolled.errors import ShapeError


def whole(name: str, value: Any) -> int:
    """A size as an int; NumPy's integers and whatever else is one are taken.

    Raises:
        TypeError: it is not a whole number.
        ValueError: it is less than 1.
    """
    try:
        size = operator.index(value)
    except TypeError as error:
        message = f"{name}={value!r} must be a whole number of at least 1, not a {type(value).__name__}"
        raise TypeError(message) from error
    if size < 1:
        raise ValueError(f"{name}={value!r} must be a whole number of at least 1")
    return size


def is_probability(value: object) -> bool:
    """Whether this is a number from 0 to 1, and not a truth value."""
    return not isinstance(value, bool) and isinstance(value, Real) and 0 <= float(value) <= 1


def warn_of_dropout(dropout: float, num_layers: int) -> None:
    """Warn as torch does: dropout acts between layers, so with one layer it does nothing."""
    if dropout and num_layers == 1:
        warnings.warn(
            "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects num_layers "
            f"greater than 1, but got dropout={dropout} and num_layers={num_layers}",
            stacklevel=4,
        )


def one_of(first: Any, second: Any, names: str) -> Any:
    """The argument that was given under one of two names.

    Raises:
        TypeError: it was given under both.
    """
    if first is not None and second is not None:
        raise TypeError(f"{names} are two names of one argument; give one of them")
    return second if first is None else first


def as_leaf(layer: nn.Module, x: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    """A node that calls the whole layer, if torch.fx.symbolic_trace follows `x`; None otherwise.

    Like torch.nn's recurrent layers this one is a leaf to fx: what is inside depends on shapes and types.
    """
    fx = sys.modules.get("torch.fx")
    if fx is None or torch.compiler.is_compiling() or not isinstance(x, fx.Proxy):
        return None
    return x.tracer.create_proxy("call_module", x.tracer.path_of_module(layer), arguments, keywords)


def mixed_precision(like: Tensor) -> bool:
    """Whether autocast is at work on a tensor's device (it knows nothing of meta)."""
    kind = like.device.type
    return kind != "meta" and torch.is_autocast_enabled(kind)


def check_place(x: Tensor, states: tuple[Tensor, ...], like: Tensor) -> None:
    """Refuse an input or a state on another device, or of another type, than the weights.

    Raises:
        ShapeError: it says which, and what to do.
    """
    mixed = mixed_precision(like)
    for name, value in (("x", x), *(("the state", state) for state in states)):
        if value.device != like.device:
            raise ShapeError(f"{name} is on {value.device}, and the layer's weights are on {like.device}")
        if value.is_floating_point() and value.dtype is not like.dtype and not mixed:
            raise ShapeError(
                f"{name} is {value.dtype}, and the layer's weights are {like.dtype}; convert one of them with .to(...)"
            )


class TorchNames:
    """Attributes of torch.nn.RNNBase, for a layer whose `_tensors` gives its parameters by layer and direction."""

    def _suffixed(self) -> list[list[str]]:
        raise NotImplementedError

    @property
    def _all_weights(self) -> list[list[str]]:
        """The parameters' names, a list for each layer and direction, in torch's order."""
        return self._suffixed()

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The parameters, a list for each layer and direction, in torch's order."""
        return [[getattr(self, name) for name in names] for names in self._suffixed()]

    @property
    def _flat_weights_names(self) -> list[str]:
        return [name for names in self._suffixed() for name in names]

    @property
    def _flat_weights(self) -> list[Tensor]:
        return [getattr(self, name) for name in self._flat_weights_names]

    def flatten_parameters(self) -> None:
        """Nothing to do here; models written for torch.nn's layers call it."""
