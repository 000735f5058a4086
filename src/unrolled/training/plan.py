"""How long a run is, and how far it is: by updates of the weights, or by minutes on the clock.

A run by the clock cannot know its number of updates beforehand, and its learning rate must fall as the time does. It
divides its time into `SHARES` equal shares and notes how many updates were done when each began. That is its *pace*,
kept with the training state and, at the end, in the run's recipe. Learning rates and validations depend on the pace
alone, so a resumed run and a repeat by steps are the same bit for bit.
"""

from __future__ import annotations

import bisect
import math
import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

SHARES = 100
VALIDATING = 0.1
"""The largest share of a run's time that validations take; the figures at the end take at most as much again."""
CLOSING_SECONDS = 1.5
"""What ends a run besides: the curves are drawn, files are written, the program ends."""
RECENT = 30
"""The time of an update is the mean over so many."""


class Clock:
    """The time that a run has, in seconds; what was spent before this process counts too.

    Args:
        seconds: the budget. spent: how much of it is over.
        now: a clock, for tests.
    """

    def __init__(self, seconds: float, spent: float = 0.0, now: Callable[[], float] = time.monotonic) -> None:
        self.seconds, self._now = seconds, now
        self._began = now() - spent
        self._started, self._computed = now(), time.process_time()

    @property
    def spent(self) -> float:
        """Seconds since the beginning."""
        return self._now() - self._began

    @property
    def slowness(self) -> float:
        """How much longer than alone on its core this process takes for something, 1 to 4, from what it did so far."""
        computed = time.process_time() - self._computed
        return min(4.0, max(1.0, (self._now() - self._started) / computed)) if computed > 0.5 else 1.0

    @property
    def left(self) -> float:
        """Seconds until the end; negative after it."""
        return self.seconds - self.spent


@dataclass(frozen=True)
class Costs:
    """Seconds that measurements take.

    Attributes:
        validation: one over the part, or the sample, that training validates on.
        conclusion: what a task does with the best weights before the figures.
        figures: those of the best weights, whole parts.
    """

    validation: float
    conclusion: float
    figures: float

    def figures_share(self, clock: Clock) -> float:
        """The share of the parts that can be measured at the end of a run by the clock."""
        return min(1.0, VALIDATING * clock.seconds / max(self.figures, 1e-9))

    def reserve(self, clock: Clock) -> float:
        """Seconds from the last update of a run by the clock to its end."""
        closing = CLOSING_SECONDS * clock.slowness
        return self.validation + self.conclusion + self.figures * self.figures_share(clock) + closing


Decision = tuple[int, bool, bool]
"""What follows from an update: the share of the time that it is, whether the run ends, whether it is validated."""


