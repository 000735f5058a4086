"""What a training state must be before anything of it is used: facts of the right kind and range, and tensors of the
right name, shape and type.

A resumed run promises to end as if it had never been interrupted, so nothing is filled in and nothing is overlooked.
Optimisers that run fused trust their tensors, besides: one that is smaller than its parameter is written past its end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from unrolled.errors import UserError
from unrolled.nn.recurrent import Recurrent
from unrolled.training.optimisers import optimiser_of, optimiser_tensors
from unrolled.training.plan import SHARES
from unrolled.training.run_folder import STATE
from unrolled.training.settings import TrainingSettings

if TYPE_CHECKING:
    from unrolled.training.loop import Trainer

LARGEST = 2**53
"""Whole numbers up to here are exact as floats too."""


@dataclass(frozen=True)
class Fact:
    """What one fact may be.

    Attributes:
        kind: int, float (whole numbers are taken too), str or list (of whole numbers that do not fall).
        minimum, maximum: of a number, both included.
        optional: whether null is allowed.
    """

    kind: type
    minimum: float = 0
    maximum: float = LARGEST
    optional: bool = False

    def complaint(self, value: object) -> str | None:
        """Say what is wrong with ``value``, or None when nothing is."""
        if value is None and self.optional:
            return None
        kinds = (int, float) if self.kind is float else (self.kind,)
        if type(value) not in kinds:
            return f"must be {_KINDS[self.kind]}, not {type(value).__name__}"
        if isinstance(value, list):
            whole = all(type(number) is int and 0 <= number <= self.maximum for number in value)
            return None if whole and value == sorted(value) else "must be numbers of steps that do not fall"
        if isinstance(value, int | float) and not self.minimum <= value <= self.maximum:
            return f"must be from {self.minimum:g} to {self.maximum:g}"
        return None


_KINDS = {int: "a whole number", float: "a number", str: "text", list: "a list"}

FACTS: dict[str, Fact | dict[str, Fact]] = {
    "step": Fact(int),
    "steps": Fact(int, minimum=1),
    "epoch": Fact(int),
    "position": Fact(int),
    "best": Fact(float, minimum=-math.inf, maximum=math.inf, optional=True),
    "best_step": Fact(int),
    "waited": Fact(int),
    "symbols": Fact(int),
    "seconds": Fact(float),
    "plateau": {
        "factor": Fact(float, maximum=1),
        "best": Fact(float, minimum=-math.inf, maximum=math.inf, optional=True),
        "waited": Fact(int),
    },
    "fingerprint": Fact(str),
    "processes": Fact(int, minimum=1),
}
"""Every fact of a training state. A new one is a line here."""

CLOCK_FACTS: dict[str, Fact | dict[str, Fact]] = {
    "spent": Fact(float), "pace": Fact(list), "validated": Fact(list),
}  # fmt: skip
"""What a run by the clock has besides."""

NOT_ABOVE = (("step", "steps"), ("best_step", "step"), ("waited", "step"))
"""Pairs of facts of which the first is never larger than the second."""


@dataclass(frozen=True)
class Expected:
    """The shape of a tensor, and the types that it may have."""

    shape: tuple[int, ...]
    dtypes: tuple[torch.dtype, ...]

    @classmethod
    def like(cls, tensor: Tensor, shape: tuple[int, ...] | None = None) -> Expected:
        """A tensor of the type of another, and of its shape where none is given."""
        return cls(tuple(tensor.shape) if shape is None else shape, (tensor.dtype,))


def check_facts(facts: Mapping[str, Any], folder: Path, *, by_clock: bool = False) -> None:
    """Refuse a training state whose facts cannot be; `by_clock`: of a run whose budget is in minutes.

    Raises:
        UserError: one is missing, unknown, of another kind or out of range, or two contradict each other.
    """
    for flaw in _flaws(facts, FACTS | CLOCK_FACTS if by_clock else FACTS):
        raise _refused(folder, flaw)
    pace, validated = facts.get("pace", [0]), facts.get("validated", [])
    if validated and validated[-1] > facts["step"]:
        raise _refused(folder, '"validated" must end at most at "step"')
    if not 0 < len(pace) <= SHARES or pace[0] != 0 or pace[-1] > facts["step"]:
        raise _refused(folder, f'"pace" must begin with 0, end at most at "step", and have at most {SHARES} numbers')
    for smaller, larger in NOT_ABOVE:
        if facts[smaller] > facts[larger]:
            raise _refused(folder, f'"{smaller}" ({facts[smaller]:,}) is larger than "{larger}" ({facts[larger]:,})')


def _flaws(facts: Mapping[str, Any], table: Mapping[str, Fact | dict[str, Fact]], where: str = "") -> Iterator[str]:
    for name in sorted(table.keys() ^ facts.keys()):
        yield f'"{where}{name[:40]}" is {"missing" if name in table else "not a fact of this version"}'
    for name, rule in table.items():
        value = facts[name]
        if isinstance(rule, Fact):
            complaint = rule.complaint(value)
        elif isinstance(value, dict):
            complaint = None
            yield from _flaws(value, rule, f"{name}.")
        else:
            complaint = f"must be an object, not {type(value).__name__}"
        if complaint:
            yield f'"{where}{name}" {complaint}'


def check_state(trainer: Trainer, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Refuse a training state that is not one of this trainer's model, optimiser and data. Facts are checked already.

    Raises:
        UserError: a tensor is missing, unknown, or of another shape or type; or its place in the data cannot be.
    """
    accumulated = facts["step"] * trainer.settings.accumulate
    if facts["epoch"] > accumulated or facts["position"] > trainer.batches.steps_per_epoch(facts["epoch"]):
        raise _refused(trainer.folder, f"there is no batch {facts['position']:,} in epoch {facts['epoch']:,}")
    expected = {**_model(trainer), **_optimiser(trainer, facts["step"], tensors), **_average(trainer)}
    expected |= _process(trainer, facts["step"])
    for name in sorted(expected.keys() ^ tensors.keys()):
        raise _refused(
            trainer.folder, f"{name[:80]} is {'missing' if name in expected else 'not a tensor of this run'}"
        )
    for name, wanted in expected.items():
        tensor = tensors[name]
        if tuple(tensor.shape) != wanted.shape:
            raise _refused(trainer.folder, f"{name} is {tuple(tensor.shape)}, not {wanted.shape}")
        if tensor.dtype not in wanted.dtypes:
            raise _refused(trainer.folder, f"{name} is of {tensor.dtype}, not {wanted.dtypes[0]}")
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise _refused(trainer.folder, f"{name} holds a number that is not finite")
    _check_values(trainer, tensors, facts["step"])


