"""How a layer's weights start: torch's default, Xavier, He, orthogonal, identity; gate by gate."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from unrolled.recurrence.keeping import Keeping
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
    parameters: Mapping[str, Tensor], layout: Layout, hidden_size: int, name: str, *,
    forget_bias: float | None = None, chrono: int = 0, keeping: Sequence[Keeping] = (),
) -> None:  # fmt: skip
    """Fill one layer's parameters, in place.

    "torch" draws everything from U(-1/√H, 1/√H), as torch.nn does; the others fill every gate's block by their rule
    and set biases and diagonals to zero. `forget_bias` is then the forget gate's whole bias.

    `chrono`, T, draws the biases of the gates that keep a state (`keeping`) so that each unit forgets within 1 to T
    timesteps, σ(bias) = 1 - 1 / U(1, T), and lets in as little as that (Tallec and Ollivier 2018, "Can recurrent neural
    networks warp time?").

    Raises:
        ValueError: no such initialiser; a forget bias for a cell without a forget gate; chrono for one that keeps
            nothing, below 3, or beside a forget bias.
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
    if forget_bias is not None and not _set_bias(parameters, layout, "forget", torch.tensor(forget_bias)):
        raise ValueError(f"forget_bias={forget_bias}: this layer has no forget gate with a bias")
    if chrono:
        if forget_bias is not None:
            raise ValueError(f"chrono={chrono} says how the forget gate begins: leave forget_bias out")
        _set_chrono(parameters, layout, hidden_size, chrono, keeping)


def _set_chrono(
    parameters: Mapping[str, Tensor], layout: Layout, hidden_size: int, longest: int, keeping: Sequence[Keeping]
) -> None:
    if longest < 3:
        raise ValueError(f"chrono={longest} must be a number of timesteps, at least 3, or 0")
    if not keeping or any(layout.find(kept.gate, "bias") is None for kept in keeping):
        raise ValueError(f"chrono={longest}: this layer has no gate with a bias that keeps a state")
    like = next(iter(parameters.values()))
    for kept in keeping:
        bias = torch.empty(hidden_size, dtype=like.dtype, device=like.device).uniform_(1, longest - 1).log()
        _set_bias(parameters, layout, kept.gate, -bias if kept.inverted else bias)
        for gate in kept.admitting:
            _set_bias(parameters, layout, gate, -bias)


def _set_bias(parameters: Mapping[str, Tensor], layout: Layout, gate: str, value: Tensor) -> bool:
    """Make this a gate's whole bias; whether it has one."""
    main, second = layout.find(gate, "bias"), layout.find(gate, "bias_hidden")
    if main is None:
        return False
    main.rows(parameters[main.parameter]).copy_(value)
    if second is not None:
        second.rows(parameters[second.parameter]).zero_()
    return True
