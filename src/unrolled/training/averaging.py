"""The exponential moving average of a model's weights, and how to try it on for a validation."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from unrolled.errors import UserError

UPDATES = "updates"
PREFIX = "weight."


class WeightAverage:
    """A running average of every floating-point parameter: m ← d·m + (1 - d)·w with d = min(decay, (1+n)/(10+n)).

    n counts the updates before this one, so that an early average is not held back by the random start. The model's
    parameters must stay the same tensors (updated in place), as optimisers leave them.

    >>> model = nn.Linear(2, 1)
    >>> average = WeightAverage(model, decay=0.999)
    >>> average.update(model)                    # after every optimiser step
    >>> with average.applied_to(model):
    ...     _ = model(torch.zeros(1, 2))         # the averaged weights; the trained ones are back afterwards
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self._averages = {name: parameter.detach().clone() for name, parameter in _averaged(model).items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards the model's present weights."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        weights = _averaged(model)
        torch._foreach_lerp_(
            list(self._averages.values()), [weights[name].detach() for name in self._averages], 1.0 - decay
        )
        self.updates += 1

    @contextmanager
    def applied_to(self, model: nn.Module) -> Iterator[None]:
        """Put the average into ``model`` for the length of a ``with`` block, then its own weights back, bit for bit."""
        weights = _averaged(model)
        kept = {name: weight.detach().clone() for name, weight in weights.items()}
        _copy(self._averages, weights)
        try:
            yield
        finally:
            _copy(kept, weights)

    def state(self) -> dict[str, Tensor]:
        """Give the tensors that ``restore`` needs: ``weight.NAME`` for each parameter and ``updates``, a count."""
        averages = {PREFIX + name: average for name, average in self._averages.items()}
        return {UPDATES: torch.tensor(self.updates), **averages}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over a state that ``state`` gave, bit for bit.

        Raises:
            UserError: when the tensors belong to another model.
        """
        expected = {UPDATES, *(PREFIX + name for name in self._averages)}
        if different := sorted(expected ^ set(tensors)):
            raise UserError(
                f"the saved weight average does not fit this model ({different[0]} is on one side only); "
                "resume with the recipe of the run"
            )
        for name, average in self._averages.items():
            _check_shape(name, tensors[PREFIX + name], average)
        _copy({name: tensors[PREFIX + name] for name in self._averages}, self._averages)
        self.updates = int(tensors[UPDATES])


def _averaged(model: nn.Module) -> dict[str, Tensor]:
    """Every floating-point parameter once: named_parameters leaves out the second name of tied weights."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.is_floating_point()}


@torch.no_grad()
def _copy(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    for name, tensor in target.items():
        tensor.copy_(source[name])


def _check_shape(name: str, saved: Tensor, average: Tensor) -> None:
    if saved.shape != average.shape:
        raise UserError(
            f"the saved weight average does not fit this model: {name} is {tuple(saved.shape)}, not "
            f"{tuple(average.shape)}; resume with the recipe of the run"
        )
