"""How a run tells what it does, on standard error: one live line on a terminal, plain lines everywhere else."""

import math
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

PLAIN_SECONDS = 10.0
LIVE_SECONDS = 0.2


class Progress:
    """Shows the steps of one run; standard output stays free for what machines read.

    Losses are nats per counted target; ``unit`` says how people want them: "bits per ...", "perplexity", or empty.
    ``left`` gives the seconds that a run by the clock has left: its number of steps is then an estimate.
    ``counted`` names the targets. ``quiet`` shows nothing at all. ``stream`` and ``clock`` (seconds) are there for
    tests.

    >>> with Progress(total_steps=2000, unit="bits per character", quiet=True) as progress:
    ...     progress.step(10, loss=2.41, rate=52_000.0)
    ...     progress.validated(10, loss=2.38, best=True)
    """

    def __init__(
        self,
        total_steps: int,
        start_step: int = 0,
        *,
        unit: str = "bits per character",
        counted: str = "symbols",
        quiet: bool = False,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
        left: Callable[[], float] | None = None,
    ) -> None:
        self._left_by_clock = left
        self._total, self._start = total_steps, start_step
        self._unit, self._counted, self._quiet = unit, counted, quiet
        self._stream: Any = _Forgiving(stream if stream is not None else sys.stderr)
        self._clock = clock
        self._began = self._shown = clock()
        self._best = ""
        self._bar: Bar | None = None
        self._live = not quiet and self._stream.isatty() and os.environ.get("TERM") != "dumb"

    def __enter__(self) -> "Progress":
        self._began = self._shown = self._clock()
        if self._live:
            self._bar = _live_bar(self._stream)
            self._bar.add_task("", total=self._total, completed=self._start, text="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.refresh()
            self._bar.stop()
            self._bar = None

    def step(self, step: int, loss: float, rate: float, *, total: int = 0) -> None:
        """Note that ``step`` steps (of ``total``, where that has changed) are done, at ``rate`` symbols a second."""
        self._total = total or self._total
        if self._quiet or not self._due(step >= self._total):
            return
        # a narrow terminal cuts the line at its end: what matters most comes first
        parts = [
            self._left(step, self._shown),
            self.describe(loss),
            self._best_so_far(),
            f"{quantity(rate)} {self._counted}/s",
        ]
        text = ", ".join(part for part in parts if part)
        if self._bar is not None:
            self._bar.update(
                self._bar.task_ids[0], total=self._total, completed=step, text=f"{self._place(step)}, {text}"
            )
            self._bar.refresh()
        else:
            self._print(f"step {self._place(step)}: {text}")

    def measured(self, part: str, done: int, total: int) -> None:
        """Note that ``done`` of a part's ``total`` symbols are measured: shown where it takes its time."""
        if self._quiet or not self._due():
            return
        text = f"measuring on the {part} part: {done:,} of {total:,} {self._counted}"
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], text=text)
            self._bar.refresh()
        else:
            self._print(text)

    def validated(self, step: int, loss: float, best: bool, headline: str = "") -> None:
        """Show a validation's loss, the task's own figure, and whether it is the best of the run so far."""
        if best:
            self._best = headline or f"{loss:.3f}"
        told = f"{self.describe(loss)}{', ' * bool(headline)}{headline}{', the best so far' * best}"
        self.say(f"step {self._place(step)}: validation {told}")

    def say(self, text: str) -> None:
        """Show one line that stays; above the live line where there is one."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        elif not self._quiet:
            self._print(text)

    def describe(self, loss: float) -> str:
        """Write a loss in nats and in the run's unit, such as "loss 1.443 (2.082 bits per character)"."""
        return f"loss {loss:.3f}" + (f" ({in_unit(loss, self._unit)})" if self._unit else "")

    def _due(self, anyway: bool = False) -> bool:
        """Whether it is time to show something again (or it is shown anyway), which it then is."""
        now = self._clock()
        if not anyway and now - self._shown < (LIVE_SECONDS if self._bar is not None else PLAIN_SECONDS):
            return False
        self._shown = now
        return True

    def _best_so_far(self) -> str:
        return f"best valid {self._best}" if self._best else ""

    def _place(self, step: int) -> str:
        about = "about " if self._left_by_clock and step < self._total else ""
        return f"{step:,} of {about}{self._total:,}"

    def _left(self, step: int, now: float) -> str:
        if self._left_by_clock is not None:
            return f"{duration(max(0.0, self._left_by_clock()))} left"
        done = step - self._start
        if done <= 0 or step >= self._total:
            return ""
        return f"{duration((now - self._began) / done * (self._total - step))} left"

    def _print(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


class _Forgiving:
    """A stream that may fail without a word: what is told on the way ends no training, where a terminal was closed or a
    disk is full."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write what can be written."""
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush what can be flushed."""
        with suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _live_bar(stream: TextIO) -> "Bar":
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as RichProgress
    from rich.table import Column

    one_line = Column(no_wrap=True, overflow="ellipsis")
    columns = (BarColumn(bar_width=12), TextColumn("{task.fields[text]}", markup=False, table_column=one_line))
    # refreshed from step(): a drawing thread of Rich's would wake up inside the training
    return RichProgress(*columns, console=Console(file=stream), auto_refresh=False, transient=False)


def in_unit(loss: float, unit: str) -> str:
    """Write a loss in nats per symbol as the unit's number.

    >>> in_unit(1.5, "bits per character"), in_unit(4.8, "perplexity")
    ('2.164 bits per character', 'perplexity 121.5')
    """
    if unit.startswith("bits"):
        return f"{loss / math.log(2):.3f} {unit}"
    value = math.inf if loss > 700 else math.exp(loss)  # exp(710) raises; exp(NaN) is NaN
    return f"{unit} {value:.2g}" if 1e6 <= value < math.inf else f"{unit} {value:,.1f}"


def quantity(number: float) -> str:
    """Write a large number short.

    >>> quantity(950), quantity(52_300), quantity(3_120_000)
    ('950', '52.3k', '3.12M')
    """
    if number >= 999_500:
        return f"{number / 1e6:.3g}M"
    return f"{number / 1e3:.3g}k" if number >= 999.5 else f"{number:.0f}"


def duration(seconds: float) -> str:
    """Write a time as people say it.

    >>> duration(42), duration(125), duration(7380)
    ('42 s', '2 min 5 s', '2 h 3 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
