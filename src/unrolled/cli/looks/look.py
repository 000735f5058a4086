"""What a look is to `unrolled inspect`, and the options that several looks share.

A look's options are the keyword-only parameters of its function, as Typer reads them. Where two looks have an option of
one name, both take it from here.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from unrolled.cli.common import Common, path_of, say_json

PictureOption = Annotated[
    Path | None, typer.Option(parser=path_of, metavar="FILE", help="Draw it there, as .png or .svg.")
]
WidthOption = Annotated[int | None, typer.Option(min=1, help="The beam's width; otherwise the recipe's.")]
TopOption = Annotated[int, typer.Option(min=1, help="How many: expected symbols, other labels, near symbols.")]
ClassOption = Annotated[
    str | None,
    typer.Option("--class", metavar="NAME", help="Which class to speak for; of a generator which the text is read as."),
]
MostOption = Annotated[int, typer.Option(min=0, help="So many sources, or symbols of a long text, at most; 0: all.")]
WithOption = Annotated[
    list[Path] | None, typer.Option("--with", parser=path_of, metavar="RUN", help="Another run; may be repeated.")
]


class Given(Enum):
    """Whether a look is given a text (or a file) to look at."""

    must = "must"
    may = "may"
    never = "never"


@dataclass(frozen=True)
class Look:
    """One look at a run.

    Attributes:
        name: its flag is --NAME.
        help: a sentence for `unrolled inspect --help`.
        show: called with the global options, the run, what was given to look at, and its own options by name.
        tasks: the tasks it is for, each with the plural of what people call its runs; empty: every task.
        given: whether it is told what to look at.
        opened: whether `show` takes the opened run; otherwise the folder.
    """

    name: str
    help: str
    show: Callable[..., None]
    tasks: Mapping[str, str] = field(default_factory=dict)
    given: Given = Given.must
    opened: bool = True

    @property
    def flag(self) -> str:
        """What asks for it."""
        return f"--{self.name}"

    @property
    def options(self) -> dict[str, inspect.Parameter]:
        """Its options by the names that its function has for them."""
        parameters = inspect.signature(self.show).parameters
        return {name: one for name, one in parameters.items() if one.kind is one.KEYWORD_ONLY}


def say(common: Common, numbers: Any, text: str, picture: Path | None = None) -> None:
    """A look's numbers as JSON, or its text, and where its picture is."""
    if common.json:
        say_json(numbers)
        return
    print(text)
    if picture is not None:
        print(f"\npicture  {picture}")
