"""Learning-rate schedules: a factor that depends on the step alone, and the one that listens to validation."""

import math
from dataclasses import dataclass

from unrolled.training.settings import TrainingSettings

ONE_CYCLE_START = 1 / 25
ONE_CYCLE_RISE = 0.3
LONGEST_RISE = 0.1


def learning_rate_factor(settings: TrainingSettings, step: int, steps: int, done: float | None = None) -> float:
    """Give the factor of ``learning_rate`` for update ``step`` (from 0) of a run of ``steps`` updates.

    ``done`` is given where the schedule follows the clock: the share of it that is over. The falls are then at shares
    of the schedule instead of steps, and the warm-up is at most a tenth of it.

    A pure function, so that a resumed run needs no schedule state. The first ``warmup`` steps (at most half of the
    run) rise in a line; then ``cosine`` falls along half a wave and ``step`` by ``step_factor`` every ``step_every``
    steps, neither below ``final_learning_rate``; ``constant`` stays at 1, and ``plateau`` too: ``Plateau`` has its
    factor. ``one-cycle`` rises from 1/25 during the first 30 % of the run, which is its own warm-up, then falls.

    >>> settings = TrainingSettings(schedule="cosine", warmup=10)
    >>> [round(learning_rate_factor(settings, step, 100), 2) for step in (0, 9, 55, 100)]
    [0.1, 1.0, 0.5, 0.0]
    """
    if done is not None:
        return _by_clock(settings, step, done)
    if settings.schedule == "one-cycle":
        return _one_cycle(step / max(1, steps), settings.final_learning_rate)
    warmup = min(settings.warmup, steps // 2)
    if step < warmup:
        return (step + 1) / warmup
    fallen = min(1.0, (step - warmup) / max(1, steps - warmup))
    if settings.schedule == "cosine":
        return _falling(fallen, 1.0, settings.final_learning_rate)
    if settings.schedule == "step":
        every = settings.step_every or max(1, steps // 4)
        # math.pow gives 0.0 where ** would raise on underflow
        return max(settings.final_learning_rate, math.pow(settings.step_factor, step // every))
    return 1.0


def _by_clock(settings: TrainingSettings, step: int, done: float) -> float:
    if settings.schedule == "one-cycle":
        return _one_cycle(done, settings.final_learning_rate)
    rise = min(1.0, max((step + 1) / max(1, settings.warmup), done / LONGEST_RISE))
    if settings.schedule == "cosine":
        return rise * _falling(done, 1.0, settings.final_learning_rate)
    if settings.schedule == "step":
        falls = step // settings.step_every if settings.step_every else math.floor(4 * done)
        return rise * max(settings.final_learning_rate, math.pow(settings.step_factor, falls))
    return rise


def _one_cycle(done: float, final: float) -> float:
    if done < ONE_CYCLE_RISE:
        return _falling(1.0 - done / ONE_CYCLE_RISE, 1.0, ONE_CYCLE_START)
    return _falling(min(1.0, (done - ONE_CYCLE_RISE) / (1.0 - ONE_CYCLE_RISE)), 1.0, final)


def _falling(done: float, high: float, low: float) -> float:
    """Half a cosine wave: ``high`` at ``done`` = 0, ``low`` at 1."""
    return low + (high - low) * (1.0 + math.cos(math.pi * done)) / 2.0


@dataclass(frozen=True)
class Plateau:
    """The state of schedule "plateau", as a value: how far the rate has fallen and how long nothing got better.

    ``best`` is None before the first validation. A loss that is not a number counts as no improvement.

    >>> plateau = Plateau()
    >>> for loss in (2.0, 2.1, 2.1):
    ...     plateau = plateau.after(loss, TrainingSettings(plateau_patience=2, step_factor=0.5))
    >>> plateau.factor
    0.5
    """

    factor: float = 1.0
    best: float | None = None
    waited: int = 0

    def after(self, loss: float, settings: TrainingSettings) -> "Plateau":
        """Give the state after a validation with this loss; the ``plateau_patience``-th in vain makes the rate fall."""
        if math.isfinite(loss) and (self.best is None or loss < self.best):
            return Plateau(self.factor, loss, 0)
        if self.waited + 1 < settings.plateau_patience:
            return Plateau(self.factor, self.best, self.waited + 1)
        lower = max(self.factor * settings.step_factor, settings.final_learning_rate)
        return Plateau(min(self.factor, lower), self.best, 0)

    def as_dict(self) -> dict[str, float | int | None]:
        """Give the state as JSON can hold it; ``Plateau(**state)`` is the way back, bit for bit."""
        return {"factor": self.factor, "best": self.best, "waited": self.waited}
