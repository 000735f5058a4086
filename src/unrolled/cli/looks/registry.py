"""All looks, and the one command that they make together."""

import inspect
from collections.abc import Callable, Mapping
from copy import copy
from typing import Annotated, Any, get_args

import typer

from unrolled.cli.looks.attention import ATTENTION
from unrolled.cli.looks.beam import BEAM
from unrolled.cli.looks.cell_search import CELL_SEARCH
from unrolled.cli.looks.curves import CURVES
from unrolled.cli.looks.embeddings import EMBEDDINGS
from unrolled.cli.looks.gates import GATES
from unrolled.cli.looks.gradients import GRADIENTS
from unrolled.cli.looks.labels import LABELS
from unrolled.cli.looks.look import Look
from unrolled.cli.looks.next import NEXT
from unrolled.cli.looks.saliency import SALIENCY
from unrolled.cli.looks.tree import TREE
from unrolled.errors import UserError

LOOKS = (GATES, NEXT, SALIENCY, ATTENTION, LABELS, TREE, BEAM, EMBEDDINGS, CELL_SEARCH, GRADIENTS, CURVES)
"""In the order of the help text."""
_FLAG = "look_"
"""Before a look's name it is the parameter of its flag: no option is called so."""


def with_looks(function: Callable[..., None]) -> Callable[..., None]:
    """Give a function, for Typer, the flag of every look and all their options in the place of its `**chosen`."""
    own = [one for one in inspect.signature(function).parameters.values() if one.kind is not one.VAR_KEYWORD]
    kind = inspect.Parameter.KEYWORD_ONLY
    flags = [
        inspect.Parameter(_parameter(look), kind, default=False, annotation=Annotated[bool, _flag_of(look)])
        for look in LOOKS
    ]
    options = [
        inspect.Parameter(name, kind, default=None, annotation=_annotation(name, looks))
        for name, looks in _owners().items()
    ]
    signature = inspect.Signature([*own, *flags, *options])
    function.__signature__ = signature  # type: ignore[attr-defined]  # read by `verb`
    return function


def chosen_look(chosen: Mapping[str, Any]) -> tuple[Look, dict[str, Any]]:
    """The look that was asked for, and those of its options that were given.

    Raises:
        UserError: none was asked for, or several were, or an option is another look's.
    """
    wanted = [look for look in LOOKS if chosen[_parameter(look)]]
    if len(wanted) != 1:
        raise UserError(f"say what to look at: one of {', '.join(look.flag for look in LOOKS)}")
    look, owners = wanted[0], _owners()
    given = {name: value for name, value in chosen.items() if name in owners and value not in (None, [])}
    for name in given:
        if name not in look.options:
            whose = " and ".join(owner.flag for owner in owners[name])
            raise UserError(f"{_written(name, owners[name][0])} is for {whose}, not for {look.flag}")
    return look, given


def _owners() -> dict[str, list[Look]]:
    """Every option, and the looks that have it."""
    owners: dict[str, list[Look]] = {}
    for look in LOOKS:
        for name in look.options:
            owners.setdefault(name, []).append(look)
    return owners


def _parameter(look: Look) -> str:
    return _FLAG + look.name.replace("-", "_")


def _flag_of(look: Look) -> Any:
    return typer.Option(look.flag, help=look.help, rich_help_panel="What to look at")


def _annotation(name: str, looks: list[Look]) -> Any:
    """An option whose help says whose it is; not given it is None, whatever its look then takes."""
    parameters = [look.options[name] for look in looks]
    kind, *rest = get_args(parameters[0].annotation)
    option = copy(rest[0])
    defaults = {one.default for one in parameters if not isinstance(one.default, list)}
    default = defaults.pop() if len(defaults) == 1 else None
    option.help = f"({', '.join(look.flag for look in looks)}) {option.help}"
    if default not in (None, "", False, 0):
        option.help += f" Default: {default}."
    option.rich_help_panel = "Options of a look"
    return Annotated[kind if kind is not bool else bool | None, option]


def _written(name: str, look: Look) -> str:
    """An option as it is typed."""
    option = get_args(look.options[name].annotation)[1]
    named = option.default  # where Typer has the first name that is given to an option in `Annotated`
    return named if isinstance(named, str) else "--" + name.replace("_", "-")
