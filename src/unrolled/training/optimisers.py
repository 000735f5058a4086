"""torch's optimisers by name, with weight decay on matrices only."""

from __future__ import annotations

import inspect

import torch
from torch import Tensor, nn

from unrolled.training.settings import TrainingSettings

CLASSES: dict[str, type[torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "sgd": torch.optim.SGD,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
    "adadelta": torch.optim.Adadelta,
    "adamax": torch.optim.Adamax,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "asgd": torch.optim.ASGD,
}


def optimiser_of(settings: TrainingSettings, model: nn.Module) -> torch.optim.Optimizer:
    """The optimiser of a recipe. Biases and other vectors are not decayed: pulling them to zero regularises nothing."""
    kind = CLASSES[settings.optimiser]
    options = {
        "lr": settings.learning_rate,
        "momentum": settings.momentum,
        "betas": (settings.beta1, settings.beta2),
        "fused": True,
    }
    accepted = inspect.signature(kind).parameters
    matrices = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.dim() <= 1]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return kind(groups, **{name: value for name, value in options.items() if name in accepted})  # type: ignore[arg-type]


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Give every parameter the same learning rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What the optimiser has gathered, as named tensors: {"3.exp_avg": ...}. Numbers become tensors of float64."""
    gathered = optimiser.state_dict()["state"]
    return {
        f"{position}.{name}": value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)
        for position, values in gathered.items()
        for name, value in values.items()
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimiser_tensors` gave. Nothing is checked here: see `state_checks`.

    They are copied: what was read may still be the file itself, mapped into memory, and lie at any address.
    """
    gathered: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        position, _, entry = name.partition(".")
        gathered.setdefault(int(position), {})[entry] = value.clone()
    optimiser.load_state_dict({**optimiser.state_dict(), "state": gathered})
