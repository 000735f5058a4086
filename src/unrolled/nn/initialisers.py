"""How a layer's weights start: torch's default, Xavier, He, orthogonal, identity; gate by gate."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from unrolled.recurrence.layout import Layout

Fill = Callable[[Tensor], object]


def _he(weight: Tensor) -> Tensor:
    return nn.init.kaiming_normal_(weight, nonlinearity="relu")


def _identity(weight: Tensor) -> Tensor:
    return nn.init.eye_(weight)


INITIALISERS: dict[str, tuple[Fill, Fill]] = {
    "xavier": (nn.init.xavier_uniform_, nn.init.xavier_uniform_),
    "he": (_he, _he),
    "orthogonal": (nn.init.xavier_uniform_, nn.init.orthogonal_),
    "identity": (nn.init.xavier_uniform_, _identity),
}
"""Each initialiser's rule for the weights on the input and for those on the recurrent vectors.

xavier: Glorot and Bengio (2010). he: He et al. (2015). orthogonal: Saxe et al. (2014), on the recurrent weights, so
that a state neither grows nor shrinks at first. identity: Le, Jaitly, Hinton (2015), for ReLU networks.
"""

NAMES = ("torch", *INITIALISERS)


@torch.no_grad()
def initialise(
    parameters: Mapping[str, Tensor], layout: Layout, hidden_size: int, name: str, forget_bias: float | None
) -> None:
    """Fill one layer's parameters, in place.

    "torch" draws everything from U(-1/√H, 1/√H), as torch.nn does; the others fill every gate's block by their rule
    and set biases and diagonals to zero. `forget_bias` is then the forget gate's whole bias.

    Raises:
        ValueError: no such initialiser, or a forget bias for a cell without a forget gate.
    """
    if name not in NAMES:
        raise ValueError(f'initialiser="{name}" is none of {", ".join(NAMES)}')
    for parameter in layout.parameters:
        if name == "torch":
            bound = 1 / math.sqrt(hidden_size)
            parameters[parameter].uniform_(-bound, bound)
        elif parameter not in ("weight_ih", "weight_hh"):
            parameters[parameter].zero_()
    if name != "torch":
        for block in layout.blocks:
            if block.parameter in ("weight_ih", "weight_hh"):
                INITIALISERS[name][block.parameter == "weight_hh"](block.rows(parameters[block.parameter]))
    if forget_bias is not None:
        _set_forget_bias(parameters, layout, forget_bias)


def _set_forget_bias(parameters: Mapping[str, Tensor], layout: Layout, value: float) -> None:
    main, second = layout.find("forget", "bias"), layout.find("forget", "bias_hidden")
    if main is None:
        raise ValueError(f"forget_bias={value}: this layer has no forget gate with a bias")
    main.rows(parameters[main.parameter]).fill_(value)
    if second is not None:
        second.rows(parameters[second.parameter]).zero_()
