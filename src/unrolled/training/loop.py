"""The training loop: batch -> loss over the targets that count -> BPTT -> clip -> step, the state carried.

It runs on Lightning Fabric (devices, precision, several processes). Everything that changes while training is in
`Progression` and the objects it names, is saved as one, and comes back bit for bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unrolled.errors import UserError
from unrolled.files import check_plain_folder
from unrolled.nn.recurrent import State
from unrolled.tasks.task import Batch, Figures, Material, Task
from unrolled.training.alarm import GradientAlarm, GradientExplosion
from unrolled.training.averaging import WeightAverage
from unrolled.training.interrupt import Interruption
from unrolled.training.log import append_log, truncate_log
from unrolled.training.optimisers import optimiser_of, optimiser_tensors, restore_optimiser, set_learning_rate
from unrolled.training.plan import Plan
from unrolled.training.progress import Progress
from unrolled.training.recipe import Recipe
from unrolled.training.run_folder import FINGERPRINT, load_state, save_state, save_weights
from unrolled.training.schedules import Plateau, learning_rate_factor
from unrolled.training.state_checks import check_facts, check_state

SAVE_EVERY_SECONDS = 60.0
LOG_EVERY_SECONDS = 1.0


@dataclass
class Progression:
    """Where the run is. Saved with the weights; a resumed run starts from exactly here.

    Attributes:
        step: updates done. epoch, position: the epoch, and how many of its batches were read.
        best, best_step: the best validation's criterion (its loss, in nats a counted target, or the task's own) and its
            step. waited: validations since.
        symbols, seconds: counted targets read, and time spent, over all sittings.
    """

    step: int = 0
    epoch: int = 0
    position: int = 0
    best: float | None = None
    best_step: int = 0
    waited: int = 0
    symbols: int = 0
    seconds: float = 0.0
    plateau: dict[str, Any] = field(default_factory=lambda: Plateau().as_dict())


@dataclass
class _Interval:
    """What happened since the last entry of the log."""

    nats: float = 0.0
    symbols: int = 0
    norm: float = 0.0
    started: float = field(default_factory=time.perf_counter)


class Trainer:
    """Trains one model on one task's data into one run folder.

    Args:
        task, recipe: what to do. model, material: on what. folder: where everything is kept.
        plan: how long the run is, and when it is validated.
        progress: shows it. fabric: where it runs, launched.
    """

    def __init__(
        self, task: Task, recipe: Recipe, model: torch.nn.Module, material: Material, folder: Path, plan: Plan,
        progress: Progress, fabric: Any,
    ) -> None:  # fmt: skip
        self.task, self.settings, self.recipe = task, recipe.training, recipe
        self.material, self.folder, self.plan, self.progress, self.fabric = material, folder, plan, progress, fabric
        self.model = model
        self.optimiser = optimiser_of(self.settings, model)
        self.wrapped, self.optimiser = fabric.setup(model, self.optimiser)
        self.batches = task.batches(recipe, material, fabric.global_rank, fabric.world_size)
        self.average = WeightAverage(model, self.settings.average) if self.settings.average else None
        self.alarm = GradientAlarm(training=self.settings, model=recipe.model)
        self.at = Progression()
        self.state: State | None = None
        self.valid = task.sample(material.valid, self.settings.validation_share)
        self.validations, self.validating = 0, 0.0
        self.tensorboard: Any = None
        self.rate = 0.0
        self._saved = time.perf_counter()

    def run(self) -> bool:
        """Train until the budget is spent or validation stops improving.

        Returns:
            True when the run is complete, False when it was interrupted; both leave everything saved.

        Raises:
            GradientExplosion: the loss or the gradient is no longer a number.
        """
        self.model.train()
        if self.settings.tensorboard and self.fabric.is_global_zero:
            self.tensorboard = _tensorboard(self.folder)
        interval = _Interval()
        self.plan.began(self.at.step)
        with Interruption() as interruption:
            for batches in self._updates():
                started = time.perf_counter()
                total, symbols, norm = self._update(batches)
                self._observe(total / max(1, symbols), norm)
                self._apply()
                took = time.perf_counter() - started
                self.at.step += 1
                self.at.symbols += symbols
                self.at.seconds += took
                self.plan.updated(self.at.step, took)
                interval.nats, interval.symbols = interval.nats + total, interval.symbols + symbols
                interval.norm = max(interval.norm, norm)
                interval = self._report(interval)
                if self.plan.due(self.at.step):
                    self._validate()
                if self._agreed(interruption.asked):
                    self._save()
                    return False
                if self._finished():
                    break
                if self._agreed(time.perf_counter() - self._saved > SAVE_EVERY_SECONDS):
                    self._save()
        if self.at.best is None and self.plan.finished(self.at.step):
            self._validate()  # the time of a run by the clock may be over before its first validation
        self._save()
        return True

    def _updates(self) -> Iterator[list[Batch]]:
        """The batches of each update, from where the run is to its end, epoch after epoch."""
        together: list[Batch] = []
        while not self._finished():
            for batch in self.batches.epoch(self.at.epoch, start=self.at.position):
                self.at.position += 1
                together.append(batch)
                if len(together) == self.settings.accumulate:
                    yield together
                    together = []
            self.at.epoch, self.at.position = self.at.epoch + 1, 0

    def _update(self, batches: list[Batch]) -> tuple[float, int, float]:
        """Forward and backward over the batches of one update: summed loss, targets, and the gradient's norm."""
        count = max(1, round(self._sum(float(sum(batch.counted for batch in batches)))))
        total = 0.0
        for position, batch in enumerate(batches):
            # Truncated BPTT: the state goes on from window to window, its past does not.
            self.state = None if batch.fresh else detached(self.state)
            with self.fabric.no_backward_sync(self.wrapped, enabled=position < len(batches) - 1):
                loss = self.wrapped(*batch.to(self.fabric.device).arguments(self.state))
                # The mean over the targets of all batches and processes; Fabric divides by the processes itself.
                self.fabric.backward(loss.total * (self.fabric.world_size / count))
            self.state = loss.state
            total += float(loss.total.detach())
        return self._sum(total), count, self._clip()

    def _sum(self, value: float) -> float:
        if self.fabric.world_size == 1:
            return value
        return float(self.fabric.all_reduce(torch.tensor(value, dtype=torch.float64), reduce_op="sum"))

    def _agreed(self, wish: bool) -> bool:
        """Whether any process wishes so: saving is done together, and clocks and signals differ."""
        return bool(self._sum(float(wish)))

    def _clip(self) -> float:
        """Clip by value, then by norm; the norm before clipping by norm."""
        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        if self.settings.clip_value:
            torch.nn.utils.clip_grad_value_(self.model.parameters(), self.settings.clip_value)
        norm = torch.nn.utils.get_total_norm(gradients)
        if self.settings.clip_norm:
            torch.nn.utils.clip_grads_with_norm_(self.model.parameters(), self.settings.clip_norm, norm)
        return float(norm)

    def _observe(self, loss: float, norm: float) -> None:
        try:
            self.alarm.observe(self.at.step + 1, loss, norm)
        except GradientExplosion:
            self._log(
                {"step": self.at.step + 1, "kind": "alarm", "loss": loss, "norm": norm, "norms": self.alarm.norms}
            )
            raise

    def _apply(self) -> None:
        self.rate = self.learning_rate
        set_learning_rate(self.optimiser, self.rate)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        if self.average:
            self.average.update(self.model)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the update at hand."""
        done = self.plan.done(self.at.step) if self.plan.pace else None
        factor = learning_rate_factor(self.settings, self.at.step, self.plan.steps, done)
        return self.settings.learning_rate * factor * float(self.at.plateau["factor"])

    def _finished(self) -> bool:
        stopped = self.settings.patience and self.at.waited >= self.settings.patience
        return self.plan.finished(self.at.step) or bool(stopped)

    def _validate(self) -> None:
        """Measure the weights (averaged, if that is on) on the validation part, and keep them if they are the best."""
        started = time.perf_counter()
        with self.average.applied_to(self.model) if self.average else nullcontext():
            figures = self._measured()
            if figures is not None and not math.isfinite(figures.loss):
                self._observe(figures.loss, 0.0)
            criterion = None if figures is None else self._criterion(figures)
            best = criterion is None or self.at.best is None or criterion < self.at.best
            if best:
                self.at.best, self.at.best_step, self.at.waited = criterion, self.at.step, 0
                self._save_best(figures)
            else:
                self.at.waited += 1
        took = time.perf_counter() - started
        self.at.seconds += took
        self.validations, self.validating = self.validations + 1, self.validating + took
        if figures is not None:
            self._heard(figures, self._criterion(figures), best)
        self.plan.validated(self.at.step, took)
        self._save()

    def _heard(self, figures: Figures, criterion: float, best: bool) -> None:
        """What follows from a validation: schedule, log, and a line for people."""
        if self.settings.schedule == "plateau":
            self.at.plateau = Plateau(**self.at.plateau).after(criterion, self.settings).as_dict()
        entry = {"step": self.at.step, "kind": "valid", "loss": figures.loss, "best": best, "seconds": self.at.seconds}
        self._log(entry if self.task.selects_by_loss() else entry | {"criterion": criterion})
        self.progress.validated(self.at.step, figures.loss, best, figures.headline)

    def _criterion(self, figures: Figures) -> float:
        return figures.loss if self.task.selects_by_loss() else figures.criterion

    def _measured(self) -> Figures | None:
        if self.valid is None:
            return None
        heard = partial(self.progress.measured, "validation")
        return self.task.measure(self.recipe, self.material.symbols, self.model, self.valid, progress=heard)

    def _save_best(self, figures: Figures | None) -> None:
        if self.fabric.is_global_zero:
            metadata = {"step": str(self.at.step), "validation_nats": "" if figures is None else repr(figures.loss)}
            metadata[FINGERPRINT] = self.material.fingerprint
            save_weights(self.folder, dict(self.model.named_parameters()), metadata)

    def _report(self, interval: _Interval) -> _Interval:
        """Show and log what happened since the last entry, about once a second; give the next interval."""
        elapsed = time.perf_counter() - interval.started
        if elapsed < LOG_EVERY_SECONDS and not self.plan.due(self.at.step):
            return interval
        loss, rate = interval.nats / max(1, interval.symbols), interval.symbols / max(elapsed, 1e-9)
        self.progress.step(self.at.step, loss, rate, total=self.plan.steps)
        entry = {
            "step": self.at.step, "kind": "train", "loss": loss, "nats": interval.nats, "learning_rate": self.rate,
            "norm": interval.norm, "symbols": self.at.symbols, "seconds": self.at.seconds,
        }  # fmt: skip
        self._log(entry)
        return _Interval()

    def _log(self, entry: Mapping[str, Any]) -> None:
        if not self.fabric.is_global_zero:
            return
        append_log(self.folder, entry)
        if self.tensorboard is not None:
            for name in ("loss", "learning_rate", "norm"):
                if name in entry:
                    self.tensorboard.add_scalar(f"{entry['kind']}/{name}", entry[name], entry["step"])

    def _save(self) -> None:
        tensors, facts = self.snapshot()
        if self.fabric.is_global_zero:
            save_state(self.folder, tensors, facts)
        self.alarm.checkpointed(self.at.step)
        self._saved = time.perf_counter()

    def snapshot(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that a resumed run needs, to be saved as one. Every process takes part."""
        own = {"random": torch.get_rng_state(), **{f"carried.{i}": part for i, part in enumerate(parts_of(self.state))}}
        if self.fabric.world_size > 1:
            own = {name: _gathered(part, self.fabric.world_size) for name, part in own.items()}
        average = self.average.state() if self.average else {}
        tensors = {
            **{f"model.{name}": parameter for name, parameter in self.model.named_parameters()},
            **{f"optimiser.{name}": value for name, value in optimiser_tensors(self.optimiser).items()},
            **{f"average.{name}": value for name, value in average.items()},
            **{f"process.{name}": value for name, value in own.items()},
        }
        facts = {
            "steps": self.plan.steps, "fingerprint": self.material.fingerprint, "processes": self.fabric.world_size,
            **self.plan.facts(),
        }  # fmt: skip
        return tensors, {**asdict(self.at), **facts}

    def restore(self) -> None:
        """Go on from the folder's training state."""
        tensors, facts = load_state(self.folder)
        check_facts(facts, self.folder, by_clock=bool(self.plan.facts()))
        if facts["fingerprint"] != self.material.fingerprint:
            raise UserError(
                f"{self.folder}: the data has changed since this run began, so it cannot go on from its place in it; "
                f"put the old data back, or start a new run from its weights: --init {self.folder}"
            )
        if facts["processes"] != self.fabric.world_size:
            raise UserError(f"{self.folder} was trained by {facts['processes']} process(es); resume it with as many")
        check_state(self, tensors, facts)
        self.at = Progression(**{name: facts[name] for name in Progression.__dataclass_fields__})
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(tensors[f"model.{name}"])
        restore_optimiser(self.optimiser, _under("optimiser.", tensors))
        if self.average:
            self.average.restore(_under("average.", tensors))
        own = _under("process.", tensors)
        if self.fabric.world_size > 1:
            own = {name: part[self.fabric.global_rank] for name, part in own.items()}
        torch.set_rng_state(own.pop("random").clone())  # of several processes it is a view, which torch misreads
        parts = tuple(self.fabric.to_device(own[f"carried.{i}"].clone()) for i in range(len(own)))
        self.state = None if not parts else parts if len(parts) > 1 else parts[0]
        if self.fabric.is_global_zero:
            truncate_log(self.folder, self.at.step)


def detached(state: State | None) -> State | None:
    """The same numbers, cut off from how they came about."""
    if state is None or isinstance(state, Tensor):
        return None if state is None else state.detach()
    return tuple(part.detach() for part in state)


def parts_of(state: State | None) -> tuple[Tensor, ...]:
    """A state's tensors."""
    return () if state is None else (state,) if isinstance(state, Tensor) else state


def _gathered(part: Tensor, processes: int) -> Tensor:
    """The tensor of every process, (processes, ...)."""
    parts = [torch.empty_like(part) for _ in range(processes)]
    torch.distributed.all_gather(parts, part.detach().contiguous())
    return torch.stack(parts)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _tensorboard(folder: Path) -> Any:
    """What writes event files into the run folder: their names cannot be chosen, so no link may wait there.

    Raises:
        UserError: TensorBoard is not installed, or the folder is a link or holds one.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError("training.tensorboard needs the package tensorboard: pip install tensorboard") from None

    place = folder / "tensorboard"
    check_plain_folder(place)
    return SummaryWriter(str(place))
