"""What a task is to the training loop and to a run that is used: how to open data, build a model, batch and measure."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor, nn

from unrolled.cells import Cell
from unrolled.errors import UserError

if TYPE_CHECKING:
    from unrolled.data.examples import Files
    from unrolled.data.labelled import Example
    from unrolled.models.build import Saved
    from unrolled.training.recipe import Recipe

PROBED = 128
"""Examples that are measured to find out how long measuring takes."""
Measured = Callable[[int, int], None]
"""Called with (counted so far, in all)."""


class Batch(Protocol):
    """Sequences side by side, to be learned from at once.

    Attributes:
        fresh: whether the recurrent state starts anew; otherwise it goes on from the batch before.
        counted: how many targets the loss is summed over.
    """

    @property
    def fresh(self) -> bool: ...

    @property
    def counted(self) -> int: ...

    def to(self, device: torch.device) -> Self:
        """The same on a device."""
        ...

    def arguments(self, state: Any) -> tuple[Any, ...]:
        """What the model's `forward` takes. It returns a loss with `total`, the summed nats, and `state` to go on."""
        ...


class Batches(Protocol):
    """The batches of every epoch."""

    def steps_per_epoch(self, epoch: int) -> int:
        """How many batches the epoch has."""
        ...

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The epoch's batches from number `start` on: the same ones whatever `start` is."""
        ...


class Part(Protocol):
    """The training, validation or test part: its length is how many targets are counted."""

    def __len__(self) -> int: ...


class Material(Protocol):
    """What a recipe's section [data] opened.

    Attributes:
        train, valid, test: the parts.
        symbols: what texts and labels become numbers by: kept in the run folder.
        fingerprint: changes whenever the content of a file does.
        description: one line or more for people.
    """

    @property
    def train(self) -> Any: ...
    @property
    def valid(self) -> Any: ...
    @property
    def test(self) -> Any: ...
    @property
    def symbols(self) -> Any: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def description(self) -> str: ...


PartType = TypeVar("PartType")
SymbolsType = TypeVar("SymbolsType")


@dataclass(frozen=True)
class Opened(Generic[PartType, SymbolsType]):
    """A `Material` of examples that were read from files."""

    train: PartType
    valid: PartType | None
    test: PartType | None
    symbols: SymbolsType
    fingerprint: str
    description: str

    @classmethod
    def of(
        cls, files: Files, symbols: SymbolsType, number: Callable[[str, Sequence[Example]], PartType],
        remarks: Callable[[PartType], Sequence[str]],
    ) -> Self:  # fmt: skip
        """Every part of some files as numbers; `remarks` says what else is worth saying, of the training part."""
        train, valid, test = (None if part is None else number(*part) for part in (files.training, *files.parts[1:]))
        assert train is not None
        description = "\n".join([*files.lines, *remarks(train)])
        return cls(train, valid, test, symbols, files.fingerprint, description)


class Piece(Protocol):
    """What one batch of a measurement found; `counted` targets of it."""

    @property
    def counted(self) -> int: ...


class Figures(Protocol):
    """How well a model did on a part.

    Attributes:
        loss: nats a counted target, which validation compares.
        headline: the task's usual figure as people read it: "accuracy 81.2 %"; empty if that is the loss.
        criterion: what the task chooses its best weights by where it is not the loss; lower is better.
    """

    @property
    def loss(self) -> float: ...
    @property
    def headline(self) -> str: ...
    @property
    def criterion(self) -> float: ...

    def as_dict(self) -> dict[str, Any]:
        """All figures, for JSON."""
        ...


