"""What all verbs share: the global options, results as text or JSON, and what becomes of mistakes.

Nothing here imports torch, numpy or matplotlib at the top: `unrolled --help` must come at once.
"""

import functools
import inspect
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from unrolled import cores
from unrolled.cli.ending import (
    DONE,
    INTERRUPTED,
    WRONG,
    in_words,
    let_go_of_output,
    loading,
    tell,
    too_little_memory,
    working,
)
from unrolled.errors import UserError


def path_of(text: str) -> Path:
    """A path as typed; an empty one, as of a shell's unset variable, would mean the working folder."""
    if not text:
        raise typer.BadParameter("it is empty; give a path (a shell's unset variable is empty, too)")
    return Path(text)


RunFolder = Annotated[Path, typer.Argument(metavar="RUN", parser=path_of, help="A run folder, such as runs/demo.")]


SPINS = "5000"
"""How often a thread of OpenMP looks for new work before it sleeps: some tenths of a millisecond, as long as the gap
between two parallel operations of a model."""


class Device(StrEnum):
    """Where a model may run."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


@dataclass(frozen=True)
class Common:
    """The global options: given before the verb or after it; after counts."""

    json: bool = False
    threads: int | None = None
    device: Device = Device.auto
    quiet: bool = False

    def updated(self, **given: Any) -> "Common":
        """These options with those put over them that were given at all."""
        return replace(self, **{name: value for name, value in given.items() if value is not None})

    def prepare(self) -> None:
        """Load what computes, set the threads, and refuse what this machine does not have."""
        # OpenMP's threads look for new work for milliseconds before they sleep, on cores that others may want. The
        # runtime reads this when torch loads it.
        if "torch" not in sys.modules and not os.environ.keys() & {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}:
            os.environ["GOMP_SPINCOUNT"] = SPINS
        with loading():
            import torch

            import unrolled.run
            import unrolled.training.session  # noqa: F401  # what the verbs import next is then loaded in one go
            from unrolled.recurrence.engines import NAMES

        self._set_threads()
        if self.device is Device.cuda and not torch.cuda.is_available():
            raise UserError("--device cuda: torch finds no CUDA device here (`unrolled doctor` says more); use cpu")
        engine = os.environ.get("UNROLLED_ENGINE", "")
        if engine and engine not in NAMES:
            raise UserError(f"the environment variable UNROLLED_ENGINE is {engine!r}; it may be {', '.join(NAMES)}")
        if os.environ.get("UNROLLED_CPU"):
            from unrolled.recurrence.kernels.target import host

            host()  # says what is wrong with the choice, for verbs too that would run no kernel

    def _set_threads(self) -> None:
        """Set torch's threads and those of `tokenizers`: as asked for, but never more than the cores at hand."""
        import torch

        most = cores.usable()
        threads = min(self.threads or torch.get_num_threads(), most)
        if self.threads is not None:
            os.environ["RAYON_NUM_THREADS"] = str(threads)
            if self.threads > most and not self.quiet:
                tell(f"--threads {self.threads} is more than the cores that this process may use; using {most}")
        if threads != torch.get_num_threads():
            torch.set_num_threads(threads)

    def place(self) -> str:
        """Where models run that `--device` puts there; after `prepare`."""
        import torch

        automatic = "cuda" if torch.cuda.is_available() else "cpu"
        return automatic if self.device is Device.auto else self.device.value

    def load(self, folder: Path, verb: str) -> Any:
        """Open a run folder where `--device` says, as the kind of run that its task has: one that can do `verb`."""
        self.prepare()
        from unrolled.run import load

        run = load(folder, device=self.place())
        run.check_can(verb)
        return run


def refuse_unless(run: Any, given: bool, option: str, **whose: str) -> None:
    """Refuse an option that was given for a run of another task; `whose` are the tasks it is for, in words.

    Raises:
        UserError: it was.
    """
    if given and run.recipe.task not in whose:
        raise UserError(
            f"{run.folder} is a run of the task {run.recipe.task}: {option} is for {' and '.join(whose.values())}"
        )


_PANEL = "Everywhere"
JsonOption = Annotated[bool | None, typer.Option("--json", help="Results as JSON.", rich_help_panel=_PANEL)]
ThreadsOption = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Threads to use; at most the cores at hand.", rich_help_panel=_PANEL),
]
DeviceOption = Annotated[Device | None, typer.Option(help="Where to compute.", rich_help_panel=_PANEL)]
QuietOption = Annotated[bool | None, typer.Option("--quiet", help="No progress, only results.", rich_help_panel=_PANEL)]
SHARED: dict[str, Any] = {
    "json": JsonOption,
    "threads": ThreadsOption,
    "device": DeviceOption,
    "quiet": QuietOption,
}