class Plan:
    """A run of a number of updates.

    Args:
        steps: updates in all.
        validate_every: updates between two validations; 0: `validations` in a run, evenly spread.
        pace: of a run that went by the clock, the updates done at the beginning of each share of its time; () where
            every update is as much of the schedule as any other.
        validated: of such a run, the updates after which it was validated.

    Attributes:
        figures_share: the share of the parts that the figures at the end are measured on.
    """

    def __init__(
        self, steps: int, *, validate_every: int = 0, validations: int = 10, pace: Sequence[int] = (),
        validated: Sequence[int] = (),
    ) -> None:  # fmt: skip
        self.steps, self.pace, self.validations_at = steps, list(pace), list(validated)
        self.figures_share = 1.0
        self._every, self._validations = validate_every, validations

    def done(self, step: int) -> float:
        """The share of the schedule that is over after `step` updates, 0 to 1."""
        if not self.pace:
            return step / max(1, self.steps)
        return share_of_pace(self.pace, step)

    def finished(self, step: int) -> bool:
        """Whether no update follows."""
        return step >= self.steps

    def due(self, step: int) -> bool:
        """Whether the weights are validated after `step` updates."""
        return step == self.steps or (step in self.validations_at if self.pace else step % self._interval == 0)

    def validations(self) -> int:
        """How many validations a run without a pace has."""
        return -(-self.steps // self._interval)

    @property
    def _interval(self) -> int:
        return self._every or max(1, self.steps // self._validations)

    def began(self, step: int) -> None:
        """Hear that training begins now, after `step` updates."""

    def updated(self, step: int, seconds: float) -> None:
        """Hear that update number `step` (from 1) took so many seconds."""

    def validated(self, step: int, seconds: float) -> None:
        """Hear that the weights were validated after `step` updates, which took so many seconds."""

    def facts(self) -> dict[str, Any]:
        """What a run that goes on needs to know besides the number of updates."""
        return {}


class ClockPlan(Plan):
    """A run until a time on the clock.

    Args:
        clock: the time that the run has.
        costs: finds out what measurements take, from which follows the time that is kept for the end.
        pace, validated: of a run that goes on, what was decided before.
        agree: of several processes, gives all of them the first one's decision.
    """

    def __init__(
        self, clock: Clock, costs: Callable[[], Costs], *, validate_every: int = 0, validations: int = 10,
        pace: Sequence[int] = (), validated: Sequence[int] = (),
        agree: Callable[[Decision], Decision] = lambda decision: decision,
    ) -> None:  # fmt: skip
        super().__init__(
            0, validate_every=validate_every, validations=validations, pace=pace or (0,), validated=validated
        )
        self.clock, self._costs, self._agree = clock, costs, agree
        self._validating = 0.0
        self._keep_for_the_end()
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._warm = self._ended = False
        self._start = 0.0
        self.steps = self.pace[-1] + 1

    @property
    def left(self) -> float:
        """Seconds that are left for updates."""
        return self.clock.left - self.reserve

    def began(self, step: int) -> None:
        """Hear that training begins now, after `step` updates.

        What is left of the schedule has what is left of the time; the shares that are over lie before it.
        """
        ended = self.left <= 0 and step > 0  # even without any time there is one update
        self._ended = self._agree((0, ended, False))[1]
        over = min(self.done(step), 1 - 1 / SHARES)
        self._start = self.clock.spent - max(0.0, self.left) * over / (1 - over)

    def finished(self, step: int) -> bool:
        """Whether the time is up."""
        return self._ended

    def due(self, step: int) -> bool:
        """Whether the weights are validated after `step` updates, the last that were done."""
        return self.validations_at[-1:] == [step]

    def updated(self, step: int, seconds: float) -> None:
        """Hear that update number `step` (from 1) took so many seconds; decide what follows from it.

        The first update of a process makes its kernels: how long that takes says nothing of the next.
        """
        if self._warm:
            self._recent.append(seconds)
        self._warm = True
        share, self._ended = self._share(), self.left < self._each / 2
        due = self._ended or self._validates(step, share)
        share, self._ended, due = self._agree((share, self._ended, due))
        self.pace += [step] * (share + 1 - len(self.pace))
        self.validations_at += [step] * due
        left = 0 if self._ended else max(1, round(self.left / self._each) if self._each else 1)
        self.steps = step + left

    def validated(self, step: int, seconds: float) -> None:
        """Hear that the weights were validated: trained weights may be measured faster than fresh ones."""
        self._validating, self._validation = self._validating + seconds, seconds
        if self.done(step) >= 0.5 and not self._ended:
            self._keep_for_the_end()

    def facts(self) -> dict[str, Any]:
        """The pace, and the seconds that are spent."""
        return {"pace": list(self.pace), "validated": list(self.validations_at), "spent": self.clock.spent}

    def _keep_for_the_end(self) -> None:
        found = self._costs()
        self._validation = found.validation
        self.reserve, self.figures_share = found.reserve(self.clock), found.figures_share(self.clock)

    def _validates(self, step: int, share: int) -> bool:
        """Whether the weights are to be validated; not where validations have taken too long so far."""
        if self._every:
            return step % self._every == 0
        before, now = (math.floor(at * self._validations / SHARES) for at in (len(self.pace) - 1, share))
        allowed = VALIDATING * self.clock.seconds * max(share / SHARES, 2 / self._validations)
        return now > before and self._validating + self._validation <= allowed

    def _share(self) -> int:
        """The share of the time that it is now."""
        trained = self.clock.spent - self._start
        return min(SHARES - 1, math.floor(SHARES * trained / max(1e-9, trained + max(0.0, self.left))))

    @property
    def _each(self) -> float:
        """Seconds of an update; 0 while none is known."""
        return statistics.fmean(self._recent) if self._recent else 0.0


def share_of_pace(pace: Sequence[int], step: int) -> float:
    """The share of the schedule that is over after `step` updates.

    >>> share_of_pace([0, 10, 10, 30], 9), share_of_pace([0, 10, 10, 30], 10)
    (0.0, 0.02)
    """
    return (bisect.bisect_right(pace, step) - 1) / SHARES