class Task(ABC):
    """One kind of sequence problem.

    Attributes:
        name: as in `recipe.task`.
        counted: what is counted, in the plural: "symbols".
        smallest_sample: of fewer of them a validation says little.
        carries: whether the recurrent state goes on from batch to batch.
    """

    name: ClassVar[str]
    counted: ClassVar[str]
    smallest_sample: ClassVar[int] = 5_000
    carries: ClassVar[bool] = False

    @abstractmethod
    def open(self, recipe: Recipe, base: Path, symbols: Any = None) -> Material:
        """The data of a recipe, whose relative paths are relative to `base`; under given symbols, if there are any."""

    def open_from(self, recipe: Recipe, base: Path, init: Path) -> tuple[Material, bool]:
        """The data for a model that starts from another run's weights, and whether it takes all of them.

        Raises:
            UserError: that run's task or symbols do not fit.
        """
        from unrolled.tasks.transfer import task_in

        if task_in(init) != self.name:
            raise UserError(f"{init} is a run of the task {task_in(init)}, and {self.name} starts only from its own")
        return self.open(recipe, base, self.load_symbols(init)), True

    def settled(self, recipe: Recipe, material: Any) -> Recipe:
        """The recipe without those of the task's defaults that make no sense for the data."""
        return recipe

    def sized(self, recipe: Recipe, material: Any, seconds: float, cores: int) -> Recipe:
        """The recipe with what nobody chose fitted to its data and to `seconds` of `cores` cores."""
        return recipe

    @abstractmethod
    def save_symbols(self, symbols: Any, folder: Path) -> None:
        """Keep the symbols in a run folder."""

    @abstractmethod
    def load_symbols(self, folder: Path) -> Any:
        """The symbols of a run folder."""

    @abstractmethod
    def shown_symbols(self, symbols: Any) -> list[tuple[str, int, str]]:
        """Each kind of symbols: its name, how many there are, and what a table says of them after the number."""

    @abstractmethod
    def build(self, recipe: Recipe, symbols: Any, cell: Cell | None = None, *, saved: Saved | None = None) -> nn.Module:
        """The model, freshly initialised. `cell` is the user's own, where it is not one that the recipe names.

        `saved` are the weights that it will take: one that they do not fit is refused before memory is taken for it.
        """

    def start(self, recipe: Recipe, model: Any, material: Any) -> None:
        """Set what a fresh model takes from its training part before it learns."""
        return

    def batches(self, recipe: Recipe, material: Any, rank: int = 0, world: int = 1) -> Batches:
        """What to train on; of several processes each gets its share of every batch."""
        settings = recipe.training
        found: Batches = material.train.batches(batch=settings.batch, seed=settings.seed, rank=rank, world=world)
        return found

    def probe(self, part: Any) -> tuple[Any, int]:
        """Something small to time a measurement by, and how many of its first pieces are no measure."""
        return self.sample(part, PROBED / max(1, len(part.examples))), 0

    @abstractmethod
    def pieces(self, recipe: Recipe, model: Any, part: Any, *, full: bool = False) -> Generator[Any, None, None]:
        """Measure a part in evaluation mode, batch by batch; `full` finds everything, otherwise what validation needs.

        The model is left as it was, also when the generator is closed early.
        """

    @abstractmethod
    def figures(self, recipe: Recipe, symbols: Any, part: Any, pieces: Sequence[Any], *, full: bool = False) -> Figures:
        """All pieces together."""

    @abstractmethod
    def baselines(
        self, recipe: Recipe, material: Any, *, seconds: float = math.inf
    ) -> Callable[[Any], Mapping[str, Any]]:
        """Plain models of the training part; what they make of another part is put beside the figures, by name.

        seconds: about how long they may take; the better ones of several are left out where that is too little.
        """

    @abstractmethod
    def unit(self, recipe: Recipe) -> str:
        """What a loss is shown in besides nats: "bits per character", "perplexity"; empty for nothing."""

    @abstractmethod
    def timesteps(self, recipe: Recipe, material: Any) -> int:
        """About how many timesteps, all rows together, a batch has."""

    @abstractmethod
    def outputs(self, model: Any) -> int:
        """How many numbers the output layer makes a timestep."""

    def conclude(self, recipe: Recipe, model: Any, material: Any, folder: Path) -> None:
        """What is left to do with the best weights, before they are measured; kept in the run folder."""
        return

    def restore(self, model: Any, folder: Path) -> None:
        """Put back into a model whose weights are loaded what `conclude` kept."""
        return

    def conclusion_passes(self, symbols: Any) -> int:
        """About how many times `conclude` goes through the validation part."""
        return 0

    def selects_by_loss(self) -> bool:
        """Whether the best weights are those of the lowest validation loss, rather than of `Figures.criterion`."""
        return True

    def sample(self, part: Any, share: float) -> Any:
        """A share of a part, evenly spread over it and always the same; None of None, all of it for 1."""
        return part if part is None or share >= 1 else part.sample(share)

    def measure(
        self, recipe: Recipe, symbols: Any, model: nn.Module, part: Part, *, full: bool = False,
        progress: Measured | None = None,
    ) -> Figures:  # fmt: skip
        """How well a model does on a part; `progress` hears after every batch."""
        pieces, done = [], 0
        for piece in self.pieces(recipe, model, part, full=full):
            pieces.append(piece)
            done += piece.counted
            if progress:
                progress(done, len(part))
        return self.figures(recipe, symbols, part, pieces, full=full)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[torch.device]:
    """The model in evaluation mode meanwhile; gives the device that it is on."""
    was_training = model.training
    model.eval()
    try:
        yield next(model.parameters()).device
    finally:
        model.train(was_training)


def parts_of(material: Material) -> dict[str, Any]:
    """The validation and test part, by name, those that there are."""
    found = {"validation": material.valid, "test": material.test}
    return {name: part for name, part in found.items() if part is not None}


def moved(tensor: Tensor | None, device: torch.device) -> Tensor | None:
    """A tensor on a device; None stays."""
    return None if tensor is None else tensor.to(device)