def with_shared(function: Callable[..., Any]) -> inspect.Signature:
    """A function's parameters but the first, after Typer's context and before the global options."""
    kind = inspect.Parameter.KEYWORD_ONLY
    own = [parameter.replace(kind=kind) for parameter in list(inspect.signature(function).parameters.values())[1:]]
    shared = [inspect.Parameter(name, kind, default=None, annotation=hint) for name, hint in SHARED.items()]
    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    return inspect.Signature([context, *own, *shared])


def verb(function: Callable[..., None]) -> Callable[..., None]:
    """Make a verb of `function(common, ...)`: global options are read, mistakes become messages and exit codes."""

    @functools.wraps(function)
    def command(context: typer.Context, **arguments: Any) -> None:
        before = context.obj if isinstance(context.obj, Common) else Common()
        with mistakes_told():
            check_numbers(arguments)
        common = before.updated(**{name: arguments.pop(name) for name in SHARED})
        with mistakes_told(function.__name__), working():
            function(common, **arguments)
            sys.stdout.flush()

    signature = with_shared(function)
    command.__signature__ = signature  # type: ignore[attr-defined]  # read by Typer
    command.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    return command


def check_numbers(arguments: Mapping[str, Any]) -> None:
    """Refuse what Typer lets through any limits: numbers that are not finite, and whole ones beyond 64 bits.

    Raises:
        UserError: an option is such a number.
    """
    for name, value in arguments.items():
        finite = not isinstance(value, float) or math.isfinite(value)
        if not finite or (isinstance(value, int) and abs(value) >= 2**63):
            raise UserError(f"--{name.replace('_', '-')} {str(value)[:40]}: it is no number that can be used")


MEMORY = {
    "train": "lower model.hidden, model.layers, model.embedding, training.batch or training.window",
    "sample": "draw fewer sequences side by side (--count)",
    "serve": "serve fewer runs, or lower --batch and --max-streams",
}
"""What needs less memory, where that is not a smaller file or text."""


@contextmanager
def mistakes_told(verb: str = "") -> Iterator[None]:
    """Turn what ends a verb early into a message on standard error and an exit code."""
    try:
        yield
    except UserError as error:
        tell(f"error: {error}")
        raise typer.Exit(WRONG) from None
    except (MemoryError, RuntimeError) as error:  # torch has its own exceptions for memory, all RuntimeErrors
        needed = too_little_memory(error)
        if needed is None:
            raise
        tell(f"error: too little memory{needed}; {MEMORY.get(verb, 'give a smaller file, or fewer and shorter texts')}")
        raise typer.Exit(WRONG) from None
    except KeyboardInterrupt:
        tell("interrupted")
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:  # as in `... | head`: the reader has what it wanted
        let_go_of_output()
        raise typer.Exit(DONE) from None
    except OSError as error:  # a full disk, for one; what could not be written would be tried again at the end
        let_go_of_output()
        tell(f"error: {in_words(error)}")
        raise typer.Exit(WRONG) from None


def examples(*commands: str) -> str:
    """The end of a help text: commands that work as typed, from the project's root."""
    from rich.markup import escape

    return "\n\n".join(["[bold]Examples[/bold]", *(escape(command) for command in commands)])


def say_json(value: Any) -> None:
    """A result on standard output as JSON; numbers that are not finite become null."""
    import json

    from unrolled.files import finite

    print(json.dumps(finite(value), indent=2, ensure_ascii=False))


def table(rows: list[list[str]], *, header: list[str] | None = None, right: str = "") -> str:
    """Rows as aligned columns, two blanks apart; `right` has an "r" at the place of each column aligned there.

    >>> print(table([["a", "1.5"], ["bcd", "12.0"]], right="-r"))
    a     1.5
    bcd  12.0
    """
    from rich.cells import cell_len

    rows = [header, *rows] if header else rows
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        gaps = [" " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)]
        sides = right.ljust(len(row), "-")
        cells = [gap + cell if side == "r" else cell + gap for cell, gap, side in zip(row, gaps, sides, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def bar(share: float, width: int = 24) -> str:
    """A bar of `share` of the width; of plain signs where the output cannot write blocks."""
    blocks = (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")
    length = round(share * width)
    return ("█" if blocks else "#") * length or ("▏" if blocks else ".")