def _model(trainer: Trainer) -> dict[str, Expected]:
    return {f"model.{name}": Expected.like(parameter) for name, parameter in trainer.model.named_parameters()}


def _optimiser(trainer: Trainer, step: int, tensors: Mapping[str, Tensor]) -> dict[str, Expected]:
    """What the optimiser has gathered for every parameter after that many steps.

    Only a learned initial state may have nothing: where every sequence is given its state, it never has a gradient.
    """
    if not step:
        return {
            f"optimiser.{name}": Expected.like(value) for name, value in optimiser_tensors(trainer.optimiser).items()
        }
    entries = gathered_entries(trainer.settings)
    names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
    gathered = [parameter for group in trainer.optimiser.param_groups for parameter in group["params"]]
    expected: dict[str, Expected] = {}
    for position, parameter in enumerate(gathered):
        own = {
            f"optimiser.{position}.{entry}": Expected.like(like, tuple(parameter.shape) if like.dim() else ())
            for entry, like in entries.items()
        }
        if own.keys() & tensors.keys() or not names[id(parameter)].rpartition(".")[2].startswith("initial_"):
            expected |= own
    return expected


def gathered_entries(settings: TrainingSettings) -> dict[str, Tensor]:
    """What an optimiser keeps for a parameter, as a step on a small one shows it: tensors like it, or single numbers.

    >>> sorted(gathered_entries(TrainingSettings(optimiser="adamw")))
    ['exp_avg', 'exp_avg_sq', 'step']
    """
    small = nn.Module()
    small.weight = nn.Parameter(torch.zeros(2, 3))
    optimiser = optimiser_of(settings, small)
    small.weight.grad = torch.zeros(2, 3)
    optimiser.step()
    return {name.removeprefix("0."): value for name, value in optimiser_tensors(optimiser).items()}


def _average(trainer: Trainer) -> dict[str, Expected]:
    average = trainer.average.state() if trainer.average else {}
    return {f"average.{name}": Expected.like(value) for name, value in average.items()}


def _process(trainer: Trainer, step: int) -> dict[str, Expected]:
    """What each process has for itself: its random state, and the recurrent state that its next window goes on from."""
    own = {"random": Expected.like(torch.get_rng_state())}
    recurrent = getattr(trainer.model, "recurrent", None)
    if trainer.task.carries and step and isinstance(recurrent, Recurrent):
        rows = trainer.settings.batch // trainer.fabric.world_size
        shape = (recurrent.num_layers * recurrent.num_directions, rows, recurrent.hidden_size)
        half = (torch.bfloat16,) if trainer.settings.precision == "bfloat16" else ()
        dtypes = (next(recurrent.parameters()).dtype, *half)
        own |= {f"carried.{number}": Expected(shape, dtypes) for number in range(len(recurrent.cell.states))}
    world = (trainer.fabric.world_size,) if trainer.fabric.world_size > 1 else ()
    return {f"process.{name}": Expected((*world, *one.shape), one.dtypes) for name, one in own.items()}


def _check_values(trainer: Trainer, tensors: Mapping[str, Tensor], step: int) -> None:
    for name, tensor in tensors.items():
        counts = name.startswith("optimiser.") and name.endswith(".step")
        if (counts or name == "average.updates") and not 0 <= tensor.item() <= step:
            raise _refused(trainer.folder, f"{name} is not a number of steps up to {step:,}")
    random = tensors["process.random"]
    for row in random.reshape(-1, random.shape[-1]):
        _check_random(row, trainer.folder)


def _check_random(state: Tensor, folder: Path) -> None:
    """Refuse the state of a generator that torch takes, and that makes it read past its own numbers.

    It is laid out as the seed (8 bytes), how many of the 624 numbers are left (4), a mark (4), and which is next (8).
    The two counts go together, but before the first draw: then one is left and none was taken.
    """
    left, after = state[8:12].view(torch.int32).item(), state[16:24].view(torch.int64).item()
    if not 1 <= left <= 624 or (left > 1 and left + after != 625) or not 0 <= after <= 624:
        raise _refused(folder, "process.random is not the state of a random generator")


def _refused(folder: Path, flaw: str) -> UserError:
    return UserError(
        f"{folder / STATE}: {flaw}, so the run cannot go on; copy the run folder again, or start a new run from its "
        f"weights: --init {folder}"
    )
